"""What an advertiser's users saw and clicked: the touches that a conversion may count for.

A *touch* is the booking of a click, or of an impression of which billing or the pixel told, of a bid whose user may
be known. They are kept by advertiser and user until the longest window is over, and the time for which events may
come late, so that a conversion that is told days late still finds what came before it. Two bounds hold the memory: of
one user the latest `MAX_A_USER` clicks and as many impressions, and `MAX_TOUCHES` in all, of which those that end
first give way.

They lie in columns, a place each. What stands in many alike (campaign, line item, creative, seat, exchange) is kept
once, for as long as a touch has it. The touches of one user and kind are chained by place, in no order.
"""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS
from bidder.core.bookings import Booking, Touched
from bidder.core.messages import NoticeKind
from bidder.core.users import key_of, key_text

MAX_A_USER = 16
MAX_TOUCHES = 1_000_000
"""About 200 bytes each where users have one, see `benchmarks/bench_bank_start.py`."""

_CLICK = int(NoticeKind.CLICK)
_TELLING = frozenset({int(NoticeKind.BILLING), int(NoticeKind.IMPRESSION), _CLICK})
"""A win is none: what was won may never have been shown."""
_ID_BYTES = 16
_NONE = -1


class _Whose(NamedTuple):
    """What many touches have alike."""

    advertiser_id: str
    campaign_id: str
    line_item_id: str
    creative_id: str
    seat: str
    epoch: int
    exchange: str
    impressions: int


class _Shared:
    """Each `_Whose` once, by number, for as long as something has it."""

    def __init__(self) -> None:
        self._numbers: dict[_Whose, int] = {}
        self._rows: list[_Whose | None] = []
        self._holders = array("q")
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def hold(self, whose: _Whose) -> int:
        """Its number, held once more."""
        number = self._numbers.get(whose)
        if number is None:
            if self._free:
                number = self._free.pop()
                self._rows[number] = whose
            else:
                number = len(self._rows)
                self._rows.append(whose)
                self._holders.append(0)
            self._numbers[whose] = number
        self._holders[number] += 1
        return number

    def drop(self, number: int) -> None:
        """Holds it once less."""
        self._holders[number] -= 1
        if not self._holders[number]:
            del self._numbers[self[number]]
            self._rows[number] = None
            self._free.append(number)

    def __getitem__(self, number: int) -> _Whose:
        """What has this number."""
        whose = self._rows[number]
        assert whose is not None, f"number {number} is held"
        return whose


def last_of(touch: Touched) -> tuple[int, str]:
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
        self._heads: dict[str, dict[int, int]] = {}
        self._ids = bytearray()
        self._users = array("Q")
        self._at, self._bid_at, self._keep_until = array("q"), array("q"), array("q")
        self._end_hour = array("i")
        self._kind = bytearray()
        self._whose, self._next = array("i"), array("i")
        self._shared = _Shared()
        self._free = _NONE
        self._ends: dict[int, array[int]] = {}
        self._given = (_NONE, 0)
        self._count = 0
        self.forgotten = 0

    def __len__(self) -> int:
        """Touches kept."""
        return self._count

    def take(self, booking: Booking | Touched, until_ns: int) -> bool:
        """Keeps the touch that a booking tells of until the hour of `until_ns` is over; whether it tells of one."""
        if not booking.user_key or booking.kind not in _TELLING:
            return False
        own = self._heads.setdefault(booking.advertiser_id, {})
        key = _key(key_of(booking.user_key), booking.kind)
        name = booking.bid_id.encode().ljust(_ID_BYTES)
        chain = list(self._chain(own.get(key, _NONE)))
        for place in chain:
            if self._ids[place * _ID_BYTES : (place + 1) * _ID_BYTES] == name:
                # Pixel and billing tell of the same impression: it was when the first of them says.
                self._at[place] = min(self._at[place], booking.at_ns)
                return True
        place = self._put(booking, name, until_ns // HOUR_NS)
        self._next[place] = own.get(key, _NONE)
        own[key] = place
        if len(chain) == MAX_A_USER:
            self._drop(min((place, *chain), key=self._order))
        while self._count > self._most:
            self._give_way()
        return True

    def of(self, advertiser_id: str, user_key: str, kind: NoticeKind) -> list[Touched]:
        """Touches of a user in the order of time: clicks, or for IMPRESSION what was seen."""
        head = self._heads.get(advertiser_id, {}).get(_key(key_of(user_key), kind), _NONE)
        return [self._touched(place) for place in sorted(self._chain(head), key=self._order)]

    def bids_of(self, advertiser_id: str, user_key: str) -> Iterator[tuple[str, int]]:
        """The bids of all touches of a user, and when each was made."""
        own, user = self._heads.get(advertiser_id, {}), key_of(user_key)
        for kind in (0, _CLICK):
            for place in self._chain(own.get(_key(user, kind), _NONE)):
                yield self._id(place), self._bid_at[place]

    def evict(self, now_ns: int) -> None:
        """Forgets those whose time is over."""
        hour = now_ns // HOUR_NS
        for old in [old for old in self._ends if old < hour]:
            for place in self._ends.pop(old):
                if self._end_hour[place] == old:
                    self._drop(place)

    def _put(self, booking: Booking | Touched, name: bytes, end_hour: int) -> int:
        """Writes a touch into a place of its own, in no chain yet."""
        place = self._free
        if place == _NONE:
            place = len(self._at)
            self._ids += bytes(_ID_BYTES)
            self._kind.append(0)
            for column in (self._users, self._at, self._bid_at, self._keep_until, self._end_hour):
                column.append(0)
            for column in (self._whose, self._next):
                column.append(_NONE)
        else:
            self._free = self._next[place]
        self._ids[place * _ID_BYTES : (place + 1) * _ID_BYTES] = name
        self._users[place] = key_of(booking.user_key)
        self._at[place], self._bid_at[place] = booking.at_ns, booking.bid_at_ns
        self._keep_until[place], self._end_hour[place] = booking.keep_until_ns, end_hour
        self._kind[place] = booking.kind
        self._whose[place] = self._shared.hold(_Whose(*[getattr(booking, each) for each in _Whose._fields]))
        self._ends.setdefault(end_hour, array("i")).append(place)
        self._count += 1
        return place

    def _drop(self, place: int) -> None:
        """Takes a touch out of its chain and frees its place."""
        advertiser_id = self._shared[self._whose[place]].advertiser_id
        own, key = self._heads[advertiser_id], _key(self._users[place], self._kind[place])
        before, following = own[key], self._next[place]
        if before == place:
            if following == _NONE:
                del own[key]
            else:
                own[key] = following
        else:
            while self._next[before] != place:
                before = self._next[before]
            self._next[before] = following
        if not own:
            del self._heads[advertiser_id]
        self._shared.drop(self._whose[place])
        self._end_hour[place], self._next[place], self._free = _NONE, self._free, place
        self._count -= 1

    def _give_way(self) -> None:
        """Forgets the touch that ends first, of those of one hour the one that was heard of first."""
        first = min(self._ends)
        places, begun = self._ends[first], self._given[1] if self._given[0] == first else 0
        while begun < len(places) and self._end_hour[places[begun]] != first:
            begun += 1
        if begun == len(places):
            del self._ends[first]
            return
        self._drop(places[begun])
        self._given = (first, begun + 1)
        self.forgotten += 1

    def _chain(self, place: int) -> Iterator[int]:
        while place != _NONE:
            yield place
            place = self._next[place]

    def _order(self, place: int) -> tuple[int, str]:
        return self._at[place], self._id(place)

    def _id(self, place: int) -> str:
        return self._ids[place * _ID_BYTES : (place + 1) * _ID_BYTES].decode().rstrip()

    def _touched(self, place: int) -> Touched:
        whose = self._shared[self._whose[place]]
        return Touched(
            self._id(place),
            self._kind[place],
            self._at[place],
            self._bid_at[place],
            self._keep_until[place],
            key_text(self._users[place]),
            *whose,
        )


def _key(user: int, kind: int) -> int:
    """What a user's chain of clicks, or of all else, goes by."""
    return user << 1 | (kind == _CLICK)
