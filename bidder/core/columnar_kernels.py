"""Loops over columns that settle, compiled once."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.pacing_kernels import G_UNITS, spent_on


@njit(cache=True)
def spend_all(paces, asap, starts, places, since_ns, lines, amounts, bid_at_ns, one_impression):
    """Lowers the multipliers of all groups of each line item for spends, in order; as `Wallet.settle` does.

    Args:
        paces: float64[groups, G_COLUMNS], see `pacing_kernels`. asap: bool[groups], which are not paced.
        starts, places: int32[lines + 1], int32[], groups of line items. since_ns: int64[groups], a bid before it was
            charged to another day's budget. lines: int64[k]. amounts: int64[k], nanos. bid_at_ns: int64[k].
        one_impression: what a bid counts on a budget of impressions.
    """
    for k in range(lines.shape[0]):
        for place in range(starts[lines[k]], starts[lines[k] + 1]):
            group = places[place]
            if asap[group] or 0 < bid_at_ns[k] < since_ns[group]:
                continue
            spent_on(paces[group], amounts[k] if paces[group, G_UNITS] == 0.0 else one_impression)
