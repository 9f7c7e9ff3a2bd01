"""Uniform draws that belong to a row: functions of its hash, a seed and a purpose, whatever the order of asking."""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MANTISSA = 2.0**-53
CLICK, CONVERSION, RESULT, BILL, LOST = range(1, 6)
"""Purposes."""


def uniforms(hashes: NDArray[np.uint64], seed: int, purpose: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), float64[n]: the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        state = hashes + _GOLDEN * np.uint64((seed * 31 + purpose) % 2**64)
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * _MANTISSA
