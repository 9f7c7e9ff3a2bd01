"""What an advertiser's users saw and clicked: the touches that a conversion may count for.

A *touch* is the booking of a click, or of an impression of which billing or the pixel told, of a bid whose user may
be known. They are kept by advertiser and user, no longer than notices of their bid are taken, so that a conversion
that is told days late still finds what came before it. Two bounds hold the memory: of one user the latest
`MAX_A_USER` clicks and as many impressions, and `MAX_TOUCHES` in all, of which those that end first give way.

They are kept as plain tuples in tuples: a million objects that the garbage collector need not follow.
"""

from collections import deque
from typing import Any

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import Booking
from bidder.core.messages import NoticeKind

MAX_A_USER = 16
MAX_TOUCHES = 1_000_000
"""About 700 bytes each, its user and what looks for it included."""

_CLICK = int(NoticeKind.CLICK)
_TELLING = frozenset({int(NoticeKind.BILLING), int(NoticeKind.IMPRESSION), _CLICK})
"""A win is none: what was won may never have been shown."""
_BID, _KIND, _AT, _ADVERTISER, _USER = map(
    Booking._fields.index, ("bid_id", "kind", "at_ns", "advertiser_id", "user_key")
)
_Raw = tuple[Any, ...]
_Place = tuple[str, str, bool]
"""Advertiser, user and whether of clicks."""


def last_of(touch: Booking) -> tuple[int, str]:
    """The order of touches: by time, then by bid."""
    return touch.at_ns, touch.bid_id


class Touches:
    """Touches by advertiser and user.

    Args:
        most: how many at most.

    Attributes:
        forgotten: how many gave way to that bound.
    """

    def __init__(self, most: int = MAX_TOUCHES) -> None:
        self._most = most
        self._of: dict[_Place, tuple[_Raw, ...]] = {}
        self._ends: dict[int, deque[_Raw]] = {}
        self._count = 0
        self.forgotten = 0

    def __len__(self) -> int:
        """Touches kept."""
        return self._count

    def take(self, booking: Booking) -> bool:
        """Keeps the touch that a booking tells of; whether it tells of one."""
        if not booking.user_key or booking.kind not in _TELLING:
            return False
        raw = tuple(booking)
        place = (booking.advertiser_id, booking.user_key, booking.kind == _CLICK)
        own = self._of.get(place)
        if own is None:
            self._of[place] = (raw,)
        elif booking.bid_id in [other[_BID] for other in own]:
            self._of[place] = _with_earlier(own, raw)
            return True
        else:
            self._of[place] = _with(own, raw)
            self._count -= len(own) == MAX_A_USER
        self._count += 1
        self._ends.setdefault(booking.keep_until_ns // HOUR_NS, deque()).append(raw)
        while self._count > self._most:
            self._give_way()
        return True

    def of(self, advertiser_id: str, user_key: str, kind: NoticeKind) -> list[Booking]:
        """Touches of a user in the order of time: clicks, or for IMPRESSION what was seen."""
        return [Booking(*raw) for raw in self._of.get((advertiser_id, user_key, kind == _CLICK), ())]

    def evict(self, now_ns: int) -> None:
        """Forgets those whose bids' time is over."""
        hour = now_ns // HOUR_NS
        for old in [old for old in self._ends if old < hour]:
            for raw in self._ends.pop(old):
                self._drop(raw)

    def _give_way(self) -> None:
        first = min(self._ends)
        self.forgotten += self._drop(self._ends[first].popleft())
        if not self._ends[first]:
            del self._ends[first]

    def _drop(self, raw: _Raw) -> int:
        """Forgets one touch; how many that were, as it may have given way before."""
        place = (raw[_ADVERTISER], raw[_USER], raw[_KIND] == _CLICK)
        own = self._of.get(place, ())
        left = tuple(other for other in own if other[_BID] != raw[_BID])
        dropped = len(own) - len(left)
        self._count -= dropped
        if left:
            self._of[place] = left
        else:
            self._of.pop(place, None)
        return dropped


def _order(raw: _Raw) -> tuple[int, str]:
    """As `last_of`."""
    return raw[_AT], raw[_BID]


def _with(own: tuple[_Raw, ...], raw: _Raw) -> tuple[_Raw, ...]:
    """The latest touches of a user, in order; most come in the order of time."""
    touches = (*own, raw)
    if _order(own[-1]) > _order(raw):
        touches = tuple(sorted(touches, key=_order))
    return touches[-MAX_A_USER:]


def _with_earlier(own: tuple[_Raw, ...], raw: _Raw) -> tuple[_Raw, ...]:
    """Pixel and billing tell of the same impression: it was when the first of them says."""
    one_each = (min(raw, other, key=_order) if other[_BID] == raw[_BID] else other for other in own)
    return tuple(sorted(one_each, key=_order))
