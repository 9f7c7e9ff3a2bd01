"""Attribution the plain way: every conversion looks through all that came before it. Slow, and easy to believe."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bidder.core.messages import Conversion, Notice, NoticeKind

VIEWS = (NoticeKind.IMPRESSION, NoticeKind.BILLING)
Booked = tuple[str, str, int, int, int, int]
"""Bid, event, kind of the touch, its time, time and worth of the conversion."""


@dataclass
class NaiveAttribution:
    """What has come so far, in lists.

    Args:
        windows: by campaign and line item, those of clicks and of views in nanoseconds.
        hold_ns: how long a conversion waits for its touch.
    """

    windows: Mapping[tuple[str, str], tuple[int, int]]
    hold_ns: int
    notices: list[Notice] = field(default_factory=list)
    booked: list[Booked] = field(default_factory=list)
    orders: set[tuple[str, str]] = field(default_factory=set)
    held: list[tuple[int, bytes, Conversion]] = field(default_factory=list)
    unattributed: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def hear(self, notice: Notice) -> None:
        """A notice of a bid: a touch, or a conversion that names its bid."""
        if notice.kind is NoticeKind.CONVERSION:
            self._direct(notice)
        elif any(one.bid_id == notice.bid_id and one.kind is notice.kind for one in self.notices):
            self.refused["duplicate"] += 1
        else:
            self.notices.append(notice)

    def take(self, conversion: Conversion, text: bytes, now_ns: int) -> None:
        """A conversion that names its user; `text` is the record it came in."""
        if any(text == other for _, other, _ in self.held):
            self._count(conversion, "duplicate_order")
        elif (reason := self._try(conversion)) in {"no_touch", "outside_window"}:
            self.held.append((now_ns + self.hold_ns, text, conversion))
        elif reason:
            self._count(conversion, reason)

    def tick(self, now_ns: int) -> None:
        """Those that wait are looked at again, in the order in which they came."""
        left = []
        for until_ns, text, conversion in sorted(self.held, key=lambda one: one[:2]):
            reason = self._try(conversion)
            if reason and until_ns > now_ns:
                left.append((until_ns, text, conversion))
            elif reason:
                self._count(conversion, reason)
        self.held = left

    def _direct(self, notice: Notice) -> None:
        clicks = [
            one.at_ns for one in self.notices if one.bid_id == notice.bid_id and one.kind is NoticeKind.CLICK
        ]
        since_ns = clicks[0] if clicks else notice.bid_at_ns
        order = (notice.advertiser_id, notice.order_id)
        if any(row[:2] == (notice.bid_id, notice.event_id) for row in self.booked):
            self.refused["duplicate"] += 1
        elif notice.order_id and order in self.orders:
            self.refused["duplicate_order"] += 1
        elif (
            not 0
            < self.windows[notice.campaign_id, notice.line_item_id][0]
            >= notice.at_ns - notice.bid_at_ns
        ):
            self.refused["outside_window"] += 1
        else:
            if notice.order_id:
                self.orders.add(order)
            kind = NoticeKind.CLICK if clicks else NoticeKind.IMPRESSION
            self.booked.append(
                (notice.bid_id, notice.event_id, int(kind), since_ns, notice.at_ns, notice.value_nanos)
            )

    def _try(self, conversion: Conversion) -> str:
        """Books a conversion; why not, where it counts for nothing."""
        order = (conversion.advertiser_id, conversion.order_id)
        if not conversion.permitted:
            return "not_permitted"
        if order in self.orders:
            return "duplicate_order"
        if not conversion.users:
            return "unknown_user"
        own = [
            one
            for one in self.notices
            if one.advertiser_id == conversion.advertiser_id
            and one.user
            and f"{one.user:016x}" in conversion.users
        ]
        seen = False
        for place, kinds in enumerate(((NoticeKind.CLICK,), VIEWS)):
            first: dict[str, int] = {}
            for one in own:
                if one.kind in kinds:
                    first[one.bid_id] = min(one.at_ns, first.get(one.bid_id, one.at_ns))
            before = [(at_ns, bid_id) for bid_id, at_ns in first.items() if at_ns <= conversion.at_ns]
            seen = seen or bool(before)
            within = []
            for at_ns, bid_id in before:
                bid = next(one for one in own if one.bid_id == bid_id)
                window_ns = self.windows[bid.campaign_id, bid.line_item_id][place]
                if 0 < window_ns >= conversion.at_ns - at_ns:
                    within.append((at_ns, bid_id))
            if within:
                at_ns, bid_id = max(within)
                if any(row[:2] == (bid_id, conversion.order_id) for row in self.booked):
                    return "duplicate_order"
                self.orders.add(order)
                kind = (NoticeKind.CLICK, NoticeKind.IMPRESSION)[place]
                self.booked.append(
                    (bid_id, conversion.order_id, int(kind), at_ns, conversion.at_ns, conversion.value_nanos)
                )
                return ""
        return "outside_window" if seen else "no_touch"

    def _count(self, conversion: Conversion, reason: str) -> None:
        self.unattributed[conversion.advertiser_id, reason] += 1
