"""`clearbid settle` and `clearbid reconcile`: what each day came to, and what exchanges bill for it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bidder.cli.options import ConfigOption, DbOption, JsonOption, configured, existing_store
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal, parse_decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidder.config import Config
    from bidder.core.reconcile import Compared
    from bidder.core.settlement import DaySum
    from bidder.store.bills import BillForm
    from bidder.store.ledger import UnbilledWin

_PPM_A_PERCENT = 10_000
_DAY_NS = 86_400_000_000_000
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
    db: DbOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the bids of each day came to, by campaign and exchange, and from when that is final."""
    import msgspec

    from bidder.core.settlement import settle
    from bidder.runtime.bank import bank_rules
    from bidder.store.bills import day_number
    from bidder.store.campaigns import CampaignStore
    from bidder.store.database import Database
    from bidder.store.ledger import Ledger

    settings = configured(config, db=db)
    rules, now_ns = bank_rules(settings), time.time_ns()
    with Database(existing_store(settings.store)) as database:
        ledger, store = Ledger(database), CampaignStore(database)
        if unbilled:
            wins = [
                win
                for win in ledger.unbilled_wins(now_ns, rules.keep_ns)
                if campaign in (None, win.campaign_id)
            ]
            typer.echo(msgspec.json.encode([win._asdict() for win in wins]).decode()) if json else _show_wins(
                wins
            )
            return
        zones = {own.id: own.time_zone for own in store.advertisers().values()}
        days = settle(ledger.quarters(now_ns, rules.keep_ns), zones, rules, now_ns)
    wanted = day_number(day) if day is not None else None
    days = [one for one in days if wanted in (None, one.day) and campaign in (None, one.campaign_id)]
    if json:
        typer.echo(msgspec.json.encode([{**one._asdict(), "day": date_of(one.day)} for one in days]).decode())
    else:
        _show_days(days)


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
    from bidder.core.reconcile import reconcile, total, within
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
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number == 0)
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)


def _show_days(days: "Sequence[DaySum]") -> None:
    from rich.text import Text

    from bidder.store.columns_cells import format_instant

    table = _table("day", "campaign", "exchange", "billed", "cost", "fees", "late", "unbilled", "final")
    for one in days:
        final = "final" if one.final else f"on {format_instant(one.final_ns)[:10]}"
        table.add_row(
            *map(
                Text,
                (
                    date_of(one.day),
                    one.campaign_id,
                    one.exchange,
                    str(one.billed),
                    _money(one.amount_nanos),
                    _money(one.fees_nanos),
                    str(one.late),
                    str(one.unbilled_wins),
                    final,
                ),
            )
        )
    _print(table)


def _show_wins(wins: "Sequence[UnbilledWin]") -> None:
    from rich.text import Text

    from bidder.store.columns_cells import format_instant

    table = _table("bid", "campaign", "line item", "exchange", "bid at")
    for win in wins:
        cells = (win.bid_id, win.campaign_id, win.line_item_id, win.exchange, format_instant(win.bid_at_ns))
        table.add_row(*map(Text, cells))
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
        typer.echo(f"{row.exchange}: discrepancy_ppm = {suggested_ppm(row)} would cover this bill")
