"""The benchmarks' own arithmetic: what they ask, how they count, what they refuse to call a result."""

import inspect
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.bench_core import Figures, ratios
from benchmarks.bench_core import main as core_main
from benchmarks.demand import BLOCK, Demand
from benchmarks.figures import Cpu, Round, batch_sizes, open_loop, saturated, spread
from benchmarks.floor import Floor
from benchmarks.inventory import Inventory
from benchmarks.load import NOT_YET, Bank, Load, Records, schedule
from benchmarks.market import KEY, Market, engine_settings, make_market, trained
from benchmarks.naive_bidder import NaiveBidder
from benchmarks.peers import LinearScan, Predict, SingleRowFast, hour_text, walk
from benchmarks.processes import cpu_seconds
from benchmarks.profile import STAGES, Profile, count_bytecodes, stage_of
from benchmarks.sample import FullRows, Sample, take_sample
from benchmarks.saturation import main, requests_per_cpu_second
from benchmarks.stages import BenchmarkError, check_run, share_of
from benchmarks.traffic import Bodies
from benchmarks.typed import decode_typed
from benchmarks.workload import write_config, write_models
from bidder.core.campaigns import DIMENSIONS
from bidder.core.engine import Engine
from bidder.core.inbox import Inbox
from bidder.core.messages import (
    BID_REQUESTS,
    CAMPAIGNS,
    EXPOSURES,
    LEASES,
    SETTLEMENTS,
    SettlementKind,
    Settlements,
)
from bidder.core.token import Scope, TokenFields, sign
from bidder.memory import forget_texts
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from bidder.runtime.partitioner import partition_of
from bidder.store.model import load_model
from models.artifact import load_bundle

NO_CPU = Cpu(None, None, None)
NO_BATCHES = batch_sizes(Counter())
MS = 1_000_000
COUNT = 300


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(bodies=COUNT)


@pytest.fixture(scope="module")
def bodies(market: Market) -> Bodies:
    return market.bodies


def records(*rows: tuple[int, int, bool]) -> Records:
    """Columns of (due, answered, bid) rows, times in milliseconds."""
    due, answered, bid = zip(*rows, strict=True)
    times = [np.array([at if at == NOT_YET else at * MS for at in column]) for column in (due, answered)]
    return Records(times[0], times[1], np.array(bid))


def response(number: int, campaign_id: str = "cmp-00000", cap_nanos: int = 2_500_000, user: int = 7) -> bytes:
    """An answer with one bid, its token signed."""
    name = number.to_bytes(12, "big")
    fields = TokenFields(
        name, campaign_id, "seat-1", 1, -1, cap_nanos, "USD", 10, 20, "li-00000", "cr-0-0", 5, user=user
    )
    nurl = f"http://127.0.0.1:8080/win?t={sign(fields, KEY, Scope.EXCHANGE)}&p=${{AUCTION_PRICE}}"
    return msgspec.json.encode({"id": f"{number:012d}", "seatbid": [{"bid": [{"id": "b", "nurl": nurl}]}]})


# -- requests


def test_a_body_carries_its_number_as_id(bodies: Bodies) -> None:
    assert decode(bodies.body(42)).request.id == "000000000042"


def test_bodies_come_again_with_other_ids_transactions_and_users(bodies: Bodies) -> None:
    number = next(n for n in range(COUNT) if b'"buyeruid"' in bodies.body(n))
    first, again = (msgspec.json.decode(bodies.body(n)) for n in (number, number + COUNT))
    assert first["id"] != again["id"]
    assert first["source"]["tid"] != again["source"]["tid"]
    assert first["user"]["buyeruid"] != again["user"]["buyeruid"]
    assert first["imp"] == again["imp"]


def test_bodies_are_the_same_for_a_seed(market: Market) -> None:
    made = [Bodies(Inventory(market.seed), 20, seed, 100).bodies(0, 20) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_a_request_goes_to_the_partition_of_its_user(bodies: Bodies) -> None:
    made = bodies.outbound(2, 8)
    assert (made.topic, made.key, made.partition) == (
        BID_REQUESTS,
        bodies.key(2),
        partition_of(bodies.key(2), 8),
    )


def test_requests_are_of_about_two_kilobytes(bodies: Bodies) -> None:
    sizes = sorted(len(bodies.body(number)) for number in range(COUNT))
    assert 1_900 < bodies.mean_bytes < 2_300
    assert sizes[0] > 1_400
    assert sizes[COUNT * 95 // 100] < 2_700


def test_no_request_has_a_value_of_a_wrong_type(bodies: Bodies) -> None:
    assert sum(decode(bodies.body(number)).repaired for number in range(COUNT)) == 0


def test_the_floor_reads_what_the_bidder_reads(bodies: Bodies) -> None:
    for number in range(COUNT):
        ours, floor = decode(bodies.body(number)).request, decode_typed(bodies.body(number))
        assert (floor.id, len(floor.imp), floor.imp[0].bidfloor) == (
            ours.id,
            len(ours.imp),
            ours.imp[0].bidfloor,
        )
        assert floor.badv


def test_a_schedule_keeps_its_rate_and_its_length() -> None:
    due = schedule(3, 2_000.0, 10.0)
    assert len(due) == pytest.approx(20_000, rel=0.03)
    assert due[-1] < 10e9
    assert (np.diff(due, prepend=0) >= 0).all()


def test_a_schedule_is_the_same_for_a_seed() -> None:
    assert (schedule(3, 100.0, 2.0) == schedule(3, 100.0, 2.0)).all()
    assert len(schedule(3, 100.0, 2.0)) != len(schedule(4, 100.0, 2.0))


# -- answers and settlements


def told(bank: Bank) -> list[tuple[SettlementKind, int]]:
    """Kinds and amounts of all settlements since it was last asked."""
    records = [msgspec.json.decode(value, type=Settlements) for value in bank.tell().settlements]
    return [(row.kind, row.amount_nanos) for record in records for row in record.rows]


def test_a_latency_runs_from_the_scheduled_moment(market: Market) -> None:
    load = Load(Bank(market))
    number = load.send(due_ns=1_000)
    load.receive(response(number), at_ns=9_000)
    found = load.records()
    assert found.answered_ns[0] - found.due_ns[0] == 8_000


def test_what_has_no_answer_is_outstanding(market: Market) -> None:
    load = Load(Bank(market))
    load.receive(response(load.send(0)), 1)
    load.send(2)
    assert load.outstanding == 1
    assert load.records().answered_ns.tolist() == [1, NOT_YET]


@pytest.mark.parametrize("number", [0, 7])
def test_an_answer_again_or_unasked_is_counted_and_settles_nothing(market: Market, number: int) -> None:
    bank = Bank(market)
    load = Load(bank)
    load.receive(response(load.send(0)), 1)
    load.receive(response(number), 2)
    assert (load.repeated, load.answered, bank.bids) == (1, 1, 1)


def test_an_answer_without_a_bid_is_no_bid(market: Market) -> None:
    bank = Bank(market)
    load = Load(bank)
    load.receive(msgspec.json.encode({"id": f"{load.send(0):012d}", "nbr": 2}), 1)
    assert load.records().bid.tolist() == [False]
    assert told(bank) == []


def test_one_bid_in_four_is_won_and_posted_and_the_others_are_voided(market: Market) -> None:
    bank = Bank(market)
    bank.settle_responses(response(number) for number in range(8))
    won = [(SettlementKind.WON, 0), (SettlementKind.POSTED, 2_000_000)]
    assert told(bank) == [*[(SettlementKind.VOIDED, 0)] * 3, *won] * 2


def test_a_win_is_posted_at_four_fifths_of_what_was_reserved(market: Market) -> None:
    bank = Bank(market)
    bank.settle_responses(response(number) for number in range(4))
    assert bank.posted_nanos["cmp-00000"] == 2_000_000


def test_settlements_travel_in_bulk_and_once(market: Market) -> None:
    bank = Bank(market)
    bank.settle_responses(response(number) for number in range(600))
    assert [len(msgspec.json.decode(value)["rows"]) for value in bank.tell().settlements] == [500, 250]
    assert bank.tell() == ([], [])


def test_a_won_impression_of_a_known_user_is_an_exposure(market: Market) -> None:
    bank = Bank(market)
    bank.settle_responses(response(number, user=9 if number < 4 else 0) for number in range(8))
    assert [msgspec.json.decode(value)["user"] for value in bank.tell().exposures] == [f"{9:016x}"]


def test_an_engine_takes_all_that_the_bank_says(market: Market) -> None:
    engine = Engine(market.settings, KEY, None, "benchmark")
    bank, inbox = Bank(market), Inbox(engine)
    inbox.apply([(CAMPAIGNS, value) for _, value in bank.changes()], market.origin_ns)
    inbox.apply([(LEASES, value) for _, value in bank.leases("benchmark")], market.origin_ns)
    bank.settle_responses(response(number) for number in range(4))
    said = bank.tell()
    inbox.apply([(SETTLEMENTS, value) for value in said.settlements], market.origin_ns)
    inbox.apply([(EXPOSURES, value) for value in said.exposures], market.origin_ns)
    assert not inbox.refused
    assert (engine.epoch, inbox.campaigns) == (1, BLOCK // 4)
    purse = engine.wallet.purse
    assert purse.posted(purse.account("cmp-00000")) == bank.posted_nanos["cmp-00000"]


# -- the market


def test_every_dimension_is_used_by_some_line_item(market: Market) -> None:
    engine = Engine(market.settings, KEY, None, "benchmark")
    engine.adopt_campaigns(market.campaigns, 1, market.origin_ns, market.advertisers)
    assert {dimension.name.lower() for dimension in engine.table.dimensions} >= set(DIMENSIONS)


def test_line_items_come_by_the_hundred(market: Market) -> None:
    with pytest.raises(ValueError, match="multiple of 100"):
        Demand(market.inventory, 150, 7, 1)


def test_more_line_items_leave_as_many_candidates(market: Market, sample: Sample) -> None:
    more = take_sample(make_market(1_000, bodies=COUNT), market.model(), COUNT)
    assert more.candidates == pytest.approx(sample.candidates, rel=0.3)
    assert 8 <= sample.candidates <= 13


def test_growing_markets_leave_more_candidates(market: Market, sample: Sample) -> None:
    more = take_sample(make_market(300, growing=True, bodies=COUNT), market.model(), 100)
    assert more.candidates > 2 * sample.candidates


def test_a_good_part_of_the_requests_get_a_bid(market: Market) -> None:
    engine = market.engine(market.model())
    answers = engine.decide(market.bodies.bodies(0, COUNT), [0] * COUNT, market.origin_ns)
    assert 0.25 < sum(answer.bid for answer in answers) / COUNT < 0.6
    assert {Reason.BELOW_FLOOR, Reason.BID} <= engine.reasons.keys()


def test_the_worker_reads_the_settings_of_the_market(market: Market, tmp_path: Path) -> None:
    config = write_config(tmp_path / "clearbid.toml", market, "127.0.0.1:9092", "")
    assert config.engine_settings() == engine_settings()


def test_the_models_of_the_market_are_read_back(market: Market, tmp_path: Path) -> None:
    found = load_model(write_models(trained(market.seed), tmp_path / "model"))
    ours = market.model()
    assert found.table.leaf_values.tobytes() == ours.table.leaf_values.tobytes()
    assert found.table.knots_probability.tobytes() == ours.table.knots_probability.tobytes()
    assert found.table.n_trees == 200


# -- figures


def test_a_saturated_rate_counts_answers_inside_the_stage() -> None:
    seen = records((0, 10, True), (0, 20, False), (0, 30, True), (0, NOT_YET, False))
    found = saturated(seen, 10 * MS, 30 * MS, window=4, cpu=Cpu(0.5, None, None), batches=NO_BATCHES)
    assert found.requests_per_s == pytest.approx(100.0)
    assert found.per_core == pytest.approx(200.0)
    assert found.bid_rate == 0.5


def test_without_cpu_time_nothing_is_said_per_core() -> None:
    seen = records((0, 10, True))
    assert saturated(seen, 0, 20 * MS, window=1, cpu=NO_CPU, batches=NO_BATCHES).per_core is None


def test_an_open_loop_measures_what_was_due_inside_the_stage() -> None:
    seen = records((0, 500, True), (10, 13, True), (12, 17, False), (99, 400, True))
    found = open_loop(seen, 10 * MS, 99 * MS, tmax_ms=250, cpu=NO_CPU, batches=NO_BATCHES)
    assert (found.requests, found.p50_ms, found.max_ms, found.bid_rate) == (2, 4.0, 5.0, 0.5)


def test_a_request_without_an_answer_is_late() -> None:
    seen = records((1, 2, True), (1, NOT_YET, False), (1, 300, True), (1, 251, True))
    found = open_loop(seen, 0, 10 * MS, tmax_ms=250, cpu=NO_CPU, batches=NO_BATCHES)
    assert (found.late, found.unanswered) == (0.5, 1)


def test_batch_sizes_are_quantiles_over_batches() -> None:
    found = batch_sizes(Counter({1: 8, 100: 2}))
    assert (found.mean, found.p10, found.p50, found.p90, found.batches) == (20.8, 1, 1, 100, 10)


def test_a_spread_is_median_least_and_greatest() -> None:
    found = spread([3.0, 1.0, 8.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 8.0)


def test_cpu_shares_are_differences_over_seconds() -> None:
    assert share_of(Cpu(1.0, None, 2.0), Cpu(3.0, None, 2.5), 4.0) == Cpu(0.5, None, 0.125)


def a_round(**changes: object) -> Round:
    closed = saturated(
        records((0, 10, True)), 0, 100 * MS, window=1, cpu=Cpu(0.001, None, None), batches=NO_BATCHES
    )
    loop = open_loop(records((0, 1, True)), 0, MS, tmax_ms=250, cpu=NO_CPU, batches=NO_BATCHES)
    return msgspec.structs.replace(Round(closed, loop), **changes)


def test_the_share_of_the_floor_is_of_the_workers_cpu_time() -> None:
    assert a_round(floor_us=20.0).of_floor == pytest.approx(
        0.2
    )  # 10,000 requests a CPU second are 100 us each


def test_what_the_worker_does_not_spend_alone_is_the_clients() -> None:
    assert a_round(alone_us=60.0).client_share == pytest.approx(0.4)


def test_shares_that_were_not_measured_are_none() -> None:
    assert (a_round().of_floor, a_round().client_share) == (None, None)


def test_a_process_that_is_gone_has_no_cpu_time() -> None:
    assert cpu_seconds(None) is None
    assert cpu_seconds(2**31 - 1) is None


# -- what is no result


def answered_load(market: Market, count: int = 2) -> tuple[Load, Bank]:
    bank = Bank(market)
    load = Load(bank)
    for _ in range(count):
        load.receive(response(load.send(0)), 1)
    return load, bank


def test_a_run_in_which_all_agrees_passes(market: Market) -> None:
    load, bank = answered_load(market)
    check_run(load, bank, requests=2, posted_nanos=dict(bank.posted_nanos))


def test_a_request_decided_twice_spoils_a_run(market: Market) -> None:
    load, bank = answered_load(market)
    with pytest.raises(BenchmarkError, match="the worker decided 3"):
        check_run(load, bank, requests=3, posted_nanos=bank.posted_nanos)


def test_a_request_without_an_answer_spoils_a_run(market: Market) -> None:
    load, bank = answered_load(market)
    load.send(0)
    with pytest.raises(BenchmarkError, match="1 had no answer"):
        check_run(load, bank, requests=3, posted_nanos=bank.posted_nanos)


def test_a_repeated_answer_spoils_a_run(market: Market) -> None:
    load, bank = answered_load(market)
    load.receive(response(0), 2)
    with pytest.raises(BenchmarkError, match="1 came again"):
        check_run(load, bank, requests=2, posted_nanos=bank.posted_nanos)


def test_books_that_differ_by_a_nano_spoil_a_run(market: Market) -> None:
    load, bank = answered_load(market, 4)
    wrong = bank.posted_nanos | {"cmp-00000": bank.posted_nanos["cmp-00000"] + 1}
    with pytest.raises(BenchmarkError, match="must have posted"):
        check_run(load, bank, requests=4, posted_nanos=wrong)


# -- rivals


@pytest.fixture(scope="module")
def sample(market: Market) -> Sample:
    return take_sample(market, market.model(), COUNT)


@pytest.fixture(scope="module")
def engine(market: Market) -> Engine:
    return market.engine(market.model())


def test_both_ways_into_lightgbm_score_alike(market: Market, engine: Engine, sample: Sample) -> None:
    texts, full = trained(market.seed).texts, FullRows(market.model(), engine)
    whole, fast = Predict(texts), SingleRowFast(texts, len(market.model().spec))
    for one in sample.requests[0] + sample.requests[1] + sample.requests[2]:
        rows = full.of(one)
        assert [scores.tolist() for scores in whole.scores(rows)] == fast.scores(rows)
    fast.close()


def test_the_floor_scores_as_lightgbm_does(market: Market, engine: Engine, sample: Sample) -> None:
    model, raw = market.model(), Predict(trained(market.seed).texts)
    click_only = np.zeros(len(engine.table), dtype=np.bool_)
    floor = Floor(sample, model, model.line_masks(engine.table.lines), click_only)
    full, knots = FullRows(model, engine), trained(market.seed).knots[0]
    wanted = [np.interp(raw.scores(full.of(one))[0], *knots) for each in sample.requests[:8] for one in each]
    assert floor.score(floor.prepare(0, 8)) == pytest.approx(np.concatenate(wanted), abs=1e-12)


def test_the_loop_admits_whatever_the_table_does(market: Market, engine: Engine) -> None:
    """Its hours are those of UTC and it obeys no law, so line items that go by hours or segments are left out."""
    lines = engine.table.lines
    scan, hour = LinearScan(lines), hour_text(market.origin_ns)
    left_out = {row for row, line in enumerate(lines) if {"hour", "segment"} & line.rules.keys()}
    admitted = 0
    for number in range(COUNT, 2 * COUNT):
        before = engine.funnel.stages[:, 0].copy()
        engine.decide([market.bodies.body(number)], [0], market.origin_ns)
        rows = set(np.flatnonzero(engine.funnel.stages[:, 0] - before).tolist()) - left_out
        admitted += len(rows)
        assert rows <= set(scan.candidates(walk(market.bodies.body(number), hour)))
    assert admitted > 5 * COUNT


@pytest.fixture(scope="module")
def naive(market: Market, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> NaiveBidder:
    bundle = load_bundle(write_models(trained(market.seed), tmp_path_factory.mktemp("naive")))
    return NaiveBidder(bundle, engine.table.lines, market.origin_ns)


def test_the_naive_bidder_bids_at_or_above_the_floor(market: Market, naive: NaiveBidder) -> None:
    prices = 0
    for number in range(60):
        request = msgspec.json.decode(market.bodies.body(number))
        answer = msgspec.json.decode(naive.answer(market.bodies.body(number)))
        assert answer["id"] == request["id"]
        for seat in answer["seatbid"]:
            prices += 1
            assert seat["bid"][0]["price"] >= request["imp"][0].get("bidfloor", 0.0) - 1e-6
    assert prices > 10


def test_requests_per_cpu_second_counts_cpu_time_alone(bodies: Bodies) -> None:
    def lazy(body: bytes) -> bytes:
        time.sleep(0.004)  # by the wall at most 250 a second
        return body

    assert requests_per_cpu_second(lazy, bodies, 0.2) > 1_000


# -- the core's table


def test_ratios_are_of_the_same_round() -> None:
    names = ("floor: typed decode", "floor: scores", "scores: one candidate", "scores: all candidates")
    names += ("peer: JSON and walk", "peer: loop over 100 line items", "peer: Booster.predict")
    us = {name: [2.0, 4.0] for name in (*names, "peer: LightGBM single-row fast", "1,000 line items")}
    us |= {"100 line items": [4.0, 16.0], "scores: all candidates": [101.0, 202.0]}
    figures = Figures(
        machine={}, request_bytes=0, bid_rate=0, candidates={}, us=us, build_s={}, profile={}, bytecodes={}
    )
    found = ratios(figures)
    assert found["floor / ours"] == spread([1.0, 0.5])
    assert found["1,000 line items / 100"] == spread([0.5, 0.25])
    assert found["one more candidate, CTR + CVR, us"] == spread([1.0, 2.0])


def test_a_profile_gives_every_sample_a_stage(market: Market) -> None:
    engine = market.engine(market.model())
    profile = Profile()
    with profile.running():
        end_s, number = time.monotonic() + 0.5, 0
        while time.monotonic() < end_s:
            engine.decide(market.bodies.bodies(number, 64), [0] * 64, market.origin_ns)
            number += 64
    assert sum(profile.shares.values()) == pytest.approx(1.0)
    assert set(profile.samples) <= set(STAGES)
    assert profile.samples["other"] < 0.3 * sum(profile.samples.values())


def test_bytecodes_are_the_same_for_the_same_work(market: Market) -> None:
    def counted() -> dict[str, float]:
        forget_texts()
        engine = market.engine(None)
        body = market.bodies.body(0)
        engine.decide([body], [0], market.origin_ns)
        return count_bytecodes(lambda: engine.decide([market.bodies.body(COUNT)], [0], market.origin_ns), 1)

    found = counted()
    assert found == counted()
    assert found["decode"] > 10
    assert set(found) <= set(STAGES)


def test_outside_of_a_decision_there_is_no_stage() -> None:
    assert stage_of(inspect.currentframe()) is None


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--rounds", "0"], ["--lines", "150"]])
@pytest.mark.parametrize("program", [main, core_main])
def test_impossible_settings_end_with_2(
    program: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(arguments) == 2
    assert "must be > 0" in capsys.readouterr().err
