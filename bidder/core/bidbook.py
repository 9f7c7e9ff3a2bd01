"""What each bid has had: so that its money is booked once and each of its notices counts once."""

from collections import deque

from bidder.core.bankrules import HOUR_NS, MAX_EVENT_VALUE_NANOS, MAX_EVENTS_A_BID, BankRules, Rule
from bidder.core.bookings import Booking
from bidder.core.messages import Notice, NoticeKind

_SPENT = 1  # the money is booked; the bits above it are 1 << NoticeKind
_SHOWN = 1 << NoticeKind.IMPRESSION | _SPENT
_WON = 1 << NoticeKind.WIN | 1 << NoticeKind.BILLING | _SPENT

_WINNING = frozenset({NoticeKind.WIN, NoticeKind.BILLING})


class BidBook:
    """One small number a bid, from its first notice until none can be taken any more.

    Args:
        rules: windows to go by.
    """

    def __init__(self, rules: BankRules) -> None:
        self._rules = rules
        self._bits: dict[str, int] = {}
        self._events: dict[str, set[str]] = {}
        self._by_hour: dict[int, list[str]] = {}
        self._evicted_hour = 0
        self._let_go: set[str] = set()
        self._let_go_order: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        """Bids remembered."""
        return len(self._bits)

    def spent(self, bid_id: str) -> bool:
        """Whether the bid's money is booked."""
        return bool(self._bits.get(bid_id, 0) & _SPENT)

    def won(self, bid_id: str) -> bool:
        """Whether a notice said that the bid won."""
        return bool(self._bits.get(bid_id, 0) & _WON)

    def look(self, notice: Notice) -> None:
        """Notes of a first word that a bid won whether it came after the end of waiting for it."""
        in_vain = 0 < notice.result_until_ns < notice.at_ns and notice.kind in _WINNING
        if in_vain and not self.won(notice.bid_id):
            self.let_go(notice)

    def let_go(self, notice: Notice) -> None:
        """Notes that a bid's reservation ended before it was known to have won; remembered while it is liable.

        In memory alone: after a start such a bid counts as one whose reservation stood.
        """
        if notice.bid_id not in self._let_go:
            self._let_go.add(notice.bid_id)
            self._let_go_order.append((notice.liable_until_ns, notice.bid_id))

    def was_let_go(self, bid_id: str) -> bool:
        """Whether its reservation ended before it was known to have won."""
        return bid_id in self._let_go

    def shown(self, bid_id: str) -> bool:
        """Whether an impression of the bid was noticed, or its money booked, which says the same."""
        return bool(self._bits.get(bid_id, 0) & _SHOWN)

    def verdict(self, notice: Notice, now_ns: int) -> Rule | None:
        """The rule that refuses this notice of a known campaign, or None.

        One past the time that bids are remembered for is refused whenever it was sent: taking it could be
        taking it again.
        """
        kind = notice.kind
        accept_ns = self._rules.conversion_ns if kind is NoticeKind.CONVERSION else self._rules.accept_ns
        over_ns = max(notice.at_ns - accept_ns, now_ns - self._rules.keep_ns)
        if over_ns > notice.liable_until_ns:
            return Rule.EXPIRED
        if kind is NoticeKind.CONVERSION:
            return self.conversion_verdict(notice.bid_id, notice.event_id, notice.value_nanos)
        if kind is notice.money:
            return self._money_verdict(notice)
        return Rule.DUPLICATE if self._bits.get(notice.bid_id, 0) & 1 << kind else None

    def conversion_verdict(self, bid_id: str, event_id: str, value_nanos: int) -> Rule | None:
        """The rule that refuses an event of a bid whose time is not over, or None."""
        if not 0 <= value_nanos <= MAX_EVENT_VALUE_NANOS:
            return Rule.BAD_VALUE
        events = self._events.get(bid_id, ())
        if event_id in events:
            return Rule.DUPLICATE
        return Rule.TOO_MANY_EVENTS if len(events) >= MAX_EVENTS_A_BID else None

    def _money_verdict(self, notice: Notice) -> Rule | None:
        if self.spent(notice.bid_id):
            return Rule.DUPLICATE
        if notice.price_nanos <= 0:
            return Rule.NO_PRICE
        return Rule.ABOVE_CAP if notice.price_nanos > notice.cap_nanos else None

    def remember(self, booking: Booking) -> None:
        """Marks what this bid has had."""
        bits = self._bits.get(booking.bid_id)
        if bits is None:
            bits = 0
            self._by_hour.setdefault(booking.keep_until_ns // HOUR_NS, []).append(booking.bid_id)
        self._bits[booking.bid_id] = bits | 1 << booking.kind | (_SPENT if booking.amount_nanos else 0)
        if booking.kind == NoticeKind.CONVERSION:
            self._events.setdefault(booking.bid_id, set()).add(booking.event_id)

    def evict(self, now_ns: int) -> None:
        """Forgets bids whose notices are all refused as expired by now; looks once an hour."""
        while self._let_go_order and self._let_go_order[0][0] < now_ns - self._rules.margin_ns:
            self._let_go.discard(self._let_go_order.popleft()[1])
        hour = now_ns // HOUR_NS
        if hour == self._evicted_hour:
            return
        self._evicted_hour = hour
        for old in [old for old in self._by_hour if old < hour]:
            for bid_id in self._by_hour.pop(old):
                del self._bits[bid_id]
                self._events.pop(bid_id, None)
