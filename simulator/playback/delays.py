"""How long results and bills take to be heard of, and how many never are: as a log says, or as one states."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from simulator.playback.draws import BILL, LOST, RESULT, uniforms

NS_PER_SECOND = 1_000_000_000
FITTED = ("offered_ns", "told_ns", "shown_ns", "won")
"""Columns of a history that delays are fitted to."""
MOST_KEPT = 100_000
_LEAST_FITTED = 20


class Law(NamedTuple):
    """A delay by its quantiles: int64[m] nanoseconds, ascending, each as likely."""

    quantiles_ns: NDArray[np.int64]

    def draw(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Delays at these quantiles, int64[k]."""
        places = (uniform * len(self.quantiles_ns)).astype(np.int64)
        return self.quantiles_ns[places]


def fixed(seconds: float) -> Law:
    """Always the same."""
    return Law(np.array([round(seconds * NS_PER_SECOND)], dtype=np.int64))


class NoticeDelays(NamedTuple):
    """From the bid to its result, from there to the bill, and the share of wins that nobody ever hears of."""

    result: Law
    bill: Law
    lost_share: float = 0.0

    def results(self, hashes: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
        """From bids to their results, int64[k] in nanoseconds."""
        return self.result.draw(uniforms(hashes, seed, RESULT))

    def bills(self, hashes: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
        """From results to bills, int64[k] in nanoseconds."""
        return self.bill.draw(uniforms(hashes, seed, BILL))

    def lost(self, hashes: NDArray[np.uint64], seed: int) -> NDArray[np.bool_]:
        """Of which wins nothing is heard, bool[k]."""
        return uniforms(hashes, seed, LOST) < self.lost_share


def stated(result_s: float = 0.2, bill_s: float = 1.0, lost_share: float = 0.0) -> NoticeDelays:
    """Delays that are always the same.

    Args:
        result_s: from the bid to its result. bill_s: from that to the bill. lost_share: of wins that none hears of.
    """
    return NoticeDelays(fixed(result_s), fixed(bill_s), lost_share)


def fit_delays(tables: Iterable[pa.Table], otherwise: NoticeDelays) -> NoticeDelays:
    """Delays as a log has them: of wins, the times from offer to result and from there to the bill.

    Args:
        tables: with `FITTED`. otherwise: for what the log has less than 20 of; its loss is taken as it is, as a log
            does not have what was never heard of.
    """
    result: list[NDArray[np.int64]] = []
    bill: list[NDArray[np.int64]] = []
    for table in tables:
        won = table.filter(pc.fill_null(table.column("won"), False))
        told = won.filter(pc.is_valid(won.column("told_ns")))
        result.append(_between(told, "offered_ns", "told_ns"))
        both = told.filter(pc.is_valid(told.column("shown_ns")))
        bill.append(_between(both, "told_ns", "shown_ns"))
    return NoticeDelays(_law(result) or otherwise.result, _law(bill) or otherwise.bill, otherwise.lost_share)


def _between(table: pa.Table, begin: str, end: str) -> NDArray[np.int64]:
    passed = pc.subtract(table.column(end), table.column(begin)).to_numpy()
    return np.maximum(np.asarray(passed, dtype=np.int64), 0)


def _law(parts: list[NDArray[np.int64]]) -> Law | None:
    values = np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
    if len(values) < _LEAST_FITTED:
        return None
    step = -(-len(values) // MOST_KEPT)
    return Law(values[step // 2 :: step])
