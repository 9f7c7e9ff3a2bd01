"""What a bid costs for all that it buys, and what fees add: integers, each rounded up once."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

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
