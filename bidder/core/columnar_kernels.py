"""Loops over columns that settle, compiled once."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.pacing_kernels import G_UNITS, spent_on
from bidder.core.purse_columns import B_POSTED


@njit(cache=True)
def spend_all(
    paces, asap, starts, places, since_ns, lines, amounts, impressions, bid_at_ns, accounts, books, spent
):
    """Lowers the multipliers of all groups of each line item for spends, in order, and notes what is spent by now.

    Args:
        paces: float64[groups, G_COLUMNS], see `pacing_kernels`. asap: bool[groups], which are not paced.
        starts, places: int32[lines + 1], int32[], groups of line items. since_ns: int64[groups], a bid before it was
            charged to another day's budget. lines: int64[k]. amounts, impressions: int64[k], nanos and millionths.
        bid_at_ns: int64[k], 0 where it is not said. accounts: int64[groups]. books: int64[accounts, 4], of the purse.
        spent: int64[groups], spend over all seats; raised to what is posted where that is more.
    """
    for k in range(lines.shape[0]):
        for place in range(starts[lines[k]], starts[lines[k] + 1]):
            group = places[place]
            if 0 < bid_at_ns[k] < since_ns[group]:
                continue
            if not asap[group]:
                spent_on(paces[group], amounts[k] if paces[group, G_UNITS] == 0.0 else impressions[k])
            spent[group] = max(spent[group], books[accounts[group], B_POSTED])
