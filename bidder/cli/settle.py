"""`clearbid settle` and `clearbid reconcile`: what each day came to, and what exchanges bill for it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bidder.cli.options import ConfigOption, DbOption, JsonOption, configured, existing_store
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bidder.config import Config
    from bidder.core.bankrules import BankRules
    from bidder.core.bookings import RefusalRow, UnattributedRow
    from bidder.core.lateness import LateBillings
    from bidder.core.reconcile import BillLine, Booked, CampaignSum, Compared
    from bidder.core.settlement import DaySum
    from bidder.store.bills import BillForm
    from bidder.store.database import Database
    from bidder.store.ledger import UnbilledWin
    from bidder.store.pruning import Pruned

    _Row = TypeVar("_Row", bound="UnbilledWin | UnattributedRow | RefusalRow | LateBillings | Pruned")

_PPM_A_PERCENT = 10_000
_DAY_NS = 86_400_000_000_000
_WHOLE = ("day", "cost", "fees", "value", "ours", "theirs", "difference")
"""Columns that names give way to: a date or an amount on two lines is hard to read."""
_DayOption = Annotated[str | None, typer.Option("--day", help="One day alone.", metavar="YYYY-MM-DD")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("settle")(_settle)
    app.command("reconcile")(_reconcile)


def _settle(
    day: _DayOption = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="One campaign alone.", metavar="ID")
    ] = None,
    unbilled: Annotated[
        bool, typer.Option("--unbilled", help="List wins that were never billed instead.")
    ] = False,
    unattributed: Annotated[
        bool, typer.Option("--unattributed", help="List conversions that count for no bid instead.")
    ] = False,
    refused: Annotated[
        bool, typer.Option("--refused", help="List notices that were not taken, by rule, instead.")
    ] = False,
    late: Annotated[bool, typer.Option("--late", help="Say how late billings come instead.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take out of the books what nobody asks for any more instead.")
    ] = False,
    db: DbOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the bids of each day came to, by campaign and exchange, and from when that is final.

    Below, of all days: conversions that count for no bid, and notices that were not taken.
    """
    from bidder.core.settlement import settle
    from bidder.runtime.bank import bank_rules
    from bidder.store.bills import day_number
    from bidder.store.campaigns import CampaignStore
    from bidder.store.database import Database
    from bidder.store.ledger import Ledger

    asked = {
        "unbilled": unbilled,
        "unattributed": unattributed,
        "refused": refused,
        "late": late,
        "prune": prune,
    }
    instead = _only([name for name, wanted in asked.items() if wanted], whole=(day, campaign) == (None, None))
    settings = configured(config, db=db)
    rules, now_ns = bank_rules(settings), time.time_ns()
    with Database(existing_store(settings.store)) as database:
        if instead:
            _tell_instead(instead, database, rules, now_ns, campaign, json=json)
            return
        ledger = Ledger(database)
        refusals = [row for row in ledger.refusals() if campaign in (None, row.campaign_id)]
        strays = ledger.unattributed()
        zones = {own.id: own.time_zone for own in CampaignStore(database).advertisers().values()}
        days = settle(ledger.quarters(now_ns, rules.keep_ns), zones, rules, now_ns)
        if campaign is not None:
            booked = {one.campaign_id for one in days} | {one.campaign_id for one in refusals}
            _check_campaign(campaign, {*CampaignStore(database).all(), *booked})
    wanted = day_number(day) if day is not None else None
    days = [one for one in days if wanted in (None, one.day) and campaign in (None, one.campaign_id)]
    if json:
        typer.echo(_json([{**one._asdict(), "day": date_of(one.day)} for one in days]))
        return
    _show_days(days)
    _say_total(days, settings.account.currency)
    if campaign is None and strays:
        _show_unattributed(strays)
    if refusals:
        _show_refusals(refusals)


def _check_campaign(campaign_id: str, known: "Collection[str]") -> None:
    """Raises `InputError` where there is no such campaign: an empty table reads as one that spent nothing."""
    from bidder.store.campaigns import unknown

    if campaign_id not in known:
        raise InputError(unknown("campaign", "the store's", campaign_id, sorted(known)))


def _say_total(days: "Sequence[DaySum]", currency: str) -> None:
    cost, fees = sum(one.amount_nanos for one in days), sum(one.fees_nanos for one in days)
    typer.echo(
        f"total: {sum(one.billed for one in days):,} billed, cost {_money(cost)} {currency}, "
        f"{_money(fees)} {currency} of it fees"
    )


def _only(asked: list[str], *, whole: bool) -> str:
    """The one list that is asked for instead of days; empty where none is."""
    if len(asked) > 1:
        raise InputError(
            "--unbilled, --unattributed, --refused, --late and --prune must be given one at a time"
        )
    if asked in (["late"], ["prune"]) and not whole:
        raise InputError(
            f"--{asked[0]} must be given without --day and --campaign: it is of all days and campaigns"
        )
    return asked[0] if asked else ""


def _tell_instead(
    what: str, database: "Database", rules: "BankRules", now_ns: int, campaign: str | None, *, json: bool
) -> None:
    """One of the lists of `_only`."""
    from bidder.store.ledger import Ledger
    from bidder.store.pruning import prune

    ledger = Ledger(database)
    if what == "prune":
        _tell([prune(database, rules, now_ns)], _show_pruned, json=json)
    elif what == "late":
        _tell([ledger.late_billings(rules, now_ns)], _show_late, json=json)
    elif what == "unbilled":
        wins = ledger.unbilled_wins(now_ns, rules.keep_ns)
        _tell([win for win in wins if campaign in (None, win.campaign_id)], _show_wins, json=json)
    elif what == "refused":
        refusals = [row for row in ledger.refusals() if campaign in (None, row.campaign_id)]
        _tell(refusals, _show_refusals, json=json)
    else:
        _tell(ledger.unattributed(), _show_unattributed, json=json)


def _json(rows: object) -> str:
    import msgspec

    return msgspec.json.encode(rows).decode()


def _tell(rows: "Sequence[_Row]", show: "Callable[[Sequence[_Row]], None]", *, json: bool) -> None:
    """Rows of one kind, as JSON or as `show` prints them."""
    if json:
        typer.echo(_json([row._asdict() for row in rows]))
    else:
        show(rows)


def _reconcile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bill: .csv or .parquet.")],
    exchange: Annotated[
        str, typer.Option("--exchange", help="Whose bill, where no column says it.", metavar="NAME")
    ] = "",
    day: _DayOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="What a column is called, such as amount=Spend; of bid_id, day, campaign, exchange, impressions, "
            "amount, currency. May be given often.",
            metavar="NAME=HEADER",
        ),
    ] = None,
    currency: Annotated[
        str, typer.Option("--currency", help="Of the bill; else the account's.", metavar="CODE")
    ] = "",
    unit: Annotated[
        str, typer.Option("--unit", help="Of amounts: units, micros or nanos.", metavar="UNIT")
    ] = "units",
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="Of the bill's days.", metavar="ZONE")
    ] = "UTC",
    tolerance: Annotated[
        str, typer.Option("--tolerance", help="Difference that is let pass, of our books.", metavar="PERCENT")
    ] = "5",
    db: DbOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare an exchange's bill with our books, by bid id or by totals; exit code 1 above the tolerance."""
    from bidder.core.reconcile import by_campaign, reconcile, total, within
    from bidder.store.bills import SCALES, BillForm, day_number, read_bill
    from bidder.store.database import Database
    from bidder.store.ledger import Ledger
    from bidder.zones import is_zone

    if unit not in SCALES:
        raise InputError(f"--unit must be {', '.join(SCALES)}, was {unit!r}")
    if not is_zone(time_zone):
        raise InputError(f"--time-zone must be a name such as Europe/Paris, was {time_zone!r}")
    settings = configured(config, db=db)
    form = BillForm(
        _columns(column or []), exchange, currency, unit, time_zone, settings.account.currency, None
    )
    lines = read_bill(file, _with_rates(form, settings))
    if exchange:
        lines = [line for line in lines if line.exchange == exchange]
    tolerance_ppm = _percent(tolerance)
    with Database(existing_store(settings.store)) as database:
        booked = Ledger(database).booked(time_zone, exchange)
    rows = reconcile(lines, booked, [day_number(day)] if day is not None else [])
    totals = [total(rows, name) for name in sorted({row.exchange for row in rows})]
    _show_json(rows, totals) if json else _show_rows(rows, totals)
    if not json:
        shown = {row.day for row in rows}
        _show_campaigns(by_campaign([line for line in lines if line.day in shown or line.day < 0], booked))
        _show_unbilled(lines, booked)
    if not all(within(row, tolerance_ppm) for row in totals):
        raise typer.Exit(1)


def _columns(stated: list[str]) -> dict[str, str]:
    """Headers by name."""
    from bidder.store.bills import NAMES

    found: dict[str, str] = {}
    for text in stated:
        name, equals, header = text.partition("=")
        if name not in NAMES or not equals or not header:
            raise InputError(f"--column must be NAME=HEADER with a name of {', '.join(NAMES)}, was {text!r}")
        found[name] = header
    return found


def _with_rates(form: "BillForm", settings: "Config") -> "BillForm":
    """With the account's rates, where it has any."""
    from bidder.core.currency import RateTable
    from bidder.store.rates import read_rates

    if not settings.account.rates_file:
        return form
    return form._replace(rates=RateTable.parse(read_rates(Path(settings.account.rates_file))))


def _percent(text: str) -> int:
    """Millionths of a percentage, which is decimal text."""
    try:
        ppm = parse_decimal(text.strip().removesuffix("%").strip(), _PPM_A_PERCENT)
    except ValueError as error:
        raise InputError(f"--tolerance {error}") from None
    if ppm < 0:
        raise InputError(f"--tolerance must be >= 0, was {text}")
    return ppm


def date_of(day: int) -> str:
    """The date of a day since 1970-01-01; empty where it is not known."""
    from bidder.store.columns_cells import format_instant

    return format_instant(day * _DAY_NS)[:10] if day >= 0 else ""


# -- what is shown --------------------------------------------------------------------------------------------


def _money(nanos: int) -> str:
    return format_decimal(nanos, NANOS_PER_UNIT)


def _table(*headings: str) -> Any:
    from rich.table import Table

    # Close together and folded, never cut: an id or an amount without its end reads as another.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        side: Any = "left" if number < 2 else "right"
        table.add_column(heading, justify=side, overflow="fold", no_wrap=heading in _WHOLE)
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)


def _show_days(days: "Sequence[DaySum]") -> None:
    from bidder.store.columns_cells import format_instant

    table = _table("day", "campaign", "exchange", "billed", "cost", "fees", "late", "unbilled", "final")
    rows = [
        (
            date_of(one.day),
            one.campaign_id,
            one.exchange,
            str(one.billed),
            _money(one.amount_nanos),
            _money(one.fees_nanos),
            str(one.late),
            str(one.unbilled_wins),
            "yes" if one.final else format_instant(one.final_ns)[:10],
        )
        for one in days
    ]
    _fill(table, rows)


def _show_wins(wins: "Sequence[UnbilledWin]") -> None:
    from bidder.store.columns_cells import format_instant

    table = _table("bid", "campaign", "line item", "exchange", "bid at")
    _fill(table, [(*win[:4], format_instant(win.bid_at_ns)) for win in wins])


def _show_unattributed(rows: "Sequence[UnattributedRow]") -> None:
    table = _table("advertiser", "conversions that count for no bid", "times", "value")
    _fill(table, [(one.advertiser_id, one.reason, str(one.times), _money(one.value_nanos)) for one in rows])


def _show_refusals(rows: "Sequence[RefusalRow]") -> None:
    table = _table("campaign", "notices that were not taken", "times")
    _fill(table, [(one.campaign_id or "unknown", one.rule, str(one.times)) for one in rows])


def _show_late(rows: "Sequence[LateBillings]") -> None:
    for one in rows:
        typer.echo(
            f"late billings: {one.billings:,}, worth {_money(one.late_nanos)}, nearly all of it within "
            f"{_seconds(one.tail_ns)} s of the end of the reservation, the last after {_seconds(one.longest_ns)} s; "
            f"late_tail_seconds in [bank] is {_seconds(one.setting_ns)}"
        )
        if one.too_short:
            typer.echo(
                "TOO SHORT: late_tail_seconds must be as long as billings come late, or what is kept back for them "
                f"is leased before they come: set it to {_seconds(one.tail_ns)} or more"
            )


def _seconds(ns: int) -> str:
    """Whole seconds, rounded up."""
    return f"{-(-ns // NANOS_PER_UNIT):,}"


def _show_pruned(rows: "Sequence[Pruned]") -> None:
    for one in rows:
        typer.echo(
            f"taken out: {one.lateness:,} hours of lateness, users of {one.users:,} bookings, {one.orders:,} orders, "
            f"{one.held:,} conversions that waited, {one.grants:,} grants of old days, {one.starts:,} old starts of "
            "seats"
        )


def _fill(table: Any, rows: "Sequence[Sequence[str]]") -> None:
    from rich.text import Text

    for row in rows:
        table.add_row(*map(Text, row))
    _print(table)


def _plain(row: "Compared") -> dict[str, Any]:
    parts = {name: part._asdict() for name, part in zip(row._fields[2:], row[2:], strict=True)}
    return {
        "day": date_of(row.day),
        "exchange": row.exchange,
        **parts,
        "difference_nanos": row.difference_nanos,
        "ratio_ppm": row.ratio_ppm,
    }


def _show_json(rows: "Sequence[Compared]", totals: "Sequence[Compared]") -> None:
    import msgspec

    from bidder.core.reconcile import suggested_ppm

    whole = [{**_plain(row), "discrepancy_ppm": suggested_ppm(row)} for row in totals]
    typer.echo(msgspec.json.encode({"days": [_plain(row) for row in rows], "totals": whole}).decode())


def _show_rows(rows: "Sequence[Compared]", totals: "Sequence[Compared]") -> None:
    from rich.text import Text

    from bidder.core.reconcile import suggested_ppm

    table = _table("day", "exchange", "ours", "theirs", "difference", "ratio")
    parts = _table("day", "exchange", "not booked", "not billed", "billed twice", "booked late")
    for row in (*rows, *totals):
        ratio = f"{format_decimal(row.ratio_ppm, _PPM_A_PERCENT)} %" if row.ratio_ppm is not None else "-"
        place = (date_of(row.day) if row in rows else "all", row.exchange)
        sums = (_money(row.ours.nanos), _money(row.theirs.nanos), _money(row.difference_nanos), ratio)
        table.add_row(*map(Text, (*place, *sums)))
        found = (row.missing_here, row.missing_there, row.duplicates, row.late)
        cells = [f"{part.impressions}: {_money(part.nanos)}" if part.impressions else "-" for part in found]
        if any(part.impressions for part in found):
            parts.add_row(*map(Text, (*place, *cells)))
    _print(table)
    if parts.row_count:
        _print(parts)
    for row in totals:
        if row.ours.nanos:
            typer.echo(f"{row.exchange}: discrepancy_ppm = {suggested_ppm(row)} would cover this bill")
        else:
            typer.echo(
                f"{row.exchange}: nothing of ours stands against {_money(row.theirs.nanos)} of this bill"
            )


def _show_campaigns(rows: "Sequence[CampaignSum]") -> None:
    """Campaigns of a bill that names them; nothing of another."""
    if not rows:
        return
    table = _table("campaign", "exchange", "ours", "theirs", "difference")
    cells = [
        (
            row.campaign_id,
            row.exchange,
            _money(row.ours_nanos),
            _money(row.theirs_nanos),
            _money(row.theirs_nanos - row.ours_nanos),
        )
        for row in rows
    ]
    _fill(table, cells)


def _show_unbilled(lines: "Sequence[BillLine]", booked: "Sequence[Booked]") -> None:
    """Exchanges of our books of which the bill has no line: the name may be another there."""
    billed = {line.exchange for line in lines}
    for name in sorted({one.exchange for one in booked} - billed):
        nanos = sum(one.price_nanos for one in booked if one.exchange == name)
        typer.echo(
            f"{name}: in our books with {_money(nanos)} of all days, not in this bill; if the bill calls it by "
            "another name, correct its column exchange"
        )
