"""CPU time of a request in the decision core, by number of line items, beside its floor and its rivals.

    python -m benchmarks.bench_core [--lines 100 1000 10000] [--seconds 4] [--rounds 5] [--json FILE]

Everything is measured in turns, round after round, on one thread, in CPU time: what a busy machine does to one it
does to all, and the ratios of a round are of the same minute. See README.md beside this file.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.desk import Desk
from benchmarks.figures import Spread, spread
from benchmarks.floor import Floor
from benchmarks.market import Market, make_market, trained
from benchmarks.peers import LinearScan, Predict, SingleRowFast, hour_text, walk
from benchmarks.processes import machine
from benchmarks.profile import STAGES, Profile, count_bytecodes
from benchmarks.sample import FullRows, take_sample
from bidder.core.campaigns import Goal
from bidder.core.scoring import Model
from bidder.core.warm import warm_kernels
from bidder.runtime.heap import settle_heap

BATCH = 128
SAMPLE = 2_048
"""Requests that floor and rivals are asked for again and again."""
PEER_BATCH = 16
COUNTED = 512
"""Requests whose bytecodes are counted."""
WARM_UP_S = 1.5
"""CPU time before anything counts: memories fill, and pages of the cap table are first touched."""
BASE = 100
Measure = Callable[[float], float]
"""Runs for about so many CPU seconds; microseconds a request."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured: microseconds of CPU a request by name, a value a round; what was seen; the profile."""

    machine: dict[str, str | float]
    request_bytes: float
    bid_rate: float
    candidates: dict[str, float]
    us: dict[str, list[float]]
    build_s: dict[str, list[float]]
    profile: dict[str, float]
    bytecodes: dict[str, float]


class Bench:
    """One measurement.

    Args:
        lines: numbers of line items, 100 among them. tell: is told what happens.
    """

    def __init__(self, lines: Sequence[int], tell: Callable[[str], None]) -> None:
        self._machine = machine()
        self._tell = tell
        self.us: dict[str, list[float]] = {}
        self.candidates: dict[str, float] = {}
        self.build_s: dict[str, list[float]] = {}
        tell("training the models, drawing the requests")
        self.model: Model = make_market(BASE).model()
        warm_kernels(self.model)
        self.desks: dict[str, Desk] = {}
        self.measures: dict[str, Measure] = {}
        self._lines = sorted({BASE, *lines})
        for count in self._lines:
            self._add_market(count, make_market(count))
        for count in self._lines[1:]:
            self._add_desk(f"{count:,} line items, all candidates", make_market(count, growing=True))
        self._add_variants()
        self._add_floor()
        self._add_peers()
        settle_heap()

    # -- what is measured -----------------------------------------------------------------------------------

    def _add_market(self, count: int, market: Market) -> None:
        name = f"{count:,} line items"
        desk = self._add_desk(name, market)
        scan, hour = LinearScan(desk.engine.table.lines), hour_text(market.origin_ns)
        shown = [walk(body, hour) for body in market.bodies.bodies(0, SAMPLE)]
        turn = _turns(SAMPLE, PEER_BATCH)
        self.measures[f"peer: loop over {name}"] = lambda cpu_s: _timed(
            cpu_s, PEER_BATCH, lambda: [scan.candidates(one) for one in shown[slice(*turn())]]
        )
        engine = desk.engine
        times = []
        for _ in range(3):
            began_s = time.thread_time()
            engine.prepare(market.campaigns, 1, market.advertisers)
            times.append(time.thread_time() - began_s)
        self.build_s[name] = times

    def _add_desk(self, name: str, market: Market, size: int = BATCH, *, funnel: bool = True) -> Desk:
        self._tell(f"engine: {name}")
        settings = msgspec.structs.replace(market.settings, funnel=funnel)
        desk = self.desks[name] = Desk(market, self.model, settings)
        desk.run(size, WARM_UP_S)
        desk.forget_times()
        self.measures[name] = lambda cpu_s: desk.run(size, cpu_s)
        return desk

    def _add_variants(self) -> None:
        market = make_market(BASE)
        for size in (1, 64):
            self._add_desk(f"batch of {size}", market, size)
        self._add_desk("without expressions", make_market(BASE, expressions=False))
        for count in self._lines:
            self._add_desk(f"{count:,} line items without refusal counts", make_market(count), funnel=False)

    def _add_floor(self) -> None:
        self._tell("floor and rivals")
        market, engine = make_market(BASE), self.desks[f"{BASE} line items"].engine
        self.sample = take_sample(market, self.model, SAMPLE)
        converting = np.array([line.goal is Goal.CONVERSION for line in engine.table.lines])
        masks = self.model.line_masks(engine.table.lines)
        floor = Floor(self.sample, self.model, masks, converting)
        decode = _turns(SAMPLE, BATCH)
        self.measures["floor: typed decode"] = lambda cpu_s: _timed(
            cpu_s, BATCH, lambda: floor.decode(decode()[0], BATCH)
        )
        self._add_scores("floor: scores", floor)
        self.candidates["floor"] = self.sample.candidates
        # Both models for every line item of the table, so that the slope is that of a pair of scores.
        both, every = Floor(self.sample, self.model, masks, np.ones_like(converting)), np.arange(BASE)
        self._add_scores("scores: one candidate", both, every[:1])
        self._add_scores("scores: all candidates", both, every)

    def _add_scores(self, name: str, floor: Floor, lines: NDArray[np.int64] | None = None) -> None:
        batches = [floor.prepare(first, BATCH, lines) for first in range(0, SAMPLE, BATCH)]
        turn = _turns(len(batches), 1)
        self.measures[name] = lambda cpu_s: _timed(cpu_s, BATCH, lambda: floor.score(batches[turn()[0]]))

    def _add_peers(self) -> None:
        market, engine = make_market(BASE), self.desks[f"{BASE} line items"].engine
        hour, bodies = hour_text(market.origin_ns), self.sample.bodies
        turn = _turns(SAMPLE, PEER_BATCH)
        self.measures["peer: JSON and walk"] = lambda cpu_s: _timed(
            cpu_s, PEER_BATCH, lambda: [walk(body, hour) for body in bodies[slice(*turn())]]
        )
        full = FullRows(self.model, engine)
        rows = [[full.of(one) for one in each] for each in self.sample.requests]
        texts = trained(market.seed).texts
        for name, peer in (
            ("Booster.predict", Predict(texts)),
            ("LightGBM single-row fast", SingleRowFast(texts, len(self.model.spec))),
        ):
            own = _turns(SAMPLE, PEER_BATCH)
            self.measures[f"peer: {name}"] = lambda cpu_s, peer=peer, own=own: _timed(
                cpu_s, PEER_BATCH, lambda: [peer.scores(one) for each in rows[slice(*own())] for one in each]
            )

    # -- measuring ------------------------------------------------------------------------------------------

    def run(self, seconds: float, rounds: int) -> Figures:
        """Measures each thing for `seconds` of CPU time, in `rounds` turns."""
        for number in range(rounds):
            self._tell(f"round {number + 1} of {rounds}")
            for name, measure in self.measures.items():
                self.us.setdefault(name, []).append(measure(seconds / rounds))
        self._tell("profile")
        profile = Profile()
        desk = self.desks[f"{BASE} line items"]
        with profile.running():
            desk.run(BATCH, seconds)
        for name, one in self.desks.items():
            self.candidates[name] = one.eligible
        self.us["settlements, exposures, ticks"] = [desk.settle_us]
        return Figures(
            machine=self._machine,
            request_bytes=make_market(BASE).bodies.mean_bytes,
            bid_rate=desk.bid_rate,
            candidates=self.candidates,
            us=self.us,
            build_s=self.build_s,
            profile=profile.shares,
            bytecodes=count_bytecodes(lambda: desk.decide(COUNTED), COUNTED),
        )


def _turns(total: int, size: int) -> Callable[[], tuple[int, int]]:
    """Gives the begin and end of batch after batch, round and round."""
    place = -size

    def turn() -> tuple[int, int]:
        nonlocal place
        place = (place + size) % total
        return place, place + size

    return turn


def _timed(cpu_s: float, size: int, work: Callable[[], object]) -> float:
    """Repeats `work`, which is for `size` requests; microseconds of CPU a request."""
    work()
    spent_s, times = 0.0, 0
    while spent_s < cpu_s:
        began_s = time.thread_time()
        for _ in range(4):
            work()
        spent_s += time.thread_time() - began_s
        times += 4
    return spent_s / times / size * 1e6


# -- showing ------------------------------------------------------------------------------------------------


def ratios(figures: Figures) -> dict[str, Spread]:
    """What the goals are about, from figures of the same rounds."""
    us = {name: np.array(values) for name, values in figures.us.items()}
    ours, floor = us[f"{BASE} line items"], us["floor: typed decode"] + us["floor: scores"]
    pair = (us["scores: all candidates"] - us["scores: one candidate"]) / (BASE - 1)
    found = {"floor / ours": floor / ours, "one more candidate, CTR + CVR, us": pair}
    for name, values in us.items():
        if re.fullmatch(r"[\d,]+ line items", name) and name != f"{BASE} line items":
            found[f"{name} / {BASE}"] = values / ours
        if name.endswith("all candidates") and name in figures.candidates:
            more = figures.candidates[name] - figures.candidates[f"{BASE} line items"]
            found[f"one more eligible line item, whole engine, us ({name})"] = (values - ours) / more
    for name in ("Booster.predict", "LightGBM single-row fast"):
        found[f"{name} / our scores"] = us[f"peer: {name}"] / us["floor: scores"]
    found["JSON and walk / typed decode"] = us["peer: JSON and walk"] / us["floor: typed decode"]
    naive = us["peer: JSON and walk"] + us[f"peer: loop over {BASE} line items"] + us["peer: Booster.predict"]
    found["JSON, loop and Booster.predict / ours"] = naive / ours
    return {name: spread(values.tolist()) for name, values in found.items()}


def show(figures: Figures, console: Console) -> None:
    """Prints conditions, costs, ratios, profile."""
    m = figures.machine
    console.print(f"{m['cpu']}, {m['cores']:.0f} cores, load {m['load_1m']:.2f} before")
    console.print(
        f"requests of {figures.request_bytes:.0f} bytes, {figures.bid_rate:.0%} of the opportunities bid on, "
        f"{figures.candidates['floor']:.1f} candidates scored a request"
    )
    table = Table(title="CPU time a request: median (least..greatest)", title_justify="left")
    for column in ("", "us", "requests/s of one core", "eligible"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in figures.us.items():
        one = spread(values)
        eligible = figures.candidates.get(name)
        table.add_row(
            name,
            f"{one.median:,.2f} ({one.low:,.2f}..{one.high:,.2f})",
            f"{1e6 / one.median:,.0f}",
            f"{eligible:,.1f}" if eligible is not None else "",
        )
    console.print(table)
    for name, one in ratios(figures).items():
        console.print(f"{name}: {one.median:.2f} ({one.low:.2f}..{one.high:.2f})")
    for name, values in figures.build_s.items():
        console.print(f"table of {name}: {min(values) * 1e3:,.0f} ms of CPU, least of {len(values)}")
    ours = spread(figures.us[f"{BASE} line items"]).median
    parts = [
        f"{stage} {figures.profile[stage]:.0%} ({figures.profile[stage] * ours:.1f} us)" for stage in STAGES
    ]
    console.print(f"profile of {BASE} line items: " + ", ".join(parts))
    counts = [f"{stage} {count:,.0f}" for stage, count in figures.bytecodes.items()]
    console.print(f"bytecodes a request: {sum(figures.bytecodes.values()):,.0f}: " + ", ".join(counts))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_core", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--lines", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--seconds", type=float, default=4.0, help="of CPU time of each thing (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that they are cut into (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    arguments = parser.parse_args(argv)
    if arguments.seconds <= 0 or arguments.rounds < 1 or any(n < BASE or n % BASE for n in arguments.lines):
        sys.stderr.write("error: --seconds must be > 0, --rounds >= 1, --lines multiples of 100\n")
        return 2
    progress = Console(stderr=True, highlight=False)
    bench = Bench(
        arguments.lines, lambda what: progress.print(f"[dim]{time.strftime('%H:%M:%S')} {what}[/dim]")
    )
    figures = bench.run(arguments.seconds, arguments.rounds)
    show(figures, Console(width=140))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
