"""First price by the landscape, compiled: which bid leaves most, and which stratum an auction is of.

The bid is the argmax of (w - b) P(win | b), where w is what a win is worth after pacing and fees. With a budget w is
v / lambda, so this is also the argmax of (v - lambda b) P(win | b): most value for the money (Wang et al., ICML 2023;
Pan et al., AdKDD 2020). It depends on w and the curve alone, so the work is done when a landscape is read: `envelope`
writes for each stratum the ranges of w whose best bid lies between the same two prices of the grid. At an auction
there is one search in that list, and a parabola's vertex.

P is linear between prices of the grid, from 0 at 0 and level above the last price, as `models.landscape.kernels` has
it. Segment k ends at price k of the grid and begins at the one before, segment 0 at 0.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

import numpy as np
from numba import njit

PARTS = 16
"""Points of a segment that `envelope` looks at: where the best bid leaps from one segment to another, it is the
leap between such points that is found, so the surplus there errs by a part in a thousand at most."""


@njit(cache=True)
def envelope(grid, survival, worths, segments):
    """The ranges of w of one stratum; returns how many there are, 0 where nothing can be won.

    A point (b, P) gives the line P (w - b) over w. The best points for growing w are the upper envelope of the lines,
    whose slopes P rise with b: one pass with a stack finds it.

    Args:
        grid: int64[G], prices, ascending. survival: float64[G], P(price to beat > price).
        worths: float64[G], written: from which w on a segment is the best. segments: int32[G], written: that segment.
    """
    points = grid.shape[0]
    chance = np.empty(points * PARTS + 1)
    cost = np.empty(points * PARTS + 1)
    since = np.empty(points * PARTS + 1)
    place = np.empty(points * PARTS + 1, dtype=np.int32)
    chance[0], cost[0], since[0], place[0] = 0.0, 0.0, 0.0, -1
    top = 0
    for k in range(points):
        low, low_chance = (float(grid[k - 1]), 1.0 - survival[k - 1]) if k > 0 else (0.0, 0.0)
        wide, rise = grid[k] - low, 1.0 - survival[k] - low_chance
        if not rise > 0.0:
            continue
        for part in range(1, PARTS + 1):
            share = part / PARTS
            bid, p = low + share * wide, low_chance + share * rise
            # A rise that is lost in the sum makes no line of its own.
            if not p > chance[top]:
                continue
            at = (bid * p - cost[top]) / (p - chance[top])
            while top > 0 and at <= since[top]:
                top -= 1
                at = (bid * p - cost[top]) / (p - chance[top])
            top += 1
            chance[top], cost[top], since[top], place[top] = p, bid * p, at, k
    count = 0
    for one in range(1, top + 1):
        if count == 0 or segments[count - 1] != place[one]:
            worths[count], segments[count] = since[one], place[one]
            count += 1
    return count


@njit(cache=True, nogil=True)
def envelopes(grid, survival, starts, worths, segments):
    """`envelope` of every stratum, one after the other; a thread that makes them does not hold up requests.

    Args:
        grid: int64[G]. survival: float64[S, G]. starts: int64[S + 1], written: where each stratum begins.
        worths, segments: float64[S * G], int32[S * G], written.
    """
    end = 0
    starts[0] = 0
    for stratum in range(survival.shape[0]):
        end += envelope(grid, survival[stratum], worths[end:], segments[end:])
        starts[stratum + 1] = end


@njit(cache=True)
def shaded_bid(worth, stratum, starts, worths, segments, grid, survival):
    """The best bid for a win that is worth so much: never above it, never falling as it grows.

    NaN where the curve says that nothing is won at any price: then it says nothing of prices either.

    Args:
        worth: w, of any unit that the grid is in. stratum: whose curve.
        starts, worths, segments: of `envelopes`. grid, survival: of the landscape.
    """
    begin, end = starts[stratum], starts[stratum + 1]
    if begin == end or not worth > 0.0:
        return math.nan
    low = begin
    count = end - begin
    while count > 1:
        half = count >> 1
        if worths[low + half] <= worth:
            low += half
        count -= half
    k = segments[low]
    left, chance = (float(grid[k - 1]), 1.0 - survival[stratum, k - 1]) if k > 0 else (0.0, 0.0)
    right, rise = float(grid[k]), 1.0 - survival[stratum, k] - chance
    # The vertex of (w - b) (chance + rise (b - left) / (right - left)).
    bid = 0.5 * (worth + left - chance * (right - left) / rise)
    return min(max(bid, left), right, worth)


@njit(cache=True)
def shaded_worth(most, otherwise, floor, stratum, starts, worths, segments, grid, survival):
    """What to bid of a win that is worth `most`: the best bid, and the floor where that is higher and below `most`.

    `otherwise` where the curve knows of no price that wins. The floor is the best that is allowed as long as what a
    bid leaves rises to one top, which curves without leaps do.
    """
    wish = shaded_bid(most, stratum, starts, worths, segments, grid, survival)
    if wish != wish:
        wish = otherwise
    return float(floor) if wish < floor < most else wish


@njit(cache=True)
def stratum_of(pctr, codes, row, prediction, edges, child_start, child_code, child_place, others):
    """The stratum of a candidate: down from the root, by the code of each level.

    Args:
        pctr: its click probability. codes: int32[n, levels], of each opportunity. row: the opportunity.
        prediction: the level that is the prediction's tenth, -1 for none. edges: float64[], where tenths part.
        child_start: int32[S + 1]. child_code, child_place: int32[], children of each stratum by rising code.
        others: int32[S], the child for codes without one of their own, -1 where there is none.
    """
    at = 0
    for level in range(codes.shape[1]):
        code = codes[row, level]
        if level == prediction:
            code = edges.shape[0] + 1
            if pctr == pctr:
                code = np.searchsorted(edges, pctr, side="right")
        low, high = child_start[at], child_start[at + 1]
        end = high
        while low < high:
            middle = (low + high) >> 1
            if child_code[middle] < code:
                low = middle + 1
            else:
                high = middle
        if low < end and child_code[low] == code:
            at = child_place[low]
        elif others[at] >= 0:
            at = others[at]
        else:
            break
    return at
