"""Weights of won rows: one over the chance that they were won (Zhang et al., KDD 2016).

Won rows are not a fair sample of what was bid on: who bids more for what it believes good wins more of that. A row
won by a bid of chance w stands for 1 / w such bids. A few rows of tiny chance would outweigh all others, so the
weight is clipped; that brings back some of the bias and is therefore reported, with how many rows the weighted ones
are worth.

The weights are right where, among bids of one chance, winning says nothing more of the click. Where rivals know what
we do not, what was lost is better than its weights say; no weight of won rows can mend that.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import effective_rows
from models.errors import TableError

CLIP = 20.0

Floats = NDArray[np.float64]


class WonFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights did.

    Attributes:
        clip: largest weight. clipped: rows that would have had more.
        rows: won rows. effective_rows: of how many equal rows the weighted ones are worth.
        least_chance: of a won row.
    """

    clip: float
    clipped: int
    rows: int
    effective_rows: float
    least_chance: float


def won_weights(chance: Floats, clip: float = CLIP) -> tuple[Floats, WonFacts]:
    """Weights of won rows.

    Args:
        chance: float64[N], P(win | bid) of each; 0 counts as the least there is, so it is clipped.
        clip: largest weight, >= 1.

    Returns:
        float64[N] in [1, clip], and what the clip did.

    Raises:
        TableError: the clip is below 1.
    """
    if not 1.0 <= clip < np.inf:
        raise TableError(f"clip of the weights must be 1 or more, was {clip}")
    wanted = 1.0 / np.maximum(chance, 1e-12)
    weights = np.minimum(wanted, clip)
    return weights, WonFacts(
        clip=clip,
        clipped=int((wanted > clip).sum()),
        rows=len(chance),
        effective_rows=effective_rows(weights),
        least_chance=float(chance.min()) if len(chance) else 1.0,
    )
