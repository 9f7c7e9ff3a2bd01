"""What each order must count for: a second, simple computation beside the bank's, from the books of those who know.

Exchanges know whom they showed what, people know what they clicked, shops know what was bought when, by whom and for
how much. The log of notices says only what of it was told, and in which order. By that order each record of an order
has one fate:

- An order counts once, whatever is told of it after that.
- Told with a bid, it counts for that bid if it was at most the click window after it: else that record is refused.
- Told with a person, it counts for the last click of the advertiser that was told before it and lies within its
  window before the purchase, else for the last impression within its own.
- Where there is none it waits for a touch that is still under way. When the bank looks again cannot be known from
  outside: it may count for whatever was the last touch from then on, and for one of these it must, if the first of
  them was taken by a tracker while it waited.

So an order has *options*: none, one, or for those that waited a few.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bidder.core.messages import NoticeKind
from simulator.faults.bounds import Complaint
from simulator.faults.plan import HOLD_NS, MAX_SKEW_NS, MS, Scenario

_CLICK, _SEEN = int(NoticeKind.CLICK), int(NoticeKind.IMPRESSION)
_CLOCKS_NS = 2 * MAX_SKEW_NS + 100 * MS
"""What the clocks of tracker and bank differ by, and a step of the bank."""
GOAL = "sale"
"""What pixels of shops are called: a conversion that has it was told with a person."""


class Shown(NamedTuple):
    """A bid as those know it who see ads: `person` is empty where nobody knows, `made_ns` by the seat's clock."""

    bid_id: str
    line: str
    advertiser: str
    person: str
    made_ns: int


class Order(NamedTuple):
    """A purchase as the shop's own books have it.

    `person` is who bought, `shown` the bid by whose click, `event` what the shop calls the event of that.
    `permitted` says whether the person may be followed.
    """

    advertiser: str
    id: str
    value_nanos: int
    person: str
    shown: Shown | None
    event: str
    permitted: bool

    @property
    def key(self) -> tuple[str, str]:
        """An id is one of the advertiser's own."""
        return self.advertiser, self.id


class Credit(NamedTuple):
    """What an order counts for."""

    bid_id: str
    kind: int


class Booked(NamedTuple):
    """What the bank's books have of a conversion."""

    advertiser: str
    event: str
    bid_id: str
    line: str
    value_nanos: int
    touch: int
    goal: str


class _Wait(NamedTuple):
    """A record that found no touch: when the purchase was, and until when it surely waits."""

    at_ns: int
    until_ns: int


class _Fate:
    """What may become of an order."""

    __slots__ = ("closed", "must", "options", "order", "times_ns", "told", "waits")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.options: set[Credit] = set()
        self.waits: list[_Wait] = []
        self.times_ns: set[int] = set()
        self.must = self.closed = self.told = False


class Credits:
    """Watches what is told of touches and orders, and says what must be booked.

    Args:
        plan: what is played: windows, and whose line items are.

    Attributes:
        told: orders that the log has. again: records of them beyond the first. found: what the bank booked, once it
            was judged.
    """

    def __init__(self, plan: Scenario) -> None:
        self._plan = plan
        self._fates: dict[tuple[str, str], _Fate] = {}
        self._events: dict[tuple[str, str], _Fate] = {}
        self._touches: dict[tuple[str, str], dict[tuple[str, int], tuple[int, str]]] = defaultdict(dict)
        self._waiting: dict[tuple[str, str], list[_Fate]] = defaultdict(list)
        self._clicked: set[str] = set()
        self._of_person: dict[str, tuple[int, int]] = {}
        self._of_bid = 0
        self._possible: Counter[str] = Counter()
        self.told = self.again = 0
        self.found: tuple[Booked, ...] = ()

    @property
    def clicks(self) -> int:
        """Bids of which a click was told."""
        return len(self._clicked)

    # -- the shops' books -----------------------------------------------------------------------------------

    def bought(self, order: Order) -> None:
        """Somebody bought something."""
        fate = self._fates[order.key] = _Fate(order)
        self._events[order.advertiser, order.id] = fate
        if order.event:
            self._events[order.advertiser, order.event] = fate

    def telling(self, order: Order, at_ns: int) -> None:
        """A tracker is told of an order, and will say that it was then."""
        self._fates[order.key].times_ns.add(at_ns)

    # -- what is written, in order --------------------------------------------------------------------------

    def touch(self, shown: Shown, kind: int, at_ns: int, came_ns: int) -> None:
        """A first click, impression or billing of a bid: when it says that it was, and when it counts as told."""
        if kind == _CLICK:
            self._clicked.add(shown.bid_id)
        else:
            kind = _SEEN
        if not shown.person:
            return
        whose = shown.advertiser, shown.person
        before_ns, _ = self._touches[whose].get((shown.bid_id, kind), (at_ns, ""))
        self._touches[whose][shown.bid_id, kind] = (min(at_ns, before_ns), shown.line)
        for fate in self._waiting[whose]:
            for wait in fate.waits:
                self._look_again(fate, wait, came_ns)

    def of_person(
        self, key: tuple[str, str], value_nanos: int, at_ns: int, now_ns: int
    ) -> Iterator[Complaint]:
        """A record that tells of an order with a person."""
        fate = self._fates.get(key)
        times, value = self._of_person.get(key[0], (0, 0))
        self._of_person[key[0]] = times + 1, value + value_nanos
        if fate is None:
            yield Complaint("conversion_told", f"order {key} was told and nobody bought it")
            return
        yield from self._check(fate, value_nanos, at_ns)
        if fate.closed or not fate.order.permitted:
            return
        credit = self._last_touch(fate.order, at_ns)
        if credit is None:
            fate.waits.append(_Wait(at_ns, now_ns + HOLD_NS))
            self._waiting[fate.order.advertiser, fate.order.person].append(fate)
        else:
            self._close(fate, credit)

    def of_bid(self, key: tuple[str, str], value_nanos: int, at_ns: int) -> Iterator[Complaint]:
        """A record that tells of an order with a bid."""
        self._of_bid += 1
        fate = self._events.get(key)
        if fate is None or fate.order.shown is None:
            yield Complaint("conversion_told", f"order {key} was told of a bid and nobody bought it so")
            return
        yield from self._check(fate, value_nanos, at_ns)
        shown = fate.order.shown
        window_ns, _ = self._plan.windows(shown.line)
        if not fate.closed and at_ns - shown.made_ns <= window_ns:
            self._close(fate, Credit(shown.bid_id, _CLICK if shown.bid_id in self._clicked else _SEEN))

    def _check(self, fate: _Fate, value_nanos: int, at_ns: int) -> Iterator[Complaint]:
        """What is written must be what the shop said."""
        order = fate.order
        self.again += fate.told
        self.told += not fate.told
        fate.told = True
        if value_nanos != order.value_nanos or at_ns not in fate.times_ns:
            yield Complaint(
                "conversion_told",
                f"order {order.id} of {order.advertiser} must be worth {order.value_nanos} at one of "
                f"{sorted(fate.times_ns)[:3]}, was {value_nanos} at {at_ns}",
            )

    def _close(self, fate: _Fate, credit: Credit) -> None:
        """From now on the order is known; where it waited it may have been decided before."""
        self._allow(fate, credit)
        fate.must = fate.closed = True

    def _allow(self, fate: _Fate, credit: Credit) -> None:
        self._possible[fate.order.advertiser] += not fate.options
        fate.options.add(credit)

    def _look_again(self, fate: _Fate, wait: _Wait, came_ns: int) -> None:
        if fate.closed:
            return
        credit = self._last_touch(fate.order, wait.at_ns)
        if credit is not None:
            self._allow(fate, credit)
            fate.must |= came_ns + _CLOCKS_NS <= wait.until_ns

    def _last_touch(self, order: Order, at_ns: int) -> Credit | None:
        own = self._touches[order.advertiser, order.person]
        for kind in (_CLICK, _SEEN):
            within = [
                (touch_ns, bid_id)
                for (bid_id, what), (touch_ns, line) in own.items()
                if what == kind and _is_within(at_ns - touch_ns, self._plan.windows(line)[kind == _SEEN])
            ]
            if within:
                return Credit(max(within)[1], kind)
        return None

    def so_far(self, booked: Mapping[str, int]) -> Iterator[Complaint]:
        """At any time: of an advertiser no more is booked than orders that may count for something."""
        for advertiser, times in booked.items():
            if times > self._possible[advertiser]:
                yield Complaint(
                    "conversion_invented",
                    f"of {advertiser} at most {self._possible[advertiser]} orders may be booked, were {times}",
                )

    # -- the end --------------------------------------------------------------------------------------------

    def refused(self) -> int:
        """Records with a bid that the bank must have refused: all that it did not book."""
        return self._of_bid - sum(row.goal != GOAL for row in self.found)

    def judge(self, rows: Iterable[Booked], unattributed: dict[str, tuple[int, int]]) -> Iterator[Complaint]:
        """All is quiet: what is booked is an option, once an order; what counts for no bid is counted.

        Args:
            rows: conversions of the bank's books. unattributed: by advertiser, how many count for no bid, and what
                they were worth.
        """
        self.found = tuple(rows)
        of: dict[tuple[str, str], list[Booked]] = defaultdict(list)
        for row in self.found:
            fate = self._events.get((row.advertiser, row.event))
            if fate is None:
                yield Complaint("conversion_invented", f"{row} is booked and nobody bought it")
            else:
                of[fate.order.key].append(row)
        for key, fate in self._fates.items():
            yield from _judged(fate, of[key])
        for advertiser in sorted({advertiser for advertiser, _ in self._fates}):
            yield from self._conserved(advertiser, unattributed.get(advertiser, (0, 0)))

    def lines(self) -> dict[str, tuple[int, int, int]]:
        """Of each line item its conversions, those after a view alone, and their worth by the shops' books."""
        sums: dict[str, tuple[int, int, int]] = {}
        for row in self.found:
            times, views, value = sums.get(row.line, (0, 0, 0))
            worth = self._events[row.advertiser, row.event].order.value_nanos
            sums[row.line] = (times + 1, views + (row.touch == _SEEN), value + worth)
        return sums

    def _conserved(self, advertiser: str, strays: tuple[int, int]) -> Iterator[Complaint]:
        """Each record with a person is booked or counted, with its worth."""
        own = [row for row in self.found if row.advertiser == advertiser and row.goal == GOAL]
        found = len(own) + strays[0], sum(row.value_nanos for row in own) + strays[1]
        told = self._of_person.get(advertiser, (0, 0))
        if found != told:
            yield Complaint(
                "conversion_uncounted",
                f"of {advertiser} must be booked or counted {told[0]} conversions worth {told[1]}, were {found[0]} "
                f"worth {found[1]}",
            )


def _is_within(after_ns: int, window_ns: int) -> bool:
    return window_ns > 0 and 0 <= after_ns <= window_ns


def _judged(fate: _Fate, rows: list[Booked]) -> Iterator[Complaint]:
    order, said = fate.order, f"order {fate.order.id} of {fate.order.advertiser}"
    if len(rows) > 1:
        yield Complaint("order_twice", f"{said} must be booked once, was for {[row.bid_id for row in rows]}")
    for row in rows:
        credit = Credit(row.bid_id, row.touch)
        if credit not in fate.options:
            yield Complaint(
                "credit", f"{said} must count for one of {sorted(fate.options)}, did for {credit}"
            )
        if row.value_nanos != order.value_nanos:
            yield Complaint(
                "conversion_value", f"{said} must be worth {order.value_nanos}, was {row.value_nanos}"
            )
    if fate.must and not rows:
        yield Complaint(
            "conversion_lost", f"{said} must count for one of {sorted(fate.options)}, is not booked"
        )
