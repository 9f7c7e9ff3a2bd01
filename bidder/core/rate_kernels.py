"""The compiled table of a rate limiter: who was seen, how often in the last slots, and who was seen longest ago.

Row `r` of the uint32[rows, 16] table is one key and one cache line: its 64 bits in two halves, the slot of its last
hit in two halves, the next row of its bucket, the head of bucket `r`, its neighbours by time of the last hit, and its
hits in each of the last eight slots. Row 0 holds no key: it closes the ring of neighbours, so 0 also says "none", and
its free columns hold the limiter's own numbers. The slow twin is `tests/property/test_rates_props.py`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

SLOTS = 8
WIDTH = 16
KEY_LO, KEY_HI, SLOT_LO, SLOT_HI, CHAIN, HEAD, NEWER, OLDER, COUNTS = range(9)
"""Columns of a key; its counts are the last eight. HEAD belongs to the bucket of the row's number, not to the key."""
USED, MASK, LIMIT, CAPACITY = range(4)
SLOT_NS_LO, SLOT_NS_HI = COUNTS, COUNTS + 1
"""Columns of row 0."""

_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)
"""Typed, because Numba mixes uint64 and a plain int into a signed number and the shift would drag the sign."""


@njit(cache=True)
def _number(table, row, low):
    """The 63-bit number in columns `low` and `low + 1`."""
    return np.int64(table[row, low]) | (np.int64(table[row, low + 1]) << 32)


@njit(cache=True)
def _find(table, lo, hi):
    """Row of a key, or 0."""
    row = np.int64(table[(lo ^ hi) & np.int64(table[0, MASK]), HEAD])
    while row != 0 and (np.int64(table[row, KEY_LO]) != lo or np.int64(table[row, KEY_HI]) != hi):
        row = np.int64(table[row, CHAIN])
    return row


@njit(cache=True)
def _unlink(table, row):
    """Takes a row out of the ring of neighbours."""
    newer, older = table[row, NEWER], table[row, OLDER]
    table[newer, OLDER] = older
    table[older, NEWER] = newer


@njit(cache=True)
def _link_newest(table, row):
    """Puts a row into the ring as the one that was hit last."""
    newest = table[0, OLDER]
    table[row, NEWER] = 0
    table[row, OLDER] = newest
    table[newest, NEWER] = row
    table[0, OLDER] = row


@njit(cache=True)
def _forget_oldest(table):
    """Takes the key that was hit longest ago out of its bucket and out of the ring; returns its row."""
    row = np.int64(table[0, NEWER])
    bucket = (np.int64(table[row, KEY_LO]) ^ np.int64(table[row, KEY_HI])) & np.int64(table[0, MASK])
    at = np.int64(table[bucket, HEAD])
    if at == row:
        table[bucket, HEAD] = table[row, CHAIN]
    else:
        while np.int64(table[at, CHAIN]) != row:
            at = np.int64(table[at, CHAIN])
        table[at, CHAIN] = table[row, CHAIN]
    _unlink(table, row)
    return row


@njit(cache=True)
def _insert(table, lo, hi):
    """Row of a key that was not there: the next free one, or that of the key that was hit longest ago."""
    used = np.int64(table[0, USED])
    if used < np.int64(table[0, CAPACITY]):
        row = used + 1
        table[0, USED] = row
    else:
        row = _forget_oldest(table)
    bucket = (lo ^ hi) & np.int64(table[0, MASK])
    table[row, KEY_LO] = lo
    table[row, KEY_HI] = hi
    table[row, CHAIN] = table[bucket, HEAD]
    table[bucket, HEAD] = row
    for s in range(SLOTS):
        table[row, COUNTS + s] = 0
    _link_newest(table, row)
    return row


@njit(cache=True)
def _roll(table, row, slot):
    """Empties the counts of slots that `slot` pushes out of the window."""
    last = _number(table, row, SLOT_LO)
    for s in range(max(last + 1, slot - SLOTS + 1), slot + 1):
        table[row, COUNTS + s % SLOTS] = 0


@njit(cache=True)
def _sum(table, row):
    total = np.int64(0)
    for s in range(SLOTS):
        total += np.int64(table[row, COUNTS + s])
    return total


@njit(cache=True)
def hit(table, key, now_ns):
    """Counts one hit of a key and says whether it is now over the limit; key 0 is nobody, never counted.

    Args:
        table: uint32[rows, 16], changed.
        key: uint64.
        now_ns: int64, not negative; a time before the key's last slot counts as that slot.
    """
    if key == 0:
        return False
    lo, hi = np.int64(key & _LOW), np.int64(key >> _HALF)
    slot = np.int64(now_ns) // _number(table, 0, SLOT_NS_LO)
    row = _find(table, lo, hi)
    if row == 0:
        row = _insert(table, lo, hi)
    else:
        slot = max(slot, _number(table, row, SLOT_LO))
        _roll(table, row, slot)
        if np.int64(table[row, NEWER]) != 0:
            _unlink(table, row)
            _link_newest(table, row)
    table[row, SLOT_LO] = slot & 0xFFFF_FFFF
    table[row, SLOT_HI] = slot >> 32
    table[row, COUNTS + slot % SLOTS] += 1
    return _sum(table, row) > np.int64(table[0, LIMIT])


@njit(cache=True)
def hit_rows(table, keys, now_ns, over):
    """`hit` for each of `keys` uint64[n], in their order; writes bool[n] into `over`."""
    for i in range(keys.shape[0]):
        over[i] = hit(table, keys[i], now_ns)


@njit(cache=True)
def count(table, key, now_ns):
    """Hits of a key in the window that ends at `now_ns`, nothing changed."""
    lo, hi = np.int64(key & _LOW), np.int64(key >> _HALF)
    row = _find(table, lo, hi)
    if key == 0 or row == 0:
        return 0
    last = _number(table, row, SLOT_LO)
    slot = max(np.int64(now_ns) // _number(table, 0, SLOT_NS_LO), last)
    total = np.int64(0)
    for s in range(max(slot - SLOTS + 1, 0), last + 1):
        total += np.int64(table[row, COUNTS + s % SLOTS])
    return total
