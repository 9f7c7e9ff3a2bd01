"""Columns of texts kept as codes: a million rows of twenty texts each are a million small numbers and twenty texts.

`Texts` and `TextLists` read like the lists they stand for (`column[3]`, `for text in column`, `column == [...]`),
so that who wants the values needs to know nothing more. Who wants speed takes `values` and `codes`: a vocabulary
is counted and a column encoded once per distinct text, not once per row.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

MISSING = -1
"""Code of a text that is not there."""

Codes = NDArray[np.int32]


class Texts(Sequence[object]):
    """Texts, or None where missing; immutable.

    Attributes:
        values: the distinct texts.
        codes: int32[N], places in `values`; `MISSING` where there is none.
    """

    __slots__ = ("codes", "values")
    __hash__ = None  # type: ignore[assignment]  # equal to a list, which has no hash either

    def __init__(self, values: Sequence[str], codes: Codes) -> None:
        """Keeps both as they are."""
        self.values = tuple(values)
        self.codes = codes

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.codes)

    @overload
    def __getitem__(self, key: int) -> str | None: ...
    @overload
    def __getitem__(self, key: slice) -> "Texts": ...
    def __getitem__(self, key: Any) -> Any:
        """One text, or for a slice or an array of places the column of those rows."""
        if isinstance(key, slice | np.ndarray):
            return Texts(self.values, self.codes[key])
        code = self.codes[key]
        return None if code == MISSING else self.values[code]

    def __iter__(self) -> Iterator[str | None]:
        """The texts, row by row."""
        known: tuple[str | None, ...] = (*self.values, None)  # the last one is at -1
        return iter([known[code] for code in self.codes.tolist()])

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence holds the same texts."""
        return isinstance(other, Sequence) and list(self) == list(other)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The texts as an array of objects."""
        del copy
        known = np.array([*self.values, None], dtype=object)
        return known[self.codes] if dtype is None else known[self.codes].astype(dtype)

    def counts(self) -> dict[str, int]:
        """How many rows hold each text; texts of no row are left out."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values)).tolist()
        return {value: count for value, count in zip(self.values, found, strict=True) if count}

    def encoded(self, encoder: dict[str, float]) -> NDArray[np.float64]:
        """float64[N]: what `encoder` says of each text, 0 where it knows none."""
        return np.array([*(encoder.get(value, 0.0) for value in self.values), 0.0])[self.codes]


class TextLists(Sequence[object]):
    """For each row a tuple of texts, empty where there are none; immutable.

    Attributes:
        values: the distinct texts.
        codes: int32[M], places in `values`, row after row.
        starts: int64[N + 1], where each row begins in `codes`; the last is M.
    """

    __slots__ = ("codes", "starts", "values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Sequence[str], codes: Codes, starts: NDArray[np.int64]) -> None:
        """Keeps all three as they are."""
        self.values = tuple(values)
        self.codes = codes
        self.starts = starts

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @overload
    def __getitem__(self, key: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, key: slice) -> "TextLists": ...
    def __getitem__(self, key: Any) -> Any:
        """One row's texts, or for a slice or an array of places the column of those rows."""
        if isinstance(key, slice | np.ndarray):
            return self._rows(np.arange(len(self))[key])
        row = range(len(self))[key]
        codes = self.codes[self.starts[row] : self.starts[row + 1]].tolist()
        return tuple(self.values[code] for code in codes)

    def _rows(self, rows: NDArray[np.int64]) -> "TextLists":
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        inside = np.arange(int(starts[-1])) - np.repeat(starts[:-1], lengths)
        return TextLists(self.values, self.codes[np.repeat(self.starts[:-1][rows], lengths) + inside], starts)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """The tuples, row by row."""
        texts = [self.values[code] for code in self.codes.tolist()]
        bounds = self.starts.tolist()
        return iter([tuple(texts[begin:end]) for begin, end in pairwise(bounds)])

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence holds the same texts in the same rows."""
        return isinstance(other, Sequence) and list(self) == [tuple(row) for row in other]

    def rows(self) -> NDArray[np.int64]:
        """int64[M]: which row each code belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def counts(self) -> dict[str, int]:
        """How many rows hold each text; texts of no row are left out."""
        width = max(len(self.values), 1)
        keys = np.sort(self.rows() * width + self.codes)
        once = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
        found = np.bincount(once % width, minlength=len(self.values)).tolist()
        return {value: count for value, count in zip(self.values, found, strict=True) if count}
