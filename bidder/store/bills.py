"""Bills of exchanges: CSV or Parquet files, with columns of any names.

Amounts are read as decimal text or whole numbers, never as floats: a Parquet file must have decimals, integers or
text.
"""

import csv
import datetime as dt
import decimal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bidder.core.budgets import day_of
from bidder.core.currency import RateTable
from bidder.core.reconcile import NO_DAY, BillLine
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, parse_decimal
from bidder.store.columns_cells import parse_instant

DAY_NS = 86_400_000_000_000
NAMES = ("bid_id", "day", "campaign", "exchange", "impressions", "amount", "currency")
"""What a bill may tell; each is a column of that name unless told otherwise."""
SCALES = {"units": NANOS_PER_UNIT, "micros": 1_000, "nanos": 1}


class BillForm(NamedTuple):
    """How a bill is to be read.

    columns: header by name of `NAMES`; those that are not there are the bill's own names. exchange, currency: where
    no column says it. unit: of amounts, of `SCALES`. time_zone: of its days. account: the account's currency. rates:
    of other currencies, or None.
    """

    columns: Mapping[str, str]
    exchange: str
    currency: str
    unit: str
    time_zone: str
    account: str
    rates: RateTable | None


def read_bill(path: Path, form: BillForm) -> list[BillLine]:
    """The lines of a bill.

    Raises:
        InputError: naming the file, the row and the column.
    """
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise InputError(f"bill {path} must end in .csv or .parquet, was {path.suffix or 'without suffix'!r}")
    found: list[BillLine] = []
    try:
        rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _parquet_rows(path)
        headers = next(rows)
        places = _places(headers, form, path)
        for number, cells in enumerate(rows, 2):
            try:
                found.append(_line({name: cells[place] for name, place in places.items()}, form))
            except (ValueError, IndexError) as error:
                raise InputError(f"bill {path}, row {number}: {error}") from None
    except OSError as error:
        raise InputError(f"bill {path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"bill {path} must be CSV in UTF-8, was not: {error}") from None
    return found


def _csv_rows(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        yield next(reader, [])
        yield from (cells for cells in reader if any(cell.strip() for cell in cells))


def _parquet_rows(path: Path) -> Iterator[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield list(file.schema_arrow.names)
            for batch in file.iter_batches():
                yield from (
                    list(map(_text, cells)) for cells in zip(*batch.to_pydict().values(), strict=True)
                )
    except pa.ArrowInvalid as error:
        raise InputError(f"bill {path} must be Parquet, was not: {error}") from None


def _text(value: object) -> str:
    """A cell as text; of a float nobody knows what was meant to the nano, so it stays one that cannot be read."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return f"{value!r} (a float)"
    return str(value)


def _places(headers: list[str], form: BillForm, path: Path) -> dict[str, int]:
    """Column of each name that the bill has."""
    known = {header.strip().lower(): place for place, header in reversed(list(enumerate(headers)))}
    places = {}
    for name in NAMES:
        wanted = form.columns.get(name, name).strip().lower()
        if wanted in known:
            places[name] = known[wanted]
        elif name in form.columns:
            raise InputError(
                f"column {form.columns[name]!r} for {name} must be in bill {path}, has {', '.join(headers)}"
            )
    if "amount" not in places:
        raise InputError(
            f"bill {path} must have a column amount, or one named by --column amount=HEADER; has {', '.join(headers)}"
        )
    if "exchange" not in places and not form.exchange:
        raise InputError(f"bill {path} has no column exchange: name the exchange by --exchange")
    return places


def _line(cells: Mapping[str, str], form: BillForm) -> BillLine:
    day, midday_ns = _day(cells.get("day", "").strip(), form.time_zone)
    bid_id = cells.get("bid_id", "").strip()
    impressions = cells.get("impressions", "").strip()
    if impressions and not impressions.isdecimal():
        raise ValueError(f"impressions must be a whole number, was {impressions[:80]!r}")
    if not impressions and not bid_id:
        impressions = "0"
    currency = cells.get("currency", "").strip() or form.currency or form.account
    return BillLine(
        exchange=cells.get("exchange", "").strip() or form.exchange,
        day=day,
        campaign_id=cells.get("campaign", "").strip(),
        bid_id=bid_id,
        impressions=int(impressions or 1),
        amount_nanos=_in_account(_amount(cells["amount"].strip(), form.unit), currency, midday_ns, form),
    )


def _amount(text: str, unit: str) -> int:
    try:
        amount = parse_decimal(text, SCALES[unit])
    except ValueError as error:
        raise ValueError(f"amount {error}") from None
    if amount < 0:
        raise ValueError(
            f"amount must be >= 0, was {text[:80]}: take credits and refunds off the amount that they lower, "
            "or leave them out"
        )
    return amount


def _day(text: str, zone: str) -> tuple[int, int]:
    """Number of a day, written as one or as an instant, and an instant in it; `NO_DAY` where there is none."""
    if not text:
        return NO_DAY, 0
    try:
        if len(text) == len("2026-05-01"):
            begin_ns = parse_instant(f"{text}T00:00:00Z")
            return begin_ns // DAY_NS, begin_ns + DAY_NS // 2
        at_ns = parse_instant(text)
    except ValueError as error:
        raise ValueError(f"day {error}") from None
    return day_of(zone, at_ns).number, at_ns


def day_number(text: str) -> int:
    """Days since 1970-01-01 of a date such as `2026-05-01`; raises `InputError` for another."""
    if len(text) != len("2026-05-01"):
        raise InputError(f"day must be a date such as 2026-05-01, was {text[:80]!r}")
    try:
        return parse_instant(f"{text}T00:00:00Z") // DAY_NS
    except ValueError:
        raise InputError(f"day must be a date such as 2026-05-01, was {text!r}") from None


def _in_account(nanos: int, currency: str, at_ns: int, form: BillForm) -> int:
    """In the account's currency at the rate of the day, rounded up once."""
    if currency == form.account:
        return nanos
    if form.rates is None or not at_ns:
        raise ValueError(
            f"currency must be the account's {form.account}, was {currency[:8]!r}: set account.rates_file, and name "
            "a column of days"
        )
    theirs, ours = (form.rates.rate_nanos(code, at_ns) for code in (currency, form.account))
    if not theirs or not ours:
        raise ValueError(f"currency must be one with a rate on that day, was {currency[:8]!r}")
    return -(-nanos * theirs // ours)
