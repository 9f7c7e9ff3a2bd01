"""A history played again: the columns decide as requests do, and the log's own bids have the log's own results."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.core.campaigns import Campaign, Cap, Creative, Flight, Goal, LineItem, Pacing, Rule, Targeting
from bidder.core.columnar import POSTED, VOIDED, ColumnarEngine
from bidder.core.decision_columns import O_BID, O_LINE
from bidder.core.messages import Lease, Settlement, SettlementKind
from bidder.core.settings import BrakeSettings, EngineSettings, ExchangeRules
from bidder.core.users import user_key
from bidder.errors import InputError
from bidder.store.sheet import to_json
from simulator.exchange import auction
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN
from simulator.history.convert import convert
from simulator.history.file import History
from simulator.history.logrows import all_sources, history_row, ipinyou_meta
from simulator.history.schema import HistoryRow
from simulator.logs.ipinyou import Kind, read_auctions, read_features
from simulator.logs.logged import campaigns_of, summarise
from simulator.playback.bodies import body_of
from simulator.playback.delays import FITTED, fit_delays, stated
from simulator.playback.market import Market, decide
from simulator.playback.outcomes import outcomes_of
from simulator.playback.pays import by_outcome
from simulator.playback.prepared import NEEDED, Facts, Preparer
from simulator.playback.results import LineResult
from simulator.playback.run import Plan, Replay, Run, replay
from tests.support.data import recorded
from tests.support.histories import BEGIN_NS, SECOND, lost, unbid, won, written
from tests.support.seasons import season, write_season

DAY = 86_400 * SECOND


def campaign(name: str, **changes: Any) -> Campaign:
    creative = Creative(
        id=f"k-{name}",
        w=300,
        h=250,
        image_url="https://cdn.shop.example/b.png",
        landing_url="https://shop.example/",
    )
    stated_ = {
        "id": name, "name": name, "advertiser": f"adv-{name}", "adomain": ("shop.example",), "budget_nanos": 10**9,
        "start_ns": BEGIN_NS, "end_ns": BEGIN_NS + DAY, "value_nanos": 2 * 10**8, "max_bid_cpm_micros": 4_000_000,
        "creatives": (creative,),
    }  # fmt: skip
    return Campaign(**{**stated_, **changes})


def market_rows(count: int, seed: int = 5, names: tuple[str, ...] = ("c1", "c2", "c3")) -> list[HistoryRow]:
    """Rows of a made market: places, regions, users, floors, predictions, and prices that are known."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        bid, price = int(rng.integers(500_000, 3_000_000)), int(rng.integers(300_000, 3_000_000))
        make = won(n, price, bid) if bid > price else lost(n, bid, price + 1)
        place, region = f"p{rng.integers(4)}", ("CA", "TX", None)[rng.integers(3)]
        exchange = ("adx", "ady")[rng.integers(2)]
        rows.append(
            make._replace(
                offered_ns=BEGIN_NS + n * SECOND // 2, campaign=names[rng.integers(len(names))], placement=place,
                region=region, exchange=exchange, user=user_key(None, (), None, f"u{rng.integers(9)}", exchange),
                floor_nanos=int(rng.integers(0, 2)) * 200_000, click_probability=float(rng.beta(2, 150)),
                domain=None if n % 7 == 0 else f"d{n % 3}.example",
            )
        )  # fmt: skip
    return rows


CAMPAIGNS = (
    campaign("c1", target_cpc_nanos=5 * 10**6),
    campaign("c2", targeting=Targeting(geo=Rule(include=("CA",)), placement=Rule(exclude=("tag:p1",)))),
    campaign("c3", caps=(Cap(impressions=1, seconds=60),), budget_nanos=10**8),
)


def lease(engine: ColumnarEngine, one: Campaign) -> Lease:
    return Lease(
        seat=engine.settings.seat, epoch=1, start_id="s", account_id=one.id, granted_nanos=one.budget_nanos,
        bid_until_ns=2**62, budget_nanos=one.budget_nanos, spent_nanos=0, seats=1,
    )  # fmt: skip


def engine() -> ColumnarEngine:
    rules = ExchangeRules(result_time="fixed", dedupe_seconds=0.0, no_bid="none")
    settings = EngineSettings(external_scores=True, exchanges={"*": rules}, brakes=BrakeSettings(factor=0))
    made = ColumnarEngine(settings, bytes(32), None, "s")
    made.adopt_campaigns({one.id: one for one in CAMPAIGNS}, 1, BEGIN_NS)
    made.adopt_leases([lease(made, one) for one in CAMPAIGNS], BEGIN_NS)
    return made


def full_body(row: dict[str, Any], row_user: str) -> bytes:
    body = orjson.loads(body_of(row, "USD"))
    return orjson.dumps(body | {"user": {"id": row_user}})


def test_columns_are_decided_and_settled_as_requests_are(tmp_path: Path) -> None:
    """Bid by bid: line item, price, multiplier and probability; then money and multipliers, to the bit."""
    rows = market_rows(1_500)
    names = {
        user_key(None, (), None, f"u{n}", exchange): f"u{n}" for n in range(9) for exchange in ("adx", "ady")
    }
    history = written(tmp_path / "h.parquet", rows)
    (table,) = history.tables(NEEDED)
    by_request, by_column = engine(), engine()
    piece = Preparer(by_column, np.zeros(3, dtype=np.bool_), "USD").piece(table)
    plain = table.to_pylist()
    bids_seen = 0
    for begin in range(0, len(rows), 50):
        now_ns = int(piece.rows.at_ns[begin + 49])
        for one in (by_request, by_column):
            one.advance(now_ns)
        bodies = [full_body(row, names[row["user"]]) for row in plain[begin : begin + 50]]
        answers = by_request.decide(bodies, [0] * 50, now_ns)
        said = [orjson.loads(answer.decisions) for answer in answers]
        bids = by_column.decide_columns(piece.rows, begin, begin + 50, now_ns)
        expected = [row for row in said if row["reason"] == 0]
        bids_seen += len(expected)
        lines = [by_column.table.ids[line] for line in bids.out[:, O_LINE].tolist()]
        found = list(zip(lines, bids.out[:, O_BID].tolist(), bids.logged[:, 2].tolist(), strict=True))
        assert found == [(row["campaign_id"], row["bid_cpm_micros"], row["multiplier"]) for row in expected]
        told = []
        kinds, amounts = [], []
        for row, bid in zip(expected, found, strict=True):
            wins = hash(row["request_id"]) % 2 == 0
            kinds.append(POSTED if wins else VOIDED)
            amounts.append(bid[1] // 2 if wins else 0)
            told.append(
                Settlement(kind=SettlementKind(kinds[-1]), bid_id=row["bid_id"], amount_nanos=amounts[-1],
                           seat=by_request.settings.seat, epoch=1, campaign_id=bid[0], late=False)
            )  # fmt: skip
        if told:
            by_request.settle(told, now_ns)
            by_column.settle_columns(
                piece.rows.ids[bids.rows], np.array(kinds, np.uint8), bids.out[:, O_LINE], bids.chains,
                np.array(amounts, np.int64), np.full(len(told), now_ns), now_ns,
            )  # fmt: skip
        for name in ("c1", "c2", "c3"):
            assert by_request.status(now_ns)[name][:7] == by_column.status(now_ns)[name][:7]
        assert by_request.status(now_ns)["c1"].targets == by_column.status(now_ns)["c1"].targets
    assert bids_seen > 300


def facts(**columns: Any) -> Facts:
    count = len(next(iter(columns.values())))
    plain = {
        "draw": np.arange(count, dtype=np.uint64) * np.uint64(7919), "line": np.zeros(count, dtype=np.int64),
        "bid_nanos": np.zeros(count, dtype=np.int64), "price_kind": np.zeros(count, dtype=np.uint8),
        "price_nanos": np.zeros(count, dtype=np.int64), "paid_nanos": np.zeros(count, dtype=np.int64),
        "floor_nanos": np.zeros(count, dtype=np.int64), "first_price": np.zeros(count, dtype=np.bool_),
        "click": np.full(count, np.nan), "conversion": np.full(count, np.nan),
        "clicked": np.full(count, -1, dtype=np.int8), "converted": np.full(count, -1, dtype=np.int8),
        "value_nanos": np.zeros(count, dtype=np.int64), "worth_nanos": np.zeros(count, dtype=np.int64),
    }  # fmt: skip
    return Facts(
        **{**plain, **{name: np.asarray(value, plain[name].dtype) for name, value in columns.items()}}
    )


def judged(market: Market, bids: list[int], **columns: Any) -> list[tuple[bool, int, bool]]:
    rows = np.arange(len(bids))
    found = decide(market, facts(**columns), rows, np.zeros(len(bids), np.int64), np.array(bids))
    return list(zip(*(each.tolist() for each in found), strict=True))


@given(
    bid=st.integers(1, 50),
    floor=st.integers(0, 50),
    rival=st.one_of(st.none(), st.integers(0, 50)),
    first=st.booleans(),
)
def test_a_known_price_is_judged_as_the_exchange_does(
    bid: int, floor: int, rival: int | None, first: bool
) -> None:
    verdict = auction.decide(bid, floor, rival, first_price=first)
    price = verdict.min_to_win_cpm_micros
    known = {"price_kind": [EXACT], "price_nanos": [price], "floor_nanos": [floor], "first_price": [first]}
    assert judged(Market(), [bid], **known) == [(verdict.won, verdict.price_cpm_micros, False)]


def test_what_a_bound_does_not_tell_is_lost_and_counted() -> None:
    above = {"price_kind": [ABOVE] * 3, "price_nanos": [10] * 3, "bid_nanos": [10] * 3}
    assert judged(Market(), [9, 10, 11], **above) == [(False, 0, False), (False, 0, False), (False, 0, True)]
    at_most = {"price_kind": [AT_MOST] * 3, "price_nanos": [10] * 3, "paid_nanos": [10] * 3, "bid_nanos": [10] * 3,
               "first_price": [True] * 3}  # fmt: skip
    assert judged(Market(), [9, 10, 11], **at_most) == [
        (False, 0, True),
        (True, 10, False),
        (True, 11, False),
    ]
    assert judged(Market(), [5], price_kind=[UNKNOWN]) == [(False, 0, True)]


def test_a_soft_floor_is_paid_from_it_on_and_below_it_the_bid() -> None:
    known = {"price_kind": [EXACT] * 4, "price_nanos": [4] * 4, "floor_nanos": [2] * 4}
    found = judged(Market(soft_floor_nanos=8), [3, 5, 8, 20], **known)
    assert found == [(False, 0, False), (True, 5, False), (True, 8, False), (True, 8, False)]
    assert judged(Market("first"), [20], price_kind=[EXACT], price_nanos=[4]) == [(True, 20, False)]


def test_the_logs_own_outcome_counts_and_others_are_drawn_and_marked() -> None:
    many = 4_000
    logged = facts(
        line=[0] * many, clicked=[1] * many, converted=[1] * many, value_nanos=[9] * many, click=[0.25] * many,
        conversion=[0.5] * many,
    )  # fmt: skip
    rows = np.arange(many)
    own = outcomes_of(logged, rows, np.zeros(many, np.int64), np.full(many, 5), 1)
    assert own.clicked.all()
    assert not own.click_drawn.any()
    assert set(own.value_nanos.tolist()) == {9}
    other = outcomes_of(logged, rows, np.ones(many, np.int64), np.full(many, 5), 1)
    assert abs(other.clicked.mean() - 0.25) < 0.03
    assert abs(other.converted.sum() / other.clicked.sum() - 0.5) < 0.06
    assert (other.click_drawn == other.clicked).all()
    assert set(other.value_nanos.tolist()) == {0, 5}
    assert (
        other.clicked != outcomes_of(logged, rows, np.ones(many, np.int64), np.full(many, 5), 2).clicked
    ).any()
    nobody = outcomes_of(facts(line=[0]), np.arange(1), np.ones(1, np.int64), np.ones(1, np.int64), 1)
    assert nobody.click_unknown.all()


# -- A/A ----------------------------------------------------------------------------------------------------------


def same_as_logged(path: Path, campaigns: list[Campaign]) -> Replay:
    """The logged policy replayed: wins, spend and clicks of each campaign are the log's, to the nano."""
    done = replay(path, Plan(campaigns, delays=stated(), logged=True))
    tally = History(path).tally().campaigns
    assert {one.id for one in done.lines} >= set(tally)
    for one in done.lines:
        truth = tally[one.id]
        assert (one.impressions, one.spend_nanos, one.clicks) == (truth.won, truth.spend_nanos, truth.clicks)
        assert one.unknown_bids == one.clicks_drawn == 0
    return done


def test_the_logged_policy_gives_the_logged_wins_and_spend(tmp_path: Path) -> None:
    rows = market_rows(900)
    path = written(tmp_path / "h.parquet", rows).path
    done = same_as_logged(path, [campaign(name) for name in ("c1", "c2", "c3")])
    assert sum(one.bids for one in done.lines) == 900 > sum(one.impressions for one in done.lines) > 200


def test_the_logged_policy_of_a_season_gives_its_wins_and_spend(tmp_path: Path) -> None:
    write_season(tmp_path / "logs", season(6, 1_500))
    convert(tmp_path / "logs", tmp_path / "h.parquet")
    same_as_logged(
        tmp_path / "h.parquet", [campaign("1458", currency="CNY"), campaign("3386", currency="CNY")]
    )


def test_the_logged_policy_of_recorded_impressions_gives_their_spend(tmp_path: Path) -> None:
    """The rows of iPinYou whose bid is known."""
    log = recorded("ipinyou/features.parquet")
    found = [
        row
        for row in read_features(log, sources=all_sources(Kind.FEATURES))
        if row.bid_cpm_micros is not None
    ]
    path = _history(tmp_path, log, found)
    done = same_as_logged(path, campaigns_of(summarise(found), 1))  # type: ignore[arg-type]  # a whole share
    assert sum(one.impressions for one in done.lines) == len(found) > 10_000


def test_a_constant_bid_above_all_prices_buys_what_was_bought_for_what_was_paid(tmp_path: Path) -> None:
    """iPinYou bid 227 to 300 fen: at 301 every logged impression is won again, at its logged price."""
    found = [
        row._replace(bid_cpm_micros=3_010_000) for row in read_auctions(recorded("ipinyou/auctions.parquet"))
    ]
    path = _history(tmp_path, recorded("ipinyou/auctions.parquet"), found[:60_000])
    same_as_logged(path, campaigns_of(summarise(found[:60_000]), 1))  # type: ignore[arg-type]  # a whole share


def _history(folder: Path, log: Path, rows: list[Any]) -> Path:
    meta = ipinyou_meta(log)
    made = (history_row(row, first_price=False) for row in rows)
    return written(folder / "h.parquet", made, currency=meta.currency, clock=meta.clock, wins_only=True).path


# -- replays by the engine ---------------------------------------------------------------------------------------


def spends(done: Replay) -> dict[str, tuple[int, int, int]]:
    return {one.id: (one.bids, one.impressions, one.spend_nanos) for one in done.lines}


def test_a_replay_keeps_budgets_and_says_the_same_again(tmp_path: Path) -> None:
    path = written(tmp_path / "h.parquet", market_rows(4_000)).path
    flight = {"end_ns": BEGIN_NS + 2_000 * SECOND}
    played = [campaign(name, budget_nanos=4 * 10**7, **flight) for name in ("c1", "c2", "c3")]
    plan = Plan(played, delays=stated(), seed=3)
    first, again = replay(path, plan), replay(path, plan)
    assert first.lines == again.lines
    for one in first.lines:
        assert 0.8 * one.budget_nanos < one.spend_nanos <= one.budget_nanos
        assert one.booked_nanos == one.spend_nanos == sum(one.curve_nanos)
        assert one.funnel["bid"] == one.bids
    more = replay(
        path, plan._replace(campaigns=[msgspec.structs.replace(c, budget_nanos=10**9) for c in played])
    )
    assert all(a.spend_nanos < b.spend_nanos for a, b in zip(first.lines, more.lines, strict=True))


def test_processes_change_nothing_but_time(tmp_path: Path) -> None:
    rows = market_rows(600, names=("c1", "c2", "c3", "c4"))
    path = written(tmp_path / "h.parquet", rows).path
    plan = Plan(CAMPAIGNS, delays=stated())
    two, one = replay(path, plan, processes=2), replay(path, plan)
    assert two.lines == one.lines
    assert two.refused == one.refused
    assert two.played == one.played


def test_rows_that_nobody_bids_on_are_counted_by_cause(tmp_path: Path) -> None:
    """Two flights of c1 leave a gap; c2 is asked for by another line item; some rows have no prediction."""
    flights = (
        Flight(start_ns=BEGIN_NS, end_ns=BEGIN_NS + 50 * SECOND),
        Flight(start_ns=BEGIN_NS + 150 * SECOND, end_ns=BEGIN_NS + 300 * SECOND),
    )
    plain = campaign("c1", line_items=(LineItem(id="c1-line", flights=flights),))
    other = campaign("c2", line_items=(LineItem(id="c2-line"),))
    rows = [
        row._replace(
            line_item={"c1": "c1-line", "c2": "c2-line" if n % 3 else "c2-old"}.get(row.campaign or ""),
            click_probability=None if n % 10 == 0 else row.click_probability,
        )
        for n, row in enumerate(market_rows(600, names=("c1", "c2", "c9")))
    ]
    path = written(tmp_path / "h.parquet", rows).path
    gap = [
        row for row in rows
        if row.campaign == "c1" and not any(one.start_ns <= row.offered_ns < one.end_ns for one in flights)
    ]  # fmt: skip
    blind = [
        row for row in rows
        if row.line_item in ("c1-line", "c2-line") and row.click_probability is None and row not in gap
    ]  # fmt: skip
    done = replay(path, Plan((plain, other), delays=stated(), step_s=1.0))
    assert done.refused == {
        "of no campaign of the sheet": sum(row.campaign == "c9" for row in rows),
        "of no line item of the sheet": sum(row.line_item == "c2-old" for row in rows),
        "outside the flights of their line item": len(gap),
        "without a prediction of what their line item pays for": len(blind),
    }
    assert min(len(gap), len(blind)) > 20
    assert done.rows == 600 == done.played + sum(done.refused.values())
    own = next(one for one in done.lines if one.id == "c1-line")
    assert 0 < own.bids <= sum(row.campaign == "c1" for row in rows) - len(gap)
    logged = replay(path, Plan((plain, other), delays=stated(), logged=True))
    assert set(logged.refused) == {"of no campaign of the sheet", "of no line item of the sheet"}


def test_caps_count_what_users_were_shown(tmp_path: Path) -> None:
    """Four users and a cap of two in the whole flight: eight impressions and no more, and all of them bought."""
    cap = (Cap(impressions=2, seconds=3_600),)
    capped = campaign("c1", caps=cap, pacing=Pacing.ASAP, value_nanos=10**9)
    rows = [row._replace(user=n % 4 + 1, campaign="c1") for n, row in enumerate(market_rows(1_000))]
    path = written(tmp_path / "h.parquet", rows).path
    (one,) = replay(path, Plan([capped], delays=stated())).lines
    assert one.impressions == 8
    assert one.funnel["capped"] > 100


def test_notices_that_are_lost_leave_the_ledger_behind_the_exchange(tmp_path: Path) -> None:
    path = written(tmp_path / "h.parquet", market_rows(2_000)).path
    done = replay(path, Plan([campaign("c1")], delays=stated(0.5, 2.0, 0.5)))
    (one,) = done.lines
    assert 0.3 * one.spend_nanos < one.booked_nanos < 0.7 * one.spend_nanos
    assert done.refused == {"of no campaign of the sheet": done.rows - done.played}


def test_a_goal_of_conversions_is_bid_for_by_both_probabilities(tmp_path: Path) -> None:
    rows = [row._replace(conversion_probability=0.5, campaign="c1") for row in market_rows(400)]
    path = written(tmp_path / "h.parquet", rows).path
    whole = replay(path, Plan([campaign("c1", value_nanos=10**8)], delays=stated()))
    half = replay(path, Plan([campaign("c1", value_nanos=2 * 10**8, goal=Goal.CONVERSION)], delays=stated()))
    assert spends(whole) == spends(half)
    none = written(tmp_path / "n.parquet", [row._replace(conversion_probability=None) for row in rows]).path
    (one,) = replay(none, Plan([campaign("c1", goal=Goal.CONVERSION)], delays=stated())).lines
    assert (one.bids, one.funnel["unscored"]) == (0, 400)


def test_a_value_by_the_model_is_bid_for_as_the_row_has_it(tmp_path: Path) -> None:
    """Twice of what is stated, for every row, is what a line item does that states twice as much."""
    rows = [
        row._replace(
            conversion_probability=0.5, click_probability=0.4, campaign="c1", worth_nanos=16 * 10**6,
            converted=None, clicked=None,
        )
        for row in market_rows(400)
    ]  # fmt: skip
    path = written(tmp_path / "h.parquet", rows).path
    done = [
        replay(
            path,
            Plan(
                [campaign("c1", goal=Goal.CONVERSION, value_nanos=value, value_source=source)],
                delays=stated(),
            ),
        )
        for value, source in ((8 * 10**6, "model"), (16 * 10**6, "stated"), (8 * 10**6, "stated"))
    ]
    assert spends(done[0]) == spends(done[1]) != spends(done[2])
    assert done[0].lines[0].value_nanos == done[1].lines[0].value_nanos > 0


def paid_by_conversion(folder: Path, **columns: Any) -> Path:
    """A made market, half of whose clicks convert by prediction; nothing of the outcome is logged."""
    rows = [
        row._replace(
            conversion_probability=0.5, click_probability=0.01 + n % 5 / 100, campaign="c1", converted=None,
            clicked=None, **columns,
        )
        for n, row in enumerate(market_rows(3_000))
    ]  # fmt: skip
    return written(folder / "h.parquet", rows).path


def test_a_target_of_a_conversions_cost_binds_at_its_size(tmp_path: Path) -> None:
    """What conversions cost is by prediction: spend over their expected number."""
    path = paid_by_conversion(tmp_path)
    flight = {"end_ns": BEGIN_NS + 1_500 * SECOND}
    plain = campaign("c1", goal=Goal.CONVERSION, value_nanos=2 * 10**8, budget_nanos=10**11, **flight)

    def played(**changes: Any) -> tuple[LineResult, float]:
        (one,) = replay(path, Plan([msgspec.structs.replace(plain, **changes)], delays=stated())).lines
        return one, one.spend_nanos / (one.expected_clicks * 0.5)

    free, cost = played()
    slack, _ = played(target_cpa_nanos=round(3 * cost))
    assert (slack.spend_nanos, slack.bids) == (free.spend_nanos, free.bids)
    for share in (0.9, 0.7):
        bound, own = played(target_cpa_nanos=round(share * cost))
        assert 0.9 * share < own / cost < 1.03 * share
        assert 0.1 * free.spend_nanos < bound.spend_nanos < free.spend_nanos
    by_item, _ = played(
        line_items=(LineItem(id="c1", target_cpa_nanos=round(0.7 * cost)),), target_cpa_nanos=0
    )
    assert (by_item.spend_nanos, by_item.bids) == (bound.spend_nanos, bound.bids)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"goal": Goal.CONVERSION, "target_cpc_nanos": 5}, "was target_cpc with goal conversion"),
        ({"goal": Goal.CLICK, "target_cpa_nanos": 5}, "was target_cpa with goal click"),
        (
            {"goal": Goal.VALUE, "target_cpa_nanos": 5, "value_source": "model"},
            "was target_cpa with value_source model",
        ),
    ],
)
def test_a_target_that_a_row_cannot_tell_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = written(tmp_path / "h.parquet", market_rows(5)).path
    plan = Plan([campaign("c1", **changes)], delays=stated())
    with pytest.raises(InputError, match=f"line item c1 must count what its score does.*{said}"):
        replay(path, plan)
    assert replay(path, plan._replace(logged=True)).lines[0].bids > 0


@pytest.mark.parametrize("value_nanos", [48 * 10**8, 96 * 10**7, 48 * 10**6])
def test_what_a_model_says_is_bounded_by_what_is_stated(tmp_path: Path, value_nanos: int) -> None:
    """From a tenth to ten times: a replay bids and counts as one of a history that says the bounded value."""
    said = np.array([10**7, 10**8, 10**9, 10**10])
    path = paid_by_conversion(tmp_path)
    rows = [
        HistoryRow(**row | {"worth_nanos": int(said[n % 4])})
        for n, row in enumerate(row for table in History(path).tables() for row in table.to_pylist())
    ]
    bounded = np.clip(said, value_nanos // 10, value_nanos * 10)
    mended = [row._replace(worth_nanos=int(bounded[n % 4])) for n, row in enumerate(rows)]
    plain = campaign("c1", goal=Goal.CONVERSION, value_source="model", budget_nanos=10**11)
    plan = Plan([msgspec.structs.replace(plain, value_nanos=value_nanos)], delays=stated())
    (one,) = replay(written(tmp_path / "said.parquet", rows).path, plan).lines
    # Stated at ten times the least, no bound of the second touches what is said.
    wide = Plan([msgspec.structs.replace(plain, value_nanos=10 * int(bounded.min()))], delays=stated())
    (other,) = replay(written(tmp_path / "mended.parquet", mended).path, wide).lines
    assert (one.bids, one.impressions, one.spend_nanos) == (other.bids, other.impressions, other.spend_nanos)
    assert one.value_nanos == other.value_nanos > 0


def test_pieces_are_played_again_by_what_the_second_plan_states(tmp_path: Path) -> None:
    path = paid_by_conversion(tmp_path, worth_nanos=48 * 10**7)
    first, second = (
        Plan(
            [
                campaign(
                    "c1", goal=Goal.CONVERSION, value_source="model", value_nanos=value, budget_nanos=10**11
                )
            ],
            delays=stated(),
        )
        for value in (48 * 10**8 * 4, 48 * 10**5)
    )
    run = Run(History(path), first)
    pieces = list(run.pieces())
    (again,) = run.again(second).play_pieces(pieces)
    assert again == replay(path, second).lines[0]
    assert again.spend_nanos < replay(path, first).lines[0].spend_nanos


def test_a_goal_of_value_is_bid_for_as_one_of_conversions(tmp_path: Path) -> None:
    rows = [row._replace(conversion_probability=0.5, campaign="c1") for row in market_rows(400)]
    path = written(tmp_path / "h.parquet", rows).path
    done = [
        replay(path, Plan([campaign("c1", goal=goal)], delays=stated()))
        for goal in (Goal.CONVERSION, Goal.VALUE, Goal.CLICK)
    ]
    assert spends(done[0]) == spends(done[1]) != spends(done[2])


def test_line_items_of_a_replay_are_paid_by_click_whatever_they_state() -> None:
    items = (LineItem(id="a", goal=Goal.VALUE, value_source="model"), LineItem(id="b"))
    found = by_outcome(
        campaign("c1", goal=Goal.CONVERSION, value_source="model", line_items=items)
    ).line_items
    assert [(one.goal, one.value_source) for one in found] == [(Goal.CLICK, None), (None, None)]


def test_fitted_delays_are_those_of_the_wins(tmp_path: Path) -> None:
    rows = [
        won(n, 10**6, told_ns=BEGIN_NS + n * SECOND + 5 + n % 3, shown_ns=BEGIN_NS + n * SECOND + 105 + n % 3)
        for n in range(60)
    ]
    history = written(tmp_path / "h.parquet", rows)
    found = fit_delays(history.tables(FITTED), stated(lost_share=0.1))
    assert sorted(set(found.result.quantiles_ns.tolist())) == [5, 6, 7]
    assert set(found.bill.quantiles_ns.tolist()) == {100}
    assert found.lost_share == 0.1
    few = written(tmp_path / "few.parquet", rows[:19])
    assert fit_delays(few.tables(FITTED), stated(3.0)).result.quantiles_ns.tolist() == [3 * SECOND]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["replay", *map(str, arguments)])


def test_the_command_plays_a_sheet_on_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = written(tmp_path / "h.parquet", market_rows(500)).path
    sheet = tmp_path / "sheet.json"
    sheet.write_text(to_json(CAMPAIGNS))
    done = command(path, "--campaigns", sheet, "--json")
    assert done.exit_code == 0, done.output
    found = orjson.loads(done.output)
    assert {one["id"] for one in found["lines"]} == {"c1", "c2", "c3"}
    assert found["rows"] == 500
    for one in found["lines"]:
        spend, value = one["spend_nanos"], one["value_nanos"]
        assert one["roi"] == (None if not spend else pytest.approx((value - spend) / spend))
        for cost, events in (("cpc_nanos", one["clicks"]), ("cpa_nanos", one["conversions"])):
            assert one[cost] == (None if not events else (2 * spend + events) // (2 * events))
    assert any(one["cpa_nanos"] is None for one in found["lines"])
    told = command(
        path, "--campaigns", sheet, "--price-rule", "first", "--soft-floor", "0.5", "--notice-delay", "2"
    )
    assert told.exit_code == 0, told.output
    assert "500 opportunities" in told.output
    assert max(map(len, told.output.splitlines())) <= 80
    assert "(value - spend) / spend" in " ".join(told.output.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "needs --campaigns"),
        (("--price-rule", "third"), "--price-rule must be one of log, first, second"),
        (("--policy", "none"), "--policy must be one of engine, logged"),
        (("--soft-floor", "x"), "--soft-floor must be a decimal number"),
    ],
)
def test_what_the_command_does_not_take_is_named(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    path = written(tmp_path / "h.parquet", [unbid(1)]).path
    sheet = tmp_path / "sheet.json"
    sheet.write_text(to_json(CAMPAIGNS))
    with_sheet = ("--campaigns", sheet) if options else ()
    done = command(path, *with_sheet, *options)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


def test_flights_and_currencies_that_do_not_meet_the_history_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "h.parquet", market_rows(5)).path
    with pytest.raises(InputError, match="flights of the sheet must meet"):
        replay(path, Plan([campaign("c1", start_ns=BEGIN_NS + DAY, end_ns=BEGIN_NS + 2 * DAY)]))
    with pytest.raises(InputError, match="campaigns must be in USD"):
        replay(path, Plan([campaign("c1", currency="EUR")]))
