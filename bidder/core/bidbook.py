"""What each bid has had: so that its money is booked once and each of its notices counts once.

Nearly all that is heard of a bid is heard within `BankRules.remember_ns` of it, for late events count no longer; what
comes after that are conversions, and notices that waited while no bank ran. So bids are remembered here for that time
only, by when they were made, and of an older one the books are asked: whoever runs the bank hands `recall` what they
have before a notice of it is applied (`forgotten`). The books never forget, so no changed setting, and no outage
however long, lets a notice be taken twice.
"""

from collections.abc import Iterable

from bidder.core.bankrules import HOUR_NS, MAX_EVENT_VALUE_NANOS, MAX_EVENTS_A_BID, BankRules, Rule
from bidder.core.bookings import Booking, Had
from bidder.core.messages import Notice, NoticeKind
from bidder.errors import InvariantError

_SPENT = 1  # the money is booked; the bits above it are 1 << NoticeKind
_SHOWN = 1 << NoticeKind.IMPRESSION | _SPENT
_WON = 1 << NoticeKind.WIN | 1 << NoticeKind.BILLING | _SPENT
_CLICK, _CONVERSION = int(NoticeKind.CLICK), int(NoticeKind.CONVERSION)


class BidBook:
    """One small number a bid, for as long as most of its notices may come.

    Args:
        rules: windows to go by.
        since_ns: bids that were made before are in the books alone.
    """

    def __init__(self, rules: BankRules, since_ns: int = 0) -> None:
        self._rules = rules
        self._bits: dict[str, int] = {}
        self._events: dict[str, set[str]] = {}
        self._clicked: dict[str, int] = {}
        self._by_hour: dict[int, list[str]] = {}
        self._evicted_hour = 0
        self._known_hour = max(0, since_ns) // HOUR_NS

    def __len__(self) -> int:
        """Bids remembered."""
        return len(self._bits)

    def spent(self, bid_id: str) -> bool:
        """Whether the bid's money is booked."""
        return bool(self._bits.get(bid_id, 0) & _SPENT)

    def won(self, bid_id: str) -> bool:
        """Whether a notice said that the bid won."""
        return bool(self._bits.get(bid_id, 0) & _WON)

    def shown(self, bid_id: str) -> bool:
        """Whether an impression of the bid was noticed, or its money booked, which says the same."""
        return bool(self._bits.get(bid_id, 0) & _SHOWN)

    def clicked_ns(self, bid_id: str) -> int | None:
        """When the bid was clicked, as the first click that was heard of says; None where none was."""
        return self._clicked.get(bid_id)

    def expired(self, notice: Notice, now_ns: int) -> bool:
        """Whether a notice's time is over: it was sent too late, or its bid is too old whenever it was sent."""
        rules = self._rules
        accept_ns = rules.conversion_ns if notice.kind is NoticeKind.CONVERSION else rules.accept_ns
        return max(notice.at_ns - accept_ns, now_ns - rules.keep_ns) > notice.liable_until_ns

    def forgotten(self, bid_id: str, bid_at_ns: int, now_ns: int) -> bool:
        """Whether the books must be asked of a bid; one whose time is not said (0) may be of any."""
        first = max(self._known_hour, self._hour_before(now_ns))
        return bid_id not in self._bits and (not bid_at_ns or bid_at_ns // HOUR_NS <= first)

    def verdict(self, notice: Notice, now_ns: int) -> Rule | None:
        """The rule that refuses this notice of a known campaign, or None.

        One past the time for which bids are kept is refused whenever it was sent.

        Raises:
            InvariantError: the bid's past is in the books alone and was not recalled.
        """
        if self.expired(notice, now_ns):
            return Rule.EXPIRED
        kind, bits = notice.kind, self._bits.get(notice.bid_id)
        if bits is None and 0 < notice.bid_at_ns // HOUR_NS < self._known_hour:
            raise InvariantError(f"bid {notice.bid_id} must be recalled before a notice of it is taken")
        if kind is NoticeKind.CONVERSION:
            return self.conversion_verdict(notice.bid_id, notice.event_id, notice.value_nanos)
        if kind is notice.money:
            return self._money_verdict(notice)
        return Rule.DUPLICATE if (bits or 0) & 1 << kind else None

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

    def remember(self, booking: Booking | Had) -> None:
        """Marks what this bid has had."""
        bid_id, kind = booking.bid_id, booking.kind
        bits = self._bits.get(bid_id)
        if bits is None:
            bits = 0
            self._by_hour.setdefault(booking.bid_at_ns // HOUR_NS, []).append(bid_id)
        self._bits[bid_id] = bits | 1 << kind | (_SPENT if booking.amount_nanos else 0)
        if kind == _CONVERSION:
            self._events.setdefault(bid_id, set()).add(booking.event_id)
        elif kind == _CLICK:
            self._clicked.setdefault(bid_id, booking.at_ns)

    def recall(self, bid_ids: Iterable[str], past: Iterable[Booking | Had], now_ns: int) -> None:
        """Takes what the books have of bids, which may be nothing; they are remembered like new ones."""
        hour = self._by_hour.setdefault(now_ns // HOUR_NS, [])
        for bid_id in bid_ids:
            if bid_id not in self._bits:
                self._bits[bid_id] = 0
                hour.append(bid_id)
        for each in past:
            self.remember(each)

    def evict(self, now_ns: int) -> None:
        """Forgets bids that the books are asked of from now on; looks once an hour."""
        hour = now_ns // HOUR_NS
        if hour == self._evicted_hour:
            return
        self._evicted_hour = hour
        first = self._known_hour = max(self._known_hour, self._hour_before(now_ns))
        for old in [old for old in self._by_hour if old < first]:
            for bid_id in self._by_hour.pop(old):
                del self._bits[bid_id]
                self._events.pop(bid_id, None)
                self._clicked.pop(bid_id, None)

    def _hour_before(self, now_ns: int) -> int:
        """The hour that lies `remember_ns` back; bids of all later ones are remembered."""
        return (now_ns - self._rules.remember_ns) // HOUR_NS
