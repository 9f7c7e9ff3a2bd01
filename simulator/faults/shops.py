"""People who see ads, click and buy, and the shops' own words of it: pixels of pages, and calls of servers.

A call of a browser is made once: where it is lost, or not answered, nobody makes it again. A server calls again until
it is answered. Who clicks gets to the shop by the tracker's redirect, whatever became of the click, and the shop
learns the click's id there. A purchase is told with the person, by the pixel or the server, or with the click's id,
or both ways; a page that is loaded again tells it again.
"""

from collections import Counter
from functools import partial

import msgspec

from bidder.core.messages import Conversion, Notice, NoticeKind, encode
from bidder.core.pixels import Pixel, sign_pixel
from bidder.core.urls import TrackingUrls
from bidder.money import NANOS_PER_UNIT, format_decimal
from bidder.web.calls import Answer
from simulator.faults.calls import Call, Caller, World, url_in
from simulator.faults.credits import GOAL, Order, Shown
from simulator.faults.dice import Dice
from simulator.faults.oracle import Bid
from simulator.faults.plan import ACCEPT_NS, MS, S

_MOST_VALUE_NANOS = 5 * S
_CLICKS, _CLICKS_TWICE, _BUYS_AFTER_CLICK, _BUYS_AFTER_VIEW, _BUYS_ANYWAY = 0.4, 0.15, 0.7, 0.3, 0.05
_IN_HASTE, _RELOADS, _OPTED_OUT = 0.3, 0.2, 0.03
_ROUTES = ("pixel", "server", "click", "both")
_ANSWERS = {NoticeKind.CLICK: 302, NoticeKind.IMPRESSION: 200}


class _Event(Call, gc=False):
    """One call; of a `server` it is made until it is answered. `stated_ns`: when it says that it was, or 0."""

    order: Order | None = None
    server: bool = False
    with_person: bool = False
    stated_ns: int = 0
    forged: bool = False

    @property
    def insists(self) -> bool:
        """A browser does not."""
        return self.server

    @property
    def method(self) -> str:
        """A server posts."""
        return "POST" if self.server else "GET"


class Shops:
    """All people and all shops.

    Args:
        world: whom they call, and in which time. dice: of people.
    """

    def __init__(self, world: World, dice: Dice) -> None:
        self._plan, self._scheduler = world.plan, world.scheduler
        self._broker, self._oracle = world.broker, world.oracle
        self._counts = world.counts
        self._people, self._acts, self._faults = dice.fork("people"), dice.fork("acts"), dice.fork("calls")
        self._calls: Caller[_Event] = Caller(
            world,
            self._faults,
            "event",
            3 * S,
            taking=self._taking,
            heard=self._check,
            on_answer=self._answered,
        )
        urls = TrackingUrls("https://track.example")
        self._pixels = {
            one.id: urls.conversion_of_a_user(sign_pixel(Pixel(one.id, GOAL), world.key))
            for one in world.plan.advertisers
        }
        self._by_click = urls.conversion("")
        self._orders: Counter[str] = Counter()
        self._purchases = 0

    @property
    def pending(self) -> int:
        """Calls and purchases that are still to come."""
        return self._calls.pending + self._purchases

    def somebody(self) -> str:
        """Who comes to a page; empty where nobody knows."""
        if self._people.chance(0.1):
            return ""
        return f"person-{self._people.between(1, max(30, self._plan.auctions // 25))}"

    def shown(self, bid: Bid, markup: str, at_ns: int) -> None:
        """An ad is shown: its pixel is called, and its person may click, or buy."""
        acts = self._acts
        pixel, click = url_in(markup, "/i?"), url_in(markup, "/c?")
        if pixel:
            self._calls.plan(at_ns, _Event(NoticeKind.IMPRESSION, pixel, bid))
        if acts.chance(_CLICKS):
            click_ns = at_ns + 100 * MS + acts.about(1_500 * MS)
            for number in range(1 + acts.chance(_CLICKS_TWICE)):
                self._calls.plan(
                    click_ns + number * 200 * MS, _Event(NoticeKind.CLICK, click, bid, repeats=number > 0)
                )
        elif bid.shown.person and acts.chance(_BUYS_AFTER_VIEW):
            self._plan_purchase(at_ns, bid.shown.advertiser, bid.shown.person, None, "")
        if acts.chance(_BUYS_ANYWAY):
            advertiser = acts.pick(sorted(self._pixels))
            self._plan_purchase(at_ns, advertiser, self.somebody() or "person-0", None, "")

    # -- purchases ------------------------------------------------------------------------------------------

    def _plan_purchase(
        self, since_ns: int, advertiser: str, person: str, shown: Shown | None, click_id: str
    ) -> None:
        self._purchases += 1
        # In haste a purchase overtakes the word of its click.
        hasty = self._acts.chance(_IN_HASTE)
        at_ns = since_ns + 20 * MS + self._acts.about(50 * MS if hasty else 3 * S)
        self._scheduler.at(at_ns, lambda: self._buy(advertiser, person, shown, click_id))

    def _buy(self, advertiser: str, person: str, shown: Shown | None, click_id: str) -> None:
        self._purchases -= 1
        acts = self._acts
        routes = [
            one for one in _ROUTES if (person or one == "click") and (click_id or one not in _ROUTES[2:])
        ]
        route = acts.pick(routes)
        self._orders[advertiser] += 1
        number = self._orders[advertiser]
        order = Order(
            advertiser,
            f"order-{number}",
            acts.between(0, _MOST_VALUE_NANOS),
            person,
            shown if route in {"click", "both"} else None,
            f"sale-{number}" if route == "both" else "",
            permitted=not acts.chance(_OPTED_OUT),
        )
        self._oracle.credits.bought(order)
        said = f"&v={format_decimal(order.value_nanos, NANOS_PER_UNIT)}&o={order.id}"
        if route in {"click", "both"}:
            event = f"&e={order.event}" if order.event else ""
            self._tell_later(order, self._by_click + click_id + said + event, with_person=False)
        if route == "click":
            return
        url = self._pixels[advertiser] + said + f"&u={person}" + ("" if order.permitted else "&coppa=1")
        if route == "server":
            self._tell_later(order, url, with_person=True)
            return
        call = _Event(NoticeKind.CONVERSION, url, None, order=order, with_person=True)
        now_ns = self._scheduler.now_ns
        self._calls.plan(now_ns, call)
        if acts.chance(_RELOADS):
            self._calls.plan(now_ns + acts.about(2 * S), msgspec.structs.replace(call, repeats=True))
        if self._faults.chance(self._broker.faults.invalid):
            self._counts["event_forged"] += 1
            self._calls.plan(
                now_ns, msgspec.structs.replace(call, url=url.replace(f"{GOAL}~", "lead~"), forged=True)
            )

    def _tell_later(self, order: Order, url: str, *, with_person: bool) -> None:
        """A server tells of a purchase after it, and says when it was."""
        now_ns = self._scheduler.now_ns
        said_ms = now_ns // MS
        self._calls.plan(
            now_ns + 50 * MS + self._acts.about(S),
            _Event(
                NoticeKind.CONVERSION,
                f"{url}&at={said_ms}",
                None,
                order=order,
                server=True,
                with_person=with_person,
                stated_ns=(said_ms + 1) * MS - 1,
            ),
        )

    # -- calls ----------------------------------------------------------------------------------------------

    def _taking(self, event: _Event, local_ns: int) -> None:
        if event.bid is not None:
            self._oracle.taking(event.bid, event.kind, local_ns)
        elif event.order is not None and not event.forged:
            self._oracle.credits.telling(event.order, min(event.stated_ns or local_ns, local_ns))

    def _answered(self, event: _Event, answer: Answer | None) -> None:
        if event.kind is NoticeKind.CLICK:
            # It leads to the shop whether it was kept or not: nothing is promised of it.
            if not event.repeats and answer is not None:
                self._arrive(event, answer)
        elif answer is not None and answer.notice is not None:
            self._acknowledged(event, answer.notice)
        if event.server:
            self._calls.repeat(event, self._calls.plan)

    def _arrive(self, event: _Event, answer: Answer) -> None:
        """The person is at the shop, whose address has the click's id."""
        assert event.bid is not None
        shown = event.bid.shown
        _, _, click_id = dict(answer.reply.headers)["Location"].partition("?click=")
        if self._acts.chance(_BUYS_AFTER_CLICK):
            self._plan_purchase(self._scheduler.now_ns, shown.advertiser, shown.person, shown, click_id)

    def _acknowledged(self, event: _Event, notice: Notice | Conversion) -> None:
        written = encode(notice)
        on_disk = partial(self._calls.on_disk, written)
        if event.bid is not None:
            self._oracle.acknowledged(event.bid, event.kind, on_disk=on_disk)
        else:
            self._oracle.acknowledged_order(written, on_disk=on_disk)

    def _check(self, event: _Event, answer: Answer | None, status: int, handled_ns: int) -> None:
        """What the tracker made of a call must follow from its rules."""
        if answer is None:
            return
        notice, code = answer.notice, _ANSWERS.get(event.kind, 204 if event.server else 200)
        if event.order is None:
            assert event.bid is not None
            expired = handled_ns > event.bid.local_liable_ns + ACCEPT_NS
            code = 410 if expired and event.kind is not NoticeKind.CLICK else code
            said = isinstance(notice, Notice) and (notice.kind, notice.bid_id) == (event.kind, event.bid.id)
            right = notice is None if expired else said
        elif event.forged:
            code, right = 400, notice is None
        elif event.with_person:
            right = isinstance(notice, Conversion) and _is_of(event.order, notice)
        else:
            right = isinstance(notice, Notice) and _is_by(event.order, notice)
        if not right or status not in {0, 503, code}:
            self._oracle.violated(
                "tracker_rule", f"{event.kind.name} {event.url} must get {code}, got {status} and {answer}"
            )


def _is_of(order: Order, said: Conversion) -> bool:
    return (
        (said.advertiser_id, said.order_id, said.value_nanos, said.permitted, said.goal)
        == (order.advertiser, order.id, order.value_nanos, order.permitted, GOAL)
        and len(said.users) == order.permitted
    )  # fmt: skip


def _is_by(order: Order, said: Notice) -> bool:
    assert order.shown is not None
    return (said.kind, said.bid_id, said.order_id, said.event_id, said.value_nanos, said.price_nanos) == (
        NoticeKind.CONVERSION,
        order.shown.bid_id,
        order.id,
        order.event or order.id,
        order.value_nanos,
        0,
    )
