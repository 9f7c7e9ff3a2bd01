"""Targeting compiled: which line items an opportunity leaves, by rows of bits that are AND-ed.

A record holds for each used dimension the rows of the values that the opportunity shows, then `END`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

from bidder.core.funnel_kernels import count_bits

END = 2**31 - 1
"""Ends the values of one dimension in a record."""

R_NO_CAMPAIGNS = 200
"""`bidder.openrtb.reasons.Reason`."""

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
"""Typed, because Numba mixes uint64 and a plain int into a signed number and the shift would drag the sign."""


@njit(cache=True)
def eligible(active, base, rows, refusals, record, begin, left, counters, counting):
    """Writes the line items that targeting leaves for one row into `left`.

    What each dimension refuses first is added to `counters` where `counting`.

    Returns:
        0 or the refusing reason; and where the record of the next row begins.
    """
    # Places are unsigned: one that might be negative is looked at before each use.
    words = np.uint64(active.shape[0])
    some = False
    for w in range(words):
        left[w] = active[w]
        some |= left[w] != _ZERO
    refused = 0 if some else R_NO_CAMPAIGNS
    end = np.uint64(begin)
    for d in range(np.uint64(base.shape[0])):
        first = end
        while record[end] != END:
            end += _ONE
        if some:
            some = False
            for w in range(words):
                before = left[w]
                if before != _ZERO:
                    admit = base[d, w]
                    refuse = _ZERO
                    for k in range(first, end):
                        number = record[k]
                        if number >= 0:
                            admit |= rows[np.uint64(number), w]
                        else:
                            refuse |= rows[np.uint64(~number), w]
                    after = before & admit & ~refuse
                    left[w] = after
                    some |= after != _ZERO
                    if counting and after != before:
                        count_bits(counters, d, w, before & ~after)
            if not some:
                refused = refusals[d]
        end += _ONE
    return refused, np.int64(end)


@njit(cache=True)
def narrow(left, line):
    """Leaves one line item of those that are left, or none."""
    for w in range(left.shape[0]):
        left[w] &= _ONE << np.uint64(line % 64) if line >= 0 and w == line // 64 else _ZERO


@njit(cache=True)
def shows(record, begin, end, number):
    """Whether the opportunity of this record shows the value of a row to include."""
    for k in range(begin, end):
        if record[k] == number:
            return True
    return False
