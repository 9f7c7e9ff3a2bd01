"""A bank over months of days, bids and workers that come and go: what it has in memory stays bounded."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bidder.core.account import Grant
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.messages import NOTICES, SLICES, NoticeKind, SliceReport, SliceRow, encode
from bidder.core.messages import Message as Record
from bidder.runtime.bank import BankService
from bidder.runtime.transport import Message
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.pruning import KEEP_STARTS_NS, OLDEST_REQUEST_NS, prune
from tests.support.banking import S, advertiser, ask, campaign, notice

DAY_NS = 24 * HOUR_NS
FIRST = 20_500
RULES = BankRules(
    lease_ns=30 * S,
    longest_reservation_ns=60 * S,
    margin_ns=5 * S,
    accept_ns=24 * HOUR_NS,
    conversion_ns=3 * DAY_NS,
    late_window_hours=24,
)


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    with Database(place, durable=False) as database:
        long: dict[str, Any] = {"start_ns": 0, "end_ns": 40_000 * DAY_NS, "click_window_seconds": 86_400}
        CampaignStore(database).put_all(
            [campaign(budget_nanos=10**6 * S, **long)], [advertiser(daily_nanos=8 * S)], at_ns=0
        )
        yield database


class Played:
    """A bank, a worker that stays, one that is another each day, and some bids."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.open(FIRST * DAY_NS)
        self._offsets = {NOTICES: 0, SLICES: 0}
        self._seq = 0
        self._asked: set[str] = set()

    def open(self, now_ns: int) -> None:
        self.service = BankService.open(self.database, RULES, now_ns)

    def hear(self, now_ns: int, topic: str, *records: Record) -> None:
        for record in records:
            message = Message(topic, 0, self._offsets[topic], None, encode(record), 0)
            self._offsets[topic] += 1
            self.service.on_messages([message], now_ns)

    def day(self, day: int) -> None:
        for hour in range(0, 24, 4):
            now_ns = day * DAY_NS + hour * HOUR_NS + S
            for seat in ("stays", f"pod-{day}"):
                if seat not in self._asked:
                    self._asked.add(seat)
                    self.hear(now_ns, SLICES, ask(f"start-{seat}", seat, now_ns))
                self._seq += 1
                self.hear(now_ns, SLICES, self._report(seat, now_ns))
            self.service.on_tick(now_ns)
            for number in range(2):
                self.hear(now_ns, NOTICES, *self._notices(f"{day}-{hour}-{number}", now_ns))
            for later_ns in (S, HOUR_NS, 2 * HOUR_NS):
                self.service.on_tick(now_ns + later_ns)
            self.service.published()

    def _report(self, seat: str, now_ns: int) -> SliceReport:
        row = SliceRow(account_id="c1", granted_nanos=0, reserved_nanos=0, posted_nanos=self._seq)
        return SliceReport(
            seat=seat,
            epoch=1,
            seq=self._seq,
            start_id=f"start-{seat}",
            at_ns=now_ns,
            rows=(row,),
            whole=False,
        )

    def _notices(self, bid: str, now_ns: int) -> list[Record]:
        same: dict[str, Any] = {
            "advertiser_id": "acme", "user": hash(bid) % 997 + 1, "bid_at_ns": now_ns, "at_ns": now_ns,
            "liable_until_ns": now_ns + 60 * S, "seat": "stays", "price_nanos": 1_000,
        }  # fmt: skip
        return [notice(kind, bid, **same) for kind in (NoticeKind.BILLING, NoticeKind.CLICK)]

    def sizes(self) -> dict[str, int]:
        """Of all that could grow by the day."""
        bank: Any = self.service.bank
        leasing, chart, demand = bank._leasing, bank._chart, bank._leasing._demand
        bids, touches = bank.remembered()
        return {
            "bids": bids,
            "touches": touches,
            "seats": len(leasing._seats),
            "stale": sum(len(seat.stale) for seat in leasing._seats.values()),
            "rows": sum(len(seat.rows) for seat in leasing._seats.values()),
            "starts": sum(len(seat.starts) for seat in leasing._seats.values()),
            "frees": len(leasing._frees),
            "uses": sum(map(len, demand._uses.values())),
            "wanted": sum(map(len, demand._wanted.values())),
            "accounts": len(chart.accounts),
            "offered": len(chart.offered),
            "ends": len(chart._ends),
            "grants": sum(len(account.grants) for account in chart.accounts.values()),
            "watch": len(bank._watch),
            "late hours": len(bank._lateness._rows),
        }


def test_what_a_bank_keeps_is_bounded_over_months(database: Database) -> None:
    played = Played(database)
    for day in range(FIRST, FIRST + 8):
        played.day(day)
    week = played.sizes()
    for day in range(FIRST + 8, FIRST + 60):
        played.day(day)
    months = played.sizes()
    assert {name: size for name, size in months.items() if size > week[name]} == {}
    assert all(months[name] > 0 for name in ("bids", "touches", "seats", "accounts", "grants"))
    played.service.verify()
    # What starts from the books has no more.
    now_ns = (FIRST + 60) * DAY_NS - HOUR_NS
    played.open(now_ns)
    played.service.on_tick(now_ns)
    again = played.sizes()
    assert {name: size for name, size in again.items() if size > week[name] and name not in _BY_SEAT} == {}
    for hour in range(1, 30):
        played.service.on_tick(now_ns + hour * HOUR_NS)
    assert played.sizes()["seats"] == 0
    with database.reading() as session:
        (grants,) = session.execute("SELECT count(*) FROM grants").fetchone()
        (days,) = session.execute("SELECT count(*) FROM accounts").fetchone()
    assert grants <= week["grants"]
    assert days > 60, "the books keep all days"


_BY_SEAT = ("seats", "starts")
"""All seats are known at a start, until it is seen which of them are silent."""


def test_nothing_is_gathered_for_a_seat_that_is_silent(database: Database) -> None:
    played = Played(database)
    played.day(FIRST)
    now_ns = (FIRST + 1) * DAY_NS
    played.service.on_tick(now_ns)
    leasing: Any = played.service.bank._leasing
    played.hear(now_ns, NOTICES, *played._notices("x", now_ns))
    assert [len(seat.stale) for seat in leasing._seats.values()] == [0, 0]


def test_a_seat_that_was_forgotten_comes_back_in_its_epoch_and_has_beside_what_it_posted_what_it_is_granted(
    database: Database,
) -> None:
    played = Played(database)
    played.day(FIRST)
    for hour in range(30):
        played.service.on_tick((FIRST + 1) * DAY_NS + hour * HOUR_NS)
    bank: Any = played.service.bank
    assert bank._leasing._seats == {}
    now_ns = (FIRST + 3) * DAY_NS
    played.hear(now_ns, SLICES, msgspec.structs.replace(played._report("stays", now_ns), rows=()))
    played.service.on_tick(now_ns)
    assert not bank._chart.accounts["c1"].grants, "what it posted is not known yet"
    played._seq += 1
    posted = played._seq
    played.hear(now_ns, SLICES, msgspec.structs.replace(played._report("stays", now_ns), whole=True))
    played.service.on_tick(now_ns)
    grants: dict[tuple[str, int], Grant] = bank._chart.accounts["c1"].grants
    assert list(grants) == [("stays", 1)]
    assert grants["stays", 1].posted == posted > 0
    assert played.service.report()[0].leased_nanos == grants["stays", 1].granted - posted
    # A replaced start is still of the past.
    played.hear(now_ns, SLICES, ask("start-2", "stays", now_ns), played._report("stays", now_ns + S))
    assert bank._leasing._seats["stays"].epoch == 2


def test_starts_of_long_ago_are_of_the_past_though_they_are_forgotten(database: Database) -> None:
    played = Played(database)
    now_ns = FIRST * DAY_NS
    for number in range(40):
        played.hear(now_ns, SLICES, ask(f"start-{number}", "stays", now_ns))
    for _ in range(2):
        seat = played.service.bank._leasing._seats["stays"]
        assert (seat.epoch, len(seat.starts)) == (40, 16)
        played.hear(now_ns, SLICES, ask("start-3", "stays", now_ns))
        assert played.service.bank._leasing._seats["stays"].epoch == 40
        played.open(now_ns)


def test_pruning_takes_grants_of_days_that_are_over(database: Database) -> None:
    with database.transaction() as session:
        for name, keep_until_ns in (("a/acme/money/d1", DAY_NS), ("c1", 9 * 10**18)):
            session.execute(
                """INSERT INTO accounts (account_id, unit, limit_units, begin_ns, end_ns, booked, late, uncovered,
                       keep_until_ns) VALUES (?, 0, 0, 0, 0, 0, 0, 0, ?)""",
                (name, keep_until_ns),
            )
            session.execute(
                """INSERT INTO grants (account_id, seat, epoch, granted, posted, bid_until_ns, freed)
                   VALUES (?, 's1', 1, 5, 0, 0, 0)""",
                (name,),
            )
    assert prune(database, RULES, FIRST * DAY_NS).grants == 1
    with database.reading() as session:
        assert session.execute("SELECT account_id FROM grants").fetchall() == [("c1",)]


def starts(database: Database) -> list[tuple[str, int]]:
    with database.reading() as session:
        return [
            tuple(row)
            for row in session.execute("SELECT seat, epoch FROM epochs ORDER BY seat, epoch").fetchall()
        ]


def test_pruning_takes_starts_long_after_they_were_replaced_and_never_the_newest(database: Database) -> None:
    played = Played(database)
    now_ns = FIRST * DAY_NS
    for number in range(20):
        played.hear(now_ns, SLICES, ask(f"start-{number}", "stays", now_ns))
    played.hear(now_ns, SLICES, ask("start-gone", "gone", now_ns))
    assert prune(database, RULES, now_ns).starts == 0
    played.hear(now_ns, SLICES, ask("start-20", "stays", now_ns))
    assert prune(database, RULES, now_ns + S).starts == 0
    later_ns = now_ns + KEEP_STARTS_NS
    assert prune(database, RULES, later_ns).starts == 0
    assert prune(database, RULES, later_ns + 1).starts == 19
    assert starts(database) == [("gone", 1), ("stays", 20), ("stays", 21)]
    assert prune(database, RULES, later_ns + S + 1).starts == 1
    assert prune(database, RULES, 3 * later_ns).starts == 0
    assert starts(database) == [("gone", 1), ("stays", 21)]


def test_who_returns_after_its_start_was_pruned_is_numbered_above_all_epochs_of_its_seat(
    database: Database,
) -> None:
    played = Played(database)
    now_ns = FIRST * DAY_NS
    for number in range(3):
        played.hear(now_ns, SLICES, ask(f"start-{number}", "stays", now_ns))
    prune(database, RULES, now_ns)
    now_ns += KEEP_STARTS_NS + DAY_NS
    assert prune(database, RULES, now_ns).starts == 2
    played.open(now_ns)
    # The newest start was only silent: it is itself, and nothing begins anew.
    played.hear(now_ns, SLICES, ask("start-2", "stays", now_ns))
    assert played.service.bank._leasing._seats["stays"].epoch == 3
    played.hear(now_ns, SLICES, ask("start-0", "stays", now_ns))
    assert played.service.bank._leasing._seats["stays"].epoch == 4
    assert starts(database) == [("stays", 3), ("stays", 4)]


def test_a_request_of_a_pruned_start_that_is_read_again_replaces_nobody(database: Database) -> None:
    played = Played(database)
    begun_ns = FIRST * DAY_NS
    for number in range(2):
        played.hear(begun_ns, SLICES, ask(f"start-{number}", "stays", begun_ns))
    prune(database, RULES, begun_ns)
    now_ns = begun_ns + KEEP_STARTS_NS + 1
    assert prune(database, RULES, now_ns).starts == 1
    for _ in range(2):
        played.open(now_ns)
        played.hear(now_ns, SLICES, ask("start-0", "stays", begun_ns))
        assert played.service.bank._leasing._seats["stays"].epoch == 2
        assert starts(database) == [("stays", 2)]
    # As old as is answered, and a moment older.
    played.hear(now_ns, SLICES, ask("start-2", "stays", now_ns - OLDEST_REQUEST_NS - 1))
    assert starts(database) == [("stays", 2)]
    played.hear(now_ns, SLICES, ask("start-2", "stays", now_ns - OLDEST_REQUEST_NS))
    assert starts(database) == [("stays", 2), ("stays", 3)]


def test_a_start_that_has_grants_is_not_pruned(database: Database) -> None:
    played = Played(database)
    now_ns = FIRST * DAY_NS
    played.hear(now_ns, SLICES, ask("start-0", "stays", now_ns))
    played.service.on_tick(now_ns)
    played.hear(now_ns, SLICES, ask("start-1", "stays", now_ns))
    prune(database, RULES, now_ns)
    with database.reading() as session:
        assert session.execute("SELECT DISTINCT epoch FROM grants").fetchall() == [(1,)]
    assert prune(database, RULES, now_ns + 2 * KEEP_STARTS_NS).starts == 0
    with database.transaction() as session:
        session.execute("DELETE FROM grants")
    assert prune(database, RULES, now_ns + 2 * KEEP_STARTS_NS).starts == 1
