"""Rows that nobody bids on whatever they cost, counted by cause: the flight is not on, or nothing scored the row."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.decision_columns import EXTERNAL, R_FLAGS
from bidder.core.lines import Line
from simulator.playback.prepared import Piece

NO_LINE = "of no line item of the sheet"
NO_FLIGHT = "outside the flights of their line item"
NO_SCORE = "without a prediction of what their line item pays for"


def idle_of(piece: Piece, lines: Sequence[Line], *, logged: bool = False) -> Counter[str]:
    """Counts them; a row is counted once, by the first cause in the order above.

    Args:
        piece: of the history. lines: of the table, which the rows name by place.
        logged: whether the log's own bids are made, which need neither flight nor score.
    """
    line, at_ns = piece.facts.line, piece.rows.at_ns
    nobody = line < 0
    found = Counter({NO_LINE: int(nobody.sum())})
    if not logged:
        apart = ~nobody & ~_inside(line, at_ns, lines)
        unscored = ~nobody & ~apart & (piece.rows.columns[:, R_FLAGS] & EXTERNAL == 0)
        found.update({NO_FLIGHT: int(apart.sum()), NO_SCORE: int(unscored.sum())})
    return +found


def _inside(line: NDArray[np.int64], at_ns: NDArray[np.int64], lines: Sequence[Line]) -> NDArray[np.bool_]:
    """bool[n]: whether a flight of its line item is on at the time of each row."""
    found = np.zeros(len(line), dtype=np.bool_)
    most = max((len(one.flights) for one in lines), default=0)
    # Round by round, each line item's first flight, then its second: most have one.
    for number in range(most):
        # The last is of rows without a line item.
        spans = np.array([*(_span(one, number) for one in lines), (0, 0)], dtype=np.int64)
        found |= (at_ns >= spans[line, 0]) & (at_ns < spans[line, 1])
    return found


def _span(line: Line, number: int) -> tuple[int, int]:
    if number >= len(line.flights):
        return 0, 0
    return line.flights[number].start_ns, line.flights[number].end_ns
