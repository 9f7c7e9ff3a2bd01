"""`clearbid models segments`: audiences found in behaviour, once or on a schedule."""

import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Json, Page, check_out
from models.commands.progress import bars
from models.errors import ModelError, TableError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from models.dataset import TrainingTable
    from models.segments.find import Wish
    from models.segments.folder import Before
    from models.segments.report import Report
    from models.segments.response import Rate

_NS = 10**9
_MOST_CELLS = 12


def segments(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Table with a column user, .parquet or .csv.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory to write the segments to.", show_default=False),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Segments found before: names stay with their people; also the --out."
        ),
    ] = None,
    k: Annotated[str, typer.Option("--k", metavar="N|auto", help="How many segments.")] = "auto",
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only rows from then on: 14d, 36h (before the last row) or 2026-03-01."
        ),
    ] = None,
    min_users: Annotated[
        int, typer.Option(metavar="N", help="Fewest users of a segment and of whatever is told.", min=2)
    ] = 50,
    clicks: Annotated[
        bool,
        typer.Option("--clicks", help="Let click rates help; answers are then those of later impressions."),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Find them again each 24h, 90m or so, until told to stop."),
    ] = None,
    page: Page = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all that is drawn.", min=0)] = 1,
    json: Json = False,
) -> None:
    """Find audiences in what users do, say what they are, and how they answer."""
    from models.pages.write import check_page
    from models.segments.find import Wish
    from models.spans import span_ns

    target = out or previous
    if target is None:
        raise ModelError("--out or --previous must name a folder, neither was given")
    if page is not None and target.resolve() in page.resolve().parents:
        raise ModelError(f"--page must lie outside of {target}, which is replaced as a whole, was {page}")
    check_page(page)
    check_out(target, folder=True)
    wish = Wish(_groups(k), min_users, seed, clicks)
    pause_s = span_ns(every, "--every") / _NS if every is not None else None
    _once(table, target, previous, wish, since, page, json=json)
    if pause_s is None:
        return
    stop = _stop_signal()
    while not stop.wait(pause_s):
        try:
            _once(table, target, target, wish, since, page, json=json)
        except ModelError as error:
            # A table that is being written is whole the next time; the segments there are stay meanwhile.
            typer.echo(f"clearbid: segments stay as they were: {error}", err=True)


def _once(
    path: Path,
    out: Path,
    previous: Path | None,
    wish: "Wish",
    since: str | None,
    page: Path | None,
    *,
    json: bool,
) -> None:
    from models.dataset import read_table
    from models.pages.write import write_page
    from models.segments.behaviour import DECLARATIONS
    from models.segments.find import find_segments
    from models.segments.folder import check_replaceable, load_segments, save_segments
    from models.segments.page import segments_page

    check_replaceable(out)
    before = load_segments(previous) if previous is not None else None
    rows = _later(read_table(path, DECLARATIONS, lost=True), since)
    with bars(quiet=json) as progress:
        found = find_segments(rows, wish, progress, before)
    params: dict[str, int | float | bool | None] = {
        "groups": wish.groups,
        "smallest": wish.smallest,
        "seed": wish.seed,
        "clicks": wish.clicks,
    }
    was = before.manifest.hash if before is not None else ""
    manifest = save_segments(out, found.report, found.users, found.segment, params, found.next_number, was)
    if page is not None:
        write_page(page, segments_page(found.report))
    _print(found.report, out, manifest.hash, before, json=json)
    if page is not None and not json:
        typer.echo(f"Page: {page}")


def _groups(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= 100:
        raise ModelError(f"--k must be auto or a number from 2 to 100, was {text}")
    return int(text)


def _later(table: "TrainingTable", since: str | None) -> "TrainingTable":
    """The rows from a time on."""
    if since is None:
        return table
    from models.spans import is_span, span_ns

    if is_span(since):
        from_ns = int(table.at_ns[-1]) - span_ns(since, "--since")
    else:
        try:
            at = datetime.fromisoformat(since)
        except ValueError:
            raise ModelError(
                f"--since must be a span such as 14d or a date such as 2026-03-01, was {since!r}"
            ) from None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        from_ns = int(at.timestamp()) * _NS
    begin = int(table.at_ns.searchsorted(from_ns))
    if begin == len(table):
        raise TableError(f"table {table.source} must have rows since {since}, has none")
    return table.slice(begin, len(table))


def _stop_signal() -> threading.Event:
    """Set by SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _print(report: "Report", out: Path, made: str, before: "Before | None", *, json: bool) -> None:
    if json:
        import msgspec

        told = {"path": str(out), "hash": made, **msgspec.to_builtins(report)}
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        sys.stdout.flush()
        return
    from rich.console import Console

    console = Console()
    console.print(_summary(report, out, made))
    if report.segments:
        console.print(_segments(report))
        if report.cells:
            console.print(_cells(report))
    if before is not None and report.churn is not None:
        console.print(_churn(report))
    for caution in report.cautions:
        console.print(f"Mind: {caution}", markup=False, highlight=False)


def _summary(report: "Report", out: Path, made: str) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    from models.pages.text import counted, moment
    from models.segments.report import FOUND
    from models.segments.words import structure_words

    tried = [one for one in report.trials if one.stable]
    grid = Table.grid(padding=(0, 2))
    for name, value in (
        ("verdict", report.verdict),
        ("segments", f"{out}, {made[:12]}"),
        ("table", f"{report.table}, sha256 {report.table_sha256[:12]}"),
        ("window", " to ".join(map(moment, report.window_ns))),
        ("rows", f"{report.rows:,}, and {report.rows_unknown_user:,} left out whose user is null"),
        ("users", f"{report.users:,}, at least {report.smallest} a segment"),
        ("behaviour", ", ".join(f"{name} ({count})" for name, count in report.columns.items())),
        ("structure", structure_words(report)),
        ("tried", f"{counted(len(report.trials), 'number')} of groups, {len(tried)} of them stable"),
    ):
        bad = name in {"verdict", "structure"} and report.verdict != FOUND
        grid.add_row(name, Text(value, style="red" if bad else ""))
    return grid


def _segments(report: "Report") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from models.pages.text import percent

    table = Table(
        title="segments",
        caption="CTR: clicks by impression, x: by that of all other users; intervals of 95 % over users",
        pad_edge=False,
        box=SIMPLE_HEAD,
    )
    for head in ("segment", "users", "share", "CTR", "x others", "who"):
        table.add_column(
            head, justify="left" if head in {"segment", "who"} else "right", no_wrap=head != "who"
        )
    for one in report.segments:
        table.add_row(
            one.name,
            f"{one.users:,}",
            percent(one.share),
            _rate(one.ctr),
            lift_text(one.ctr),
            Text(one.words),
        )
    return table


def _cells(report: "Report") -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from models.pages.text import counted

    held = sorted((cell for cell in report.cells if cell.holds), key=lambda cell: -(cell.lift or 0.0))
    none = sum(best is None for best in report.best.values())
    table = Table(
        title="who answers what best",
        caption=f"{len(held)} of {counted(len(report.cells), 'pair')} hold after Holm's correction for all of them; "
        f"in {none} of {counted(len(report.best), 'campaign')} no segment stands out",
        pad_edge=False,
        box=SIMPLE_HEAD,
    )
    for head in ("campaign", "segment", "impressions", "clicks", "x others"):
        table.add_column(head, justify="left" if head in {"campaign", "segment"} else "right")
    for cell in held[:_MOST_CELLS]:
        table.add_row(
            Text(cell.campaign),
            cell.segment,
            f"{cell.impressions:,.0f}",
            f"{cell.clicks:,.0f}",
            lift_text(cell),
        )
    return table


def _churn(report: "Report") -> str:
    from models.pages.text import counted

    churn = report.churn
    assert churn is not None, "asked only where there is one"
    return (
        f"Refreshed: {counted(len(churn.kept), 'name')} kept, {len(churn.new)} new, {len(churn.retired)} retired; of "
        f"the users {churn.stayed:,} stayed, {churn.moved:,} moved, {churn.had_none:,} were in none before, "
        f"{churn.joined:,} joined, {churn.left:,} left."
    )


def _rate(rate: "Rate") -> str:
    from models.pages.text import percent

    return percent(rate.rate, 2)


def lift_text(one: "Rate | object") -> str:
    """`2.1 (1.8 to 2.5)`, or a dash."""
    from models.pages.text import DASH

    lift, low, high = (getattr(one, name) for name in ("lift", "lift_low", "lift_high"))
    return DASH if lift is None else f"{lift:.2f} ({low:.2f} to {high:.2f})"
