"""`clearbid models renew`: train, judge, shadow, promote, once or on a schedule."""

import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Features, Who
from models.commands.progress import bars

if TYPE_CHECKING:
    from models.dataset import TrainingTable
    from models.registry import ModelRegistry
    from models.renewal.rounds import Round
    from models.renewal.settings import RenewalSettings
    from models.schema import Declaration

_log = logging.getLogger(__name__)

LOCK = "renewal.lock"


def renew(
    registry: Annotated[
        Path, typer.Argument(metavar="REGISTRY", help="Folder of models.", show_default=False)
    ],
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Training table, or a quoted pattern of several."),
    ],
    every: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="A round every so often, such as 6h; else one round."),
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How far back rows go; default 14d.")
    ] = None,
    shadow_rows: Annotated[
        int | None,
        typer.Option(metavar="N", help="Later rows both models score before a promotion; default 1000."),
    ] = None,
    refresh: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Run before each round, to write the table anew."),
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parameters of a round, TOML, with those of training in its table [train]; options win over it. "
            "`clearbid models params renew` lists the keys.",
        ),
    ] = None,
    features: Features = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Write an HTML page of each round, over the last."),
    ] = None,
    who: Who = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a round.")] = False,
) -> None:
    """Train a challenger, judge it on rows it has not seen, watch it beside the champion, promote it or not."""
    import msgspec

    from models.pages.write import check_page
    from models.registry import ModelRegistry
    from models.renewal.settings import RenewalSettings, load_settings
    from models.schema import DEFAULT_DECLARATIONS, load_declarations
    from models.spans import span_ns

    check_page(page)
    settings = load_settings(params) if params else RenewalSettings()
    given = {"window": window, "shadow_rows": shadow_rows}
    settings = msgspec.structs.replace(
        settings, **{name: value for name, value in given.items() if value is not None}
    ).check()
    wait_s = span_ns(every, "every") / 1e9 if every is not None else None
    kept = ModelRegistry(registry, by=who)
    declarations = load_declarations(features) if features else DEFAULT_DECLARATIONS
    early = 0
    with _alone(kept):
        while True:
            began_s = time.monotonic()
            try:
                _round(
                    kept, table, declarations, settings, refresh, page, json=json, go_on=wait_s is not None
                )
            except Exception as error:
                if wait_s is None:
                    raise
                # A schedule outlives a full disk, and a registry that is away for a while.
                early += 1
                _log.warning(
                    "a round ended early, %d of them did; the next comes in its time: %s: %s",
                    early,
                    type(error).__name__,
                    error,
                )
            if wait_s is None:
                return
            time.sleep(max(0.0, wait_s - (time.monotonic() - began_s)))


@contextmanager
def _alone(kept: "ModelRegistry") -> Iterator[None]:
    """Two renewals of one registry would train for nothing, and judge each other's challengers."""
    from models.registry import is_registry
    from models.registry.files import locked

    if not is_registry(kept.path):
        kept.log()  # says what is missing
    with locked(kept.path / LOCK, wait_s=0.0, said="another renewal of this registry runs"):
        yield


def _round(
    kept: "ModelRegistry",
    table: str,
    declarations: "Sequence[Declaration]",
    settings: "RenewalSettings",
    refresh: str | None,
    page: Path | None,
    *,
    json: bool,
    go_on: bool,
) -> None:
    """One round, printed and drawn; where more follow, one that fails is said and not the end."""
    from models.renewal.rounds import Renewal

    try:
        with bars(quiet=json or not sys.stderr.isatty()) as progress:
            read = _reader(kept, table, refresh, declarations)
            found = Renewal(kept, read, declarations, settings, progress).round()
    except Exception as error:
        _told(kept, found := _failed(kept, error), page)
        if not go_on:
            raise
    else:
        _told(kept, found, page)
    _print(found, page, json=json)


def _failed(kept: "ModelRegistry", error: Exception) -> "Round":
    from models.errors import ModelError
    from models.renewal.rounds import Round

    aliases = kept.aliases()
    return Round(
        outcome="failed",
        words=str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}",
        champion=aliases.get("champion", ""),
        challenger=aliases.get("challenger", ""),
    )


def _told(kept: "ModelRegistry", found: "Round", page: Path | None) -> None:
    """The round is done and stands in the audit log: it does not fail for want of its gauges or its page."""
    from models.errors import TableError
    from models.pages.write import write_page
    from models.renewal.gauges import write_gauges
    from models.renewal.round_page import round_page

    at_ns = time.time_ns()
    try:
        write_gauges(kept.path, found, at_ns)
    except OSError as error:
        _log.warning("gauges of the round must be written to %s, could not be: %s", kept.path, error)
    if page is None:
        return
    try:
        write_page(page, round_page(found, at_ns))
    except TableError as error:
        _log.warning("%s", error)


def _reader(
    kept: "ModelRegistry", table: str, refresh: str | None, declarations: "Sequence[Declaration]"
) -> "Callable[[], TrainingTable]":
    """Reads with the goal of the champion: what follows it must count as conversions what it counts."""
    from models.errors import TableError
    from models.registry import CHAMPION
    from models.registry.schema import DEFAULT_GOAL, goal_of
    from models.renewal.tables import read_tables

    def read() -> "TrainingTable":
        if refresh is not None:
            try:
                done = subprocess.run(  # noqa: S603 - the user's own command
                    shlex.split(refresh), check=False, capture_output=True, text=True
                )
            except (OSError, ValueError) as error:
                raise TableError(
                    f"--refresh must be a command that runs, was {refresh!r}: {error}"
                ) from error
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise TableError(f"--refresh must end well, {refresh!r} ended with {done.returncode}: {last}")
        named = kept.aliases().get(CHAMPION)
        goal = goal_of(kept.bundle(named).manifest) if named is not None else DEFAULT_GOAL
        return read_tables(table, declarations, goal=goal)

    return read


def _print(found: "Round", page: Path | None, *, json: bool) -> None:
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        sys.stdout.flush()
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if found.checks:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("check", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("what was found")
        for check in found.checks:
            table.add_row(check.name, "passed" if check.passed else "failed", check.words)
        console.print(table)
    console.print(f"{found.outcome}: {found.words}", highlight=False, markup=False)
    for alias in ("champion", "challenger"):
        console.print(f"{alias:<11}{getattr(found, alias)[:12] or 'none'}", highlight=False)
    if page is not None:
        typer.echo(f"Page: {page}")
