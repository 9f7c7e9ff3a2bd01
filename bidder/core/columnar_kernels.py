"""Loops over columns that settle, compiled once."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.pacing_kernels import spent_on


@njit(cache=True)
def spend_all(paces, asap, groups, amounts):
    """Lowers multipliers for spends, in order.

    Args:
        paces: float64[groups, G_COLUMNS], see `pacing_kernels`. asap: bool[groups], which are not paced.
        groups: int32[k]. amounts: int64[k], nanos.
    """
    for k in range(groups.shape[0]):
        group = groups[k]
        if not asap[group]:
            spent_on(paces[group], amounts[k])
