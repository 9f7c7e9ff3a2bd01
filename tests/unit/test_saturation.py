"""The saturation benchmark's own arithmetic: what it sends, how it counts, what it refuses to call a result."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from benchmarks.bench_decide import SEAMS, varied
from benchmarks.figures import Cpu, batch_sizes, open_loop, saturated, spread
from benchmarks.load import NOT_YET, Bank, Load, Records, schedule
from benchmarks.naive_bidder import NaiveBidder
from benchmarks.processes import cpu_seconds
from benchmarks.saturation import main, requests_per_cpu_second
from benchmarks.stages import BenchmarkError, check_run, share_of
from benchmarks.workload import Bodies, split_id
from bidder.core.engine import Engine
from bidder.core.inbox import Inbox
from bidder.core.messages import BID_REQUESTS, LEASES, SETTLEMENTS
from bidder.openrtb.codec import decode
from bidder.runtime.partitioner import partition_of
from models.artifact import ModelBundle, load_bundle
from models.dataset import table_from_arrow
from models.train import train_bundle
from simulator.logs.requests import RequestEncoder
from tests.support.data import row
from tests.support.factories import KEY, SETTINGS, campaign
from tests.support.training import DECLARATIONS, make_table

NO_CPU = Cpu(None, None, None)
NO_BATCHES = batch_sizes(Counter())
MS = 1_000_000


def bodies(count: int = 3) -> Bodies:
    return Bodies([row(id=f"row-{n}", user_id=f"u{n}") for n in range(count)], RequestEncoder())


def records(*rows: tuple[int, int, bool]) -> Records:
    """Columns of (due, answered, bid) rows, times in milliseconds."""
    due, answered, bid = zip(*rows, strict=True)
    times = [np.array([at if at == NOT_YET else at * MS for at in column]) for column in (due, answered)]
    return Records(times[0], times[1], np.array(bid))


def response(number: int, campaign_id: str = "c1", price: float = 2.5, bid_id: str = "a" * 16) -> bytes:
    bid = {"id": bid_id, "price": price, "cid": campaign_id}
    return msgspec.json.encode({"id": f"{number:012d}", "seatbid": [{"bid": [bid]}]})


# -- requests


def test_a_body_carries_its_number_as_id() -> None:
    assert decode(bodies().body(42)).request.id == "000000000042"


def test_bodies_come_again_under_other_ids() -> None:
    made = bodies(3)
    assert split_id(made.body(1))[1] == split_id(made.body(4))[1]
    assert made.body(1) != made.body(4)


def test_a_request_goes_to_the_partition_of_its_user() -> None:
    made = bodies().outbound(2, 8)
    assert (made.topic, made.key, made.partition) == (BID_REQUESTS, b"u2", partition_of(b"u2", 8))


def test_the_mean_size_is_of_what_is_sent() -> None:
    made = bodies(3)
    assert made.mean_bytes == sum(len(made.body(n)) for n in range(3)) / 3


def test_a_body_without_its_id_first_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with its id"):
        split_id(b'{"imp":[],"id":"r"}')


def test_a_schedule_keeps_its_rate_and_its_length() -> None:
    due = schedule(3, 2_000.0, 10.0)
    assert len(due) == pytest.approx(20_000, rel=0.03)
    assert due[-1] < 10e9
    assert (np.diff(due, prepend=0) >= 0).all()


def test_a_schedule_is_the_same_for_a_seed() -> None:
    assert (schedule(3, 100.0, 2.0) == schedule(3, 100.0, 2.0)).all()
    assert len(schedule(3, 100.0, 2.0)) != len(schedule(4, 100.0, 2.0))


# -- answers and settlements


def test_a_latency_runs_from_the_scheduled_moment() -> None:
    load = Load(Bank([campaign()]))
    number = load.send(due_ns=1_000)
    load.receive(response(number), at_ns=9_000)
    found = load.records()
    assert found.answered_ns[0] - found.due_ns[0] == 8_000


def test_what_has_no_answer_is_outstanding() -> None:
    load = Load(Bank([campaign()]))
    load.receive(response(load.send(0)), 1)
    load.send(2)
    assert load.outstanding == 1
    assert load.records().answered_ns.tolist() == [1, NOT_YET]


@pytest.mark.parametrize("number", [0, 7])
def test_an_answer_again_or_unasked_is_counted_and_settles_nothing(number: int) -> None:
    load = Load(Bank([campaign()]))
    load.receive(response(load.send(0)), 1)
    assert load.receive(response(number), 2) == []
    assert (load.repeated, load.answered) == (1, 1)


def test_an_answer_without_a_bid_is_no_bid() -> None:
    load = Load(Bank([campaign()]))
    number = load.send(0)
    assert load.receive(msgspec.json.encode({"id": f"{number:012d}", "nbr": 2}), 1) == []
    assert load.records().bid.tolist() == [False]


def test_one_bid_in_four_is_won_and_the_others_are_voided() -> None:
    load = Load(Bank([campaign()]))
    told = [load.receive(response(load.send(0)), 1) for _ in range(8)]
    assert [len(one) for one in told] == [1, 1, 1, 2, 1, 1, 1, 2]


def test_a_win_is_posted_at_four_fifths_of_its_price() -> None:
    bank = Bank([campaign()])
    load = Load(bank)
    for _ in range(4):
        load.receive(response(load.send(0), price=2.5), 1)
    assert bank.posted_nanos == {"c1": 2_000_000}


def test_an_engine_takes_campaigns_leases_and_settlements_of_the_bank() -> None:
    engine = Engine(SETTINGS, KEY, None, "start")
    bank = Bank([campaign("c1"), campaign("c2")])
    inbox = Inbox(engine)
    inbox.apply([("campaigns", value) for _, value in bank.changes()], 0)
    inbox.apply([(LEASES, value) for _, value in bank.leases("start")], 0)
    load = Load(bank)
    settled = load.receive(response(load.send(0)), 1)
    inbox.apply([(SETTLEMENTS, value) for value in settled], 0)
    assert not inbox.refused
    assert (engine.epoch, inbox.campaigns, len(settled)) == (1, 2, 1)


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


def test_a_process_that_is_gone_has_no_cpu_time() -> None:
    assert cpu_seconds(None) is None
    assert cpu_seconds(2**31 - 1) is None


# -- what is no result


def answered_load(count: int = 2) -> tuple[Load, Bank]:
    bank = Bank([campaign()])
    load = Load(bank)
    for _ in range(count):
        load.receive(response(load.send(0)), 1)
    return load, bank


def test_a_run_in_which_all_agrees_passes() -> None:
    load, bank = answered_load()
    check_run(load, bank, requests=2, posted_nanos={"c1": 0})


def test_a_request_decided_twice_spoils_a_run() -> None:
    load, bank = answered_load()
    with pytest.raises(BenchmarkError, match="the worker decided 3"):
        check_run(load, bank, requests=3, posted_nanos={"c1": 0})


def test_a_request_without_an_answer_spoils_a_run() -> None:
    load, bank = answered_load()
    load.send(0)
    with pytest.raises(BenchmarkError, match="1 had no answer"):
        check_run(load, bank, requests=3, posted_nanos={"c1": 0})


def test_a_repeated_answer_spoils_a_run() -> None:
    load, bank = answered_load()
    load.receive(response(0), 2)
    with pytest.raises(BenchmarkError, match="1 came again"):
        check_run(load, bank, requests=2, posted_nanos={"c1": 0})


def test_books_that_differ_by_a_nano_spoil_a_run() -> None:
    load, bank = answered_load(4)
    check_run(load, bank, requests=4, posted_nanos={"c1": 2_000_000})
    with pytest.raises(BenchmarkError, match="must have posted"):
        check_run(load, bank, requests=4, posted_nanos={"c1": 2_000_001})


# -- rival and variations


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("bundle")
    train_bundle(table_from_arrow(make_table(), DECLARATIONS, source="made"), DECLARATIONS, folder)
    return load_bundle(folder)


def test_the_naive_bidder_bids_at_or_above_the_floor(bundle: ModelBundle) -> None:
    naive = NaiveBidder(bundle, [campaign(value_nanos=10**9)], 0)
    answer = msgspec.json.decode(naive.answer(bodies().body(1)))
    assert answer["id"] == "000000000001"
    assert answer["seatbid"][0]["bid"][0]["price"] >= 0.5


def test_the_naive_bidder_passes_on_other_sizes(bundle: ModelBundle) -> None:
    other = Bodies([row(w=728, h=90)], RequestEncoder())
    answer = msgspec.json.decode(NaiveBidder(bundle, [campaign()], 0).answer(other.body(0)))
    assert answer["seatbid"] == []


def test_the_naive_bidder_scores_as_the_models_do(bundle: ModelBundle) -> None:
    from models.scorer import Scorer

    naive = NaiveBidder(bundle, [campaign()], 0)
    request = msgspec.json.decode(bodies().body(1))
    rows = naive.rows(request, request["imp"][0], [campaign()])
    ours = Scorer(bundle, check_rows=1).probabilities(rows)
    for place, name in enumerate(("ctr", "cvr")):
        assert naive.probabilities(name, rows) == pytest.approx(ours[:, place], abs=1e-12)


def test_requests_per_cpu_second_counts_cpu_time_alone() -> None:
    import time

    def lazy(body: bytes) -> bytes:
        time.sleep(0.0001)
        return body

    assert requests_per_cpu_second(lazy, bodies(), 0.2) > 12_000


def test_varied_campaigns_keep_the_first_and_have_their_own_ids() -> None:
    base = (campaign("a"), campaign("b"))
    found = varied(base, 7)
    assert len(found) == 7
    assert (found["a"], found["b"]) == base
    assert all(one.id == name for name, one in found.items())


@pytest.mark.parametrize(("stage", "holder", "name"), SEAMS)
def test_each_stage_has_its_function(stage: str, holder: object, name: str) -> None:
    assert callable(getattr(holder, name, None)), f"stage {stage} must be timed elsewhere"


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--rounds", "0"]])
def test_impossible_settings_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "must be > 0" in capsys.readouterr().err
