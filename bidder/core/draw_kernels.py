"""Draws that are a function of numbers alone, compiled."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

# Factors of 32 bits, so that no product passes 64 bits: NumPy warns of one that does where nothing is compiled.
_M1 = np.uint64(0x9E37_79B1)
_M2 = np.uint64(0x85EB_CA77)
_M3 = np.uint64(0xC2B2_AE3D)
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)


@njit(cache=True)
def uniform_of(seed, number):
    """A draw in [0, 1) that depends on the low halves of seed and number alone."""
    mixed = np.uint64(number & 0xFFFF_FFFF) * _M1 ^ np.uint64(seed & 0xFFFF_FFFF) * _M2
    for _ in range(3):
        mixed ^= mixed >> _HALF
        mixed = (mixed & _LOW) * _M2 ^ (mixed >> _HALF) * _M3
    mixed ^= mixed >> _HALF
    return float(mixed & _LOW) / 4294967296.0


@njit(cache=True)
def takes_part(seed, share):
    """Whether the opportunity of this seed is one of a share of all."""
    return uniform_of(seed, seed >> 32) < share
