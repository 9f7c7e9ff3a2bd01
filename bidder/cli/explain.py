"""`clearbid explain`: why a line item bids on a request or does not: rule by rule, factor by factor."""

import re
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.compiling import compiling_told
from bidder.cli.options import DbOption, JsonOption, configured, existing_store
from bidder.cli.price_story import Reasoner, price_table
from bidder.cli.requests import request_id_of, requests_of
from bidder.cli.sample import (
    AtOption,
    CampaignsOption,
    ModelOption,
    SettingsOption,
    Tree,
    engine_of,
    instant_of,
    model_of,
    settings_of,
    shading_of,
    tree_of,
)
from bidder.errors import InputError
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal, parse_decimal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from bidder.core.explain import Explanation, Opportunity


_DAY = re.compile(r"(?<=/)d(\d+)\b")
_FIRST_DAY = date(1970, 1, 1)


def register(app: typer.Typer) -> None:
    """Adds `explain`."""
    app.command("explain")(explain)


def explain(
    line_item: Annotated[
        str, typer.Option("--line-item", help="Line item, or a campaign that is its own.", metavar="ID")
    ],
    campaigns: CampaignsOption = None,
    db: DbOption = None,
    request: Annotated[
        str, typer.Option("--request", help="File of bid requests, one a line; - is input.", metavar="FILE")
    ] = "-",
    model: ModelOption = None,
    landscape: Annotated[
        Path | None,
        typer.Option(
            "--landscape", help="Prices first price; else landscape_file of --settings.", metavar="FILE"
        ),
    ] = None,
    settings: SettingsOption = None,
    at: AtOption = None,
    granted: Annotated[
        str | None,
        typer.Option("--granted", help="Money leased of each budget; else all of it.", metavar="AMOUNT"),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            "--contributions",
            help="With --model: features to tell of each model, at the best opportunity; 0 for none.",
            min=0,
            metavar="N",
        ),
    ] = 5,
    json: JsonOption = False,
) -> None:
    """Say of each rule whether it lets a line item bid on a request, how its bid is made, and what would happen."""
    import msgspec

    from bidder.core.explain import Explainer

    now_ns, own = instant_of(at), settings_of(settings)
    tree = tree_of(campaigns, _place(campaigns, db, settings), own.currency)
    _check_line_item(line_item, tree)
    with compiling_told():
        priced = shading_of(landscape, settings)
        engine = engine_of(tree, own, model_of(model), "clearbid", now_ns, _amount(granted), priced)
        explainer = Explainer(engine)
    reasoner = Reasoner(model, top, engine.model_hash) if model is not None and top else None
    for body in _bodies(request):
        with compiling_told():
            found = explainer.explain(body, line_item, now_ns)
        if not found.request_id:  # the engine knows none of a request that it cannot use
            found = msgspec.structs.replace(found, request_id=request_id_of(body))
        if reasoner is not None:
            found = reasoner.add(found)
        if json:
            typer.echo(msgspec.json.encode(found).decode())
        else:
            show(found)


def _place(sheet: Path | None, db: str | None, settings: Path | None) -> str | None:
    """Of the database to explain from: one that is named, else one at a URL of the settings where no sheet is."""
    if db is None:
        return configured(settings).store.url if sheet is None else None
    if sheet is not None:
        raise InputError("--campaigns and --db must not be given together")
    return existing_store(configured(settings, db=db).store)


def _check_line_item(line_item: str, tree: Tree) -> None:
    """Raises `InputError` where a campaign is named that holds line items: these bid, each by its own rules."""
    campaign = tree.campaigns.get(line_item)
    if campaign is not None and campaign.line_items:
        ids = ", ".join(item.id for item in campaign.line_items)
        raise InputError(f"line item must be one of {ids}, was {line_item}, the campaign that holds them")


def _amount(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        nanos = parse_decimal(text.strip(), NANOS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"--granted {error}") from None
    if nanos < 0:
        raise InputError(f"--granted must be >= 0, was {text}")
    return nanos


def _bodies(request: str) -> list[bytes]:
    """Requests of a file or of standard input."""
    if request == "-":
        data = sys.stdin.buffer.read()
    else:
        try:
            data = Path(request).read_bytes()
        except OSError as error:
            raise InputError(f"requests {request} cannot be read: {error.strerror}") from None
    found = requests_of(data)
    if not found:
        raise InputError(f"requests {request} must hold at least one, was empty")
    return found


# -- in words -----------------------------------------------------------------------------------------------


def show(found: "Explanation", console: "Console | None" = None) -> None:
    """Prints an explanation as tables."""
    from rich.console import Console
    from rich.markup import escape

    from models.commands.explain import attribution_table

    console = console or Console(soft_wrap=False, highlight=False)
    name = (
        found.line_item_id
        if found.line_item_id == found.campaign_id
        else (f"{found.line_item_id} of campaign {found.campaign_id}")
    )
    test = ", test traffic" if found.test else ""
    console.print(
        f"[bold]{escape(name)}[/], request {escape(found.request_id or '?')} of {escape(found.exchange)}{test}"
    )
    for rule in found.refused:
        more = f": {rule.shows}" if rule.shows else ""
        console.print(f"[red]request refused[/] {escape(rule.reason + more)}")
    for one in found.opportunities:
        console.print(_table(one))
        if one.price is not None:
            console.print()
            console.print(price_table(one.price, would_be=one.stage not in {"bid", "outbid"}))
        for each in one.contributions:
            console.print()
            console.print(attribution_table(each))
        console.print(escape(_verdict(found.line_item_id, one)))
        console.print()


def _table(one: "Opportunity") -> "Table":
    """Rules in the order in which they are asked; the first that refuses is the one that counts."""
    from rich.markup import escape
    from rich.table import Table

    place = f", place {one.place + 1}" if one.place else ""
    deal = f", deal {one.deal_id}" if one.deal_id else ""
    table = Table(title=escape(f"impression {one.imp_id}{deal}{place}"), title_justify="left", box=None)
    for column in ("Rule", "", "Wants", "Shows"):
        table.add_column(column, overflow="fold")
    for rule in one.rules:
        mark = {True: "[green]passed[/]", False: f"[red]{rule.reason}[/]", None: "[dim]not asked[/]"}[
            rule.passed
        ]
        table.add_row(rule.name, mark, escape(rule.wants), escape(_dated(rule.shows)))
        if rule.name == "creative":
            for fit in one.creatives:
                said = f"[red]{fit.fault}[/]" if fit.fault else "[green]fits[/]"
                table.add_row("", said, escape(f"  {fit.creative_id}"), escape(fit.format))
    return table


def _dated(shows: str) -> str:
    """Names of budgets with the date of their day, which is a count of days within."""
    return _DAY.sub(lambda match: str(_FIRST_DAY + timedelta(days=int(match[1]))), shows)


def _verdict(line_item_id: str, one: "Opportunity") -> str:
    """What the engine would do, in a sentence."""
    if one.winner:
        price = format_decimal(one.winner_bid_nanos, MICROS_PER_UNIT)
        who = "this line item" if one.winner == line_item_id else one.winner
        said = f"The bidder would bid {price} CPM for {who}"
    else:
        said = f"The bidder would not bid: {one.reason}"
    if one.stage in {"bid", "request", "duplicate"}:
        return said + "."
    if one.stage == "outbid":
        own = format_decimal(one.price.bid_nanos, MICROS_PER_UNIT) if one.price is not None else "?"
        return f"{said}, which comes before this one, whose bid would be {own}."
    return f"{said}; this line item ends at {one.stage}."
