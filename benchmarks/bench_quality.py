"""Auctions a second of the loop that plays one campaign, by policy, on one thread.

    python -m benchmarks.bench_quality [--auctions 400000] [--rounds 7] [--json FILE]

A seeded second-price campaign with a budget of an eighth of its cost, the plan solved again at every auction, a
multiplier from a quarter of the optimum; notices at once and after 1,000 auctions. Policies are timed in turns, in
CPU time, and the median of the rounds is told, with the best and the worst. *plain* is the least that a loop can do:
a fixed multiplier, compare, add. *Engine*: the same auctions as requests, one by one, to the real engine.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
from numba import njit

from simulator.quality.fitting import Market, auctions_of, fitted, optimal_multiplier
from simulator.quality.policies import DEFAULT_ETA, NAMES, play, state_of
from simulator.quality.runs import worth_of
from simulator.quality.series import slots_of, synthetic_series
from simulator.quality.through_engine import EngineRun

DELAYS = (0, 1_000)
ENGINE_AUCTIONS = 5_000


@njit(cache=True)
def plain(value, price, multiplier):
    """Value won with a fixed multiplier."""
    total, spend = 0.0, 0
    for t in range(value.shape[0]):
        if int(value[t] * multiplier) > price[t]:
            spend += price[t]
            total += value[t]
    return total, spend


def measured(auctions: int, rounds: int) -> dict[str, dict[str, float]]:
    """Millions of auctions a second of each policy: median, best and worst of the rounds."""
    series = next(synthetic_series(7, 1, auctions))
    budget = series.cost_nanos // 8
    worth = worth_of(series, budget)
    lot = auctions_of(series, worth, slots_of(series, 200), truth=False)
    n = len(lot.price)
    best = optimal_multiplier(lot.value, lot.price, budget)
    market = Market(series.part(0, 20_000), worth, 1 / 8)
    tuned = {name: fitted(name, market) for name in NAMES}
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name in NAMES:
            for delay in DELAYS:
                state = state_of(name, tuned[name], budget, n, best / 4)
                began = time.thread_time()
                play(state, lot, delay)
                took = time.thread_time() - began
                if number:  # the first round compiles
                    times.setdefault(f"{name}, delay {delay}", []).append(n / took / 1e6)
        began = time.thread_time()
        plain(lot.value, lot.price, best)
        if number:
            times.setdefault("plain", []).append(n / (time.thread_time() - began) / 1e6)
    found = {
        name: {"median": float(np.median(one)), "best": max(one), "worst": min(one)}
        for name, one in times.items()
    }
    part = series.part(0, ENGINE_AUCTIONS)
    run = EngineRun(part, worth, part.cost_nanos // 8, min(best, 1.0), 0, DEFAULT_ETA)
    began = time.thread_time()
    run.play(slots_of(part, 10).of)
    rate = ENGINE_AUCTIONS / (time.thread_time() - began) / 1e6
    return found | {"engine": {"median": rate, "best": rate, "worst": rate}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Auctions a second of the measuring loop.")
    parser.add_argument("--auctions", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    found = measured(arguments.auctions, arguments.rounds)
    print(f"million auctions a second and core ({platform.machine()}, load {os.getloadavg()[0]:.1f})")
    for name, one in found.items():
        print(f"{name:>24}  {one['median']:8.3f}   {one['worst']:8.3f} to {one['best']:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
