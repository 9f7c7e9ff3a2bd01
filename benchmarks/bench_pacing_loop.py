"""How long the loop of pacing is: from a billing notice at the tracker to the multiplier that it moved.

    python -m benchmarks.bench_pacing_loop [--rows 6000] [--rate 200] [--rounds 3] [--json FILE]

Exchange, tracker (real HTTP), bank (SQLite, on the disk with each batch), and bidder in one process and one event
loop; once over a bus within the process and once over the embedded broker with the clients
that a bidder has. What is timed is what `clearbid_pacing_loop_seconds` counts. Every part takes time of the same
core, so a part of its own is faster. The shared clock runs faster than the wall, so that reservations nobody tells of
end soon; all figures are of the wall. Quantiles are bounds of buckets, an eighth too high at most. The clock
waits where the machine does not keep up; for what share of the time is told, and by so much a figure may be too low.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.processes import machine
from bidder.core.delays import DelayHistogram
from simulator.demo.embedded import Run, run_embedded
from tests.support.playing import KEY, S, scored_plan

QUANTILES_PPM = (500_000, 900_000, 990_000)
SPEEDUP = 20.0


class Loop(NamedTuple):
    """One run: milliseconds at each quantile, the mean, of how many billings; share of time that the clock waited."""

    quantiles_ms: tuple[float, ...]
    mean_ms: float
    billings: int
    waited: float


def measure(rows: int, rate: float, *, broker: bool) -> Loop:
    """Plays so many rows, `rate` a second."""
    plan = scored_plan(7, rows, rate / SPEEDUP, S)
    waited_s: list[float] = []  # after the parts were made
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.monotonic()
        run: Run = asyncio.run(
            run_embedded(
                plan,
                None,
                Path(folder),
                KEY,
                SPEEDUP,
                lambda run: waited_s.append(run.clock.waited_s),
                broker=broker,
            )
        )
        took_s = time.monotonic() - began_s
    loop: DelayHistogram = run.worker.engine.loop
    return Loop(
        tuple(loop.quantile_ns(ppm) / 1e6 / SPEEDUP for ppm in QUANTILES_PPM),
        loop.total_ns / 1e6 / SPEEDUP / max(1, loop.count),
        loop.count,
        (waited_s[-1] - waited_s[0]) / took_s,
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--rate", type=float, default=200.0, help="rows a second of the wall")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rounds: dict[str, list[Loop]] = {"in process": [], "embedded broker": []}
    for _ in range(asked.rounds):
        for name, found in rounds.items():
            found.append(measure(asked.rows, asked.rate, broker=name == "embedded broker"))
    print(f"{asked.rows:,} rows, {asked.rate:g} a second, {asked.rounds} rounds; {machine()}")
    print(f"{'':<18}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'mean ms':>10}{'billings':>10}{'waited':>10}")
    for name, found in rounds.items():
        columns = [median(one.quantiles_ms[place] for one in found) for place in range(len(QUANTILES_PPM))]
        columns.append(median(one.mean_ms for one in found))
        print(
            f"{name:<18}"
            + "".join(f"{each:>10.1f}" for each in columns)
            + f"{found[0].billings:>10,}{median(one.waited for one in found):>10.1%}"
        )
    if asked.json is not None:
        asked.json.write_text(json.dumps(rounds, indent=1) + "\n")


if __name__ == "__main__":
    main()
