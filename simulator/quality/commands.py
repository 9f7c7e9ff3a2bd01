"""`clearbid quality`: how well money is spent, beside hindsight and beside the baselines."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.bar import progress_bars

if TYPE_CHECKING:
    from rich.progress import Progress

    from simulator.quality.report import Quality

PAGE, DATA = "quality.html", "quality.json"


def quality(
    log: Annotated[
        Path | None,
        typer.Option(
            help="iPinYou auctions (Parquet) instead of the synthetic market.",
            metavar="PARQUET",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        bool,
        typer.Option("--engine", help="All auctions through the whole engine too, not a sample: takes long."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.", metavar="N")] = 7,
    rows: Annotated[
        int, typer.Option(min=10_000, help="Auctions of the largest synthetic campaign.", metavar="N")
    ] = 80_000,
    out: Annotated[Path, typer.Option(help="Folder for page and figures.", metavar="DIR")] = Path(
        "clearbid-quality"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure bidding: value over hindsight by campaign, budget, start, delay and policy, with a page."""
    from rich.console import Console

    from bidder.errors import InputError
    from simulator.quality.page import render
    from simulator.quality.report import json_object, print_quality

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out must be a folder to write to, was {out}: {error.strerror}") from None
    with progress_bars(quiet=json) as bars:
        progress = Steps(bars)
        found = measure_all(log, seed, rows, whole_engine=engine, progress=progress)
    text = json_object(found)
    (out / DATA).write_bytes(text + b"\n")
    (out / PAGE).write_text(render(found), encoding="utf-8")
    if json:
        sys.stdout.write(text.decode() + "\n")
    else:
        console = Console()
        print_quality(found, console)
        console.print(f"Page: {out / PAGE}")


def measure_all(
    log: Path | None,
    seed: int,
    rows: int,
    *,
    whole_engine: bool,
    progress: "Steps | None" = None,
) -> "Quality":
    """All tables of one log, or of the synthetic market.

    Raises:
        InputError: the log cannot be read, or holds no campaign of enough auctions.
    """
    from simulator.quality.episodes import SHARES, measure_episodes
    from simulator.quality.first_markets import MARKETS
    from simulator.quality.first_price import AUCTIONS, measure_first
    from simulator.quality.first_price import BUDGET_SHARES as FIRST_SHARES
    from simulator.quality.fitting import STARTS
    from simulator.quality.goals import goals
    from simulator.quality.policies import DEFAULT_ETA
    from simulator.quality.regimes import SCENARIOS, measure_regimes
    from simulator.quality.report import Quality
    from simulator.quality.runs import BUDGET_SHARES, DELAYS, measure
    from simulator.quality.series import log_series, synthetic_series
    from simulator.quality.targets import CASES, measure_targets
    from simulator.quality.through_engine import measure_engine

    began = time.perf_counter()
    progress = progress or Steps(None)
    progress("reading the log" if log is not None else "drawing the market")
    series = log_series(log) if log is not None else list(synthetic_series(seed, rows=rows))
    budgets = len(series) * len(BUDGET_SHARES)
    runs = len(DELAYS) * len(STARTS) * (budgets if whole_engine else 1)
    firsts = len(MARKETS) * (1 + len(FIRST_SHARES))
    changes = len(SCENARIOS) + firsts + len(CASES)
    progress.of(1 + budgets + len(series) * len(SHARES) + changes + runs)
    table = measure(series, seed, progress=progress)
    episodes = measure_episodes(series, progress=progress)
    regimes = measure_regimes(seed, progress=progress)
    first = measure_first(seed, auctions=min(AUCTIONS, rows * 5 // 2), progress=progress)
    targets = measure_targets(seed, auctions=rows, progress=progress)
    through = measure_engine(series, seed, whole=whole_engine, progress=progress)
    return Quality(
        log="synthetic market" if log is None else log.name,
        seed=seed,
        eta=DEFAULT_ETA,
        seconds=time.perf_counter() - began,
        goals=goals(table, regimes, through, first, targets),
        bounds=table.bounds,
        rows=table.rows,
        episodes=episodes,
        regimes=regimes,
        targets=targets,
        engine=through,
        first_price=first,
    )


class Steps:
    """How far a measurement is, on standard error: `total` is set once it is known."""

    def __init__(self, bars: "Progress | None") -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None) if bars is not None else None

    def of(self, total: int) -> None:
        """How many steps there are."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, total=total)

    def __call__(self, what: str) -> None:
        """The next step begins."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=what, advance=1)
