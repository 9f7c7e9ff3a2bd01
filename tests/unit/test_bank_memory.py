"""A bank over weeks: what it forgets the books tell it, and no setting that changes on them ends it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.messages import NOTICES, Conversion, Notice, NoticeKind, encode
from bidder.core.messages import Message as Record
from bidder.core.settings import BrakeSettings
from bidder.core.users import key_text
from bidder.errors import InvariantError
from bidder.runtime.bank import BankService
from bidder.runtime.transport import Message
from bidder.store.brakes import BrakeStore
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from tests.support.banking import S, advertiser, campaign, notice

DAY_NS = 24 * HOUR_NS
BEGIN_NS = 20_780 * DAY_NS
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)
LONGER = msgspec.structs.replace(RULES, conversion_ns=90 * DAY_NS)
SHORTER = msgspec.structs.replace(RULES, accept_ns=HOUR_NS, conversion_ns=DAY_NS)
BILLING, IMPRESSION, CLICK, CONVERSION = (
    NoticeKind.BILLING, NoticeKind.IMPRESSION, NoticeKind.CLICK, NoticeKind.CONVERSION,
)  # fmt: skip
USER = 7


def fill(database: Database) -> Database:
    long: dict[str, Any] = {"start_ns": 0, "end_ns": 30_000 * DAY_NS, "click_window_seconds": 60 * 86_400}
    CampaignStore(database).put_all([campaign(**long)], [advertiser(daily_nanos=8 * S)], at_ns=0)
    return database


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
        yield fill(database)


def of_bid(kind: NoticeKind, bid: str = "b-1", made_ns: int = BEGIN_NS, **changes: Any) -> Notice:
    fields = {
        "advertiser_id": "acme", "user": USER, "bid_at_ns": made_ns, "at_ns": made_ns + S,
        "liable_until_ns": made_ns + 60 * S, "creative_id": "b1",
    }  # fmt: skip
    return notice(kind, bid, **(fields | changes))


def hear(service: BankService, now_ns: int, *records: Record) -> None:
    """Messages that were never heard before, however they read."""
    first = max(service._offsets.values(), default=0)
    service.on_messages(
        [Message(NOTICES, 0, first + n, None, encode(each), 0) for n, each in enumerate(records)], now_ns
    )


def refused(service: BankService) -> dict[str, int]:
    return service.bank.refused()


@pytest.mark.parametrize("days", [2, 4, 31, 60])
def test_conversion_days_may_be_raised_on_a_store_that_lives(database: Database, days: int) -> None:
    """The row is there, written to be kept for 30 days: a second one of it would end the bank at each start."""
    hear(BankService.open(database, RULES, BEGIN_NS), BEGIN_NS + 2 * S, of_bid(BILLING), of_bid(CLICK))
    now_ns = BEGIN_NS + days * DAY_NS
    for number in range(2):
        service = BankService.open(database, LONGER, now_ns)
        hear(service, now_ns, of_bid(BILLING), of_bid(CLICK), of_bid(BILLING, f"new-{number}"))
        service.on_tick(now_ns + S)
        service.verify()
    assert refused(service) == {"duplicate": 4}
    assert service.report()[0].spend_nanos == 3 * 2_000_000, (
        "what waited all the time is owed, on its old day"
    )


def test_a_bank_that_runs_on_asks_the_books_as_one_that_starts_does(database: Database) -> None:
    service = BankService.open(database, RULES, BEGIN_NS)
    hear(service, BEGIN_NS + 2 * S, of_bid(BILLING), of_bid(CLICK, at_ns=BEGIN_NS + 5 * S))
    for hour in range(24 * 5):
        service.on_tick(BEGIN_NS + hour * HOUR_NS)
    assert service.bank.remembered()[0] == 0
    now_ns = BEGIN_NS + 5 * DAY_NS
    sale = of_bid(CONVERSION, at_ns=now_ns, event_id="e-1", value_nanos=S)
    hear(service, now_ns, of_bid(BILLING), sale, sale)
    assert refused(service) == {"duplicate": 2}
    with database.reading() as session:
        rows = session.execute("SELECT touch, touch_at_ns, unbilled FROM bookings WHERE kind = 6").fetchall()
    assert rows == [(CLICK, BEGIN_NS + 5 * S, 0)]


def order(number: int, at_ns: int, **changes: Any) -> Conversion:
    fields: dict[str, Any] = {
        "advertiser_id": "acme", "order_id": f"o-{number}", "value_nanos": S, "at_ns": at_ns, "arrived_ns": at_ns,
        "users": (key_text(USER),),
    }  # fmt: skip
    return Conversion(**(fields | changes))


@pytest.mark.parametrize("restart", [False, True])
def test_a_conversion_of_a_user_counts_for_a_click_of_weeks_ago(database: Database, restart: bool) -> None:
    service = BankService.open(database, RULES, BEGIN_NS)
    hear(service, BEGIN_NS + 2 * S, of_bid(BILLING), of_bid(CLICK))
    now_ns = BEGIN_NS + 29 * DAY_NS
    if restart:
        service = BankService.open(database, RULES, now_ns)
    service.on_tick(now_ns)
    assert service.bank.remembered()[0] == 0
    hear(service, now_ns, order(1, now_ns))
    # One that waits finds an old bid too, by a tick.
    waits = order(2, now_ns, users=(key_text(USER + 1),))
    hear(service, now_ns, waits, of_bid(CLICK, "b-2", at_ns=BEGIN_NS + 9 * S, user=USER + 1))
    service.on_tick(now_ns + S)
    (report,) = service.report()
    assert report.conversions == 2
    assert report.unbilled == 2, "the second bid's click and conversion: the first was paid weeks ago"


def test_an_impression_is_kept_for_its_window_and_the_time_of_late_events(database: Database) -> None:
    service = BankService.open(database, RULES, BEGIN_NS)
    hear(service, BEGIN_NS + 2 * S, of_bid(IMPRESSION))
    last_ns = BEGIN_NS + RULES.touch_ns(DAY_NS)
    for now_ns, times in ((last_ns, 1), (last_ns + HOUR_NS + S, 0)):
        again = BankService.open(database, RULES, now_ns)
        for one in (service, again):
            one.bank.tick(now_ns)
            assert one.bank.remembered()[1] == times
    told_late = order(1, BEGIN_NS + DAY_NS, arrived_ns=last_ns)
    hear(BankService.open(database, RULES, last_ns), last_ns, told_late)
    assert BankService.open(database, RULES, last_ns).report()[0].view_conversions == 1


def test_the_minute_before_a_start_counts_for_the_breaker(database: Database) -> None:
    brakes = BrakeSettings(factor=0, max_nanos_per_minute=5_000_000)
    rules = msgspec.structs.replace(RULES, brakes=brakes)
    bills = [of_bid(BILLING, f"b-{number}", BEGIN_NS + number * S) for number in range(3)]
    hear(BankService.open(database, rules, BEGIN_NS), BEGIN_NS + 3 * S, *bills[:2])
    service = BankService.open(database, rules, BEGIN_NS + 3 * S)
    hear(service, BEGIN_NS + 4 * S, bills[2])
    service.on_tick(BEGIN_NS + 4 * S)
    assert list(BrakeStore(database).all()) == ["all"]


def test_a_row_that_is_there_although_the_books_were_asked_ends_the_bank(database: Database) -> None:
    """Guards the tests above: a second row of a bid is still refused as a whole."""
    service = BankService.open(database, RULES, BEGIN_NS)
    hear(service, BEGIN_NS + 2 * S, of_bid(BILLING))
    service.bank._bids._bits.clear()
    with pytest.raises(InvariantError, match="the books refuse a row"):
        hear(service, BEGIN_NS + 3 * S, of_bid(BILLING))


_KINDS = (BILLING, NoticeKind.WIN, IMPRESSION, CLICK, CONVERSION)
_steps = st.lists(
    st.tuples(
        st.sampled_from([0, S, HOUR_NS, 20 * HOUR_NS, 4 * DAY_NS, 20 * DAY_NS]),
        st.sampled_from([None, RULES, LONGER, SHORTER]),
        st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(0, 3), st.integers(0, 1)), max_size=4),
    ),
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(_steps)
def test_whatever_time_passes_and_settings_do_each_thing_is_booked_once(steps: list[Any]) -> None:
    """Notices that were sent in time and come at any time, again and again, through starts with other settings."""
    booked: set[tuple[str, int, str]] = set()
    with Database(":memory:", durable=False) as database:
        rules, now_ns = RULES, BEGIN_NS + S
        service = BankService.open(fill(database), rules, now_ns)
        for later_ns, other, said in steps:
            now_ns += later_ns
            if other is not None:
                rules = other
                service = BankService.open(database, rules, now_ns)
            records = [of_bid(kind, f"b-{bid}", event_id=f"e-{event}") for kind, bid, event in said]
            hear(service, now_ns, *records)
            service.on_tick(now_ns)
            for each in records:
                over = now_ns - rules.keep_ns > each.liable_until_ns
                if not over:
                    event = each.event_id if each.kind is CONVERSION else ""
                    booked.add((each.bid_id, int(each.kind), event))
        service.verify()
        with database.reading() as session:
            rows = session.execute("SELECT bid_id, kind, event_id FROM bookings").fetchall()
        assert {tuple(row) for row in rows} == booked
