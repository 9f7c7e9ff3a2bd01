"""A column as parts of the rows: each value, bands of numbers, each segment; small ones together.

Texts give a part a value. Numbers with many values give bands of about equally many rows, few values a part each.
Lists of segments give a part a segment, and a row of several segments is in several parts: such parts overlap, and
do not sum to the whole. Nothing known is a part too.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MOST = 20
"""Most parts of a column beside `others`."""
BANDS = 10
UNKNOWN = "not known"
NO_SEGMENT = "none"


@dataclass(frozen=True, slots=True)
class Slicing:
    """Which rows are in which part.

    Attributes:
        column: its name.
        labels: of the parts.
        rows: int64[M], places of the rows; one is there once for each part it is in.
        codes: int64[M], the part, 0 .. len(labels) - 1.
        overlapping: whether a row may be in several parts.
    """

    column: str
    labels: tuple[str, ...]
    rows: Codes
    codes: Codes
    overlapping: bool = False

    def take(self, chosen: NDArray[np.bool_]) -> "Slicing":
        """The same parts of some of the rows, which are numbered anew."""
        place = np.cumsum(chosen) - 1
        kept = chosen[self.rows]
        return Slicing(self.column, self.labels, place[self.rows[kept]], self.codes[kept], self.overlapping)


def slicing_of(column: str, values: Sequence[object] | Floats, most: int = MOST) -> Slicing:
    """The parts of one column.

    Args:
        column: its name.
        values: texts (None where not known), float64 (NaN where not known), or tuples of segments.
        most: parts at most; the rest, those with the fewest rows, are one part `others`.
    """
    if isinstance(values, np.ndarray):
        return _of_numbers(column, np.asarray(values, dtype=np.float64), most)
    if any(isinstance(value, tuple) for value in values):
        lists = [value if isinstance(value, tuple) and value else (NO_SEGMENT,) for value in values]
        names = [name for each in lists for name in dict.fromkeys(map(str, each))]
        rows = np.repeat(np.arange(len(lists)), [len(dict.fromkeys(map(str, each))) for each in lists])
        return _of_names(column, names, rows.astype(np.int64), most, overlapping=True)
    names = [UNKNOWN if value is None else str(value) for value in values]
    return _of_names(column, names, np.arange(len(names), dtype=np.int64), most)


def bands_of(column: str, values: Floats, weights: Floats, bands: int = BANDS) -> Slicing:
    """Bands of about equal weight in the order of finite values; rows of one value stay together."""
    distinct, group = np.unique(values, return_inverse=True)
    weight = np.bincount(group, weights=weights)
    middle = np.cumsum(weight) - weight / 2
    wanted = np.minimum((middle / weight.sum() * bands).astype(np.int64), bands - 1)
    _, band = np.unique(wanted, return_inverse=True)
    first = np.searchsorted(band, np.arange(int(band.max()) + 1), side="left")
    last = np.concatenate([first[1:], [len(distinct)]]) - 1
    labels = tuple(
        _number(distinct[a]) if a == b else f"{_number(distinct[a])} to {_number(distinct[b])}"
        for a, b in zip(first, last, strict=True)
    )
    return Slicing(column, labels, np.arange(len(values), dtype=np.int64), band[group].astype(np.int64))


def _of_numbers(column: str, values: Floats, most: int) -> Slicing:
    known = np.isfinite(values)
    if len(np.unique(values[known])) <= most:
        texts = [_number(value) if good else None for value, good in zip(values, known, strict=True)]
        return slicing_of(column, texts, most)
    rows = np.arange(len(values), dtype=np.int64)
    found = bands_of(column, values[known], np.ones(int(known.sum())))
    labels, codes = found.labels, np.full(len(values), len(found.labels), dtype=np.int64)
    codes[known] = found.codes
    return Slicing(column, labels if known.all() else (*labels, UNKNOWN), rows, codes)


def _of_names(
    column: str, names: Sequence[str], rows: Codes, most: int, *, overlapping: bool = False
) -> Slicing:
    counts = Counter(names)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    pooled = ranked[most:] if len(ranked) > most + 1 else []  # one alone is better named than pooled
    kept = sorted(ranked[: len(ranked) - len(pooled)], key=_place(ranked))
    labels = (*kept, f"others ({len(pooled)})") if pooled else tuple(kept)
    code_of = {name: code for code, name in enumerate(kept)} | dict.fromkeys(pooled, len(kept))
    codes = np.fromiter((code_of[name] for name in names), np.int64, len(names))
    return Slicing(column, labels, rows, codes, overlapping)


def _place(ranked: Sequence[str]) -> "_Key":
    """Order of the parts: hours, days and other whole numbers by value, else by rows; what is not known last."""
    known = [name for name in ranked if name not in {UNKNOWN, NO_SEGMENT}]
    values = [_whole(name) for name in known]
    numbered = {name: value for name, value in zip(known, values, strict=True) if value is not None}
    if len(numbered) == len(known):
        return _Key(numbered)
    return _Key({name: float(rank) for rank, name in enumerate(known)})


def _whole(name: str) -> float | None:
    """The number that a text of digits is, such as `7`, `-1` or the day `2026-03-15`."""
    digits = name[:1].replace("-", "") + name[1:].replace("-", "")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    return -float(digits) if name.startswith("-") else float(digits)


class _Key:
    """Place by name; those without one come last."""

    def __init__(self, places: dict[str, float]) -> None:
        self._places = places

    def __call__(self, name: str) -> tuple[bool, float]:
        return name not in self._places, self._places.get(name, 0.0)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
