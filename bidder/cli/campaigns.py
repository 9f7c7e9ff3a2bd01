"""`clearbid campaigns`: sheets in and out, budgets, pause and resume.

Each change is an audit row in the store; a running bank sees it with its next tick and tells the bidders.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import (
    ByOption,
    ConfigOption,
    DbOption,
    JsonOption,
    configured,
    existing_store,
    store_is_there,
)
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal, parse_decimal

if TYPE_CHECKING:
    from bidder.core.campaigns import Advertiser, Campaign, Status
    from bidder.core.messages import Brake
    from bidder.store.campaigns import CampaignStore, PutResult
    from bidder.store.sheet import Sheet

_OptionalId = Annotated[str | None, typer.Argument(metavar="ID", help="Campaign.")]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="Sheet: .csv, .toml or .json.")]
_LineItemOption = Annotated[
    str | None, typer.Option("--line-item", help="One line item of the campaign.", metavar="ID")
]
_AdvertiserOption = Annotated[
    str | None,
    typer.Option("--advertiser", help="Instead of a campaign, all of an advertiser's.", metavar="ID"),
]


def register(app: typer.Typer) -> None:
    """Adds `campaigns` and its commands."""
    commands = typer.Typer(
        name="campaigns",
        help="Campaigns: import, check and list sheets, set budgets, pause, resume.",
        no_args_is_help=True,
    )
    commands.command("import")(_import)
    commands.command("check")(_check)
    commands.command("list")(_list)
    commands.command("set-budget")(_set_budget)
    commands.command("pause")(_pause)
    commands.command("resume")(_resume)
    commands.command("history")(_history)
    app.add_typer(commands)


def _import(
    file: _File,
    db: DbOption = None,
    config: ConfigOption = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the sheet is right.")] = False,
    by: ByOption = None,
) -> None:
    """Add campaigns from a sheet, or replace those of the same id: all of it or nothing."""
    sheet = _read(file, config)
    _warn(sheet)
    if check:
        typer.echo(f"{file.name}: {_count(sheet)}, no errors")
        return
    actor = _actor(by)
    with _store(db, config, create=True) as store:
        of_campaigns, of_advertisers = store.put_all(*sheet, at_ns=time.time_ns(), actor=actor)
    typer.echo(f"{file.name}: {_became(of_campaigns)}")
    if sheet.advertisers:
        typer.echo(f"{file.name}, advertisers: {_became(of_advertisers)}")


def _check(file: _File, db: DbOption = None, config: ConfigOption = None) -> None:
    """Say what importing a sheet would change, column by column, and write nothing."""
    from bidder.cli.campaign_tables import show_review
    from bidder.store.campaigns import check_line_ids

    sheet = _read(file, config)
    campaigns: dict[str, Campaign] = {}
    advertisers: dict[str, Advertiser] = {}
    if store_is_there(configured(config, db=db).store):
        with _store(db, config) as store:
            campaigns, advertisers = store.all(), store.advertisers()
    check_line_ids((campaigns | {campaign.id: campaign for campaign in sheet.campaigns}).values())
    show_review(sheet, campaigns, advertisers)
    _warn(sheet)
    typer.echo(f"{file.name}: {_count(sheet)}, no errors; nothing was written")


def _list(
    db: DbOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, as `import` takes it.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="Print TOML, as `import` takes it.")] = False,
) -> None:
    """Show all campaigns with their line items; as JSON, CSV or TOML they can be imported again."""
    from bidder.cli.campaign_tables import show_tree
    from bidder.store.sheet import to_csv, to_json, to_toml

    named = [name for name, given in (("--json", json), ("--csv", csv), ("--toml", toml)) if given]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} must not be given together")
    with _store(db, config) as store:
        campaigns, advertisers = store.all(), store.advertisers()
        held = _held(store)
    if json:
        typer.echo(to_json(campaigns.values(), advertisers.values(), _brake_tables(held)))
    elif csv:
        typer.echo(to_csv(campaigns.values(), advertisers.values()), nl=False)
    elif toml:
        typer.echo(to_toml(campaigns.values(), advertisers.values()), nl=False)
    else:
        show_tree(campaigns.values(), advertisers, held)


def _set_budget(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[ID] AMOUNT",
            help="Campaign, and an amount such as 500.00, or `none` to take away a limit that need not be.",
            show_default=False,
        ),
    ],
    db: DbOption = None,
    config: ConfigOption = None,
    daily: Annotated[bool, typer.Option("--daily", help="For each day, not for the whole flight.")] = False,
    line_item: _LineItemOption = None,
    advertiser: _AdvertiserOption = None,
    by: ByOption = None,
) -> None:
    """Set the budget of a campaign, of one of its line items or of an advertiser, in currency units."""
    if len(words) > 2:
        raise InputError(f"a campaign and an amount must be given, was {' '.join(words)}")
    *ids, amount = words
    campaign_id = ids[0] if ids else None
    _check_named(campaign_id, line_item, advertiser)
    removable = daily or line_item is not None or advertiser is not None
    of = f"campaign {campaign_id}" if advertiser is None else f"advertiser {advertiser}"
    nanos = _amount(amount, of if line_item is None else f"line item {line_item}", removable=removable)
    currency, actor = "", _actor(by)
    with _store(db, config) as store:
        if campaign_id is None:
            assert advertiser is not None, "one of them is named"
            store.set_advertiser_budget(advertiser, nanos, at_ns=time.time_ns(), actor=actor, daily=daily)
        else:
            currency = store.set_budget(
                campaign_id, nanos, at_ns=time.time_ns(), actor=actor, line_item_id=line_item, daily=daily
            ).currency
    shown = f"{format_decimal(nanos, NANOS_PER_UNIT)} {currency}".rstrip() if nanos else "none"
    called = _called(campaign_id, line_item, advertiser)
    typer.echo(f"{called}: {'daily budget' if daily else 'budget'} {shown}")


def _amount(text: str, of: str, *, removable: bool) -> int:
    """Nanos of an amount above 0; 0 for `none` where a limit may be taken away."""
    if text.strip().lower() == "none":
        if removable:
            return 0
        raise InputError(f"budget of {of} must be an amount > 0, was none: pause it to stop its bids")
    try:
        nanos = parse_decimal(text.strip(), NANOS_PER_UNIT)
    except ValueError as error:
        raise InputError(f"budget of {of} {error}") from None
    if nanos <= 0:
        hint = ", or `none` for no limit" if removable else ""
        raise InputError(f"budget of {of} must be > 0{hint}, was {text}")
    return nanos


def _pause(
    campaign_id: _OptionalId = None,
    db: DbOption = None,
    config: ConfigOption = None,
    line_item: _LineItemOption = None,
    advertiser: _AdvertiserOption = None,
    by: ByOption = None,
) -> None:
    """Stop a campaign, one line item of it, or an advertiser from bidding."""
    from bidder.core.campaigns import Status

    actor = _actor(by)
    with _store(db, config) as store:
        typer.echo(_set_status(store, campaign_id, line_item, advertiser, Status.PAUSED, actor))


def _resume(
    campaign_id: _OptionalId = None,
    db: DbOption = None,
    config: ConfigOption = None,
    line_item: _LineItemOption = None,
    advertiser: _AdvertiserOption = None,
    by: ByOption = None,
) -> None:
    """Let what was paused bid again; what `clearbid stop` stopped is let go by `clearbid go`."""
    from bidder.core.campaigns import Status

    actor = _actor(by)
    with _store(db, config) as store:
        typer.echo(_set_status(store, campaign_id, line_item, advertiser, Status.ACTIVE, actor))


def _set_status(
    store: "CampaignStore",
    campaign_id: str | None,
    line_item: str | None,
    advertiser: str | None,
    status: "Status",
    actor: str,
) -> str:
    """Sets it for the one that is named, and says so, and which brakes still hold what may bid."""
    from bidder.cli.brakes import above, still_held
    from bidder.core.campaigns import Status
    from bidder.core.messages import ALL

    _check_named(campaign_id, line_item, advertiser)
    at_ns = time.time_ns()
    if campaign_id is None:
        assert advertiser is not None, "one of them is named"
        store.set_advertiser_status(advertiser, status, at_ns=at_ns, actor=actor)
        names = [ALL, f"a/{advertiser}"]
    else:
        changed = store.set_status(campaign_id, status, at_ns=at_ns, actor=actor, line_item_id=line_item)
        names = above(changed, line_item)
    said = f"{_called(campaign_id, line_item, advertiser)}: {status}"
    held = still_held(names, _held(store)) if status is Status.ACTIVE else ""
    return f"{said}, but it does not bid: {held}" if held else said


def _held(store: "CampaignStore") -> "dict[str, Brake]":
    """Brakes of the store that hold now."""
    from bidder.cli.brakes import holding
    from bidder.store.brakes import BrakeStore

    return holding(BrakeStore(store.database).all(), time.time_ns())


def _brake_tables(held: "dict[str, Brake]") -> list[dict[str, str]]:
    """Brakes as a JSON sheet tells them: level and id, which is empty of the one for all."""
    from bidder.cli.brakes import LEVELS

    found = []
    for name in held:
        level, _, own_id = name.partition("/")
        found.append({"level": LEVELS[level] if own_id else level, "id": own_id})
    return found


def _actor(by: str | None) -> str:
    """Who changes something."""
    from bidder.cli.brakes import check_text, this_user

    check_text("--by", by or "")
    return by or this_user()


def _check_named(campaign_id: str | None, line_item: str | None, advertiser: str | None) -> None:
    """Raises `InputError` unless a campaign, a line item with its campaign, or an advertiser is named."""
    if (campaign_id is None) == (advertiser is None):
        was = "neither" if campaign_id is None else "both"
        raise InputError(f"either a campaign or --advertiser must be named, was {was}")
    if campaign_id is None and line_item is not None:
        raise InputError("--line-item must stand with its campaign, was with --advertiser")


def _history(
    campaign_id: Annotated[str | None, typer.Argument(metavar="ID", help="Campaign; else all.")] = None,
    db: DbOption = None,
    config: ConfigOption = None,
    advertiser: Annotated[
        str | None, typer.Option("--advertiser", help="Only changes of this advertiser.", metavar="ID")
    ] = None,
    line_item: _LineItemOption = None,
) -> None:
    """Show who changed what and when, column by column."""
    from bidder.cli.campaign_tables import show_history

    if campaign_id is not None and advertiser is not None:
        raise InputError("a campaign and --advertiser must not be named together")
    if line_item is not None and campaign_id is None:
        raise InputError("--line-item must stand with its campaign, was without")
    with _store(db, config) as store:
        rows = store.audit(campaign_id, advertiser_id=advertiser)
    show_history(rows, line_item)


@contextmanager
def _store(db: str | None, config: Path | None, *, create: bool = False) -> "Iterator[CampaignStore]":
    from bidder.store.campaigns import CampaignStore
    from bidder.store.database import Database

    store = configured(config, db=db).store
    with Database(store.place if create else existing_store(store)) as database:
        yield CampaignStore(database)


def _read(file: Path, config: Path | None) -> "Sheet":
    """A sheet that bidders with the configured account can serve."""
    from bidder.core.servable import check_campaigns
    from bidder.store.sheet import read_sheet

    currency = configured(config).account.currency
    sheet = read_sheet(file, currency)
    check_campaigns({campaign.id: campaign for campaign in sheet.campaigns}, currency)
    return sheet


def _warn(sheet: "Sheet") -> None:
    """Says on standard error what is likely not meant."""
    from bidder.store.sheet_warnings import warnings_of

    for warning in warnings_of(sheet.campaigns, sheet.advertisers, time.time_ns()):
        typer.echo(f"warning: {warning}", err=True)


def _count(sheet: "Sheet") -> str:
    items = sum(len(campaign.line_items) for campaign in sheet.campaigns)
    counts = (
        (len(sheet.campaigns), "campaign"),
        (items, "line item"),
        (len(sheet.advertisers), "advertiser"),
    )
    return ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts if count)


def _became(result: "PutResult") -> str:
    added, changed, unchanged = map(len, result)
    return f"{added} added, {changed} changed, {unchanged} as they were"


def _called(campaign_id: str | None, line_item: str | None, advertiser: str | None) -> str:
    if campaign_id is None:
        return f"advertiser {advertiser}"
    return campaign_id if line_item is None else f"{campaign_id}, line item {line_item}"
