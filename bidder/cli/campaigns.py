"""`clearbid campaigns`: sheets in and out, budgets, pause and resume.

Each change is an audit row in the store; a running bank sees it with its next tick and tells the bidders.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ConfigOption, DbOption, JsonOption, configured
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal

if TYPE_CHECKING:
    from rich.table import Column

    from bidder.core.campaigns import Campaign, Status
    from bidder.store.campaigns import CampaignStore

_Id = Annotated[str, typer.Argument(metavar="ID", help="Campaign.")]


def register(app: typer.Typer) -> None:
    """Adds `campaigns` and its commands."""
    commands = typer.Typer(
        name="campaigns",
        help="Campaigns: import and list sheets, set budgets, pause, resume.",
        no_args_is_help=True,
    )
    commands.command("import")(_import)
    commands.command("list")(_list)
    commands.command("set-budget")(_set_budget)
    commands.command("pause")(_pause)
    commands.command("resume")(_resume)
    commands.command("history")(_history)
    app.add_typer(commands)


def _import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Sheet: .csv, .toml or .json.")],
    db: DbOption = None,
    config: ConfigOption = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the sheet is right.")] = False,
) -> None:
    """Add campaigns from a sheet, or replace those of the same id: all of it or nothing."""
    from bidder.core.campaigns import check_campaigns
    from bidder.store.sheet import read_sheet

    currency = configured(config).account.currency
    campaigns = read_sheet(file, currency)
    check_campaigns({campaign.id: campaign for campaign in campaigns}, currency)
    if check:
        typer.echo(f"{file.name}: {len(campaigns)} campaigns, all right")
        return
    with _store(db, config, create=True) as store:
        added, changed, unchanged = store.put(campaigns, at_ns=time.time_ns())
    typer.echo(f"{file.name}: {len(added)} added, {len(changed)} changed, {len(unchanged)} as they were")


def _list(
    db: DbOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, as `import` takes it.")] = False,
) -> None:
    """Show all campaigns; as JSON or CSV they can be imported again."""
    from bidder.store.sheet import to_csv, to_json

    if json and csv:
        raise InputError("--json and --csv must not be given together")
    with _store(db, config) as store:
        campaigns = store.all()
    if json:
        typer.echo(to_json(campaigns.values()))
    elif csv:
        typer.echo(to_csv(campaigns.values()), nl=False)
    else:
        _show(campaigns.values())


def _set_budget(
    campaign_id: _Id,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="For the whole flight, such as 500.00.")],
    db: DbOption = None,
    config: ConfigOption = None,
) -> None:
    """Set a campaign's budget, in currency units."""
    from bidder.money import NANOS_PER_UNIT, format_decimal, parse_decimal

    try:
        nanos = parse_decimal(amount.strip(), NANOS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"budget of campaign {campaign_id} {error}") from None
    if nanos <= 0:
        raise InputError(f"budget of campaign {campaign_id} must be > 0, was {amount}")
    with _store(db, config) as store:
        campaign = store.set_budget(campaign_id, nanos, at_ns=time.time_ns())
    budget = format_decimal(campaign.budget_nanos, NANOS_PER_UNIT)
    typer.echo(f"{campaign.id}: budget {budget} {campaign.currency}")


def _pause(campaign_id: _Id, db: DbOption = None, config: ConfigOption = None) -> None:
    """Stop a campaign from bidding."""
    from bidder.core.campaigns import Status

    _set_status(campaign_id, Status.PAUSED, db, config)


def _resume(campaign_id: _Id, db: DbOption = None, config: ConfigOption = None) -> None:
    """Let a paused campaign bid again."""
    from bidder.core.campaigns import Status

    _set_status(campaign_id, Status.ACTIVE, db, config)


def _set_status(campaign_id: str, status: "Status", db: Path | None, config: Path | None) -> None:
    with _store(db, config) as store:
        campaign = store.set_status(campaign_id, status, at_ns=time.time_ns())
    typer.echo(f"{campaign.id}: {campaign.status}")


def _history(
    campaign_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Campaign; else all.")] = None,
    db: DbOption = None,
    config: ConfigOption = None,
) -> None:
    """Show who changed what and when."""
    from rich.console import Console
    from rich.table import Table

    from bidder.store.columns import format_instant

    with _store(db, config) as store:
        rows = store.audit(campaign_id)
    table = Table("version", "at", "by", _whole_column("campaign"), "what", "old", "new")
    for row in rows:
        values = (
            ("", "")
            if row.what in {"create", "replace"}
            else (_shown(row.what, row.old), _shown(row.what, row.new))
        )
        at = format_instant(row.at_ns // 10**9 * 10**9)
        table.add_row(str(row.version), at, row.actor, row.campaign_id, row.what, *values)
    Console().print(table)


@contextmanager
def _store(db: Path | None, config: Path | None, *, create: bool = False) -> "Iterator[CampaignStore]":
    from bidder.store.campaigns import CampaignStore
    from bidder.store.database import Database

    path = Path(configured(config, db=db).store.path)
    if not create and not path.exists():
        raise InputError(f"database {path} must be there, was not: import a sheet first, or name it by --db")
    with Database(path) as database:
        yield CampaignStore(database)


def _show(campaigns: "Iterable[Campaign]") -> None:
    """A table for people; `--json` and `--csv` hold the rest."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from bidder.store.sheet import to_plain

    name = Column("name", min_width=8)
    table = Table(
        _whole_column("id"), name, _whole_column("status"), _whole_column("flight"), box=SIMPLE_HEAD
    )
    for heading in ("budget", "value", "CPM"):
        table.add_column(heading, justify="right", no_wrap=True)
    for campaign in campaigns:
        cells = to_plain(campaign)
        flight = f"{cells['start'][:10]}\n{cells['end'][:10]}"
        money = f"{cells['budget']}\n{campaign.currency}"
        amounts = [money, f"{cells['value']}\n{cells['goal']}", cells["max_bid_cpm"]]
        table.add_row(*(cells[column] for column in ("id", "name", "status")), flight, *amounts)
    Console().print(table)


def _whole_column(heading: str) -> "Column":
    """A column whose cells must stand whole: ids are copied into other commands."""
    from rich.table import Column

    return Column(heading, no_wrap=True, overflow="fold")


def _shown(what: str, value: str | None) -> str:
    """One side of a change: budgets are kept in nanos and shown in units."""
    if value is None:
        return ""
    return format_decimal(int(value), NANOS_PER_UNIT) if what == "budget" else value.strip('"')
