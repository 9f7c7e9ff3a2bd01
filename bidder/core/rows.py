"""Rows of bits in the making: which line items a value admits or refuses, one bit a line item.

Targeting is exact and works on bits. For a dimension d and the values V that an opportunity shows in it, the line
items left are

    left &= (base[d] | OR of include[v], v in V) & ~(OR of exclude[v], v in V)

where base[d] holds the line items that include nothing in d and so admit every value. Both kinds of row stand in
one matrix; a value's rows are given by numbers, `r` for a row to include and `~r` for one to exclude.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Rule

WORD_BITS = 64
LONG_LIST = 32
"""Values in one rule from which on the list has a row of its own, shared by all its values: a list of a hundred
thousand domains costs an entry a domain, and not a row of bits a domain."""

ValueRows = dict[str, tuple[int, ...]]
"""For each value the rows that showing it brings."""


class RowBook:
    """Collects rows, then makes their matrix at once.

    Args:
        lines: how many line items there are.
    """

    def __init__(self, lines: int) -> None:
        self.words = max(1, -(-lines // WORD_BITS))
        self._rows: list[Sequence[int]] = []
        self._lists: dict[tuple[str, ...], dict[bool, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, lines: Sequence[int]) -> int:
        """A new row with the bits of these line items; its number."""
        self._rows.append(lines)
        return len(self._rows) - 1

    def values(self, rules: Iterable[tuple[int, Rule]]) -> ValueRows:
        """Rows of one dimension, from (line item, rule) of those that have one there."""
        wanted: dict[str, list[int]] = {}
        refused: dict[str, list[int]] = {}
        long: dict[tuple[bool, tuple[str, ...]], list[int]] = {}
        for line, rule in rules:
            for values, kind, into in ((rule.include, True, wanted), (rule.exclude, False, refused)):
                if len(values) >= LONG_LIST:
                    long.setdefault((kind, values), []).append(line)
                else:
                    for value in values:
                        into.setdefault(value, []).append(line)
        found: dict[str, list[int]] = {}
        for value in sorted(wanted):
            found.setdefault(value, []).append(self.add(wanted[value]))
        for value in sorted(refused):
            found.setdefault(value, []).append(~self.add(refused[value]))
        for (kind, values), lines in long.items():
            row = self.add(lines)
            for value in set(values):
                found.setdefault(value, []).append(row if kind else ~row)
        return _shared(found)

    def bits(self, lines: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint64]:
        """uint64[words] with the bits of these line items."""
        return bits_of(np.asarray(lines, dtype=np.int64), self.words)

    def matrix(self, spare: int) -> NDArray[np.uint64]:
        """uint64[rows + spare, words]; the spare rows at the end are empty."""
        count = len(self._rows)
        lengths = np.fromiter(map(len, self._rows), dtype=np.int64, count=count)
        lines = np.fromiter(
            (line for row in self._rows for line in row), dtype=np.int64, count=int(lengths.sum())
        )
        out = np.zeros((count + spare, self.words), dtype=np.uint64)
        places = np.repeat(np.arange(count, dtype=np.int64), lengths) * self.words + lines // WORD_BITS
        bits = np.left_shift(np.uint64(1), (lines % WORD_BITS).astype(np.uint64))
        np.bitwise_or.at(out.reshape(-1), places, bits)
        return out


def bits_of(lines: NDArray[np.int64], words: int) -> NDArray[np.uint64]:
    """uint64[words] with the bits of these line items."""
    out = np.zeros(words, dtype=np.uint64)
    np.bitwise_or.at(
        out, lines // WORD_BITS, np.left_shift(np.uint64(1), (lines % WORD_BITS).astype(np.uint64))
    )
    return out


def _shared(found: Mapping[str, Sequence[int]]) -> ValueRows:
    """Tuples, equal ones the same object: members of a long list mostly bring the same rows."""
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    return {value: known.setdefault(rows, rows) for value, rows in ((v, tuple(r)) for v, r in found.items())}
