"""Multipliers from seat to store, how campaigns stand there, and `clearbid portfolio`."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.core.bank import Bank
from bidder.core.bankrules import BankRules
from bidder.core.bookings import PaceRow
from bidder.core.campaigns import Goal, Pacing
from bidder.core.messages import NoticeKind, Pace, SliceReport
from bidder.core.messages import encode as encoded
from bidder.core.portfolio_live import propose
from bidder.errors import InputError
from bidder.store.books import Batch, Books
from bidder.store.campaigns import BudgetMove, CampaignStore
from bidder.store.columns_cells import format_instant
from bidder.store.database import Database
from bidder.store.portfolio import Wishes, apply_proposal, standings_of
from tests.support import factories as make
from tests.support.banking import S, ask, campaign, item, notice
from tests.support.factories import Offer, body

DAY = 86_400 * S
NOW = 5 * DAY


def told(seat: str, seq: int, at_ns: int, **multipliers: float) -> SliceReport:
    """A whole report that tells multipliers by account."""
    paces = tuple(Pace(name, round(value * 1e9)) for name, value in multipliers.items())
    return SliceReport(seat=seat, epoch=1, seq=seq, start_id="a", at_ns=at_ns, rows=(), paces=paces)


def two_campaigns() -> list[object]:
    return [campaign(name, budget_nanos=100 * S, end_ns=30 * DAY, value_nanos=S) for name in ("poor", "rich")]


@pytest.fixture
def stocked(place: str) -> str:
    """A store with two campaigns, a day's spend, and their multipliers."""
    campaigns = two_campaigns()
    with Database(place) as database:
        CampaignStore(database).put(campaigns, at_ns=1)
        books = Books(database)
        books.claim()
        bank = Bank(BankRules(), {each.id: each for each in campaigns})
        bought = [
            notice(NoticeKind.BILLING, f"{name}-{number}", campaign_id=name, at_ns=NOW - 3_600 * S,
                   cap_nanos=4 * S, price_nanos=4 * S, liable_until_ns=NOW)
            for name in ("poor", "rich") for number in range(5)
        ]  # fmt: skip
        clicks = [
            notice(NoticeKind.CLICK, f"rich-{number}", campaign_id="rich", at_ns=NOW - 3_000 * S, liable_until_ns=NOW)
            for number in range(3)
        ]  # fmt: skip
        paces = [
            told("s1", 1, NOW - 7_200 * S, poor=0.9, rich=0.2),
            told("s1", 2, NOW - S, poor=0.7, rich=0.3),
        ]
        steps = [bank.apply([ask()], NOW), bank.tick(NOW), bank.apply([*bought, *clicks, *paces], NOW)]
        books.write(Batch(steps=[step.rows for step in steps]))
    return place


def test_an_engine_tells_multipliers_of_paced_budgets_with_opportunities_in_whole_reports() -> None:
    engine = make.engine([make.campaign("c1"), make.campaign("c2", pacing=Pacing.ASAP)])
    assert engine.tick(0).paces == ()
    make.decide(engine, body(Offer()))
    reports = [engine.tick(0) for _ in range(100)]
    telling = [report for report in reports if report.paces]
    assert telling == [report for report in telling if report.whole]
    (pace,) = telling[-1].paces
    assert pace.account_id == "c1"
    assert pace.multiplier_ppb == round(engine.status(0)["c1"].multiplier * 1e9)
    assert msgspec.json.decode(encoded(telling[-1]), type=SliceReport) == telling[-1]


def test_a_bank_keeps_multipliers_of_its_own_budgets_by_hour_of_the_week() -> None:
    bank = Bank(BankRules(), {"c1": campaign()})
    bank.apply([ask()], 0)
    found = bank.apply([told("s1", 1, 169 * 3_600 * S, c1=0.5, other=0.7)], 0).rows.paces
    assert found == (PaceRow("c1", "s1", 1, 500_000_000, 169 * 3_600 * S),)
    assert bank.apply([told("s1", 1, 0, c1=0.6)], 0).rows.paces == ()  # not newer than the last


def test_standings_are_what_the_store_knows(stocked: str) -> None:
    with Database(stocked) as database:
        poor, rich = standings_of(database, "acme", NOW, window_ns=DAY, settle_ns=0)
    assert (poor.name, poor.budget, poor.spent, poor.left) == ("poor", 100 * S, 20 * S, 80 * S)
    assert (poor.window_spend, poor.window_value, rich.window_value) == (20 * S, 0, 3 * S)
    assert poor.multiplier == pytest.approx((0.9 * 0.7) ** 0.5)
    assert (poor.rest_ns, poor.window_ns, poor.moved, poor.frozen) == (25 * DAY, DAY, 0, "")


def test_a_window_that_begins_later_hears_only_what_was_told_since(stocked: str) -> None:
    with Database(stocked) as database:
        poor, _rich = standings_of(database, "acme", NOW, window_ns=3_600 * S, settle_ns=0)
        nothing, _ = standings_of(database, "acme", NOW + DAY, window_ns=3_600 * S, settle_ns=0)
    assert poor.multiplier == pytest.approx(0.7)
    assert nothing.multiplier is None
    assert nothing.window_spend == 0


def test_conversions_count_for_a_line_item_that_pays_for_them(tmp_path: Path) -> None:
    one = campaign(
        "c1", end_ns=30 * DAY, line_items=(item("l1", goal=Goal.CONVERSION, value_nanos=7 * S), item("l2"))
    )
    with Database(tmp_path / "a.db") as database:
        CampaignStore(database).put([one], at_ns=1)
        books = Books(database)
        books.claim()
        bank = Bank(BankRules(), {"c1": one})
        events = [
            notice(kind, f"{line}-bid", line_item_id=line, at_ns=NOW - S, liable_until_ns=NOW, event_id=event)
            for line in ("l1", "l2")
            for kind, event in (
                (NoticeKind.BILLING, ""),
                (NoticeKind.CLICK, ""),
                (NoticeKind.CONVERSION, "e"),
            )
        ]
        steps = [bank.apply([ask()], NOW), bank.tick(NOW), bank.apply(events, NOW)]
        books.write(Batch(steps=[step.rows for step in steps]))
        (found,) = standings_of(database, "acme", NOW, window_ns=DAY, settle_ns=0)
    assert found.window_value == 7 * S + S


def test_a_move_is_written_with_who_and_why_and_is_remembered(stocked: str) -> None:
    with Database(stocked) as database:
        standings = standings_of(database, "acme", NOW, window_ns=DAY, settle_ns=0)
        proposal = propose(standings)
        assert apply_proposal(database, standings, proposal, at_ns=NOW) == 2
        store = CampaignStore(database)
        assert {name: each.budget_nanos for name, each in store.all().items()} == {
            "poor": 92 * S,
            "rich": 108 * S,
        }
        rows = [row for row in store.audit() if row.what == "budget"]
        assert {row.actor for row in rows} == {"portfolio"}
        assert rows[-1].why.startswith(("takes: the next unit of its money brought 4", "gives: "))
        poor, rich = standings_of(database, "acme", NOW + DAY, window_ns=DAY, settle_ns=10 * DAY)
    assert (poor.moved, rich.moved, rich.moved_ago_ns, rich.frozen) == (-1, 1, DAY, "")


def test_a_budget_that_a_person_changed_is_left_alone_for_a_while(stocked: str) -> None:
    with Database(stocked) as database:
        CampaignStore(database).set_budget("rich", 120 * S, at_ns=NOW - DAY, actor="ann")
        _, rich = standings_of(database, "acme", NOW, window_ns=7 * DAY, settle_ns=2 * DAY)
        _, later = standings_of(database, "acme", NOW + 2 * DAY, window_ns=DAY, settle_ns=2 * DAY)
    assert (rich.frozen, rich.moved, rich.window_ns) == ("ann changed its budget lately", 0, DAY)
    assert later.frozen == ""


def test_only_campaigns_that_run_share(tmp_path: Path) -> None:
    made = [
        campaign("over", end_ns=NOW), campaign("paused", status="paused", end_ns=9 * DAY),
        campaign("soon", start_ns=NOW + 1, end_ns=9 * DAY), campaign("on", end_ns=9 * DAY),
    ]  # fmt: skip
    with Database(tmp_path / "a.db") as database:
        CampaignStore(database).put(made, at_ns=1)
        assert [one.name for one in standings_of(database, "acme", NOW, window_ns=DAY, settle_ns=0)] == ["on"]
        with pytest.raises(
            InputError, match="advertiser must be one of the store's, was 'acne'; nearest: acme"
        ):
            standings_of(database, "acne", NOW, window_ns=DAY, settle_ns=0)
        wishes = Wishes(frozen=["other"])
        with pytest.raises(InputError, match="campaign must be one of acme's, was 'other'"):
            standings_of(database, "acme", NOW, window_ns=DAY, settle_ns=0, wishes=wishes)


def test_several_budgets_change_as_one_or_not_at_all(stocked: str) -> None:
    with Database(stocked) as database:
        store = CampaignStore(database)
        good, stale = BudgetMove("poor", 100 * S, 90 * S, "x"), BudgetMove("rich", 99 * S, 110 * S, "x")
        with pytest.raises(InputError, match="budget of campaign rich must still be 99000000000 nanos"):
            store.move_budgets([good, stale], at_ns=NOW, actor="test")
        with pytest.raises(InputError, match="budget of campaign poor must be > 0"):
            store.move_budgets([good._replace(new_nanos=0)], at_ns=NOW, actor="test")
        with pytest.raises(InputError, match="campaign must be one of the store's"):
            store.move_budgets([good._replace(campaign_id="none")], at_ns=NOW, actor="test")
        assert store.all()["poor"].budget_nanos == 100 * S


def run(monkeypatch: pytest.MonkeyPatch, stocked: str, *arguments: str) -> Result:
    """The command at `NOW`."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("time.time_ns", lambda: NOW)
    return CliRunner().invoke(build_app(), ["portfolio", *arguments, "--db", stocked])


def budgets(stocked: str) -> dict[str, int]:
    with Database(stocked) as database:
        return {name: each.budget_nanos for name, each in CampaignStore(database).all().items()}


def test_the_command_proposes_and_writes_only_where_asked(
    monkeypatch: pytest.MonkeyPatch, stocked: str
) -> None:
    done = run(monkeypatch, stocked, "acme")
    assert done.exit_code == 0, done.output
    assert "nothing was written" in done.stdout
    assert budgets(stocked) == {"poor": 100 * S, "rich": 100 * S}
    plain = json.loads(run(monkeypatch, stocked, "acme", "--json", "--apply").stdout)
    assert plain["written"] == 2
    assert budgets(stocked) == {move["campaign"]: move["to_nanos"] for move in plain["moves"]}
    again = run(monkeypatch, stocked, "acme", "--apply")
    assert "hold: fewer than two campaigns are free to move" in again.stdout
    history = CliRunner().invoke(build_app(), ["campaigns", "history", "--db", stocked])
    assert "next unit" in " ".join(history.stdout.split())


def test_the_command_looks_again_as_often_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, stocked: str
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    done = run(monkeypatch, stocked, "acme", "--json", "--every", "6", "--rounds", "3")
    assert len(done.stdout.splitlines()) == 3
    assert slept == [6 * 3_600, 6 * 3_600]


def test_a_store_can_be_looked_at_as_at_another_time(monkeypatch: pytest.MonkeyPatch, stocked: str) -> None:
    now = run(monkeypatch, stocked, "acme", "--json").stdout
    over = run(monkeypatch, stocked, "acme", "--at", "2001-01-01T00:00:00Z")
    assert (
        "hold: no campaign of acme is under way on 2001-01-01 00:00:00 UTC: --at looks as at" in over.stdout
    )
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    text = format_instant(NOW)
    again = CliRunner().invoke(build_app(), ["portfolio", "acme", "--json", "--at", text, "--db", stocked])
    assert again.stdout == now


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--freeze", "rich"), "hold: fewer than two"),
        (("--least", "poor=100"), "hold: "),
        (("--step", "0.5", "--most", "rich=101.50"), "101.5"),
    ],
)
def test_wishes_are_obeyed(
    monkeypatch: pytest.MonkeyPatch, stocked: str, options: tuple[str, ...], said: str
) -> None:
    assert said in run(monkeypatch, stocked, "acme", *options).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rounds", "2"), "--rounds must stand with --every"),
        (("--least", "rich"), "--least must be ID=AMOUNT such as shoes=50.00, was 'rich'"),
        (("--most", "rich=x"), "--most must be ID=AMOUNT"),
        (("--at", "2026-03-07T18:00:00Z", "--apply"), "--at must stand without --apply and --every"),
        (("--at", "noon"), "--at must be"),
    ],
)
def test_options_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, stocked: str, options: tuple[str, ...], said: str
) -> None:
    done = run(monkeypatch, stocked, "acme", *options)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


def test_a_look_at_the_past_knows_only_what_was_booked_and_told_until_then(stocked: str) -> None:
    with Database(stocked) as database:
        poor, rich = standings_of(database, "acme", NOW - 3_601 * S, window_ns=DAY, settle_ns=0, past=True)
        same, _ = standings_of(database, "acme", NOW, window_ns=DAY, settle_ns=0, past=True)
    assert (poor.spent, poor.left, poor.window_spend, rich.window_value) == (0, 100 * S, 0, 0)
    assert poor.multiplier == pytest.approx(0.9)  # 0.7 was told later
    assert (same.spent, same.window_spend) == (20 * S, 20 * S)
