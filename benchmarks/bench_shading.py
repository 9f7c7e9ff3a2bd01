"""What it costs to bid first price by a landscape: a request, and a lookup beside the search that it replaces.

    python -m benchmarks.bench_shading [--seconds 4] [--rounds 5] [--json FILE]

**A request** of the market of `bench_core`, 100 line items, of which some exchanges sell at first price: by the
constant share, by a landscape of thousands of strata (prediction, placement, hour), and with a fiftieth of bids
explored, in turns; CPU microseconds and their ratio to the constant share.

**A lookup**, nanoseconds in a loop of compiled code: the walk to the stratum, the best bid, and the argmax over all
prices of the grid, which gives the same bid to within the grid.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table

from benchmarks.bench_core import BASE, BATCH, WARM_UP_S
from benchmarks.desk import Desk
from benchmarks.figures import spread
from benchmarks.market import make_market
from benchmarks.processes import machine
from bidder.core.settings import ShadingSettings
from bidder.core.shading import Shading
from bidder.core.shading_kernels import shaded_bid, stratum_of
from bidder.core.warm import warm_kernels
from models.landscape.counts import empty_counts
from models.landscape.curves import Landscape, landscape_of
from models.landscape.grid import price_grid
from models.landscape.observations import ABOVE, BELOW, Observations
from models.landscape.strata import Strata, Stratum

SEED = 5
TAGS, HOURS, TENTHS = 40, 12, 10
LOOKUPS = 1_000_000
EXPLORED = ShadingSettings(explore_share=0.02, exploration_budget_ppm=1_000_000)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: microseconds of CPU a request by name, a value a round; nanoseconds a lookup."""

    machine: dict[str, str | float]
    strata: int
    points: int
    us: dict[str, list[float]]
    ns: dict[str, float]
    by_landscape: float


def landscape(tags: Sequence[str]) -> Landscape:
    """Log-normal prices whose level follows prediction, placement and hour; every stratum counted by itself."""
    rows = [Stratum((), 0, 0)]
    for tenth in range(TENTHS):
        rows.append(Stratum((str(tenth),), 0, 0))
        parent = len(rows) - 1
        for tag in tags:
            rows.append(Stratum((str(tenth), tag), parent, 0))
            own = len(rows) - 1
            rows += [Stratum((str(tenth), tag, str(hour)), own, 0) for hour in range(6, 6 + HOURS)]
    edges = tuple(np.geomspace(0.0008, 0.015, TENTHS - 1).tolist())
    strata = Strata(("prediction", "placement", "hour"), edges, tuple(rows))
    random = np.random.default_rng(SEED)
    grid = price_grid(20_000, 60_000_000)
    counts = empty_counts(grid, len(rows))
    places = np.repeat(np.arange(1, len(rows)), 30)
    bids = np.exp(random.normal(13.8, 1.0, len(places)))
    won = bids >= np.exp(random.normal(13.6, 0.6, len(places)))
    kind = np.where(won, BELOW, ABOVE).astype(np.int8)
    order = np.arange(len(places))
    counts.update(Observations(order, kind, bids, bids, won, np.ones(len(bids)), order, {}), places)
    return landscape_of(counts, strata)


@njit(cache=True)
def _best_bids(worths_of_wins, strata, starts, worths, segments, grid, survival):
    total = 0.0
    for i in range(worths_of_wins.shape[0]):
        total += shaded_bid(worths_of_wins[i], strata[i], starts, worths, segments, grid, survival)
    return total


@njit(cache=True)
def _searched(worths_of_wins, strata, grid, survival):
    total = 0.0
    for i in range(worths_of_wins.shape[0]):
        best, most, row = 0.0, 0.0, survival[strata[i]]
        for k in range(grid.shape[0]):
            left = (worths_of_wins[i] - grid[k]) * (1.0 - row[k])
            if left > most:
                best, most = float(grid[k]), left
        total += best
    return total


@njit(cache=True)
def _walks(pctr, codes, prediction, edges, child_start, child_code, child_place, others):
    total = 0
    for i in range(pctr.shape[0]):
        total += stratum_of(
            pctr[i], codes, i, prediction, edges, child_start, child_code, child_place, others
        )
    return total


def lookups(shading: Shading) -> dict[str, float]:
    """Nanoseconds of each, the least of five."""
    random = np.random.default_rng(SEED)
    strata = random.integers(1, len(shading.survival), LOOKUPS)
    worths = np.exp(random.normal(14.0, 1.0, LOOKUPS))
    pctr = np.exp(random.normal(-5.0, 1.0, LOOKUPS))
    codes = random.integers(0, TAGS, (LOOKUPS, 3)).astype(np.int32)
    arrays = shading.arrays()
    work = {
        "stratum": lambda: _walks(pctr, codes, *arrays[:6]),
        "best bid": lambda: _best_bids(worths, strata, *arrays[6:]),
        "argmax over the grid": lambda: _searched(worths, strata, shading.grid, shading.survival),
    }
    found = {}
    for name, run in work.items():
        run()
        times = []
        for _ in range(5):
            began = time.thread_time()
            run()
            times.append(time.thread_time() - began)
        found[name] = min(times) / LOOKUPS * 1e9
    return found


def measure(seconds: float, rounds: int, tell: Console) -> Figures:
    """All of it."""
    market = make_market(BASE)
    model = market.model()
    warm_kernels(model)
    tell.print("[dim]fitting the landscape[/dim]")
    tags = sorted({placement.tag for placement in market.inventory.placements})[:TAGS]
    fitted = landscape(tags)
    shading = Shading.of(fitted, "0" * 64)
    desks: dict[str, Desk] = {}
    for name, priced, settings in (
        ("constant share", None, None),
        ("landscape", shading, None),
        ("landscape, explored", shading, EXPLORED),
    ):
        tell.print(f"[dim]engine: {name}[/dim]")
        own = (
            market.settings
            if settings is None
            else msgspec.structs.replace(market.settings, shading=settings)
        )
        desk = desks[name] = Desk(market, model, own)
        if priced is not None:
            desk.engine.adopt_shading(priced, market.origin_ns)
        desk.run(BATCH, WARM_UP_S)
    us: dict[str, list[float]] = {name: [] for name in desks}
    for _ in range(rounds):
        for name, desk in desks.items():
            us[name].append(desk.run(BATCH, seconds / rounds))
    bodies = market.bodies.bodies(0, 2_000)
    answers = desks["landscape"].engine.decide(bodies, [0] * len(bodies), market.origin_ns + 10**12)
    rows = [line for answer in answers for line in answer.decisions.splitlines()]
    priced_rows = sum(b'"arm":' in row for row in rows) / max(sum(b'"bid_id"' in row for row in rows), 1)
    return Figures(
        machine=machine(), strata=len(fitted.strata), points=len(fitted.grid), us=us, ns=lookups(shading),
        by_landscape=priced_rows,
    )  # fmt: skip


def show(found: Figures, console: Console) -> None:
    """Prints costs and ratios."""
    m = found.machine
    console.print(f"{m['cpu']}, {m['cores']:.0f} cores, load {m['load_1m']:.2f} before")
    console.print(
        f"{found.strata:,} strata of {found.points} prices; the landscape prices {found.by_landscape:.0%} of the bids"
    )
    table = Table(title="CPU time a request: median (least..greatest)", title_justify="left")
    for column in ("", "us", "over the constant share"):
        table.add_column(column, justify="left" if not column else "right")
    base = np.array(found.us["constant share"])
    for name, values in found.us.items():
        one, over = spread(values), spread((np.array(values) / base).tolist())
        table.add_row(
            name,
            f"{one.median:,.2f} ({one.low:,.2f}..{one.high:,.2f})",
            f"{over.median:.3f} ({over.low:.3f}..{over.high:.3f})",
        )
    console.print(table)
    for name, ns in found.ns.items():
        console.print(f"{name}: {ns:,.1f} ns")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_shading", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of CPU time of each thing (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that they are cut into (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    arguments = parser.parse_args(argv)
    if arguments.seconds <= 0 or arguments.rounds < 1:
        sys.stderr.write("error: --seconds must be > 0, --rounds >= 1\n")
        return 2
    found = measure(arguments.seconds, arguments.rounds, Console(stderr=True, highlight=False))
    show(found, Console(width=120))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
