"""What every history must keep: rules over whole columns, each with the words for its first offender."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bidder.errors import InputError
from bidder.money import MAX_NANOS
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN
from simulator.history.schema import MONEY, SCHEMA

_Bools = NDArray[np.bool_]


def check_table(table: pa.Table, rows_before: int, last_ns: int) -> None:
    """Raises `InputError` where a row breaks a rule of the schema.

    Args:
        table: of `SCHEMA`. rows_before: rows of the history that are before it. last_ns: time of the last of them.
    """
    for column, broken, allowed in _rules(table, last_ns):
        if broken.any():
            place = int(np.flatnonzero(broken)[0])
            was = table.column(column)[place].as_py()
            raise InputError(
                f"row {rows_before + place + 1:,} of the history, column {column}: must be {allowed}, was {was!r}"
            )


def _rules(table: pa.Table, last_ns: int) -> Iterator[tuple[str, _Bools, str]]:
    for field in SCHEMA:
        if not field.nullable:
            yield field.name, flags(pc.is_null(table.column(field.name))), "there"
    at_ns = numbers(table, "offered_ns", 0)
    before = np.concatenate((np.array([last_ns], dtype=np.int64), at_ns[:-1]))
    yield "offered_ns", at_ns < before, "in the order of time"
    money = {name: numbers(table, name, 0) for name in MONEY}
    for name in MONEY:
        yield name, (money[name] < 0) | (money[name] > MAX_NANOS), "an amount of 0 or more nanos"
    for name in ("click_probability", "conversion_probability"):
        value = table.column(name).to_numpy()
        yield name, ~(np.isnan(value) | ((value >= 0) & (value <= 1))), "a probability, or null"
    density = table.column("density").to_numpy()
    yield "density", ~(np.isnan(density) | (np.isfinite(density) & (density > 0))), "above 0, or null"
    yield from _results(table, money)


def _results(table: pa.Table, money: dict[str, NDArray[np.int64]]) -> Iterator[tuple[str, _Bools, str]]:
    won = flags(pc.fill_null(table.column("won"), False))
    lost = flags(pc.equal(table.column("won"), False))
    kind = numbers(table, "price_kind", UNKNOWN)
    bid, price, paid = money["bid_nanos"], money["price_nanos"], money["paid_nanos"]
    bid_known = flags(pc.is_valid(table.column("bid_nanos")))
    nobody = flags(pc.is_null(table.column("campaign")))
    yield "price_kind", kind > UNKNOWN, f"from 0 to {UNKNOWN}"
    yield "won", (won | lost) & nobody, "null where no campaign bid"
    yield "price_kind", won & ~np.isin(kind, (EXACT, AT_MOST)), f"{EXACT} or {AT_MOST} where the bid won"
    yield "price_kind", lost & (kind == AT_MOST), "no upper bound where the bid lost"
    yield "price_nanos", won & (kind == EXACT) & bid_known & (price > bid), "at most the bid that won"
    yield "price_nanos", lost & (kind == EXACT) & bid_known & (price <= bid), "above the bid that lost"
    yield "price_nanos", (kind == ABOVE) & bid_known & (price != bid), "the bid, where that bounds it"
    yield "paid_nanos", ~won & (paid > 0), "0 where the bid did not win"
    yield "clicked", flags(pc.is_valid(table.column("clicked"))) & ~won, "null where nothing was won"


def numbers(table: pa.Table, name: str, missing: int) -> NDArray[Any]:
    """A column of whole numbers as an array, null read as `missing`."""
    return np.asarray(pc.fill_null(table.column(name), missing).to_numpy())


def flags(values: pa.ChunkedArray) -> _Bools:
    """Flags as an array, null read as False."""
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=np.bool_)
