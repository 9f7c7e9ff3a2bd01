"""Clicks and conversions of impressions that are bought again.

The log's own outcome counts where it is known for the line item that bought the row then. Elsewhere an outcome is
drawn by the row's prediction, which must be calibrated, and is counted as drawn; without one nothing is known.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.playback.draws import CLICK, CONVERSION, uniforms
from simulator.playback.prepared import Facts


class Outcomes(NamedTuple):
    """Of k impressions.

    Attributes:
        clicked, converted: bool[k]. click_drawn, conversion_drawn: whether that was drawn and not logged.
        click_unknown: neither logged nor predicted. value_nanos: int64[k], of logged conversions, else
            the worth of drawn ones.
        expected_clicks: float64[k], the prediction, or the log's outcome where there is none.
    """

    clicked: NDArray[np.bool_]
    converted: NDArray[np.bool_]
    click_drawn: NDArray[np.bool_]
    conversion_drawn: NDArray[np.bool_]
    click_unknown: NDArray[np.bool_]
    value_nanos: NDArray[np.int64]
    expected_clicks: NDArray[np.float64]


def outcomes_of(
    facts: Facts,
    rows: NDArray[np.int64],
    lines: NDArray[np.int64],
    worth_nanos: NDArray[np.int64],
    seed: int,
) -> Outcomes:
    """Outcomes of impressions.

    Args:
        facts: of the log. rows: int64[k], places in it. lines: int64[k], who bought. seed: of draws.
        worth_nanos: int64[k], what a conversion that is drawn is worth.
    """
    own = lines == facts.line[rows]
    logged, later = facts.clicked[rows], facts.converted[rows]
    p, q = facts.click[rows], facts.conversion[rows]
    known = own & (logged >= 0)
    predicted = ~known & ~np.isnan(p)
    hashes = facts.draw[rows]
    drawn = predicted & (uniforms(hashes, seed, CLICK) < p)
    clicked = np.where(known, logged == 1, drawn)
    sure = known & (later >= 0)
    guessed = clicked & ~sure & ~np.isnan(q)
    by_draw = guessed & (uniforms(hashes, seed, CONVERSION) < q)
    converted = np.where(sure, later == 1, by_draw) & clicked
    value = np.where(converted & sure, facts.value_nanos[rows], np.where(converted, worth_nanos, 0))
    expected = np.where(np.isnan(p), np.where(known, logged == 1, 0.0), p)
    return Outcomes(clicked, converted, drawn, by_draw, ~known & ~predicted, value, expected)
