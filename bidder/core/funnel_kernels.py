"""Exact counts of bits by column, kept as bit-sliced counters: one addition for 64 line items at once.

`counters` is uint64[dimensions, SLICES, words]: bit i of slice s of a word is digit s of the count of line item i.
Adding a word of bits carries from slice to slice until nothing is left to carry, two steps on average.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

SLICES = 16
MOST_ROWS = (1 << SLICES) - 1
"""Rows that can be counted before the counters must be drained."""

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@njit(cache=True)
def count_bits(counters, dimension, word, bits):
    """Adds one to the count of each line item whose bit is set."""
    carry = bits
    for s in range(SLICES):
        old = counters[dimension, s, word]
        counters[dimension, s, word] = old ^ carry
        carry &= old
        if carry == _ZERO:
            return


@njit(cache=True)
def drain(counters, totals):
    """Adds the counters to `totals`, int64[lines, dimensions], and empties them."""
    for d in range(counters.shape[0]):
        for w in range(counters.shape[2]):
            for s in range(SLICES):
                bits = counters[d, s, w]
                counters[d, s, w] = _ZERO
                line = w * 64
                while bits != _ZERO:
                    if bits & _ONE != _ZERO:
                        totals[line, d] += 1 << s
                    bits >>= _ONE
                    line += 1


@njit(cache=True)
def recount(n, active, base, rows, record, end_mark, left, counters):
    """Counts what each dimension refuses first, for `n` opportunities of a record; see `core.kernels.eligible`.

    Args:
        n: opportunities. active, base, rows: see `bidder.core.table.LineTable`, `base` with what was in flight.
        record: int32[], as `core.showing` made it. end_mark: what ends a part.
        left: uint64[words], scratch. counters: changed.
    """
    end = 0
    for _ in range(n):
        for w in range(active.shape[0]):
            left[w] = active[w]
        for d in range(base.shape[0]):
            begin = end
            while record[end] != end_mark:
                end += 1
            for w in range(active.shape[0]):
                before = left[w]
                if before != _ZERO:
                    admit = base[d, w]
                    refuse = _ZERO
                    for k in range(begin, end):
                        number = record[k]
                        if number >= 0:
                            admit |= rows[number, w]
                        else:
                            refuse |= rows[~number, w]
                    after = before & admit & ~refuse
                    left[w] = after
                    if after != before:
                        count_bits(counters, d, w, before & ~after)
            end += 1
