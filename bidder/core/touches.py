"""What an advertiser's users saw and clicked: the touches that a conversion may count for.

A *touch* is a click, or an impression of which billing or the pixel told, of a bid whose user may be known. They are
kept by advertiser and user, no longer than notices of their bid are taken, so that a conversion that is told days
late still finds what came before it. Two bounds hold the memory: of one user the latest `MAX_A_USER` clicks and as
many impressions, and `MAX_TOUCHES` in all, of which those that end first give way.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import Booking
from bidder.core.messages import NoticeKind
from bidder.core.users import key_of

MAX_A_USER = 16
MAX_TOUCHES = 1_000_000
"""About 600 bytes each."""

_VIEWS = frozenset({NoticeKind.BILLING, NoticeKind.IMPRESSION})
"""A win is none: what was won may never have been shown."""


class Touch(NamedTuple):
    """One click or impression; the later one is the greater.

    `kind` is CLICK or IMPRESSION, `keep_until_ns` the end of its bid's time, the rest as in `Booking`.
    """

    at_ns: int
    bid_id: str
    kind: int
    campaign_id: str
    line_item_id: str
    creative_id: str
    seat: str
    epoch: int
    exchange: str
    advertiser_id: str
    bid_at_ns: int
    impressions: int
    keep_until_ns: int
    user: str


class _Place(NamedTuple):
    """Where touches of one kind of a user are."""

    advertiser_id: str
    user: int
    kind: int


class Touches:
    """Touches by advertiser and user.

    Args:
        most: how many at most.

    Attributes:
        forgotten: how many gave way to that bound.
    """

    def __init__(self, most: int = MAX_TOUCHES) -> None:
        self._most = most
        self._of: dict[_Place, list[Touch]] = {}
        self._ends: dict[int, deque[tuple[_Place, str]]] = {}
        self._count = 0
        self.forgotten = 0

    def __len__(self) -> int:
        """Touches kept."""
        return self._count

    def take(self, booking: Booking) -> bool:
        """Keeps the touch that a booking tells of; whether it tells of one."""
        kind = NoticeKind.IMPRESSION if booking.kind in _VIEWS else booking.kind
        if not booking.user_key or kind not in {NoticeKind.IMPRESSION, NoticeKind.CLICK}:
            return False
        place = _Place(booking.advertiser_id, key_of(booking.user_key), int(kind))
        own = self._of.setdefault(place, [])
        known = next((touch for touch in own if touch.bid_id == booking.bid_id), None)
        if known is not None:
            # Pixel and billing tell of the same impression: it was when the first of them says.
            if booking.at_ns < known.at_ns:
                own.remove(known)
                insort(own, known._replace(at_ns=booking.at_ns))
            return True
        insort(own, _touch(booking, kind))
        self._count += 1
        self._ends.setdefault(booking.keep_until_ns // HOUR_NS, deque()).append((place, booking.bid_id))
        if len(own) > MAX_A_USER:
            own.pop(0)
            self._count -= 1
        while self._count > self._most:
            self._give_way()
        return True

    def latest(self, advertiser_id: str, user: int, kind: NoticeKind) -> Iterator[Touch]:
        """Touches of a kind of a user, the latest first."""
        return reversed(self._of.get(_Place(advertiser_id, user, int(kind)), ()))

    def evict(self, now_ns: int) -> None:
        """Forgets those whose bids' time is over."""
        hour = now_ns // HOUR_NS
        for old in [old for old in self._ends if old < hour]:
            for place, bid_id in self._ends.pop(old):
                self._drop(place, bid_id)

    def _give_way(self) -> None:
        first = min(self._ends)
        place, bid_id = self._ends[first].popleft()
        self.forgotten += self._drop(place, bid_id)
        if not self._ends[first]:
            del self._ends[first]

    def _drop(self, place: _Place, bid_id: str) -> int:
        """Forgets one touch; how many that were, as it may have given way before."""
        own = self._of.get(place, [])
        left = [touch for touch in own if touch.bid_id != bid_id]
        dropped = len(own) - len(left)
        self._count -= dropped
        if left:
            self._of[place] = left
        else:
            self._of.pop(place, None)
        return dropped


def _touch(booking: Booking, kind: int) -> Touch:
    return Touch(
        booking.at_ns,
        booking.bid_id,
        int(kind),
        booking.campaign_id,
        booking.line_item_id,
        booking.creative_id,
        booking.seat,
        booking.epoch,
        booking.exchange,
        booking.advertiser_id,
        booking.bid_at_ns,
        booking.impressions,
        booking.keep_until_ns,
        booking.user_key,
    )
