"""Any CSV or Parquet table as a history, by a file that says which of its columns is what.

    [history]
    currency = "EUR"                 # else USD
    clock = "local"                  # else utc: how times without a zone are meant; said, not changed
    separator = ";"                  # of a CSV, else a comma

    [columns]
    id = "auction"
    offered_ns = { column = "ts", unit = "ms" }
    exchange = { constant = "adx" }
    bid_nanos = { column = "bid", unit = "cpm", scale = 0.01 }
    won = { column = "status", true = ["WON"], false = ["LOST", "OUTBID"] }

The left side is a column of the history (`simulator.history.schema`), but for `price_kind` and `price_nanos`, which
follow from the result; `min_to_win_nanos` is the price that would have won, where the exchange told it. The right
side is a column of the table, or `column`, `constant`, and what its kind allows:

| kind | columns | allowed |
|---|---|---|
| time | those in `_ns` | `unit`: `ns`, `us`, `ms`, `s`, `iso` (2026-05-01T12:00:00Z) |
| money | those in `_nanos` | `unit`: `nanos`, `cpm`, `cpm_micros`, `one` (units for one impression); `scale` |
| number | probabilities, `density`, `multiplier`, `w`, `h` | `scale` |
| flag | `won`, `clicked`, `converted`, `first_price` | `true`, `false`: texts; else 1, true, yes and 0, false, no |
| text | the others | `segments`: `separator` |

There are no expressions: what must be computed is computed where the table is made. An empty cell is an unknown
value. A row with a cell that cannot be read is left out and counted by column, with the first such line.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from xxhash import xxh3_64_intdigest

from bidder.errors import InputError
from bidder.money import MAX_NANOS
from simulator.history.file import Progress
from simulator.history.ordering import in_order
from simulator.history.schema import NOTHING, SCHEMA, HistoryRow, Known, Meta, known_loss, known_win
from simulator.reading import why

MIN_TO_WIN = "min_to_win_nanos"
_DERIVED = ("price_kind", "price_nanos")
COLUMNS = tuple(name for name in (*SCHEMA.names, MIN_TO_WIN) if name not in (*_DERIVED, "request"))
"""What the left side of a mapping may be."""
NEEDED = ("id", "offered_ns", "exchange")
_FLAGS = ("won", "clicked", "converted", "first_price")
_NUMBERS = ("click_probability", "conversion_probability", "density", "multiplier", "w", "h")
_TIME_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_MONEY_UNITS = {"nanos": 1, "cpm_micros": 1, "cpm": 10**6, "one": 10**9}
_TRUE, _FALSE = ("1", "true", "yes", "t", "y"), ("0", "false", "no", "f", "n")
_CHUNK = 32_768
_Cell = Callable[[Any], Any]


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of a mapping."""

    column: str = ""
    constant: str | int | float | bool | None = None
    unit: str = ""
    scale: float | None = None
    true: list[str] | None = None
    false: list[str] | None = None
    separator: str = ""


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    currency: str = "USD"
    clock: str = "utc"
    separator: str = ","


class MappingFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping file."""

    columns: dict[str, str | Field]
    history: _Head = _Head()


class Mapped:
    """A table and the mapping that makes a history of it.

    Args:
        table: CSV (`.csv`, `.tsv`, `.txt`, also packed as `.gz` or `.bz2`) or Parquet. mapping: the TOML file.

    Attributes:
        meta: of the history. examples: by cause of a drop, its first line and what was there.

    Raises:
        InputError: a file cannot be read, or the mapping says what it cannot mean.
    """

    def __init__(self, table: Path, mapping: Path) -> None:
        self._table, self._mapping = table, mapping
        read = _read_mapping(mapping)
        self._head = read.history
        self._separator = "\t" if table.suffix.lower() == ".tsv" else read.history.separator
        self._fields = {
            name: Field(column=one) if isinstance(one, str) else one for name, one in read.columns.items()
        }
        self.meta = Meta(currency=self._head.currency, source=f"table {table.name}", clock=self._head.clock)
        self.examples: dict[str, str] = {}
        self._check()
        self._cells = {name: self._cell(name, field) for name, field in self._fields.items()}
        self._constants = {
            name: self._constant(name, field) for name, field in self._fields.items() if not field.column
        }

    def tables(self, drops: Counter[str], progress: Progress | None = None) -> Iterator[pa.Table]:
        """The rows as tables of the history's schema, in the order of time.

        Args:
            drops: counts rows that are left out, by cause. progress: hears of bytes or rows.

        Raises:
            InputError: the table breaks off, or no row of it can be read.
        """
        return in_order(self._made(drops, progress))

    def _made(self, drops: Counter[str], progress: Progress | None) -> Iterator[pa.Table]:
        line, kept = (2 if not self._parquet else 1), 0
        for columns, count, done, total in self._pieces():
            rows = list(self._rows(columns, count, line, drops))
            line += count
            kept += len(rows)
            if rows:
                arrays = [
                    pa.array(values, field.type)
                    for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)
                ]
                yield pa.Table.from_arrays(arrays, schema=SCHEMA)
            if progress is not None:
                progress(done, total)
        if not kept and drops:
            cause, example = next(iter(self.examples.items()))
            raise InputError(f"no row of {self._table} can be read: {cause}; {example}")

    # -- the table ------------------------------------------------------------------------------------------

    @property
    def _parquet(self) -> bool:
        return self._table.suffix.lower() in (".parquet", ".pq")

    def _wanted(self) -> list[str]:
        return list(dict.fromkeys(field.column for field in self._fields.values() if field.column))

    def _pieces(self) -> Iterator[tuple[dict[str, list[Any]], int, int, int]]:
        """Columns as lists, rows of the piece, how much is read, and all of it."""
        try:
            yield from self._from_parquet() if self._parquet else self._from_csv()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"table {self._table} cannot be read to its end: {str(error)[:160]}") from None

    def _from_parquet(self) -> Iterator[tuple[dict[str, list[Any]], int, int, int]]:
        with pq.ParquetFile(self._table, pre_buffer=False) as file:
            self._there(file.schema_arrow.names)
            done, total = 0, file.metadata.num_rows
            for batch in file.iter_batches(_CHUNK, columns=self._wanted(), use_threads=False):
                done += batch.num_rows
                yield batch.to_pydict(), batch.num_rows, done, total

    def _from_csv(self) -> Iterator[tuple[dict[str, list[Any]], int, int, int]]:
        total, done = self._table.stat().st_size, 0
        wanted = self._wanted()
        with pa.input_stream(str(self._table), compression="detect") as stream:
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(block_size=4 << 20, use_threads=False),
                csv.ParseOptions(delimiter=self._separator),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                    check_utf8=True,
                ),
            )
            self._there(reader.schema.names)
            for batch in reader:
                done = min(total, done + batch.nbytes)
                yield batch.select(wanted).to_pydict(), batch.num_rows, done, total

    def _there(self, names: Sequence[str]) -> None:
        for name, field in self._fields.items():
            if field.column and field.column not in names:
                raise InputError(
                    f"{name} of mapping {self._mapping} must be a column of {self._table}: {', '.join(names)}; "
                    f"was {field.column!r}"
                )

    # -- rows -----------------------------------------------------------------------------------------------

    def _rows(
        self, columns: Mapping[str, list[Any]], count: int, line: int, drops: Counter[str]
    ) -> Iterator[HistoryRow]:
        given = [
            (name, self._cells[name], columns[field.column])
            for name, field in self._fields.items()
            if field.column
        ]
        for place in range(count):
            values = dict(self._constants)
            try:
                for name, cell, texts in given:
                    text = texts[place]
                    values[name] = None if text is None or text == "" else _told(name, cell, text)
                yield _row(values)
            except _BadCellError as bad:
                self._drop(bad, line + place, drops)

    def _drop(self, bad: "_BadCellError", line: int, drops: Counter[str]) -> None:
        drops[bad.cause] += 1
        where = "row" if self._parquet else "line"
        self.examples.setdefault(bad.cause, f"first at {where} {line:,}{bad.was}")

    # -- the mapping ----------------------------------------------------------------------------------------

    def _check(self) -> None:
        for name, field in self._fields.items():
            if name not in COLUMNS:
                raise self._wrong(name, f"must be one of {', '.join(COLUMNS)}")
            if bool(field.column) == (field.constant is not None):
                raise self._wrong(name, "must have a column of the table, or a constant, and not both")
            for option, allowed in _allowed(name).items():
                if getattr(field, option) not in (None, "") and not allowed:
                    raise self._wrong(name, f"can have no {option}")
        missing = [name for name in NEEDED if name not in self._fields]
        if missing:
            raise InputError(
                f"mapping {self._mapping} must have {', '.join(NEEDED)}, has no {' and no '.join(missing)}"
            )
        if "won" in self._fields and "bid_nanos" not in self._fields and "paid_nanos" not in self._fields:
            raise self._wrong("won", "needs bid_nanos or paid_nanos beside it, or nothing is known of prices")

    def _wrong(self, name: str, rule: str) -> InputError:
        return InputError(f"{name} of mapping {self._mapping} {rule}")

    def _constant(self, name: str, field: Field) -> Any:
        try:
            return _told(name, self._cells[name], field.constant)
        except _BadCellError as bad:
            raise self._wrong(name, f"is wrong: {bad.cause}{bad.was}") from None

    def _cell(self, name: str, field: Field) -> _Cell:
        if name.endswith("_ns"):
            return self._time(name, field)
        if name.endswith("_nanos"):
            return self._money(name, field)
        if name in _NUMBERS:
            return _scaled(1.0 if field.scale is None else field.scale, whole=name in ("w", "h"))
        if name in _FLAGS:
            true = tuple(field.true or (() if field.false else _TRUE))
            false = tuple(field.false or (() if field.true else _FALSE))
            return lambda value: _flag(value, true, false)
        return _texts(name, field.separator or ",")

    def _time(self, name: str, field: Field) -> _Cell:
        unit = field.unit or "ns"
        if unit == "iso":
            return _instant
        if unit not in _TIME_UNITS:
            raise self._wrong(name, f"must have a unit of {', '.join(_TIME_UNITS)} or iso, was {unit!r}")
        return lambda value: _whole(value, Decimal(_TIME_UNITS[unit]))

    def _money(self, name: str, field: Field) -> _Cell:
        unit = field.unit or "nanos"
        if unit not in _MONEY_UNITS:
            raise self._wrong(name, f"must have a unit of {', '.join(_MONEY_UNITS)}, was {unit!r}")
        factor = Decimal(_MONEY_UNITS[unit]) * Decimal(repr(field.scale or 1))
        return lambda value: _amount(value, factor)


class _BadCellError(Exception):
    """A cell that cannot be read, or a row whose cells contradict each other."""

    def __init__(self, cause: str, was: str = "") -> None:
        super().__init__(cause)
        self.cause, self.was = cause, was


def _allowed(name: str) -> dict[str, bool]:
    """Which options a column may have."""
    number = name in _NUMBERS or name.endswith("_nanos")
    flag = name in _FLAGS
    return {
        "unit": name.endswith(("_ns", "_nanos")), "scale": number, "true": flag, "false": flag,
        "separator": name == "segments",
    }  # fmt: skip


def _read_mapping(path: Path) -> MappingFile:
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), MappingFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"mapping {path} cannot be read: {why(error)}") from None


def _told(name: str, cell: _Cell, value: Any) -> Any:
    try:
        return cell(value)
    except (ValueError, InvalidOperation, OverflowError) as error:
        said = (
            str(error)
            if isinstance(error, ValueError) and str(error).startswith("must")
            else "must be a number"
        )
        raise _BadCellError(f"{name} {said}", f": was {str(value)[:40]!r}") from None


def _decimal(value: Any) -> Decimal:
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value).strip())
    if not number.is_finite():
        raise ValueError("must be a finite number")
    return number


def _whole(value: Any, factor: Decimal) -> int:
    if isinstance(value, datetime):
        return _instant(value)
    number = _decimal(value)
    # An exponent can ask for a number of a thousand million digits: bound it before it is written out.
    if number and number.adjusted() > 18:
        raise ValueError("must fit 64 bits")
    whole = round(number * factor)
    if not -(2**62) < whole < 2**62:
        raise ValueError("must fit 64 bits")
    return whole


def _amount(value: Any, factor: Decimal) -> int:
    """The nearest whole nano."""
    amount = _whole(value, factor)
    if not 0 <= amount <= MAX_NANOS:
        raise ValueError("must be an amount of 0 or more")
    return amount


def _number(value: Any) -> float:
    return float(_decimal(value))


def _scaled(scale: float, *, whole: bool) -> _Cell:
    if whole:
        return lambda value: round(_number(value) * scale)
    return lambda value: _number(value) * scale


def _texts(name: str, separator: str) -> _Cell:
    if name == "segments":
        return lambda value: tuple(value) if isinstance(value, list) else _parts(str(value), separator)
    if name == "user":
        return lambda value: xxh3_64_intdigest(str(value).encode()) or 1
    return str


def _parts(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def _instant(value: Any) -> int:
    when = value if isinstance(value, datetime) else datetime.fromisoformat(_instant_text(value))
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return int(when.replace(microsecond=0).timestamp()) * 10**9 + when.microsecond * 1_000


def _instant_text(value: Any) -> str:
    text = str(value).strip()
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a time such as 2026-05-01T12:00:00Z") from None
    return text


def _flag(value: Any, true: Sequence[str], false: Sequence[str]) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip()
    for texts, flag in ((true, True), (false, False)):
        if text in texts or text.lower() in texts:
            return flag
    if true and false:
        raise ValueError(f"must be one of {', '.join((*true, *false))}")
    return not true  # only one side was named: everything else is the other


def _row(values: dict[str, Any]) -> HistoryRow:
    """A row of the values of one line; prices follow from its result.

    Raises:
        _BadCellError: values that contradict each other.
    """
    for name in NEEDED:
        if values[name] is None:
            raise _BadCellError(f"{name} must be there")
    least = values.pop(MIN_TO_WIN, None)
    given = {name: value for name, value in values.items() if value is not None}
    row = HistoryRow(**given)
    if "bid_nanos" in values and values["bid_nanos"] is None:
        row = row._replace(bid_nanos=None if row.campaign is not None else 0)
    elif "bid_nanos" not in values and row.campaign is not None:
        row = row._replace(bid_nanos=None)
    known = _known(row, least)
    won = bool(known.won)
    return row._replace(
        **known._asdict(),
        clicked=row.clicked if won else None,
        converted=row.converted if won else None,
        value_nanos=row.value_nanos if won else 0,
    )


def _known(row: HistoryRow, least: int | None) -> Known:
    for name in ("click_probability", "conversion_probability"):
        value = getattr(row, name)
        if value is not None and not 0 <= value <= 1:
            raise _BadCellError(f"{name} must be from 0 to 1", f": was {value!r}")
    if row.density is not None and row.density <= 0:
        raise _BadCellError("density must be above 0")
    if row.campaign is None:
        if row.won:
            raise _BadCellError("campaign must be there where a bid won")
        return NOTHING
    if row.won is None:
        return NOTHING
    if not row.won:
        return known_loss(row.bid_nanos or None, least)
    paid = row.paid_nanos or (row.bid_nanos if row.first_price else 0)
    if not paid:
        raise _BadCellError("paid_nanos must be above 0 where a bid won at second price")
    if row.bid_nanos is not None and paid > row.bid_nanos:
        raise _BadCellError(
            "paid_nanos must be at most the bid", f": was {paid:,} for a bid of {row.bid_nanos:,}"
        )
    return known_win(row.bid_nanos, paid, row.floor_nanos, first_price=row.first_price)
