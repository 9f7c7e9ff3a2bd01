"""Auctions a second of an estimate's loops, beside plain Python loops in the same run.

    python -m benchmarks.bench_estimate [--auctions 1000000] [--rounds 5] [--processes 2] [--json FILE]

*sweep*: a fixed multiplier over the log, the mean of sixteen in a call. *dual*: a budget spent by the live
controller, its plan solved at each auction, or once in 64. *impute*: hidden prices drawn. *Python*: the same sweep
and the same budget by loops in Python, on fewer auctions. CPU time of one thread, the median of the rounds with the
worst and the best. *processes*: a whole estimate, wall time by one process over that by several, the starts of
processes included; it says nothing on a machine whose cores are busy, so the load is printed.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from simulator.estimate.controller import Controller, Lot, played, swept
from simulator.estimate.estimate import Scenario, estimate
from simulator.estimate.study import Study
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from tests.support.naive_estimate import naive_play, naive_sweep

MULTIPLIERS = 16
PLAIN_AUCTIONS = 20_000


def rate(work: Callable[[], object], auctions: int, rounds: int) -> dict[str, float]:
    """Millions of auctions a second."""
    work()  # compiles
    found = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        found.append(auctions / (time.thread_time() - began) / 1e6)
    return {"median": float(np.median(found)), "worst": min(found), "best": max(found)}


def measured(auctions: int, rounds: int) -> dict[str, dict[str, float]]:
    """All loops on one world."""
    world = world_of(RECIPES["second"], 3, auctions)
    study = Study(world.log, world.controller)
    ones = np.ones(auctions)
    lot, rows = study.lot(ones, 1), np.arange(auctions)
    curves = study.curves(ones)
    multipliers = np.geomspace(0.02, 0.5, MULTIPLIERS)
    each = world.controller._replace(tick=1)
    seldom = world.controller._replace(tick=64)
    few = Lot(*(part[:PLAIN_AUCTIONS] for part in lot))
    few_rows = list(range(PLAIN_AUCTIONS))
    budget = world.budget_nanos
    part = int(budget * PLAIN_AUCTIONS / auctions)
    found = {
        "sweep": rate(lambda: swept(lot, rows, multipliers, each), auctions * MULTIPLIERS, rounds),
        "dual, solved each": rate(lambda: played(lot, rows, budget, each), auctions, rounds),
        "dual, solved in 64": rate(lambda: played(lot, rows, budget, seldom), auctions, rounds),
        "impute": rate(lambda: study.blind_prices(curves, 1), auctions, rounds),
        "Python sweep": rate(lambda: naive_sweep(few, 0.1, each), PLAIN_AUCTIONS, 3),
        "Python dual": rate(lambda: naive_play(few, few_rows, part, each), PLAIN_AUCTIONS, 3),
    }
    for name, plain in (("sweep", "Python sweep"), ("dual, solved each", "Python dual")):
        found[f"{name} / Python"] = {"median": found[name]["median"] / found[plain]["median"]}
    return found


def several(auctions: int, processes: int) -> dict[str, float]:
    """Wall seconds of one estimate by one process and by several."""
    world = world_of(RECIPES["second"], 4, auctions)
    study = Study(world.log, Controller(world.controller.start, world.controller.cap_nanos, tick=64))
    asked = [Scenario(int(world.budget_nanos * share)) for share in np.linspace(0.25, 2.0, 20)]
    estimate(study, asked[:1], draws=2, shifts=())
    seconds = []
    for workers in (1, processes):
        began = time.perf_counter()
        estimate(study, asked, draws=64, imputations=1, workers=workers, shifts=())
        seconds.append(time.perf_counter() - began)
    return {"one": seconds[0], "several": seconds[1], "ratio": seconds[0] / seconds[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Auctions a second of an estimate.")
    parser.add_argument("--auctions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    found = measured(arguments.auctions, arguments.rounds)
    print(f"million auctions a second and core ({platform.machine()}, load {os.getloadavg()[0]:.1f})")
    for name, one in found.items():
        span = f"   {one['worst']:9.3f} to {one['best']:9.3f}" if "worst" in one else ""
        print(f"{name:>26}  {one['median']:9.3f}{span}")
    if arguments.processes > 1:
        load = os.getloadavg()[0]
        whole = several(min(arguments.auctions, 400_000), arguments.processes)
        print(
            f"an estimate by {arguments.processes} processes: {whole['ratio']:.2f} times as fast (load {load:.1f})"
        )
        found["processes"] = whole
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
