"""Settlement and reconciliation: days that are final, wins that nobody billed, and bills of exchanges."""

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.core.bankrules import HOUR_NS, BankRules
from bidder.core.bookings import Booking, HeldRow, LateRow, OrderRow, RefusalRow, Rows, UnattributedRow
from bidder.core.reconcile import (
    NO_DAY,
    BillLine,
    Booked,
    Compared,
    Part,
    reconcile,
    suggested_ppm,
    total,
    within,
)
from bidder.core.settlement import QUARTER_NS, QuarterSum, settle
from bidder.errors import InputError
from bidder.store.books import Batch, Books
from bidder.store.database import Database
from bidder.store.ledger import Ledger
from bidder.store.loading import KEEP_HOURS
from bidder.store.pruning import Pruned, prune
from tests.support.banking import S, bid_id

DAY_NS = 24 * HOUR_NS
DAY = 20_000
"""2024-10-04."""
NOON_NS = DAY * DAY_NS + 12 * HOUR_NS
RULES = BankRules(longest_reservation_ns=660 * S)
WIN, BILLING = 1, 2


def booking(bid: str, kind: int = BILLING, **changes: Any) -> Booking:
    """Paid 1,000 nanos, 100 of them fees, at exchange `x` at noon."""
    fields: dict[str, Any] = {
        "bid_id": bid_id(bid),
        "kind": kind,
        "event_id": "",
        "campaign_id": "c1",
        "seat": "s1",
        "epoch": 1,
        "price_nanos": 900,
        "amount_nanos": 1_000 if kind == BILLING else 0,
        "value_nanos": 0,
        "at_ns": NOON_NS,
        "booked_ns": NOON_NS,
        "late": False,
        "unbilled": False,
        "keep_until_ns": NOON_NS + 660 * S + RULES.keep_ns,
        "line_item_id": "c1",
        "creative_id": "b1",
        "bid_at_ns": NOON_NS,
        "impressions": 10**6,
        "accounts": "",
        "exchange": "x",
        "advertiser_id": "acme",
        "fees_nanos": 100 if kind == BILLING else 0,
    }
    return Booking(**(fields | changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database(path, durable=False) as database:
        yield database


def write(database: Database, *bookings: Booking) -> None:
    books = Books(database)
    books.claim()
    books.write(Batch([Rows(bookings=bookings)]))


# -- settlement -----------------------------------------------------------------------------------------------------


def quarter(at_ns: int, **changes: Any) -> QuarterSum:
    return QuarterSum("c1", "x", "acme", at_ns // QUARTER_NS, **changes)


def test_a_day_is_final_once_no_notice_of_it_can_be_taken() -> None:
    final_ns = (DAY + 1) * DAY_NS + 660 * S + 72 * HOUR_NS
    for now_ns, final in ((final_ns, False), (final_ns + 1, True)):
        (row,) = settle([quarter(NOON_NS, billed=1, amount_nanos=5)], {}, RULES, now_ns)
        assert (row.day, row.final_ns, row.final) == (DAY, final_ns, final)


def test_a_day_is_the_advertisers() -> None:
    late = quarter(DAY * DAY_NS + 22 * HOUR_NS, billed=1)
    assert [row.day for row in settle([late], {"acme": "Europe/Berlin"}, RULES, 0)] == [DAY + 1]
    assert [row.day for row in settle([late], {}, RULES, 0)] == [DAY]


def test_quarters_of_a_day_add_up_and_days_stand_apart() -> None:
    sums = [
        quarter(NOON_NS, billed=1, amount_nanos=10, fees_nanos=1),
        quarter(NOON_NS + HOUR_NS, billed=2, amount_nanos=20, fees_nanos=2, late=1, late_nanos=9),
        quarter(NOON_NS, unbilled_wins=3),
        quarter(NOON_NS + DAY_NS, billed=7),
    ]
    first, second = settle(sums, {}, RULES, 0)
    assert first[:9] == (DAY, "c1", "x", 3, 30, 3, 1, 9, 3)
    assert (second.day, second.billed) == (DAY + 1, 7)
    assert first.price_nanos == 27


def test_books_tell_what_was_paid_by_quarter(database: Database) -> None:
    write(
        database,
        booking("a"),
        booking("b", late=True),
        booking("c", bid_at_ns=NOON_NS + QUARTER_NS),
        booking("d", exchange="y"),
        booking("e", kind=5),
    )
    at = NOON_NS // QUARTER_NS
    assert sorted(Ledger(database).quarters(0, RULES.keep_ns)) == [
        QuarterSum("c1", "x", "acme", at, 2, 2_000, 200, 1, 1_000),
        QuarterSum("c1", "x", "acme", at + 1, 1, 1_000, 100),
        QuarterSum("c1", "y", "acme", at, 1, 1_000, 100),
    ]


def test_a_win_that_nobody_billed_counts_once_its_billing_time_is_over(database: Database) -> None:
    write(database, booking("won", WIN), booking("paid", WIN), booking("paid"))
    over_ns = NOON_NS + 660 * S
    ledger = Ledger(database)
    assert ledger.unbilled_wins(over_ns, RULES.keep_ns) == []
    (one,) = ledger.unbilled_wins(over_ns + 1, RULES.keep_ns)
    assert (one.bid_id, one.exchange) == (bid_id("won"), "x")
    sums = ledger.quarters(over_ns + 1, RULES.keep_ns)
    assert sum(row.unbilled_wins for row in sums) == 1
    write(database, booking("won"))  # billed late after all
    assert ledger.unbilled_wins(over_ns + 1, RULES.keep_ns) == []


def test_the_command_shows_days_and_wins(place: str) -> None:
    path = place
    with Database(place) as database:
        write(database, booking("a"), booking("won", WIN), booking("old", bid_at_ns=NOON_NS - 9 * DAY_NS))
    rows = orjson.loads(clearbid("settle", "--json", "--db", path).output)
    assert [(row["day"], row["billed"], row["unbilled_wins"], row["final"]) for row in rows] == [
        ("2024-09-25", 1, 0, True),
        ("2024-10-04", 1, 1, True),
    ]
    (row,) = orjson.loads(clearbid("settle", "--json", "--db", path, "--day", "2024-10-04").output)
    assert (row["amount_nanos"], row["fees_nanos"]) == (1_000, 100)
    (win,) = orjson.loads(clearbid("settle", "--unbilled", "--json", "--db", path).output)
    assert win["bid_id"] == bid_id("won")
    assert "final" in clearbid("settle", "--db", path).output


def test_days_fit_a_terminal_of_80_columns_and_nothing_is_cut(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = {"campaign_id": "a-campaign-with-a-very-long-name", "amount_nanos": 12_345_678_901_234}
    with Database(place) as database:
        write(database, booking("a", **long), booking("won", WIN, **long))
    told = clearbid("settle", "--db", place).output
    assert max(map(len, told.splitlines())) <= 80
    assert "24691.357802468" in told
    lines = [line for line in told.splitlines() if not line.startswith("total:")]
    (first,) = (place for place, line in enumerate(lines) if line.startswith("2024-10-04"))
    begin = lines[first].index("a-")
    end = lines[first].index(" ", begin)
    assert "".join(line[begin:end].strip() for line in lines[first:]) == "a-campaign-with-a-very-long-name"
    assert "\N{HORIZONTAL ELLIPSIS}" not in told


def test_the_command_lists_wins(place: str) -> None:
    path = place
    with Database(path) as database:
        write(database, booking("a"), booking("won", WIN))
    assert bid_id("won") in clearbid("settle", "--unbilled", "--db", path).output


def test_the_command_shows_conversions_without_a_bid_and_notices_that_were_refused(place: str) -> None:
    with Database(place) as database:
        books = Books(database)
        books.claim()
        rows = Rows(
            unattributed=(UnattributedRow("acme", "no_touch", 3, 7_500_000_000),),
            refusals=(RefusalRow("c1", "above_cap", 2), RefusalRow("", "malformed", 1)),
        )
        books.write(Batch([rows]))
    found = orjson.loads(clearbid("settle", "--unattributed", "--json", "--db", place).output)
    assert found == [
        {"advertiser_id": "acme", "reason": "no_touch", "times": 3, "value_nanos": 7_500_000_000}
    ]
    assert orjson.loads(clearbid("settle", "--refused", "--json", "--db", place).output) == [
        {"campaign_id": "", "rule": "malformed", "times": 1},
        {"campaign_id": "c1", "rule": "above_cap", "times": 2},
    ]
    lines = [line.split() for line in clearbid("settle", "--db", place).output.splitlines()]
    assert ["acme", "no_touch", "3", "7.5"] in lines
    assert ["unknown", "malformed", "1"] in lines
    lines = [
        line.split() for line in clearbid("settle", "--campaign", "c1", "--db", place).output.splitlines()
    ]
    assert ["c1", "above_cap", "2"] in lines
    assert not any("acme" in line or "unknown" in line for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--unbilled", "--refused"),
        ("--late", "--prune"),
        ("--late", "--campaign", "c1"),
        ("--prune", "--day", "2024-10-04"),
        ("--prune", "--unattributed"),
    ],
)
def test_lists_that_cannot_be_asked_for_together(place: str, arguments: tuple[str, ...]) -> None:
    Database(place).close()
    done = clearbid("settle", *arguments, "--db", place)
    assert isinstance(done.exception, InputError)
    assert "must be given" in str(done.exception)


# -- how late billings come ------------------------------------------------------------------------------------------


def late_by(number: int, seconds: int, **changes: Any) -> Booking:
    """Its reservation ended 660 s after noon."""
    return booking(f"late{number}", at_ns=NOON_NS + (660 + seconds) * S, late=True, **changes)


def test_the_tail_of_late_billings_is_measured_by_their_money(place: str) -> None:
    """Of 1,000 a hundredth is 10 bids, so at .99 the 11th from the last is the tail."""
    found = [late_by(n, 1 + n) for n in range(1_000)]
    others = [
        booking("in_time"),
        late_by(1_001, 9_999, amount_nanos=0),
        # Of a window that is over, and of a setting under which it was to be kept for longer, or for less.
        late_by(1_002, 9_999, bid_at_ns=NOON_NS - 169 * HOUR_NS, keep_until_ns=NOON_NS),
        late_by(1_003, 9_999, keep_until_ns=NOON_NS + 661 * S + RULES.keep_ns),
        late_by(1_004, 9_999, keep_until_ns=NOON_NS - S + RULES.keep_ns),
    ]
    with Database(place, durable=False) as database:
        write(database, *found, *others)
        ledger = Ledger(database)
        told = ledger.late_billings(RULES, NOON_NS)
        assert told == (1_000, 1_000_000, 990 * S, 1_000 * S, 3_600 * S, False)
        for tail_s, too_short in ((990, False), (989, True)):
            rules = msgspec.structs.replace(RULES, late_tail_ns=tail_s * S)
            assert ledger.late_billings(rules, NOON_NS).too_short is too_short
        assert ledger.late_billings(RULES, NOON_NS + 169 * HOUR_NS) == (0, 0, 0, 0, 3_600 * S, False)


def test_of_few_late_billings_nothing_is_said(database: Database) -> None:
    write(database, *[late_by(n, 7_200) for n in range(19)])
    assert not Ledger(database).late_billings(RULES, NOON_NS).too_short
    with database.transaction() as session:
        session.execute("UPDATE bookings SET amount_nanos = 1 WHERE bid_id <> ?", (bid_id("late0"),))
    told = Ledger(database).late_billings(RULES, NOON_NS)
    assert (told.tail_ns, told.late_nanos) == (7_200 * S, 1_018)


def test_the_command_says_where_the_tail_is_longer_than_the_setting(place: str) -> None:
    now_ns = time.time_ns()
    liable_ns = now_ns - 3 * HOUR_NS
    # As long as the command's own settings keep bids.
    same: dict[str, Any] = {
        "bid_at_ns": liable_ns - S,
        "keep_until_ns": liable_ns + RULES.keep_ns,
        "late": True,
        "amount_nanos": 500_000_000,
    }
    with Database(place) as database:
        write(database, *[booking(f"b{n}", at_ns=liable_ns + 7_200 * S, **same) for n in range(20)])
    (found,) = orjson.loads(clearbid("settle", "--late", "--json", "--db", place).output)
    assert found == {
        "billings": 20, "late_nanos": 10 * S, "tail_ns": 7_200 * S, "longest_ns": 7_200 * S,
        "setting_ns": 3_600 * S, "too_short": True,
    }  # fmt: skip
    said = clearbid("settle", "--late", "--db", place).output
    assert "late billings: 20, worth 10," in said
    assert "TOO SHORT" in said
    assert "set it to 7,200 or more" in said


def test_days_alone_are_shown_without_a_look_at_all_late_billings(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(place) as database:
        write(database, booking("b", amount_nanos=500_000_000))

    def read(*_: object) -> None:
        raise AssertionError("late billings are read where nothing shows them")

    monkeypatch.setattr(Ledger, "late_billings", read)
    for arguments in ((), ("--json",)):
        assert "c1" in clearbid("settle", *arguments, "--db", place).output


# -- pruning --------------------------------------------------------------------------------------------------------


def test_what_is_over_is_taken_out_and_nothing_else(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.store.pruning.SLICE", 2)
    hour, end_ns = NOON_NS // HOUR_NS, NOON_NS - RULES.keep_ns
    old = [booking(f"old{n}", user_key="u1", keep_until_ns=NOON_NS - 1) for n in range(5)]
    # A bid with bookings on both sides of the time, and one that has no user.
    both = [
        booking("both", WIN, user_key="u2", keep_until_ns=NOON_NS - 1),
        booking("both", user_key="u2", keep_until_ns=NOON_NS),
    ]
    nobody = booking("nobody", keep_until_ns=0)
    lateness = [LateRow("acme", hour - KEEP_HOURS + n, 1, 0, 1) for n in (-1, 0)]
    orders = [OrderRow("acme", f"o{n}", bid_id("a"), NOON_NS + n) for n in (-1, 0)]
    held = [HeldRow(f"m{n}", end_ns + n) for n in (-1, 0)]
    with Database(place) as database:
        books = Books(database)
        books.claim()
        rows = Rows((*old, *both, nobody), lateness=(*lateness,), orders=(*orders,), held=(*held,))
        books.write(Batch([rows]))
        assert prune(database, RULES, NOON_NS) == Pruned(
            lateness=1, users=6, orders=1, held=1, grants=0, starts=0
        )
        with database.reading() as session:
            users = session.execute(
                "SELECT bid_id, kind, user_key FROM bookings WHERE user_key <> ''"
            ).fetchall()
            counts = [
                session.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in ("bookings", "lateness", "orders", "held")
            ]
        assert [tuple(row) for row in users] == [(bid_id("both"), BILLING, "u2")]
        assert counts == [8, 1, 1, 1]
        assert (
            sum(one.billed for one in settle(Ledger(database).quarters(NOON_NS, 0), {}, RULES, NOON_NS)) == 7
        )
        assert prune(database, RULES, NOON_NS) == Pruned(0, 0, 0, 0, 0, 0)


def test_a_bank_starts_alike_on_books_that_were_pruned(place: str) -> None:
    rows = Rows(
        (booking("a", user_key="u", keep_until_ns=NOON_NS - 1), booking("b", user_key="u")),
        lateness=(LateRow("acme", 1, 1, 0, 1), LateRow("acme", NOON_NS // HOUR_NS, 1, 0, 1)),
        orders=(
            OrderRow("acme", "o1", bid_id("a"), NOON_NS - 1),
            OrderRow("acme", "o2", bid_id("b"), NOON_NS),
        ),
        held=(HeldRow("m", NOON_NS),),
    )
    with Database(place) as database:
        books = Books(database)
        books.claim()
        books.write(Batch([rows]))
        before = books.load(NOON_NS)
        assert prune(database, RULES, NOON_NS) != Pruned(0, 0, 0, 0, 0, 0)
        assert books.load(NOON_NS) == before


def test_the_command_prunes(place: str) -> None:
    with Database(place) as database:
        write(database, booking("a", user_key="u", keep_until_ns=1))
    (found,) = orjson.loads(clearbid("settle", "--prune", "--json", "--db", place).output)
    assert found == {"lateness": 0, "users": 1, "orders": 0, "held": 0, "grants": 0, "starts": 0}
    assert "users of 0 bookings" in clearbid("settle", "--prune", "--db", place).output


# -- reconciliation -------------------------------------------------------------------------------------------------


def line(bid: str = "", nanos: int = 900, **changes: Any) -> BillLine:
    fields: dict[str, Any] = {"exchange": "x", "day": DAY, "campaign_id": "", "impressions": 1}
    return BillLine(bid_id=bid_id(bid) if bid else "", amount_nanos=nanos, **(fields | changes))


def booked(bid: str, nanos: int = 900, **changes: Any) -> Booked:
    fields: dict[str, Any] = {"exchange": "x", "day": DAY, "campaign_id": "c1", "late": False}
    return Booked(bid_id=bid_id(bid), price_nanos=nanos, **(fields | changes))


def test_lines_meet_bookings_by_bid_id() -> None:
    ours = [booked("a"), booked("b", 800, late=True), booked("c", 700)]
    theirs = [line("a"), line("b", 850), line("b", 850), line("z", 5)]
    assert reconcile(theirs, ours) == [
        Compared(
            DAY,
            "x",
            ours=Part(3, 2_400),
            theirs=Part(4, 2_605),
            missing_here=Part(1, 5),
            missing_there=Part(1, 700),
            duplicates=Part(1, 850),
            late=Part(1, 800),
        )
    ]


def test_a_line_stands_on_the_day_of_our_bid() -> None:
    ours = [booked("a", day=DAY - 1)]
    assert [row[:2] for row in reconcile([line("a"), line("q", day=NO_DAY)], ours)] == [
        (NO_DAY, "x"),
        (DAY - 1, "x"),
    ]


def test_bookings_of_other_days_and_exchanges_are_not_missing() -> None:
    ours = [booked("a"), booked("b", day=DAY + 1), booked("c", exchange="y")]
    (row,) = reconcile([line("a")], ours)
    assert (row.ours, row.missing_there) == (Part(1, 900), Part())
    (asked,) = reconcile([line("a"), line("q", day=DAY + 5)], ours[:2], [DAY])
    assert (asked.day, asked.theirs) == (DAY, Part(1, 900))


def test_totals_meet_totals_where_there_are_no_bid_ids() -> None:
    ours = [booked("a"), booked("b", campaign_id="c2"), booked("c", campaign_id="c3")]
    theirs = [
        line(nanos=950, campaign_id="c1", impressions=2),
        line(nanos=900, campaign_id="c2"),
        line(nanos=7, campaign_id="c9", impressions=3),
    ]
    (row,) = reconcile(theirs, ours)
    assert (row.ours, row.theirs) == (Part(3, 2_700), Part(6, 1_857))
    assert (row.missing_here, row.missing_there) == (Part(3, 7), Part(1, 900))
    (plain,) = reconcile([line(nanos=2_700, impressions=3)], ours)
    assert (plain.difference_nanos, plain.missing_here, plain.missing_there) == (0, Part(), Part())
    (empty,) = reconcile([line(nanos=4, day=DAY + 1)], ours)
    assert (empty.ours, empty.missing_here) == (Part(), Part(1, 4))


@given(
    ours=st.lists(st.integers(1, 10**15), min_size=1, max_size=9),
    theirs=st.lists(st.integers(0, 10**15), min_size=1, max_size=9),
)
def test_the_factor_that_is_suggested_covers_the_bill_and_a_smaller_one_does_not(
    ours: Sequence[int], theirs: Sequence[int]
) -> None:
    rows = reconcile(
        [line(f"b{n}", nanos) for n, nanos in enumerate(theirs)],
        [booked(f"b{n}", nanos) for n, nanos in enumerate(ours)],
    )
    whole = total(rows, "x")
    assert (whole.ours.nanos, whole.theirs.nanos) == (sum(ours), sum(theirs))
    ppm = suggested_ppm(whole)
    assert sum(ours) * (10**6 + ppm) >= sum(theirs) * 10**6
    assert ppm == 0 or sum(ours) * (10**6 + ppm - 1) < sum(theirs) * 10**6
    assert within(whole, ppm) or sum(theirs) < sum(ours)


def test_the_tolerance_is_of_our_books_both_ways() -> None:
    for theirs, held in ((1_050, True), (1_051, False), (950, True), (949, False)):
        row = Compared(DAY, "x", ours=Part(1, 1_000), theirs=Part(1, theirs))
        assert within(row, 50_000) is held
    assert not within(Compared(DAY, "x", theirs=Part(1, 1)), 10**6)
    assert Compared(DAY, "x").ratio_ppm is None


# -- files ----------------------------------------------------------------------------------------------------------


def clearbid(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), [str(each) for each in arguments])


def bill(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "bill.csv"
    file.write_text(text)
    return file


def test_a_bill_in_csv_is_compared_to_the_nano(tmp_path: Path, path: Path, database: Database) -> None:
    write(database, booking("a"), booking("b"))
    file = bill(
        tmp_path, f"Auction,Spend\n{bid_id('a')},0.0000009\n{bid_id('b')},0.00000091\n{bid_id('b')},0\n"
    )
    names = ("--column", "bid_id=auction", "--column", "amount=Spend", "--exchange", "x")
    done = clearbid("reconcile", file, *names, "--db", path, "--json")
    assert done.exit_code == 0
    found = orjson.loads(done.output)
    assert found["days"][0]["day"] == "2024-10-04"
    assert found["totals"][0]["difference_nanos"] == 10
    assert found["totals"][0]["discrepancy_ppm"] == 5_556
    assert found["totals"][0]["duplicates"] == {"impressions": 1, "nanos": 0}
    strict = clearbid("reconcile", file, *names, "--db", path, "--tolerance", "0.5")
    assert strict.exit_code == 1
    assert "discrepancy_ppm = 5556" in strict.output
    assert "100.5555 %" in strict.output


def test_a_bill_in_parquet_has_decimals_and_no_floats(tmp_path: Path, path: Path, database: Database) -> None:
    write(database, booking("a"))
    file = tmp_path / "bill.parquet"
    columns = {"day": ["2024-10-04"], "campaign": ["c1"], "impressions": [1], "exchange": ["x"]}
    pq.write_table(pa.table({**columns, "amount": [Decimal("0.000000900")]}), file)
    assert clearbid("reconcile", file, "--db", path, "--tolerance", "0").exit_code == 0
    pq.write_table(pa.table({**columns, "amount": [900]}), file)
    assert clearbid("reconcile", file, "--db", path, "--tolerance", "0", "--unit", "nanos").exit_code == 0
    pq.write_table(pa.table({**columns, "amount": [9e-7]}), file)
    done = clearbid("reconcile", file, "--db", path)
    assert isinstance(done.exception, InputError)
    assert "float" in str(done.exception)


def test_a_bill_in_another_currency_needs_a_rate(tmp_path: Path, path: Path, database: Database) -> None:
    write(database, booking("a"))
    file = bill(tmp_path, "day,exchange,currency,amount\n2024-10-04,x,EUR,0.00000075\n")
    done = clearbid("reconcile", file, "--db", path)
    assert "currency must be the account's USD" in str(done.exception)
    (tmp_path / "rates.toml").write_text('base = "USD"\n[rates."2024-10-01"]\nEUR = "1.2"\n')
    (tmp_path / "c.toml").write_text(f'[account]\nrates_file = "{tmp_path / "rates.toml"}"\n')
    settled = clearbid(
        "reconcile", file, "--db", path, "--config", tmp_path / "c.toml", "--tolerance", "0", "--json"
    )
    assert orjson.loads(settled.output)["totals"][0]["theirs"]["nanos"] == 900
    assert settled.exit_code == 0


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        ("spend\n1\n", ["--exchange", "x"], "must have a column amount"),
        ("amount\n1\n", [], "name the exchange by --exchange"),
        ("amount\nabc\n", ["--exchange", "x"], "row 2: amount must be a decimal number"),
        ("amount,day\n1,yesterday\n", ["--exchange", "x"], "row 2: day"),
        ("amount,impressions\n1,-2\n", ["--exchange", "x"], "impressions must be a whole number"),
        ("amount\n1\n-0.01\n", ["--exchange", "x"], "row 3: amount must be >= 0, was -0.01: take credits"),
        ("amount\n1\n", ["--column", "amount=Spend"], "column 'Spend' for amount"),
        ("amount\n1\n", ["--column", "price=Spend"], "--column must be NAME=HEADER"),
        ("amount\n1\n", ["--unit", "cents"], "--unit must be"),
        ("amount\n1\n", ["--exchange", "x", "--tolerance", "-1"], "--tolerance must be"),
        ("amount\n1\n", ["--time-zone", "Mars"], "--time-zone must be"),
        ("amount,day\n1,2024-10-04\n", ["--exchange", "x", "--day", "4.10."], "day must be a date"),
    ],
)
def test_what_is_wrong_with_a_bill_is_said(
    tmp_path: Path, path: Path, database: Database, text: str, options: list[str], what: str
) -> None:
    done = clearbid("reconcile", bill(tmp_path, text), *options, "--db", path)
    assert isinstance(done.exception, InputError)
    assert what in str(done.exception)


def test_a_bill_with_campaigns_is_shown_by_campaign(tmp_path: Path, path: Path, database: Database) -> None:
    write(database, booking("a"), booking("b", campaign_id="c2"))
    lines = "2024-10-04,x,c1,0.0000009\n2024-10-04,x,c2,0.00000108\n"
    done = clearbid("reconcile", bill(tmp_path, f"day,exchange,campaign,amount\n{lines}"), "--db", path)
    rows = [line.split() for line in done.output.splitlines()]
    assert ["c1", "x", "0.0000009", "0.0000009", "0"] in rows
    assert ["c2", "x", "0.0000009", "0.00000108", "0.00000018"] in rows


def test_an_exchange_that_is_not_ours_is_told_with_ours_that_has_no_bill(
    tmp_path: Path, path: Path, database: Database
) -> None:
    write(database, booking("a"))
    done = clearbid("reconcile", bill(tmp_path, "day,exchange,amount\n2024-10-04,y,36.19\n"), "--db", path)
    assert done.exit_code == 1
    assert "y: nothing of ours stands against 36.19 of this bill" in done.output
    assert "x: in our books with 0.0000009 of all days, not in this bill" in done.output
    assert "discrepancy_ppm" not in done.output
