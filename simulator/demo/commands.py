"""`clearbid demo`: the main job, end to end."""

import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import (
    ConfigOption,
    KafkaOption,
    OriginOption,
    WallOption,
    configured,
)
from bidder.errors import InputError

if TYPE_CHECKING:
    from bidder.core.scoring import Model
    from models.artifact import ModelBundle
    from models.evaluate import Metrics
    from simulator.demo.live import LiveTable
    from simulator.demo.plan import Plan
    from simulator.report import RunResult

DISTRIBUTED_ROWS_PER_SECOND = 800
"""Speed of a clock that processes share and that waits for nobody: what two cores carry with Kafka beside them."""
NOMINAL_ROWS_PER_SECOND = 4_000
"""Speed of the clock where none is asked for: above what one process reaches, so that the machine sets the pace."""
_KEY_BYTES = 32


def register(app: typer.Typer) -> None:
    """Adds the commands of the demo."""
    from simulator.demo.kills_command import kills

    app.command()(demo)
    app.command()(exchange)
    app.command()(kills)


LogOption = Annotated[
    Path | None, typer.Option(help="iPinYou rows (Parquet) instead of the synthetic market.", metavar="FILE")
]
RowsOption = Annotated[
    int | None,
    typer.Option(
        min=100,
        help="Rows to play; without --log 80,000, and at least one for 365 to learn from.",
        metavar="N",
    ),
]
TrainingOption = Annotated[
    int | None, typer.Option(min=1_000, help="Synthetic rows to learn from; else 160,000.", metavar="N")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of everything that is drawn.", metavar="N")]


def demo(
    log: LogOption = None,
    kafka: Annotated[
        str | None, typer.Option(help="An Apache Kafka; parts as processes.", metavar="HOST:PORT")
    ] = None,
    rows: RowsOption = None,
    training_rows: TrainingOption = None,
    speedup: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Clock seconds a second; by default as the machine keeps up.", metavar="N"
        ),
    ] = None,
    seed: SeedOption = 7,
    out: Annotated[Path, typer.Option(help="Folder for runs.", metavar="DIR")] = Path("clearbid-demo"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object last.")] = False,
) -> None:
    """Trains models, then plays a day of auctions: exchange, bidder, bank and tracker, and a report."""
    from rich.console import Console

    from simulator.demo.live import LiveTable
    from simulator.report import json_object, render

    _check_rows(log, rows, training_rows)
    if kafka is not None:
        find_kafka(kafka)
    console = Console(stderr=json)
    with LiveTable(console) as table:
        table.phase("Reading the log" if log is not None else "Drawing the market")
        plan = plan_of(log, rows, training_rows, seed)
        folder = run_folder(out)
        bundle, model = models_of(plan, folder, table)
        pace = speedup or _pace(plan, DISTRIBUTED_ROWS_PER_SECOND if kafka else NOMINAL_ROWS_PER_SECOND)
        metrics = {name: report.after for name, report in bundle.manifest.models.items()} if bundle else {}
        if kafka is None:
            result = _embedded(plan, model, metrics, folder, pace, table)
        else:
            again = plan_arguments(log, rows, training_rows, seed)
            result = _distributed(plan, kafka, metrics, folder, pace, table, again)
    report = folder / "report.html"
    report.write_text(render(result), encoding="utf-8")
    for line in result.mismatches:
        console.print(f"[red]{line}[/red]")
    console.print(f"Report: {report}")
    if json:
        sys.stdout.write(json_object(result).decode() + "\n")
    raise typer.Exit(0 if result.books_agree else 1)


def find_kafka(kafka: str) -> None:
    """Training takes a while: who named a broker that is not there must not wait for it."""
    import asyncio

    from bidder.runtime.kafka import Timeouts, find_broker

    asyncio.run(find_broker(kafka, Timeouts().connect))


def run_folder(out: Path) -> Path:
    """A new folder, named by the wall's time; the next second's where another run began in the same."""
    while True:
        folder = out / time.strftime("%Y%m%d-%H%M%S")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                raise InputError(f"--out must be a folder, was {out}") from None
            time.sleep(0.1)
        except OSError as error:
            raise InputError(f"--out must be a folder to write to, was {out}: {error.strerror}") from None
        else:
            return folder


def plan_of(log: Path | None, rows: int | None, training_rows: int | None, seed: int) -> "Plan":
    """What is played: a log, or the synthetic market where none is named."""
    from simulator.demo.plan import DEFAULT_ROWS, DEFAULT_TRAINING_ROWS, log_plan, synthetic_plan

    if log is not None:
        return log_plan(log, seed, rows)
    return synthetic_plan(seed, training_rows or DEFAULT_TRAINING_ROWS, rows or DEFAULT_ROWS)


def _check_rows(log: Path | None, rows: int | None, training_rows: int | None) -> None:
    """Raises `InputError` where they would make no synthetic market: before anything is drawn or reached."""
    from simulator.demo.plan import DEFAULT_ROWS, DEFAULT_TRAINING_ROWS, check_rows

    if log is None:
        check_rows(training_rows or DEFAULT_TRAINING_ROWS, rows or DEFAULT_ROWS)


def plan_arguments(log: Path | None, rows: int | None, training_rows: int | None, seed: int) -> list[str]:
    """The options by which another process makes the same plan."""
    given = {"--log": log, "--rows": rows, "--training-rows": training_rows, "--seed": seed}
    return [part for name, value in given.items() if value is not None for part in (name, str(value))]


def _pace(plan: "Plan", rows_per_second: float) -> float:
    from simulator.demo.embedded import MAX_SPEEDUP

    span_s = (plan.end_ns - plan.start_ns) / 1e9
    return min(span_s / (plan.row_count / rows_per_second), MAX_SPEEDUP)


def models_of(plan: "Plan", folder: Path, table: "LiveTable") -> "tuple[ModelBundle | None, Model | None]":
    """Trains on the plan's first part, through the bidder's own columns, and loads what came of it."""
    if plan.training is None:
        return None, None
    from bidder.core.settings import EngineSettings
    from bidder.store.model import load_model
    from models.dataset import read_table
    from models.schema import DEFAULT_DECLARATIONS
    from models.train import TrainParams, train_bundle
    from simulator.logs.training import write_training_table

    table.phase("Writing the training table")
    path = folder / "training.parquet"
    settings = EngineSettings(currency=plan.currency)
    write_training_table(plan.training(), plan.campaigns, plan.encoder(), settings, path)
    table.phase("Training the click and conversion models")
    examples = read_table(path, DEFAULT_DECLARATIONS)
    # A demo of a few rows may see no click; its market must be played all the same.
    params = TrainParams(allow_prior=True)
    bundle = train_bundle(examples, DEFAULT_DECLARATIONS, folder / "model", seed=plan.seed, params=params)
    table.phase("Compiling the models and the kernels (the first time takes about half a minute)")
    return bundle, load_model(folder / "model")


def _embedded(
    plan: "Plan",
    model: "Model | None",
    metrics: "Mapping[str, Metrics]",
    folder: Path,
    pace: float,
    table: "LiveTable",
) -> "RunResult":
    import uvloop

    from bidder.runtime.figures import figures_of
    from simulator.demo.embedded import DATABASE, run_embedded
    from simulator.demo.result import run_result
    from simulator.demo.watch import Watch

    watch = Watch(table)
    run = uvloop.run(run_embedded(plan, model, folder, secrets.token_bytes(_KEY_BYTES), pace, watch))
    watch.finish(run)
    return run_result(
        plan,
        figures_of(run.worker, plan.end_ns),
        run.shell.exchange.books,
        folder / DATABASE,
        duration_s=run.shell.ended_s - run.shell.began_s,
        failed_calls=run.shell.failed,
        transport="embedded broker on loopback (in memory, not durable), one process",
        metrics=metrics,
        curves=watch.curves,
    )


def _distributed(
    plan: "Plan",
    kafka: str,
    metrics: "Mapping[str, Metrics]",
    folder: Path,
    pace: float,
    table: "LiveTable",
    arguments: list[str],
) -> "RunResult":
    import asyncio

    from simulator.demo.distributed import run_distributed
    from simulator.demo.embedded import DATABASE
    from simulator.demo.result import run_result
    from simulator.demo.watch import DistantWatch

    table.phase("Starting exchange, bidder, bank and tracker")
    watch = DistantWatch(table, plan, folder / DATABASE, pace)
    try:
        run = asyncio.run(run_distributed(plan, kafka, folder, arguments, pace, watch))
    except asyncio.CancelledError:  # told to stop; the parts have been stopped
        raise KeyboardInterrupt from None
    watch.finish(run)
    return run_result(
        plan,
        run.figures,
        run.exchange.books,
        folder / DATABASE,
        duration_s=run.exchange.duration_s,
        failed_calls=run.exchange.failed_calls,
        transport=f"Apache Kafka at {kafka}, four processes",
        metrics=metrics,
        curves=watch.curves,
    )


def exchange(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    log: LogOption = None,
    rows: RowsOption = None,
    training_rows: TrainingOption = None,
    seed: SeedOption = 7,
    books: Annotated[
        Path | None, typer.Option(help="File that is kept up to date with its books, JSON.", metavar="FILE")
    ] = None,
    clock_origin_ns: OriginOption = None,
    clock_wall_ns: WallOption = None,
    speedup: Annotated[
        float | None, typer.Option(min=1e-6, help="Shared clock: seconds for each of the wall.", metavar="N")
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(help="A tracker to call, again for each; else the public address.", metavar="HOST:PORT"),
    ] = None,
) -> None:
    """Run an exchange: offers the rows of a log over Kafka, decides the auctions, calls the tracker."""
    from bidder.cli.running import run_until_stopped
    from bidder.cli.serve import log_warnings
    from bidder.runtime.clock import AffineClock
    from simulator.demo.exchange_process import serve_exchange

    settings = configured(config, kafka=kafka)
    plan = plan_of(log, rows, training_rows, seed)
    pace = speedup or _pace(plan, DISTRIBUTED_ROWS_PER_SECOND)
    clock = AffineClock(clock_origin_ns or plan.start_ns, clock_wall_ns or time.time_ns(), pace)
    log_warnings()
    run_until_stopped(lambda stop: serve_exchange(plan, settings, clock, books, stop, tracker or ()))
