"""What a bid costs for all that it buys, and what fees add: integers, each rounded up once; what is logged of it."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.decision_columns import (
    P_ARM,
    P_CHANCE,
    P_CTR,
    P_CVR,
    P_DENSITY,
    P_FACTOR,
    P_MULTIPLIER,
    P_STRATUM,
    P_WORTH,
)

MILLION = 1_000_000


@njit(cache=True)
def times_quantity(nanos, quantity):
    """`nanos` times `quantity` millionths, rounded up."""
    whole, part = quantity // MILLION, quantity % MILLION
    return nanos * whole + (nanos * part + MILLION - 1) // MILLION


@njit(cache=True)
def fees_of(nanos, quantity, ppm, each_nanos):
    """What is owed on top of a price: `ppm` millionths of it and `each_nanos` an impression, each rounded up once.

    The rounding of `bidder.web.track`, in parts that fit 64 bits; it never falls where the price grows.
    """
    whole, part = nanos // MILLION, nanos % MILLION
    share = whole * ppm + (part * ppm + MILLION - 1) // MILLION
    return share + (each_nanos * quantity + MILLION - 1) // MILLION


@njit(cache=True)
def note(out, pctr, pcvr, multiplier, arm, stratum, worth, chance, factor, density):
    """Writes what is logged of a candidate, by P_ column."""
    out[P_CTR] = pctr
    out[P_CVR] = pcvr
    out[P_MULTIPLIER] = multiplier
    out[P_ARM] = arm
    out[P_STRATUM] = stratum
    out[P_WORTH] = worth
    out[P_CHANCE] = chance
    out[P_FACTOR] = factor
    out[P_DENSITY] = density
