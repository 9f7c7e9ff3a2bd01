"""What a slot asks of a creative: its floor, and the time and place that a pod has left."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from bidder.core.decision_columns import (
    GOAL_COMPLETE,
    GOAL_VIEW,
    O_CREATIVE,
    O_LINE,
    R_CHOSEN_DEAL,
    R_COMPLETED,
    R_FLOOR,
    R_FLOORS,
    R_FLOORS_END,
    R_PER_SECOND,
    R_POD_FIRST,
    R_POD_S,
    R_VIEWABLE,
)
from bidder.core.price_kernels import MILLION


@njit(cache=True)
def floor_of(row, slot, slots, durations, media, duration_s):
    """The floor of one creative: a deal's own, else by duration, else the impression's (guide, section 7.11)."""
    floor = row[R_FLOOR]
    per_second, begin, end = row[R_PER_SECOND], row[R_FLOORS], row[R_FLOORS_END]
    if media != 2 and media != 3:
        return floor
    if row[R_CHOSEN_DEAL] < 0:
        per_second, begin, end = slots[slot, 17], slots[slot, 18], slots[slot, 19]
    if per_second >= 0:
        floor = per_second * duration_s
    # Where ranges overlap, the highest of their floors is met.
    held = -1
    for k in range(begin, end):
        if durations[k, 0] <= duration_s <= durations[k, 1]:
            held = max(held, durations[k, 2])
    return held if held >= 0 else floor


@njit(cache=True)
def chance_of(row, goal, pctr, media):
    """How likely the goal's event is, a conversion's given its click: predicted, or measured of the slot."""
    if goal == GOAL_VIEW:
        return row[R_VIEWABLE] / MILLION
    if goal == GOAL_COMPLETE:
        return row[R_COMPLETED] / MILLION if media == 2 or media == 3 else 0.0
    return pctr


@njit(cache=True)
def pod_left(batch, out, creatives, r):
    """Seconds that the pod of row r has left; without an end where it is in none."""
    first = batch[r, R_POD_FIRST]
    if first < 0:
        return 2**31
    left = batch[r, R_POD_S]
    for k in range(first, r):
        if out[k, O_LINE] >= 0:
            left -= creatives[out[k, O_CREATIVE], 7]
    return left


@njit(cache=True)
def in_pod(batch, out, r, c):
    """Whether line item c already has a place in the pod of row r: one ad of each in a break."""
    first = batch[r, R_POD_FIRST]
    if first >= 0:
        for k in range(first, r):
            if out[k, O_LINE] == c:
                return True
    return False
