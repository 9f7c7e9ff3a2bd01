"""How often a key was seen lately: a sliding window over a bounded number of keys.

Keys are hashes of what they stand for, made by the caller: their bits choose the bucket as they are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from bidder.core import rate_kernels as kernels
from bidder.errors import ConfigError

SLOTS = kernels.SLOTS
_HIT = (types.Array(types.uint32, 2, "C"), types.uint64, types.int64)


def _compiled(kernel: Any, signature: tuple[Any, ...]) -> Callable[..., Any]:
    """A kernel for one signature, without the search for it at each call, which costs as much as the work.

    It trusts its arguments: give it arrays of our own only.
    """
    if not hasattr(kernel, "get_overload"):  # plain Python: NUMBA_DISABLE_JIT is set
        return kernel  # type: ignore[no-any-return]
    kernel.compile(signature)
    return kernel.get_overload(signature)  # type: ignore[no-any-return]


class RateLimiter:
    """Counts hits of 64-bit keys in a sliding window and says which keys are over a limit.

    Time is cut into slots of an eighth of the window. A hit counts from its own slot through the seven that follow,
    so what is counted is never older than the window, and all of the window's last seven eighths is counted. Hits
    over the limit count too: who floods stays refused until the flood is over. Nothing but the hits and their times
    decides, so a replay of both refuses the same ones.

    Memory is 64 bytes a key and all taken at the start. Where a new key finds no room, the key that was hit longest
    ago is forgotten and begins at none when it comes back: keys can be undercounted, never overcounted. A key at the
    limit is hit every `window / limit`, so it is forgotten only where more than `capacity` others come in between.

    Args:
        capacity: keys remembered, 1 to 2**26.
        window_ns: length of the window, at least 8 (one for each slot).
        limit: hits in a window that are not over the limit, 1 to 2**31.

    Attributes:
        hit: counts one hit of `key` (uint64) at `now_ns` (int64, not negative) and returns whether the key is over
            the limit, this hit included. Key 0 is nobody: not counted, never over. A time before the key's last slot
            counts as that slot. Raises OverflowError for a key that is negative or does not fit into 64 bits.

    Raises:
        ConfigError: an argument out of its range.
    """

    __slots__ = ("_table", "hit")

    hit: Callable[[int, int], bool]

    def __init__(self, capacity: int, window_ns: int, limit: int) -> None:
        _check("keys of a rate limiter", capacity, 1, 2**26)
        _check("window of a rate limiter in ns", window_ns, SLOTS, 2**62)
        _check("limit of a rate limiter", limit, 1, 2**31)
        buckets = 1 << (capacity - 1).bit_length()
        self._table = _lines(max(capacity + 1, buckets))
        own = self._table[0]
        own[kernels.MASK], own[kernels.LIMIT], own[kernels.CAPACITY] = buckets - 1, limit, capacity
        slot_ns = window_ns // SLOTS
        own[kernels.SLOT_NS_LO], own[kernels.SLOT_NS_HI] = slot_ns & 0xFFFF_FFFF, slot_ns >> 32
        # An attribute and not a method: a frame of Python would cost a fifth of the call.
        self.hit = partial(_compiled(kernels.hit, _HIT), self._table)
        self.hit_many(np.empty(0, dtype=np.uint64), 0)  # compiled now, not under the first batch

    def hit_many(self, keys: NDArray[np.uint64], now_ns: int) -> NDArray[np.bool_]:
        """`hit` for each of `keys` uint64[n] in their order, all at `now_ns`; returns bool[n]."""
        over = np.empty(len(keys), dtype=np.bool_)
        kernels.hit_rows(self._table, np.ascontiguousarray(keys, dtype=np.uint64), now_ns, over)
        return over

    def count(self, key: int, now_ns: int) -> int:
        """Hits of a key in the window that ends at `now_ns`; nothing is counted or forgotten by asking."""
        return int(kernels.count(self._table, np.uint64(key), now_ns))

    def __len__(self) -> int:
        """Keys remembered; their hits may be older than the window."""
        return int(self._table[0, kernels.USED])


def _lines(rows: int) -> NDArray[np.uint32]:
    """uint32[rows, 16] of zeros in which each row is one cache line of 64 bytes: a key costs one miss, not two."""
    raw = np.zeros((rows + 1) * kernels.WIDTH, dtype=np.uint32)
    first = (-raw.ctypes.data % 64) // raw.itemsize
    return raw[first : first + rows * kernels.WIDTH].reshape(rows, kernels.WIDTH)


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} must be from {least} to {most}, was {value}")
