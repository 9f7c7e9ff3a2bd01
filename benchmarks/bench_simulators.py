"""Auctions a CPU second of the simulator, beside rtbgym (of scope-rl) on as many auctions, in turns.

    python -m benchmarks.bench_simulators [--rival-python PATH] [--auctions 1000000] [--rounds 5] [--json FILE]

The rival needs NumPy 1 and so an environment of its own, whose interpreter is named by the option, or by
`CLEARBID_RIVAL_PYTHON`. It is run as a process of it, and its start is not timed. Without one our figures stand
alone and the output says how to make it. CPU time; one thread each. What is done for an auction is not the same:

- *sweep*: a price is drawn from the law of its stratum; a bid at a fixed multiplier, its cost at second price,
  expected clicks, conversions and value.
- *controller*: the same, and the multiplier moves at each auction by the bidder's own steps, with a guard of the
  budget.
- *engine*: rows of a history through the bidder itself: targeting, budgets, reservations, notices that come late,
  100 line items; requests are read before. *engine, read*: the same from the file on disk.
- *rtbgym*: ad and user are drawn, ten features make the chances of click and conversion, a price is drawn by the ad,
  then click and conversion; a bid at a fixed multiplier, its cost at second price.

The rival works on whole steps: a multiplier cannot change within one, and its speed hangs on their size. Of our rows
*sweep* is nearest to it: it draws neither features nor outcomes; the rival has no law that was learned from a log.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.bench_replay import make_history, make_plan
from simulator.estimate.controller import Controller, played, swept
from simulator.estimate.study import Study
from simulator.history.file import History
from simulator.playback.prepared import Piece
from simulator.playback.run import Run
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES

SCRIPT = Path(__file__).with_name("rtbgym_rival.py")
VARIABLE = "CLEARBID_RIVAL_PYTHON"
VOLUMES = (200, 50_000)
"""Auctions in a step of the rival: as it is by default, and so many that its arrays pay."""
LINES = 100
INSTALL = (
    "rtbgym is not measured: name a Python that has it by --rival-python or CLEARBID_RIVAL_PYTHON, made by\n"
    "  python3 -m venv rival && rival/bin/pip install --no-deps scope-rl==0.2.1\n"
    "  rival/bin/pip install 'numpy<2' gym gymnasium scikit-learn pandas matplotlib seaborn tqdm"
)
Work = Callable[[int], object]


class RivalError(RuntimeError):
    """The rival cannot be run; says why."""


def rival(python: str, auctions: int, volume: int) -> dict[str, Any]:
    """One run of the rival.

    Args:
        python: its interpreter. auctions: to play at least. volume: auctions in a step.

    Raises:
        RivalError: there is no such interpreter, it lacks the rival, or the run failed.
    """
    command = [python, "-W", "ignore", str(SCRIPT), str(auctions), str(volume)]
    # One thread, as ours: BLAS would take every core for its products.
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RivalError(f"{python} cannot be run: {error}") from None
    if done.returncode:
        raise RivalError(f"{python}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def estimates(auctions: int) -> dict[str, Work]:
    """The loops of an estimate on one world; prices are drawn anew in each round."""
    world = world_of(RECIPES["second"], 3, auctions)
    study = Study(world.log, world.controller)
    ones = np.ones(auctions)
    lot, curves, rows = study.lot(ones, 1), study.curves(ones), np.arange(auctions)
    plain: Controller = world.controller._replace(tick=1)

    def drawn(number: int) -> Any:
        return lot._replace(price=study.blind_prices(curves, number + 1))

    return {
        "sweep": lambda number: swept(drawn(number), rows, np.array([0.1]), plain),
        "controller": lambda number: played(drawn(number), rows, world.budget_nanos, plain),
    }


def engine(folder: Path, auctions: int) -> dict[str, Work]:
    """A history through the engine."""
    path, plan = folder / "history.parquet", make_plan(auctions, LINES)
    make_history(path, auctions, LINES)
    first = Run(History(path), plan)
    pieces: list[Piece] = list(first.pieces())
    return {
        "engine": lambda _: first.again(plan).play_pieces(pieces),
        "engine, read": lambda _: Run(History(path), plan).play(None),
    }


def rate(work: Work, number: int, auctions: int) -> float:
    """Auctions a CPU second."""
    began = time.process_time()
    work(number)
    return auctions / (time.process_time() - began)


def measured(python: str, auctions: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, str], str]:
    """Rates by row, a value a round; the rival's versions; and why it was not measured, where it was not."""
    found: dict[str, list[float]] = {}
    versions: dict[str, str] = {}
    why = "" if python else INSTALL
    with tempfile.TemporaryDirectory(prefix="clearbid-bench-") as folder:
        works = {**estimates(auctions), **engine(Path(folder), auctions)}
        for work in works.values():
            work(0)  # compiles
        for number in range(rounds):
            for name, work in works.items():
                found.setdefault(name, []).append(rate(work, number, auctions))
            for volume in () if why else VOLUMES:
                try:
                    one = rival(python, auctions, volume)
                except RivalError as error:
                    why = f"{error}\n{INSTALL}"
                    break
                versions = one["versions"]
                name = f"rtbgym, {volume:,} a step"
                found.setdefault(name, []).append(one["auctions"] / one["cpu_s"])
    return found, versions, why


def show(found: dict[str, list[float]], versions: dict[str, str], why: str, console: Console) -> None:
    """Rates, and ratios to each row of the rival, which are medians over rounds."""
    rivals = [name for name in found if name.startswith("rtbgym")]
    table = Table("row", "auctions a CPU second", *(f"over {name}" for name in rivals), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, rates in found.items():
        ratios = [
            f"{np.median(np.array(rates) / np.array(found[other])):.2f}"
            if len(rates) == len(found[other])
            else "-"
            for other in rivals
        ]
        table.add_row(name, f"{np.median(rates):,.0f} ({min(rates):,.0f}..{max(rates):,.0f})", *ratios)
    said = ", ".join(f"{name} {one}" for name, one in versions.items())
    console.print(
        f"{platform.machine()}, load {os.getloadavg()[0]:.1f}" + (f"; rival: {said}" if said else "")
    )
    console.print(table)
    if why:
        console.print(why, markup=False, soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Auctions a second of the simulator, beside rtbgym.")
    parser.add_argument("--rival-python", default=os.environ.get(VARIABLE, ""), metavar="PATH")
    parser.add_argument("--auctions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    found, versions, why = measured(arguments.rival_python, arguments.auctions, arguments.rounds)
    show(found, versions, why, Console())
    if arguments.json:
        whole = {"auctions_per_cpu_second": found, "versions": versions, "load": os.getloadavg()[0]}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
