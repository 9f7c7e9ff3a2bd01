"""Seconds to split one budget among many campaigns, by their number, on one thread.

    python -m benchmarks.bench_allocate [--campaigns 10 100 1000] [--points 25] [--draws 200] [--json FILE]

Seeded saturating curves. *curves*: concave curves made of points; *split*: the best split and its proof; *steps*: one
of few budgets each, by the measured curves; *draws*: curves and split for each bootstrap draw; *linprog*: the same
split by a linear program (HiGHS), whose value is compared. Medians of the rounds, in CPU time.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bidder.core.portfolio import Bound, Frontier, certify, value_of
from bidder.core.portfolio_steps import Terms, solve
from bidder.core.responses import Response, points_of
from tests.support.naive_portfolio import best_by_linprog

UNIT = 10**9


def curves_of(campaigns: int, points: int, seed: int) -> tuple[list[Response], list[int]]:
    """Curves and budgets now."""
    random = np.random.default_rng(seed)
    found, now = [], []
    for number in range(campaigns):
        ceiling, scale, current = random.uniform(50, 400), random.uniform(30, 300), random.uniform(20, 200)
        budgets = (np.linspace(0.1, 2.5, points) * current * UNIT).astype(np.int64)
        values = ceiling * UNIT * (1 - np.exp(-budgets / (scale * UNIT)))
        found.append(Response(f"c{number}", points_of(f"c{number}", budgets.tolist(), values.tolist())))
        now.append(round(current * UNIT))
    return found, now


def timed(work: Callable[[], object], rounds: int) -> float:
    """Median seconds."""
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return statistics.median(times)


def measured(campaigns: int, points: int, draws: int, rounds: int) -> dict[str, float]:
    """Seconds of each step, and how the value compares."""
    curves, now = curves_of(campaigns, points, seed=campaigns)
    bounds = [Bound(budget // 2, 2 * budget) for budget in now]
    total = sum(now)

    def split() -> tuple[int, ...]:
        frontier = Frontier(curves, bounds)
        best = frontier.at(total, now).budgets
        assert certify(curves, frontier.bounds, total, best).holds
        return best

    stepped = solve(curves, [Terms(bound) for bound in bounds], total, now)
    own = value_of(curves, split())
    found = {
        "campaigns": float(campaigns),
        "curves_s": timed(lambda: curves_of(campaigns, points, seed=campaigns), rounds),
        "split_s": timed(split, rounds),
        "steps_s": timed(lambda: solve(curves, [Terms(bound) for bound in bounds], total, now), rounds),
        "steps_gap": stepped.gap,
        "draws_s": draws * timed(lambda: (curves_of(campaigns, points, seed=campaigns), split()), rounds),
        "gain": own / value_of(curves, now) - 1.0,
    }
    if campaigns <= 200:
        found["linprog_s"] = timed(lambda: best_by_linprog(curves, bounds, total), rounds)
        found["split_over_linprog"] = own / best_by_linprog(curves, bounds, total)
    return found


def main() -> None:
    """Prints a line for each number of campaigns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--campaigns", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--points", type=int, default=25)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measured(each, options.points, options.draws, options.rounds) for each in options.campaigns]
    for row in rows:
        print("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
