"""What a bid costs for all that it buys, and what fees add: integers, each rounded up once; what is logged of it."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.decision_columns import (
    MOST_FOREIGN_NANOS,
    MOST_NANOS,
    ONE,
    P_ARM,
    P_CHANCE,
    P_CTR,
    P_CVR,
    P_DENSITY,
    P_FACTOR,
    P_MULTIPLIER,
    P_STRATUM,
    P_VALUE,
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
def priced_at(bid, floor, rate, most):
    """A bid in the currency that it is made in: the bid, its price there in micros, and what it costs in nanos.

    Args:
        bid, floor, most: nanos of the account, of one impression. rate: of the other currency, `ONE` for our own. The
            cost is -1 where rounding leaves no bid.
    """
    if rate == ONE:
        return bid, bid, bid
    bid = min(bid, MOST_FOREIGN_NANOS)
    price = bid * ONE // rate
    # What rounding took off may be what lay above the floor.
    if floor <= bid and price * rate < floor * ONE:
        price += 1
    cost = (price * rate + ONE - 1) // ONE
    if price < 1 or bid < floor or cost > most:
        return bid, price, -1
    return bid, price, cost


@njit(cache=True)
def amount_of(cost, quantity, fee_ppm, fee_nanos):
    """What is set aside for a bid with its fees, and what of it is the exchange's; -1 where no integer holds it."""
    if cost > MOST_NANOS // (quantity // MILLION + 1):
        return -1, 0
    spent = times_quantity(cost, quantity)
    fixed_fee = fees_of(0, quantity, 0, fee_nanos)
    if spent > (MOST_NANOS - fixed_fee) // (1 + (fee_ppm + MILLION - 1) // MILLION):
        return -1, 0
    return spent + fees_of(spent, quantity, fee_ppm, fee_nanos), spent


@njit(cache=True)
def note(out, row, pctr, pcvr, multiplier, arm, stratum, worth, chance, factor, density, value):
    """Writes what is logged of a candidate in a row, by P_ column."""
    out[row, P_CTR] = pctr
    out[row, P_CVR] = pcvr
    out[row, P_MULTIPLIER] = multiplier
    out[row, P_ARM] = arm
    out[row, P_STRATUM] = stratum
    out[row, P_WORTH] = worth
    out[row, P_CHANCE] = chance
    out[row, P_FACTOR] = factor
    out[row, P_DENSITY] = density
    out[row, P_VALUE] = value
