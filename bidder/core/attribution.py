"""Attribution: which bid a conversion counts for. A pure part of the bank, which hears all of an advertiser.

| a conversion | counts for | of |
|---|---|---|
| that names its bid, by its token | that bid | the click window, from the bid: whichever of click and conversion is heard of first |
| that names its user | the last click of the advertiser's line items within its window, else the last impression within its own | the windows of each touch's line item |

- Times are the conversion's own: a touch after it counts for nothing. Of two touches at one time the one of the
  greater bid id is the last.
- Windows are those of the campaign as it is when the conversion is decided, and end at the latest with the bid's time
  (`BankRules.conversion_ns`).
- A touch is kept for the longest window of all line items and the time for which events may come late
  (`BankRules.touch_ns`); what was forgotten before a window was widened does not come back.
- An order counts once for its advertiser, whichever bid or user it names: it is remembered for as long as bids are.
- A conversion that finds no touch waits `BankRules.hold_ns` for one that is still under way. When that is over, or
  where it cannot wait, it is counted by its advertiser and by why (`Unattributed`).
- Of a user who may not be followed no touch is kept: such a bid has no user key.

Conversions are decided one after the other with what is known by then, so where a batch is split changes nothing.
"""  # noqa: E501  (a row of a table is one line)

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bidder.core.bankrules import HOUR_NS, BankRules, Rule, Unattributed
from bidder.core.bidbook import BidBook
from bidder.core.bookings import BankState, Booking, OrderRow, Touched, UnattributedRow
from bidder.core.campaigns import CLICK_WINDOW_SECONDS, VIEW_WINDOW_SECONDS, Campaign, LineItem
from bidder.core.effects import Draft
from bidder.core.held import Held
from bidder.core.lines import NS_PER_SECOND
from bidder.core.messages import Conversion, Notice, NoticeKind
from bidder.core.touches import MAX_TOUCHES, Touches, last_of
from bidder.money import MAX_NANOS

_REASONS = {
    Rule.BAD_VALUE: Unattributed.BAD_VALUE,
    Rule.DUPLICATE: Unattributed.DUPLICATE_ORDER,
    Rule.TOO_MANY_EVENTS: Unattributed.TOO_MANY_EVENTS,
}
_CLICK = int(NoticeKind.CLICK)
_MAY_WAIT = frozenset({Unattributed.NO_TOUCH, Unattributed.OUTSIDE_WINDOW})


class Windows(NamedTuple):
    """How long after a click and after an impression a conversion counts for it; 0 is never."""

    click_ns: int
    view_ns: int

    def of(self, kind: NoticeKind) -> int:
        """The window of a kind of touch."""
        return self.click_ns if kind is NoticeKind.CLICK else self.view_ns


USUAL = Windows(CLICK_WINDOW_SECONDS * NS_PER_SECOND, VIEW_WINDOW_SECONDS * NS_PER_SECOND)
"""Of a campaign of which only the books are known."""


def longest_windows(campaigns: Iterable[Campaign]) -> Windows:
    """The longest windows of any line item, and at least the usual ones."""
    longest = USUAL
    for campaign in campaigns:
        stated: list[Campaign | LineItem] = [campaign, *campaign.line_items]
        for each in stated:
            own = Windows(
                (each.click_window_seconds or 0) * NS_PER_SECOND,
                (each.view_window_seconds or 0) * NS_PER_SECOND,
            )
            longest = _longer(longest, own)
    return longest


def _longer(one: Windows, other: Windows) -> Windows:
    return Windows(max(one.click_ns, other.click_ns), max(one.view_ns, other.view_ns))


class Credit(NamedTuple):
    """What a conversion counts for: CLICK where a click was noticed, else IMPRESSION; when that, or the bid, was."""

    kind: NoticeKind
    at_ns: int


class Credited(NamedTuple):
    """The touch that a conversion of a user counts for, and as what: CLICK or IMPRESSION."""

    touch: Touched
    kind: NoticeKind


class Attribution:
    """Touches, orders and waiting conversions of all advertisers.

    Args:
        rules: what to go by. campaigns: by id, for their windows. bids: what each bid has had.
        state: what was kept.
        most: touches at most, see `core.touches`.
    """

    def __init__(
        self,
        rules: BankRules,
        campaigns: Mapping[str, Campaign],
        bids: BidBook,
        state: BankState,
        most: int = MAX_TOUCHES,
    ) -> None:
        self._rules = rules
        self._bids = bids
        self._windows: dict[tuple[str, str], Windows] = {}
        self._longest = USUAL
        self._touches = Touches(most)
        self._orders: dict[tuple[str, str], int] = {}
        self._ends: dict[int, list[tuple[str, str]]] = {}
        self._evicted_hour = 0
        self._held = Held()
        self._counts = {(row.advertiser_id, row.reason): row for row in state.unattributed}
        for campaign in campaigns.values():
            self.adopt(campaign.id, campaign)
        for order in state.orders:
            self._remember_order(order)
        self._held = Held(tuple(state.held))

    @property
    def waiting(self) -> int:
        """Conversions that wait for a touch."""
        return len(self._held)

    @property
    def touches(self) -> int:
        """Touches kept."""
        return len(self._touches)

    @property
    def forgotten(self) -> int:
        """Touches that gave way to newer ones before their time."""
        return self._touches.forgotten

    def unattributed(self) -> list[UnattributedRow]:
        """Conversions that count for no bid, by advertiser and reason."""
        return [row for _, row in sorted(self._counts.items())]

    def adopt(self, campaign_id: str, campaign: Campaign | None) -> None:
        """Takes the windows of a changed campaign; of one that was removed they stay as they were."""
        if campaign is None:
            return
        own = Windows(
            campaign.click_window_seconds * NS_PER_SECOND, campaign.view_window_seconds * NS_PER_SECOND
        )
        self._windows[campaign_id, campaign_id] = own
        for item in campaign.line_items:
            click_s, view_s = item.click_window_seconds, item.view_window_seconds
            self._windows[campaign_id, item.id] = Windows(
                own.click_ns if click_s is None else click_s * NS_PER_SECOND,
                own.view_ns if view_s is None else view_s * NS_PER_SECOND,
            )
        self._longest = _longer(self._longest, longest_windows([campaign]))
        self._held.stir_all()

    def remember(self, booking: Booking | Touched) -> None:
        """Keeps the touch that a booked notice tells of, if any."""
        window_ns = self._longest.click_ns if booking.kind == _CLICK else self._longest.view_ns
        until_ns = min(booking.keep_until_ns, booking.bid_at_ns + self._rules.touch_ns(window_ns))
        if self._touches.take(booking, until_ns):
            self._held.stir(booking.advertiser_id, booking.user_key)

    def unrecalled(self, conversions: Iterable[Conversion], now_ns: int) -> Iterator[str]:
        """Bids that conversions may count for and of whose past the books must be asked first."""
        for conversion in conversions:
            for user in conversion.users:
                for bid_id, bid_at_ns in self._touches.bids_of(conversion.advertiser_id, user):
                    if self._bids.forgotten(bid_id, bid_at_ns, now_ns):
                        yield bid_id

    def due(self, seen_ns: int) -> list[Conversion]:
        """Waiting conversions that `retry` will look at."""
        return self._held.coming(seen_ns)

    # -- conversions that name their bid --------------------------------------------------------------------

    def credit(self, notice: Notice, advertiser_id: str, now_ns: int, draft: Draft) -> Credit | Rule:
        """What a conversion that names its bid counts for, or the rule that refuses it; its order is noted.

        The caller has asked the bid book, and books it.
        """
        since_ns = notice.bid_at_ns or notice.at_ns
        window_ns = self._windows_of(notice.campaign_id, notice.line_item_id or notice.campaign_id).click_ns
        if notice.order_id and self._is_known(advertiser_id, notice.order_id, now_ns):
            return Rule.DUPLICATE_ORDER
        if not window_ns or notice.at_ns - since_ns > window_ns:
            return Rule.OUTSIDE_WINDOW
        if notice.order_id:
            self._keep_order(advertiser_id, notice.order_id, notice.bid_id, now_ns, draft)
        clicked_ns = self._bids.clicked_ns(notice.bid_id)
        if clicked_ns is None:
            return Credit(NoticeKind.IMPRESSION, since_ns)
        return Credit(NoticeKind.CLICK, clicked_ns)

    # -- conversions that name their user -------------------------------------------------------------------

    def take(self, conversion: Conversion, now_ns: int, draft: Draft, *, quiet: bool) -> Booking | None:
        """The booking of a conversion, which the bid book knows already; None where it waits or was counted.

        Args:
            conversion: what the tracker heard. now_ns: the time now. draft: gets the rows.
            quiet: it was consumed before: what it did not do then is neither counted nor waited for again.
        """
        waits = conversion in self._held
        if waits and quiet:
            return None
        found = Unattributed.DUPLICATE_ORDER if waits else self._decide(conversion, now_ns, draft)
        if isinstance(found, Booking):
            return found
        if quiet:
            return None
        if found in _MAY_WAIT and self._held.put(conversion, now_ns + self._rules.hold_ns, draft):
            return None
        self._count(conversion, found, draft)
        return None

    def retry(self, now_ns: int, seen_ns: int, draft: Draft) -> Iterator[Booking]:
        """Looks again at those that wait: bookings of those that found their touch, one by one as they are made.

        Args:
            now_ns: the time now. seen_ns: up to when notices were heard: until then a touch may be under way.
            draft: gets the rows.
        """
        for conversion, over in self._held.due(seen_ns):
            found = self._decide(conversion, now_ns, draft)
            if isinstance(found, Booking):
                self._held.drop(conversion, draft)
                yield found
            elif over or found not in _MAY_WAIT:
                self._held.drop(conversion, draft)
                self._count(conversion, found, draft)

    def evict(self, now_ns: int) -> None:
        """Forgets what no conversion can count for any more; looks once an hour."""
        hour = now_ns // HOUR_NS
        if hour == self._evicted_hour:
            return
        self._evicted_hour = hour
        self._touches.evict(now_ns)
        for old in [old for old in self._ends if old < hour]:
            for order in self._ends.pop(old):
                if self._orders.get(order, now_ns) < now_ns:
                    del self._orders[order]

    def _decide(self, conversion: Conversion, now_ns: int, draft: Draft) -> Booking | Unattributed:
        if not conversion.permitted:
            return Unattributed.NOT_PERMITTED
        if self._is_known(conversion.advertiser_id, conversion.order_id, now_ns):
            return Unattributed.DUPLICATE_ORDER
        if not conversion.users:
            return Unattributed.UNKNOWN_USER
        credited = self._last_touch(conversion, now_ns)
        if isinstance(credited, Unattributed):
            return credited
        touch = credited.touch
        rule = self._bids.conversion_verdict(touch.bid_id, conversion.order_id, conversion.value_nanos)
        if rule is not None:
            return _REASONS[rule]
        booking = self._booking(conversion, credited, now_ns)
        self._bids.remember(booking)
        self._keep_order(conversion.advertiser_id, conversion.order_id, touch.bid_id, now_ns, draft)
        return booking

    def _last_touch(self, conversion: Conversion, now_ns: int) -> Credited | Unattributed:
        """The last click within its window, else the last impression, over all that stand for the user."""
        seen = False
        for kind in (NoticeKind.CLICK, NoticeKind.IMPRESSION):
            before = [
                touch
                for user in conversion.users
                for touch in self._touches.of(conversion.advertiser_id, user, kind)
                if touch.at_ns <= conversion.at_ns
            ]
            seen = seen or bool(before)
            within = [touch for touch in before if self._is_within(touch, kind, conversion.at_ns, now_ns)]
            if within:
                return Credited(max(within, key=last_of), kind)
        return Unattributed.OUTSIDE_WINDOW if seen else Unattributed.NO_TOUCH

    def _is_within(self, touch: Touched, kind: NoticeKind, at_ns: int, now_ns: int) -> bool:
        window_ns = self._windows_of(touch.campaign_id, touch.line_item_id).of(kind)
        liable_ns = touch.keep_until_ns - self._rules.keep_ns
        return (
            window_ns > 0
            and at_ns - touch.at_ns <= window_ns
            and now_ns <= touch.keep_until_ns
            and at_ns <= liable_ns + self._rules.conversion_ns
        )

    def _windows_of(self, campaign_id: str, line_item_id: str) -> Windows:
        """Of a line item that is there no more the campaign's, of a campaign that is not the usual ones."""
        own = self._windows.get((campaign_id, line_item_id))
        return own or self._windows.get((campaign_id, campaign_id), USUAL)

    def _booking(self, conversion: Conversion, credited: Credited, now_ns: int) -> Booking:
        touch = credited.touch
        return Booking(
            bid_id=touch.bid_id,
            kind=int(NoticeKind.CONVERSION),
            event_id=conversion.order_id,
            campaign_id=touch.campaign_id,
            seat=touch.seat,
            epoch=touch.epoch,
            price_nanos=0,
            amount_nanos=0,
            value_nanos=conversion.value_nanos,
            at_ns=conversion.at_ns,
            booked_ns=now_ns,
            late=conversion.at_ns > touch.keep_until_ns - self._rules.keep_ns,
            unbilled=not self._bids.spent(touch.bid_id),
            keep_until_ns=touch.keep_until_ns,
            line_item_id=touch.line_item_id,
            creative_id=touch.creative_id,
            bid_at_ns=touch.bid_at_ns,
            impressions=touch.impressions,
            accounts="",
            exchange=touch.exchange,
            advertiser_id=touch.advertiser_id,
            fees_nanos=0,
            user_key=touch.user_key,
            touch=int(credited.kind),
            touch_at_ns=touch.at_ns,
            goal=conversion.goal,
        )

    # -- orders and counts ----------------------------------------------------------------------------------

    def _is_known(self, advertiser_id: str, order_id: str, now_ns: int) -> bool:
        return self._orders.get((advertiser_id, order_id), -1) >= now_ns

    def _keep_order(self, advertiser_id: str, order_id: str, bid_id: str, now_ns: int, draft: Draft) -> None:
        row = OrderRow(advertiser_id, order_id, bid_id, now_ns + self._rules.keep_ns)
        self._remember_order(row)
        draft.orders.append(row)

    def _remember_order(self, row: OrderRow) -> None:
        key = (row.advertiser_id, row.order_id)
        self._orders[key] = row.keep_until_ns
        self._ends.setdefault(row.keep_until_ns // HOUR_NS, []).append(key)

    def _count(self, conversion: Conversion, reason: Unattributed, draft: Draft) -> None:
        key = (conversion.advertiser_id, reason.value)
        before = self._counts.get(key, UnattributedRow(*key, 0, 0))
        worth = min(MAX_NANOS, before.value_nanos + conversion.value_nanos)
        self._counts[key] = before._replace(times=before.times + 1, value_nanos=worth)
        draft.unattributed[key] = self._counts[key]
