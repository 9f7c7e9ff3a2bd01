"""Columns of an Arrow table as arrays, checked: a value that is not allowed is named with its row.

Every function takes the column, its name and the name of the table, and raises `TableError` that says which
value in which row (the first is 1) is wrong and what is allowed.
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.errors import TableError
from models.extras import UNKNOWN_NS
from models.schema import segments_of
from models.texts import MISSING, TextLists, Texts

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]


def refusal(column: str, source: str, values: Sequence[object], is_good: Any, allowed: str) -> TableError:
    """The error that names the first value that is not good."""
    for row, value in enumerate(values, start=1):
        if not is_good(value):
            shown = "null" if value is None else repr(value)
            return TableError(f"{column} must be {allowed}, was {shown} (row {row}, {source})")
    return TableError(f"{column} must be {allowed}, is not in {source}")


def _is_whole(value: object) -> bool:
    try:
        return value is not None and -(2**63) <= int(value) < 2**63  # type: ignore[call-overload]
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    try:
        return value is None or not math.isinf(float(value))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False


def times(column: Any, name: str, source: str) -> Instants:
    """int64, none missing."""
    allowed = "whole nanoseconds since the epoch"
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns"))
    try:
        found = column.cast(pa.int64())
    except (pa.ArrowException, NotImplementedError):
        found = None
    if found is None or found.null_count:
        raise refusal(name, source, column.to_pylist(), _is_whole, allowed)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def instants(column: Any, name: str, source: str) -> Instants:
    """int64, `UNKNOWN_NS` where null."""
    try:
        filled = pc.fill_null(column.cast(pa.int64()), UNKNOWN_NS)
    except (pa.ArrowException, NotImplementedError) as error:
        allowed = "whole nanoseconds since the epoch, or null"
        raise refusal(
            name, source, column.to_pylist(), lambda value: value is None or _is_whole(value), allowed
        ) from error
    return np.asarray(filled.to_numpy(), dtype=np.int64)


def numbers(column: Any, name: str, source: str) -> Floats:
    """float64, NaN where null; infinities are refused because a threshold can not tell how large they are."""
    values: Floats | None = None
    with contextlib.suppress(pa.ArrowException, NotImplementedError):
        values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    if values is None or np.isinf(values).any():
        raise refusal(name, source, column.to_pylist(), _is_number, "a finite number or missing")
    return values


def labels(column: Any, name: str, source: str, *, may_be_null: bool) -> Floats:
    """float64 of 0.0 and 1.0, NaN where null and that is allowed."""
    allowed = "0 or 1, or null where not known" if may_be_null else "0 or 1"
    values: Floats | None = None
    with contextlib.suppress(pa.ArrowException, NotImplementedError):
        values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    missing = np.asarray(column.is_null().to_numpy(), dtype=np.bool_)
    good = (may_be_null & missing) | ((values == 0.0) | (values == 1.0)) if values is not None else None
    if values is None or good is None or not good.all():

        def is_good(value: object) -> bool:
            return (may_be_null and value is None) or value in (0, 1) or value in ("0", "1")

        raise refusal(name, source, column.to_pylist(), is_good, allowed)
    return values


def texts(column: Any, name: str, source: str) -> Texts:
    """Texts as codes; whole numbers are written without a point, missing numbers are missing texts."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        found = pc.dictionary_encode(pc.cast(column, pa.string()))
    except (pa.ArrowException, NotImplementedError) as error:
        raise TableError(f"column {name} of {source} must hold texts, was {column.type}") from error
    return Texts(*_codes(found))


def segment_lists(column: Any) -> TextLists:
    """Lists of ids, or texts that join them by `;`, as codes."""
    try:
        return _lists(column)
    except (pa.ArrowException, NotImplementedError):
        rows = [segments_of(value) for value in column.to_pylist()]
        return _lists(pa.chunked_array([rows], pa.list_(pa.string())))


def _lists(column: Any) -> TextLists:
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.split_pattern(column, ";")
    column = column.cast(pa.list_(pa.string()))
    flat = pc.dictionary_encode(pc.list_flatten(column))
    values, codes = _codes(flat)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    # Empty texts are what `a;;b` and an empty field leave; they name no segment, and neither does null.
    named = (codes != MISSING) & np.array([*(value != "" for value in values), False])[codes]
    kept = np.bincount(rows[named], minlength=len(lengths))
    return TextLists(values, codes[named], np.concatenate([[0], np.cumsum(kept)]))


def _codes(found: Any) -> tuple[list[str], NDArray[np.int32]]:
    """Dictionary and places of an encoded column, whatever its chunks."""
    if isinstance(found, pa.ChunkedArray):
        found = found.unify_dictionaries().combine_chunks()
        if isinstance(found, pa.ChunkedArray):  # of no chunk at all
            return [], np.empty(0, dtype=np.int32)
    codes = pc.fill_null(found.indices.cast(pa.int32()), MISSING)
    return found.dictionary.to_pylist(), np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int32)
