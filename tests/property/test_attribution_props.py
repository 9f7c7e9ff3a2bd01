"""Attribution against its naive twin: repeats, disorder, splits of batches, crashes at any place."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.attribution import Attribution
from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.messages import Conversion, Notice, NoticeKind, encode
from bidder.core.users import key_text
from bidder.store.books import Batch, Books
from bidder.store.database import Database
from tests.support.banking import S, bid_id, campaign, item, notice
from tests.support.naive_attribution import Booked, NaiveAttribution

RULES = BankRules(hold_ns=20 * S)
CAMPAIGNS = {
    "c1": campaign(
        "c1",
        click_window_seconds=60,
        view_window_seconds=20,
        line_items=(item("short", click_window_seconds=10), item("views", click_window_seconds=0)),
    ),
    "c2": campaign("c2", click_window_seconds=100, view_window_seconds=0),
    "c3": campaign("c3", advertiser="other", click_window_seconds=50),
}
LINES = (("acme", "c1", "short"), ("acme", "c1", "views"), ("acme", "c2", "c2"), ("other", "c3", "c3"))
WINDOWS = {
    ("c1", "short"): (10 * S, 20 * S),
    ("c1", "views"): (0, 20 * S),
    ("c2", "c2"): (100 * S, 0),
    ("c3", "c3"): (50 * S, 86_400 * S),
}
USERS = (0, 7, 2**64 - 1)
LIABLE_NS = 100_000 * S

Record = Notice | Conversion
Step = tuple[int, Record | None]
"""When something is heard, and what; None is a tick."""


@st.composite
def bids(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """What all notices of one bid share."""
    advertiser_id, campaign_id, line_item_id = draw(st.sampled_from(LINES))
    return {
        "bid": f"b-{number}",
        "campaign_id": campaign_id,
        "line_item_id": line_item_id,
        "advertiser_id": advertiser_id,
        "user": draw(st.sampled_from(USERS)),
        "liable_until_ns": LIABLE_NS,
        "bid_at_ns": S,
        "creative_id": "b1",
    }


_TOUCHES = (NoticeKind.IMPRESSION, NoticeKind.BILLING, NoticeKind.CLICK)
_orders = st.sampled_from(["", "o-1", "o-2", "o-3"])


@st.composite
def heard(draw: st.DrawFn, now_ns: int, known: Sequence[dict[str, Any]]) -> Record:
    """Something that the bank hears, which may have happened a while ago."""
    at_ns = max(S, now_ns - draw(st.sampled_from([0, 0, 1, S, 5 * S, 30 * S])))
    what = draw(st.integers(0, 9))
    if what < 5:
        return notice(draw(st.sampled_from(_TOUCHES)), **draw(st.sampled_from(known)), at_ns=at_ns)
    if what < 7:
        order_id = draw(_orders)
        return notice(
            NoticeKind.CONVERSION,
            **draw(st.sampled_from(known)),
            at_ns=at_ns,
            value_nanos=S,
            order_id=order_id,
            event_id=order_id or draw(st.sampled_from(["e-1", "o-1"])),
        )
    users = draw(st.lists(st.sampled_from(USERS[1:]), max_size=2, unique=True))
    return Conversion(
        advertiser_id=draw(st.sampled_from(["acme", "other"])),
        order_id=draw(_orders) or f"auto:{now_ns}",
        value_nanos=draw(st.sampled_from([0, 3 * S])),
        at_ns=at_ns,
        arrived_ns=now_ns,
        users=tuple(map(key_text, users)),
        permitted=draw(st.integers(0, 9)) > 0,
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Step]:
    """What a bank hears over some minutes, with repeats and ticks in between."""
    known = [draw(bids(number)) for number in range(draw(st.integers(1, 6)))]
    now_ns, steps, said = 40 * S, list[Step](), list[Record]()
    for _ in range(draw(st.integers(1, 40))):
        now_ns += draw(st.sampled_from([0, 1, S, 7 * S, 25 * S]))
        what = draw(st.integers(0, 9))
        if what == 0:
            steps.append((now_ns, None))
        elif what == 1 and said:
            steps.append((now_ns, draw(st.sampled_from(said))))
        else:
            said.append(draw(heard(now_ns, known)))
            steps.append((now_ns, said[-1]))
    return [*steps, (now_ns + RULES.hold_ns, None), (now_ns + 3 * RULES.hold_ns, None)]


@dataclass
class Found:
    """What came of a stream."""

    booked: list[Booked]
    unattributed: Counter[tuple[str, str]]
    refused: Counter[str]
    converted: tuple[int, int, int]


class Shop:
    """A bank on its books."""

    def __init__(self) -> None:
        self.database = Database(":memory:", durable=False)
        self.books = Books(self.database)
        self.books.claim()
        self.bank = Bank(RULES, CAMPAIGNS)
        self.booked: list[Booked] = []
        self.last: list[Record] = []

    def apply(self, records: Sequence[Record], now_ns: int, *, redelivered: bool = False) -> None:
        self._keep(self.bank.apply(records, now_ns, redelivered=redelivered))
        self.last = list(records)

    def tick(self, now_ns: int) -> None:
        self._keep(self.bank.tick(now_ns))

    def crash(self, now_ns: int) -> None:
        """Starts anew from the rows, and hears the last batch again."""
        self.bank = Bank(RULES, CAMPAIGNS, self.books.load(now_ns))
        self.apply(self.last, now_ns, redelivered=True)

    def _keep(self, effects: Any) -> None:
        self.books.write(Batch(steps=[effects.rows]))
        self.booked += [
            (row.bid_id, row.event_id, row.touch, row.touch_at_ns, row.at_ns, row.value_nanos)
            for row in effects.rows.bookings
            if row.kind == NoticeKind.CONVERSION
        ]

    def found(self) -> Found:
        """Closes the books, once they add up."""
        self.bank.check()
        self.books.verify()
        self.database.close()
        reports = self.bank.report()
        return Found(
            self.booked,
            Counter({(row.advertiser_id, row.reason): row.times for row in self.bank.unattributed()}),
            Counter(self.bank.refused()),
            (
                sum(report.conversions for report in reports),
                sum(report.view_conversions for report in reports),
                sum(report.value_nanos for report in reports),
            ),
        )


def naively(steps: Sequence[Step]) -> Found:
    """What the twin makes of a stream."""
    naive = NaiveAttribution(WINDOWS, RULES.hold_ns)
    for now_ns, record in steps:
        if record is None:
            naive.tick(now_ns)
        elif isinstance(record, Notice):
            naive.hear(record)
        else:
            naive.take(record, encode(record), now_ns)
    views = sum(row[2] == NoticeKind.IMPRESSION for row in naive.booked)
    worth = sum(row[5] for row in naive.booked)
    return Found(naive.booked, naive.unattributed, naive.refused, (len(naive.booked), views, worth))


def one_by_one(steps: Sequence[Step]) -> Found:
    """What the bank makes of it, a record a batch."""
    return played(steps, lambda _: False, lambda _: False)


def played(steps: Sequence[Step], joins: Callable[[int], bool], crashes: Callable[[int], bool]) -> Found:
    """What the bank makes of it; records of one time may be one batch, and the bank may crash after any."""
    shop, batch = Shop(), list[Record]()
    for place, (now_ns, record) in enumerate(steps):
        if record is None:
            shop.tick(now_ns)
            continue
        batch.append(record)
        after = steps[place + 1]
        if not (joins(place) and after[0] == now_ns and after[1] is not None):
            shop.apply(batch, now_ns)
            batch = []
            if crashes(place):
                shop.crash(now_ns)
    return shop.found()


@given(streams())
@settings(max_examples=100)
def test_the_bank_attributes_as_its_naive_twin_does(steps: list[Step]) -> None:
    assert one_by_one(steps) == naively(steps)


@given(streams(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_splits_of_batches_and_crashes_change_nothing(steps: list[Step], random: Any) -> None:
    joins = {place: random.random() < 0.6 for place in range(len(steps))}
    crashes = {place: random.random() < 0.2 for place in range(len(steps))}
    # Of records at one time: the clock of streams mostly goes on, so that batches are made by standing still.
    still = [(now_ns - now_ns % (10 * S) + 10 * S if record is not None else now_ns + 10 * S, record)
             for now_ns, record in steps]  # fmt: skip
    assert played(still, joins.__getitem__, crashes.__getitem__) == one_by_one(still) == naively(still)


@given(st.permutations(range(4)), st.integers(0, 19))
def test_a_conversion_ahead_of_its_touches_by_less_than_the_hold_is_attributed(
    order: list[int], seconds: int
) -> None:
    """One bid, whose notices and conversion reach the bank in any order within the hold."""
    fields = {"campaign_id": "c2", "line_item_id": "c2", "advertiser_id": "acme", "user": 7, "bid_at_ns": S}
    click = notice(NoticeKind.CLICK, **fields, at_ns=50 * S, liable_until_ns=LIABLE_NS)
    records: list[Record] = [
        notice(NoticeKind.BILLING, **fields, at_ns=45 * S, liable_until_ns=LIABLE_NS),
        notice(NoticeKind.IMPRESSION, **fields, at_ns=46 * S, liable_until_ns=LIABLE_NS),
        click,
        Conversion(
            advertiser_id="acme", order_id="o-1", value_nanos=S, at_ns=55 * S, arrived_ns=55 * S,
            users=(key_text(7),),
        ),
    ]  # fmt: skip
    shop = Shop()
    for step, place in enumerate(order):
        shop.apply([records[place]], 60 * S + step * seconds * S // 3)
        shop.tick(60 * S + step * seconds * S // 3)
    shop.tick(60 * S + 19 * S)
    found = shop.found()
    assert found.booked == [(bid_id("b-1"), "o-1", NoticeKind.CLICK, 50 * S, 55 * S, S)]
    assert found.unattributed == {}


# -- negative controls ------------------------------------------------------------------------------------------


def ignores_windows(*_: object) -> bool:
    """Takes a touch of any age."""
    return True


def forgets_orders(*_: object) -> bool:
    """Counts an order again and again."""
    return False


def story() -> list[Step]:
    """A click too long ago, then an order that comes twice for a click in time."""
    fields = {"campaign_id": "c1", "line_item_id": "short", "advertiser_id": "acme", "user": 7}
    steps: list[Step] = []
    for number, second in enumerate((50, 100, 101)):
        touch = notice(
            NoticeKind.CLICK,
            f"b-{number}",
            **fields,
            at_ns=second * S,
            liable_until_ns=LIABLE_NS,
            bid_at_ns=S,
        )
        steps.append((second * S, touch))
        for order in (number, number // 2):
            sale = Conversion(
                advertiser_id="acme", order_id=f"o-{order}", value_nanos=S, at_ns=(second + 1) * S,
                arrived_ns=(second + 1 + order) * S, users=(key_text(7),),
            )  # fmt: skip
            steps.append(((second + 2) * S, sale))
        stale = Conversion(
            advertiser_id="acme", order_id=f"s-{number}", value_nanos=S, at_ns=(second + 30) * S,
            arrived_ns=(second + 30) * S, users=(key_text(7),),
        )  # fmt: skip
        steps.append(((second + 30) * S, stale))
    return [*sorted(steps, key=lambda step: step[0]), (1_000 * S, None)]


def test_the_story_is_told_alike() -> None:
    found = one_by_one(story())
    assert found == naively(story())
    assert found.unattributed == {("acme", "outside_window"): 3, ("acme", "duplicate_order"): 3}


@pytest.mark.parametrize(("name", "mutant"), [("_is_within", ignores_windows), ("_is_known", forgets_orders)])
def test_a_bank_that_is_wrong_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, mutant: Callable[..., bool]
) -> None:
    monkeypatch.setattr(Attribution, name, mutant)
    assert one_by_one(story()) != naively(story())
