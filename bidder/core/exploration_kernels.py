"""Which arm an opportunity is of, and bids that are moved a little by chance, compiled.

All chance comes from the opportunity's own seed (`R_SEED`), so that a replay draws the same. Each draw has a number
of its own, so that one does not tell of another.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

import numpy as np
from numba import njit

from bidder.core.creative_kernels import product

A_SHARE, A_LANDSCAPE, A_HELD = range(3)
"""Arms: a constant share of the value because no landscape prices the opportunity; the landscape's bid; and the
constant share again, because the opportunity is held out to compare with."""

L_HELD, L_SHARE, L_SIGMA = range(3)
LAW_COLUMNS = 3
"""What is held out, the share of the rest that is explored, and the spread of the logarithm of explored bids."""

_D_ARM, _D_EXPLORED, _D_RADIUS, _D_ANGLE = range(1, 5)
_MIX_1 = np.uint64(0xBF58_476D_1CE4_E5B9)
_MIX_2 = np.uint64(0x94D0_49BB_1331_11EB)
_S30, _S27, _S31, _S11, _S58 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11), np.uint64(58)
_LOG_ROOT_2_PI = 0.5 * math.log(2.0 * math.pi)


@njit(cache=True)
def draw(seed, number):
    """A number in (0, 1) by the seed, another for each `number` below 64: the finish of SplitMix64, twice.

    A seed has 56 bits, so the number stands above them.
    """
    word = np.uint64(seed) ^ (np.uint64(number) << _S58)
    for _ in range(2):
        word = product(word ^ (word >> _S30), _MIX_1)
        word = product(word ^ (word >> _S27), _MIX_2)
        word ^= word >> _S31
    return (float(word >> _S11) + 0.5) * 2.0**-53


@njit(cache=True)
def arm_of(seed, by_landscape, law):
    """The arm of an opportunity; `by_landscape` where a landscape prices it."""
    if not by_landscape:
        return A_SHARE
    return A_HELD if draw(seed, _D_ARM) < law[L_HELD] else A_LANDSCAPE


@njit(cache=True)
def is_moved(seed, law):
    """Whether the bids on an opportunity are to be moved."""
    return draw(seed, _D_EXPLORED) < law[L_SHARE]


@njit(cache=True)
def normal_of(seed):
    """A standard normal number by the seed (Box and Muller 1958)."""
    return math.sqrt(-2.0 * math.log(draw(seed, _D_RADIUS))) * math.cos(2.0 * math.pi * draw(seed, _D_ANGLE))


@njit(cache=True)
def explored(bid, seed, moved, least, highest, most, gross, quantity, fee_nanos, rate, left, law):
    """A bid where bids are explored: it, the factor that it was moved by (0: not at all), the log of its density.

    Whether there is money for it is asked of the dearest bid that chance could make, so that the density does not
    depend on the draw. Where there is not, the bid is certain: its density has the logarithm 0.

    Args:
        bid: whole nanos. seed: of the opportunity. moved: whether it is to be moved.
        least, highest: whole nanos that the line item and the floor allow. most: nanos that a win is worth.
        gross, fee_nanos: fees, see `decide_rows`. quantity: millionths of an impression. rate: of the currency.
        left: nanos that may be set aside for explored bids. law: float64[LAW_COLUMNS].
    """
    if most < highest:
        highest = max(int(most), bid)
    # A price in another currency may be rounded up by a part of it.
    dearest = (highest + rate * 1e-9 + 1.0) * gross + fee_nanos
    if not dearest * quantity * 1e-6 + 4.0 <= left:
        return bid, 0.0, 0.0
    if not moved:
        return bid, 0.0, math.log1p(-law[L_SHARE])
    found, density = explored_bid(bid, normal_of(seed), max(least, 1), highest, law)
    return found, found / bid, density


@njit(cache=True)
def explored_bid(bid, normal, low, high, law):
    """A bid times e to the power of sigma times `normal`, held between bounds, and the logarithm of its density.

    The density is that of the bid's logarithm, given that it is explored, times the share that is. At a bound it is
    the whole probability of what would lie beyond.

    Args:
        bid: whole nanos, >= 1. normal: of `normal_of`. low, high: whole nanos, 1 <= low <= bid <= high.
        law: float64[LAW_COLUMNS].
    """
    sigma = law[L_SIGMA]
    moved = bid * math.exp(sigma * normal)
    if moved >= high:
        return high, math.log(law[L_SHARE] * beyond(math.log(high / bid) / sigma))
    if moved < low:
        return low, math.log(law[L_SHARE] * beyond(math.log(bid / low) / sigma))
    return int(moved), math.log(law[L_SHARE] / sigma) - 0.5 * normal * normal - _LOG_ROOT_2_PI


@njit(cache=True)
def beyond(z):
    """The probability that a standard normal number is above `z`."""
    return max(0.5 * math.erfc(z * math.sqrt(0.5)), 1e-300)
