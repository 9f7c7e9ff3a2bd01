"""`clearbid models explain`: why one row has its probabilities, or what counts over a whole table."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.commands.options import Json, Model, Page, TableFile
from models.commands.progress import bars

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from models.artifact import ModelBundle
    from models.dataset import TrainingTable
    from models.explain.attribution import Attribution
    from models.explain.overview import ModelOverview, Overview


def explain(
    directory: Model,
    table: TableFile,
    row: Annotated[
        int | None,
        typer.Option("--row", metavar="N", help="Row to explain, in the order of time; 1 is the first."),
    ] = None,
    bid_id: Annotated[
        str | None, typer.Option("--bid-id", metavar="ID", help="Row to explain, by the column bid_id.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--global", help="What counts over the table; so without --row and --bid-id too.")
    ] = False,
    top: Annotated[int, typer.Option(metavar="N", help="Contributions of a row to tell apart.", min=1)] = 8,
    sample: Annotated[
        int, typer.Option(metavar="N", help="Rows asked for the view of a table.", min=1)
    ] = 4000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sample and the shuffles.", min=0)] = 1,
    page: Page = None,
    json: Json = False,
) -> None:
    """Say what each feature adds to a bid's probabilities, or which features count over a table."""
    from models.artifact import load_bundle
    from models.dataset import read_table
    from models.pages.write import check_page

    asked = [
        name
        for name, given in (("--row", row), ("--bid-id", bid_id), ("--global", whole or None))
        if given is not None
    ]
    if len(asked) > 1:
        raise typer.BadParameter(f"{' and '.join(asked)} must not be given together")
    check_page(page)
    bundle = load_bundle(directory)
    rows = read_table(table, bundle.spec.declarations(), lost=True)
    if row is None and bid_id is None:
        _overview(bundle, rows, sample, seed, page, json=json)
    else:
        _row(bundle, rows, _place_of(rows, row, bid_id), top, page, json=json)


def _place_of(table: "TrainingTable", row: int | None, bid_id: str | None) -> int:
    """The row that is meant, from 0."""
    from models.errors import TableError

    if row is not None:
        if not 1 <= row <= len(table):
            raise TableError(f"--row must be 1 to {len(table)}, the rows of {table.source}, was {row}")
        return row - 1
    ids = table.extras.get("bid_id")
    if ids is None:
        raise TableError(
            f"training table {table.source} must have the column bid_id for --bid-id, has not: use --row, or "
            "export the table from a run"
        )
    found = [place for place, one in enumerate(ids) if one == bid_id]
    if not found:
        raise TableError(f"--bid-id must be in the column bid_id of {table.source}, was {bid_id}")
    return found[0]


def _row(
    bundle: "ModelBundle", table: "TrainingTable", place: int, top: int, page: Path | None, *, json: bool
) -> None:
    from models.explain.attribution import Attributor
    from models.pages.text import moment

    one = table.slice(place, place + 1)
    attributions = Attributor(bundle).one(one.columns, top)
    ids = one.extras.get("bid_id")
    bid_id = str(ids[0]) if ids is not None and ids[0] is not None else None
    name = f"row {place + 1}" + (f", bid {bid_id}" if bid_id else "")
    at_ns = int(one.at_ns[0])
    if page is not None:
        from models.explain.page import row_page
        from models.pages.write import write_page

        when = f"Model {bundle.hash[:12]}, table {table.source}, offered {moment(at_ns)}"
        write_page(page, row_page(name, when, attributions))
    if json:
        said = {"row": place + 1, "bid_id": bid_id, "at_ns": at_ns, "bundle": bundle.hash}
        _print_json({**said, "models": attributions})
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[bold]{name}[/] of {table.source}, offered {moment(at_ns)}")
    for each in attributions:
        console.print(attribution_table(each))
    if page is not None:
        typer.echo(f"Page: {page}")


def _overview(
    bundle: "ModelBundle", table: "TrainingTable", sample: int, seed: int, page: Path | None, *, json: bool
) -> None:
    from models.explain.overview import overview

    with bars(quiet=json) as tell:
        found = overview(bundle, table, sample=sample, seed=seed, tell=tell)
    if page is not None:
        from models.explain.page import overview_page
        from models.pages.write import write_page

        write_page(page, overview_page(found))
    if json:
        _print_json(found)
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_head(found))
    for model in found.models:
        console.print(*_model_tables(model))
    if page is None:
        console.print("by campaign and by value: --page FILE, or --json")
    else:
        typer.echo(f"Page: {page}")


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


# -- tables for people --------------------------------------------------------------------------------------


def attribution_table(one: "Attribution") -> "Table":
    """One model's way from the base to the probability; `clearbid explain` prints it too."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from models.explain import words

    table = Table(
        title=f"probability of a {one.title}: {words.chance(one.probability)}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("feature", no_wrap=True)
    table.add_column("shows", overflow="fold")
    for head in ("log odds", "odds", "p after"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_row(
        words.BASE, "average training row", words.added(one.base), "", words.chance(one.base_probability)
    )
    for step in one.steps:
        table.add_row(
            escape(step.name),
            escape(step.value),
            words.added(step.contribution),
            words.times(step.odds_factor),
            words.chance(step.probability),
        )
    if one.rest_groups:
        table.add_row(
            words.REST, words.rest_words(one), words.added(one.rest), "", words.chance(one.raw_probability)
        )
    table.add_row(words.CALIBRATION, "", words.added(one.calibration), "", words.chance(one.probability))
    return table


def _head(found: "Overview") -> str:
    from rich.markup import escape

    from models.pages.text import counted

    return (
        f"[bold]model {found.bundle[:12]}[/] over {escape(found.table)}: contributions of {found.sampled:,} of "
        f"{counted(found.rows, 'row')} (seed {found.seed})"
    )


def _model_tables(one: "ModelOverview") -> "Iterator[RenderableType]":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from models.explain import words

    title = f"{one.model}: mean p {words.chance(one.mean_probability)}"
    if not one.groups:
        yield f"{title}, for every row: no tree splits, so no feature has a weight"
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.add_column("group", no_wrap=True)
    for head in ("weight", "share", *(("shuffled", "95 %", "matters") if one.shuffled else ())):
        table.add_column(head, justify="right", no_wrap=True)
    shuffled = {each.name: each for each in one.shuffled}
    for group in one.groups:
        told = shuffled.get(group.name)
        rest: tuple[str, ...] = ()
        if told is not None:
            span = f"{told.low:+.2%} to {told.high:+.2%}"
            rest = (f"{told.loss_increase:+.2%}", span, words.verdict(told))
        table.add_row(escape(group.name), f"{group.mean_absolute:.4f}", f"{group.share:.1%}", *rest)
    loss = "not told," if one.shuffled_note else "rise of the log loss over"
    over = one.shuffled_note or f"{words.shuffled_words(one)}; the heaviest groups only"
    table.caption = f"weight: mean |contribution|, log odds; shuffled: {loss} {over}"
    yield table
