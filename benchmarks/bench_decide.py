"""What `Engine.decide` costs: by size of the batch, by number of campaigns, and in which stage.

    pytest benchmarks/bench_decide.py --benchmark-only -q

The demo's seeded requests and its models; everything that the engine does is on: decoding, targeting, scores,
floors, pacing, reservations, two signed tokens, response, log row. Times are CPU time of the thread, so that a
busy machine changes them less. Every request has an id of its own, and every bid is voided after each round,
outside of the time.

More campaigns than the demo's six are seeded variations of these: other ids and values, a third of the regions,
half of the sizes. The table at the end says how many candidates are scored for a request.
"""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

import bidder.core.call as call_module
import bidder.core.engine as engine_module
from benchmarks.load import EPOCH
from benchmarks.workload import AMPLE_NANOS, KEY, SEAT, Workload, make_workload, train_model, write_config
from bidder.core.batch import Batch
from bidder.core.campaigns import Campaign, Rule
from bidder.core.engine import Engine
from bidder.core.ledger import Ledger
from bidder.core.messages import Lease, Settlement, SettlementKind
from bidder.core.scoring import Model
from bidder.core.warm import warm_kernels
from bidder.openrtb.response import BannerTemplate
from bidder.store.model import load_model
from simulator.logs.world import REGIONS

BATCHES = (1, 16, 64, 128)
CAMPAIGNS = (6, 100, 1000)
ROUND_REQUESTS = 2_048
ROUNDS = 11
_START_ID = "benchmark"
_medians: dict[str, float] = {}
_candidates: dict[int, float] = {}


class Desk:
    """An engine with ample money, asked for the workload's requests one batch after another."""

    def __init__(
        self, workload: Workload, model: Model, folder: Path, campaigns: dict[str, Campaign]
    ) -> None:
        config = write_config(folder / "clearbid.toml", workload.plan, "127.0.0.1:9092", "")
        self.now_ns = workload.origin_ns
        self.engine = Engine(config.engine_settings(), KEY, model, _START_ID)
        self.engine.adopt_campaigns(campaigns, 1, self.now_ns)
        self.engine.adopt_leases([_lease(campaign) for campaign in campaigns.values()], self.now_ns)
        self.answered = 0
        self._bodies = workload.patient
        # What was there before is not the engine's: without this the collector would go through all of it.
        gc.collect()
        gc.freeze()

    def batches(self, size: int) -> list[list[bytes]]:
        """The next `ROUND_REQUESTS` requests in batches of `size`."""
        first, self.answered = self.answered, self.answered + ROUND_REQUESTS
        numbers = range(first, self.answered, size)
        return [[self._bodies.body(n) for n in range(start, start + size)] for start in numbers]

    def decide(self, batches: list[list[bytes]]) -> list[bytes]:
        """Decides batches; their log rows."""
        ages = [0] * len(batches[0])
        answers = [self.engine.decide(batch, ages, self.now_ns) for batch in batches]
        return [answer.decisions for batch in answers for answer in batch]

    def void(self, rows: list[bytes]) -> None:
        """Gives the money of all bids back."""
        bids = [row for row in map(msgspec.json.decode, rows) if row.get("bid_id")]
        self.engine.settle([_void(row["bid_id"], row["campaign_id"]) for row in bids], self.now_ns)

    def candidates(self) -> float:
        """Campaigns that passed targeting, for each request so far."""
        funnels = [status.funnel for status in self.engine.status(self.now_ns).values()]
        return sum(funnel["eligible"] for funnel in funnels) / self.answered


def _lease(campaign: Campaign) -> Lease:
    return Lease(
        seat=SEAT,
        epoch=EPOCH,
        start_id=_START_ID,
        account_id=campaign.id,
        granted_nanos=AMPLE_NANOS,
        bid_until_ns=campaign.end_ns,
        budget_nanos=AMPLE_NANOS,
        spent_nanos=0,
        seats=1,
    )


def _void(bid_id: str, campaign_id: str) -> Settlement:
    return Settlement(
        kind=SettlementKind.VOIDED,
        seat=SEAT,
        epoch=EPOCH,
        bid_id=bid_id,
        campaign_id=campaign_id,
        amount_nanos=0,
        late=False,
    )


def varied(campaigns: tuple[Campaign, ...], count: int) -> dict[str, Campaign]:
    """The first `count` of: the campaigns as they are, then seeded variations of them."""
    random = Random(11)
    found = {campaign.id: campaign for campaign in campaigns[:count]}
    while len(found) < count:
        base = campaigns[len(found) % len(campaigns)]
        sizes = random.sample(base.creatives, max(1, len(base.creatives) // 2))
        regions = tuple(sorted(random.sample(REGIONS, len(REGIONS) // 3)))
        name = f"{base.id}-{len(found)}"
        found[name] = msgspec.structs.replace(
            base,
            id=name,
            value_nanos=int(base.value_nanos * random.uniform(0.7, 1.3)),
            creatives=tuple(sizes),
            targeting=msgspec.structs.replace(base.targeting, geo=Rule(include=regions)),
        )
    return found


@pytest.fixture(scope="module")
def workload() -> Workload:
    return make_workload()


@pytest.fixture(scope="module")
def model(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Model:
    found = load_model(train_model(workload.plan, tmp_path_factory.mktemp("models")))
    warm_kernels(found)
    return found


@pytest.fixture(scope="module")
def desks(
    workload: Workload, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Desk]:
    """Makes an engine of its own for each measurement: what one remembers must not slow the next."""

    def of(count: int) -> Desk:
        return Desk(workload, model, tmp_path_factory.mktemp("desk"), varied(workload.campaigns, count))

    return of


def _run(benchmark: Any, desk: Desk, name: str, size: int) -> None:
    """Times rounds of `ROUND_REQUESTS` requests in batches of `size`."""
    rows: list[bytes] = []

    def ask() -> tuple[tuple[list[list[bytes]]], dict[str, object]]:
        desk.void(rows)
        return (desk.batches(size),), {}

    def decide(batches: list[list[bytes]]) -> None:
        rows[:] = desk.decide(batches)

    benchmark.pedantic(decide, setup=ask, rounds=ROUNDS, warmup_rounds=1)
    desk.void(rows)
    rows.clear()
    assert desk.engine.reasons[0] > 0.5 * desk.engine.opportunities, "most requests must be bid on"
    if benchmark.stats is not None:
        _medians[name] = benchmark.stats.stats.median / ROUND_REQUESTS * 1e6
        benchmark.extra_info["us_a_request"] = _medians[name]


@pytest.mark.benchmark(group="decide, by batch", timer=time.thread_time)
@pytest.mark.parametrize("size", BATCHES)
def test_by_batch(benchmark: Any, desks: Callable[[int], Desk], size: int) -> None:
    _run(benchmark, desks(6), f"batch of {size}", size)


@pytest.mark.benchmark(group="decide in batches of 64, by campaigns", timer=time.thread_time)
@pytest.mark.parametrize("count", CAMPAIGNS)
def test_by_campaigns(benchmark: Any, desks: Callable[[int], Desk], count: int) -> None:
    desk = desks(count)
    _run(benchmark, desk, f"{count} campaigns", 64)
    _candidates[count] = desk.candidates()


SEAMS: tuple[tuple[str, Any, str], ...] = (
    ("decode", call_module, "decode"),
    ("columns", Batch, "add"),
    ("kernel", engine_module, "decide_rows"),
    ("reserve", Ledger, "reserve"),
    ("tokens", engine_module, "sign_pair"),
    ("bid text", BannerTemplate, "bid"),
    ("answer", call_module.Call, "answer"),
)
"""Stages of a decision: the function of each, and where the engine looks it up."""


class Stages:
    """Wall time spent inside the function of each stage."""

    def __init__(self) -> None:
        self.spent_ns = dict.fromkeys((stage for stage, _, _ in SEAMS), 0)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to a stage."""

        def call(*arguments: Any, **named: Any) -> Any:
            began_ns = time.perf_counter_ns()
            try:
                return function(*arguments, **named)
            finally:
                self.spent_ns[stage] += time.perf_counter_ns() - began_ns

        return call


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    """Timers round the function of each stage."""
    found = Stages()
    for stage, holder, name in SEAMS:
        monkeypatch.setattr(holder, name, found.timed(stage, getattr(holder, name)))
    return found


@pytest.mark.benchmark(group="decide in batches of 64, with timers inside", timer=time.thread_time)
def test_stages(benchmark: Any, desks: Callable[[int], Desk], stages: Stages, capsys: Any) -> None:
    """Runs last, and prints what the others found too."""
    desk = desks(6)
    desk.decide(desk.batches(64))
    batches = [desk.batches(64) for _ in range(ROUNDS)]
    stages.spent_ns = dict.fromkeys(stages.spent_ns, 0)
    began_ns = time.perf_counter_ns()
    benchmark.pedantic(lambda: [desk.decide(some) for some in batches], rounds=1, iterations=1)
    total_ns = time.perf_counter_ns() - began_ns
    rest_ns = total_ns - sum(stages.spent_ns.values())
    assert rest_ns > 0
    with capsys.disabled():
        print("\n\nEngine.decide, CPU time, median:")
        for name, us in _medians.items():
            count = int(name.split()[0]) if name.endswith("campaigns") else 0
            more = f", {_candidates[count]:.1f} candidates a request" if count else ""
            print(f"  {name:<15} {us:6.1f} us a request, {1e6 / us:8,.0f} requests/s of one core{more}")
        print(
            "Stages of a decision in a batch of 64, wall time (the rest: gathering, ids, log rows, timers):"
        )
        for stage, spent_ns in [*stages.spent_ns.items(), ("the rest", rest_ns)]:
            us = spent_ns / (ROUNDS * ROUND_REQUESTS) / 1e3
            print(f"  {stage:<9} {us:6.1f} us a request, {spent_ns / total_ns:5.1%}")
