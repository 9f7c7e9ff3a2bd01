"""The same auctions through the real `Engine`: requests in, bids out, notices settled after a delay.

One campaign, one seat, all the money leased. Time goes in even steps, an auction a step, so that the plan of the
pacer is the share of auctions that is over. Before each auction the engine hears the notices that are due and ticks.
Each request brings its click probability. The kernel of `dual` plays the same on the plan that the pacer computes,
and comes to the same multiplier bit by bit: `twin` does that.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from bidder.core.campaigns import Campaign, Creative
from bidder.core.engine import Engine
from bidder.core.messages import Lease, Settlement, SettlementKind
from bidder.core.settings import EngineSettings, ExchangeRules, PacingSettings
from bidder.core.traffic_shape import TrafficShape
from simulator.quality.fitting import STARTS, auctions_of
from simulator.quality.hindsight import knapsack
from simulator.quality.policies import DEFAULT_ETA, Auctions, Played, State, Tuned, play, state_of
from simulator.quality.policy_kernels import F_MULTIPLIER
from simulator.quality.runs import BUDGET_SHARES, DELAYS, worth_of
from simulator.quality.series import Floats, Series, slots_of

START_NS = 1_772_409_600_000_000_000
"""A Monday 00:00 UTC, within an hour of which a flight may lie."""
STEP_NS = 10_000_000
"""Between auctions; a thousand of them are ten seconds, less than a reservation waits."""
SAMPLE_AUCTIONS = 6_000
_FAR_NS = START_NS + 7 * 86_400 * 10**9
_KEY = b"quality measures with this key.."
_ID, _SEAT, _START_ID = "c1", "seat-1", "quality"
_WAIT_S = 24 * 3_600.0
_WEEKLY = 168 * 3_600 * 1_000_000_000 // STEP_NS
"""Auctions of a week, at one a step."""


class EngineRun:
    """One campaign's auctions through an engine.

    Args:
        series: the auctions. worth_nanos: of a click. budget_nanos: of the campaign.
        start: multiplier to begin with. delay: auctions until a notice is heard. eta: step.
    """

    def __init__(
        self, series: Series, worth_nanos: int, budget_nanos: int, start: float, delay: int, eta: float
    ) -> None:
        self._series, self._delay, self._budget = series, delay, budget_nanos
        n = len(series.price)
        pacing = PacingSettings(eta=eta, start=start, weekly_opportunities=float(_WEEKLY))
        rules = ExchangeRules(
            result_seconds=_WAIT_S, billing_seconds=_WAIT_S, dedupe_seconds=0.0, no_bid="none"
        )
        settings = EngineSettings(
            external_scores=True, pacing=pacing, seat=_SEAT, exchanges={"*": rules}, funnel=False
        )
        self.engine = Engine(settings, _KEY, None, _START_ID)
        campaign = _campaign(worth_nanos, budget_nanos, series.cap_nanos, START_NS + n * STEP_NS)
        self.engine.adopt_campaigns({_ID: campaign}, 1, START_NS)
        lease = Lease(
            seat=_SEAT, epoch=1, start_id=_START_ID, account_id=_ID, granted_nanos=budget_nanos,
            bid_until_ns=_FAR_NS, budget_nanos=budget_nanos, spent_nanos=0, seats=1,
        )  # fmt: skip
        self.engine.adopt_leases([lease], START_NS)
        self._due: deque[tuple[int, Settlement]] = deque()

    @property
    def multiplier(self) -> float:
        """Of the campaign, as it stands."""
        return self.engine.status(START_NS)[_ID].multiplier

    def play(self, slots: NDArray[np.int32]) -> Played:
        """Plays all auctions; what is under way at the end counts as it will end."""
        series, engine = self._series, self.engine
        n = len(series.price)
        theta, price, click = series.theta.tolist(), series.price.tolist(), series.click.tolist()
        spent = np.zeros(int(slots.max(initial=0)) + 1, dtype=np.int64)
        value, spend, wins, clicks, bids, reserved_most, deviation = 0.0, 0, 0, 0, 0, 0, 0.0
        for t in range(n):
            now_ns = START_NS + t * STEP_NS
            self._hear(t, now_ns)
            engine.tick(now_ns)
            row = _bid_of(engine, t, theta[t], now_ns)
            if row is not None:
                bids += 1
                won = row["bid_cpm_micros"] > price[t]
                if won:
                    wins, clicks, spend = wins + 1, clicks + click[t], spend + price[t]
                    value += theta[t]
                    spent[slots[t]] += price[t]
                kind, amount = (SettlementKind.POSTED, price[t]) if won else (SettlementKind.VOIDED, 0)
                told = Settlement(
                    kind=kind,
                    bid_id=row["bid_id"],
                    amount_nanos=amount,
                    seat=_SEAT,
                    epoch=1,
                    campaign_id=_ID,
                    late=False,
                )
                self._due.append((t, told))
                reserved_most = max(reserved_most, engine.wallet.books_of(0)[1])
            deviation = max(deviation, abs(spend / max(self._budget, 1) - t / n))
        over = max(0, spend - self._budget)
        refused = engine.status(START_NS)[_ID].funnel["budget"]
        return Played(value, spend, wins, clicks, bids, refused, reserved_most, deviation, over, spent)

    def _hear(self, t: int, now_ns: int) -> None:
        told = []
        while self._due and self._due[0][0] + self._delay < t:
            told.append(self._due.popleft()[1])
        if told:
            self.engine.settle(told, now_ns)


def _bid_of(engine: Engine, number: int, theta: float, now_ns: int) -> dict[str, Any] | None:
    body = orjson.dumps(
        {
            "id": f"q{number}",
            "at": 2,
            "imp": [
                {
                    "id": "1",
                    "banner": {"w": 300, "h": 250},
                    "ext": {"clearbid": {"campaign": _ID, "pctr": theta}},
                }
            ],
            "cur": ["USD"],
        }
    )
    (answer,) = engine.decide([body], [0], now_ns)
    row = orjson.loads(answer.decisions)
    return dict(row) if row["reason"] == 0 else None


def _campaign(worth_nanos: int, budget_nanos: int, cap_nanos: int, end_ns: int) -> Campaign:
    creative = Creative(
        id="k1", w=300, h=250, image_url="https://cdn.shop.example/b.png", landing_url="https://shop.example/"
    )
    return Campaign(
        id=_ID, name="Quality", advertiser="shop", adomain=("shop.example",), budget_nanos=budget_nanos,
        start_ns=START_NS, end_ns=end_ns, value_nanos=worth_nanos, max_bid_cpm_micros=cap_nanos,
        creatives=(creative,),
    )  # fmt: skip


def plan_of(auctions: int) -> tuple[Floats, float]:
    """The plan as the pacer computes it at each auction, and the traffic that it foresees."""
    shape = TrafficShape()
    begin = shape.weeks(np.array([START_NS], dtype=np.int64))
    end = shape.weeks(np.array([START_NS + auctions * STEP_NS], dtype=np.int64))
    total = np.maximum(end - begin, 1e-12)
    times = START_NS + np.arange(auctions, dtype=np.int64) * STEP_NS
    return np.clip((shape.weeks(times) - begin) / total, 0.0, 1.0), float((total * float(_WEEKLY))[0])


def twin(auctions: Auctions, budget_nanos: int, start: float, delay: int, eta: float) -> tuple[Played, State]:
    """The kernel of `dual` on the plan that the engine has."""
    n = len(auctions.price)
    over, planned = plan_of(n)
    state = state_of("dual", Tuned(eta=eta), budget_nanos, n, start, planned=planned)
    return play(state, auctions._replace(over=over), delay), state


class EngineRow(msgspec.Struct, frozen=True):
    """One run through the engine, beside the kernel's.

    ratio, kernel: value over hindsight of each. same: whether counts, spend and the multiplier at the end are equal.
    us: microseconds an auction, request to settlement, beside whatever else the machine does.
    """

    campaign: str
    share: float
    start: float
    delay: int
    auctions: int
    ratio: float
    kernel: float
    spend_nanos: int
    budget_nanos: int
    deviation: float
    overspend_nanos: int
    same: bool
    us: float


def measure_engine(
    series: Sequence[Series],
    seed: int,
    *,
    whole: bool,
    shares: Sequence[float] = BUDGET_SHARES,
    delays: Sequence[int] = DELAYS,
    sample: int = SAMPLE_AUCTIONS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[str], None] = lambda _: None,
) -> list[EngineRow]:
    """Plays the later part of every series, or a piece of one that the seed picks.

    Args:
        series: as `runs.measure` takes them. seed: of the sample. whole: all auctions of all. shares, delays: of
            budgets and notices; the sample has one share. sample: its auctions. clock: seconds. progress: told.
    """
    cases = [(one.split()[1], share) for one in series for share in shares]
    if not whole:
        rng = np.random.default_rng([seed, 29])
        picked, share = cases[int(rng.integers(len(cases)))]
        begin = int(rng.integers(max(len(picked.price) - sample, 0) + 1))
        cases = [(picked.part(begin, begin + sample), share)]
    rows = []
    for one, share in cases:
        for delay in delays:
            for start in STARTS:
                progress(f"engine: {one.name}, budget {share:.3g}, delay {delay}")
                rows.append(_row(one, share, start, delay, clock))
    return rows


def _row(series: Series, share: float, factor: float, delay: int, clock: Callable[[], float]) -> EngineRow:
    budget = int(series.cost_nanos * share)
    worth = worth_of(series, budget)
    slots = slots_of(series, 50)
    auctions = auctions_of(series, worth, slots, truth=False)
    best = knapsack(auctions.value, auctions.price, budget)
    start = min(1.0, factor / best.rate) if best.rate > 0 else 1.0
    run = EngineRun(series, worth, budget, start, delay, DEFAULT_ETA)
    began = clock()
    ours = run.play(slots.of)
    took = clock() - began
    theirs, state = twin(auctions, budget, start, delay, DEFAULT_ETA)
    same = ours[1:7] == theirs[1:7] and run.multiplier == float(state.s[F_MULTIPLIER])
    return EngineRow(
        series.name, share, factor, delay, len(series.price), ours.value * worth / best.value,
        theirs.value / best.value, ours.spend_nanos, budget, ours.deviation, ours.overspend_nanos,
        same and np.array_equal(ours.slots, theirs.slots), 1e6 * took / max(len(series.price), 1),
    )  # fmt: skip
