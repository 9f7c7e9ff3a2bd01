"""Rows: the time that they span, repeats, and the weights of a sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.audit.columns import codes_of
from models.audit.findings import Finding
from models.audit.labels import NS_PER_DAY, NS_PER_HOUR
from models.dataset import TrainingTable
from models.errors import TableError
from models.pages.text import counted

_LEAST_DAYS = 7
_LONG_GAP_NS = 6 * NS_PER_HOUR
_MOST_REPEATS = 0.01
_LEAST_EFFECTIVE = 0.3


def span(table: TrainingTable) -> list[Finding]:
    """Time too short to hold the hours and weekdays that serving will meet, holes in it, too few moments to cut."""
    from models.dataset import split_by_time

    at = table.at_ns
    days = float(at[-1] - at[0]) / NS_PER_DAY
    found = []
    if days < _LEAST_DAYS:
        said = f"the rows span {days:.1f} days"
        do = "Hours and weekdays that are not in the table are guessed: take at least a week."
        found.append(Finding(severity="care", check="time span", said=said, do=do))
    gaps = np.diff(at)
    holes = gaps > max(_LONG_GAP_NS, 100 * int(np.median(gaps)) if len(gaps) else 0)
    if holes.any():
        longest = float(gaps.max()) / NS_PER_HOUR
        said = f"{counted(int(holes.sum()), 'gap')} of more than six hours, the longest of {longest:.1f} h"
        do = "See whether rows are missing, or nothing was bought then."
        found.append(Finding(severity="care", check="time span", said=said, do=do))
    try:
        split_by_time(table)
    except TableError as error:
        do = "State the true times of the rows."
        found.append(Finding(severity="block", check="time span", column="at_ns", said=str(error), do=do))
    return found


def repeats(table: TrainingTable, arrow: Any, names: list[str]) -> list[Finding]:
    """Bids that are there twice, and rows that are the same in all they say.

    Args:
        table: in the order of time. arrow: its rows as Arrow columns. names: of features and labels to compare.
    """
    found = []
    ids = [one for one in table.extras.get("bid_id", ()) if one is not None]
    if len(ids) > len(set(ids)):
        said = f"{counted(len(ids) - len(set(ids)), 'row repeats', 'rows repeat')} a bid_id"
        do = "Keep one row a bid: a repeat counts its event twice."
        found.append(Finding(severity="block", check="repeats", column="bid_id", said=said, do=do))
    same = _same_rows([codes_of(arrow[name]) for name in names])
    share = same / max(arrow.num_rows, 1)
    if share > _MOST_REPEATS:
        said = f"{counted(same, 'row is', 'rows are')} the same as another in time, features and labels ({share:.1%})"
        do = "See whether an input was read twice."
        found.append(Finding(severity="care", check="repeats", said=said, do=do))
    return found


def _same_rows(columns: list[NDArray[np.int64]]) -> int:
    """How many rows have an equal before them: columns are folded pair by pair into one code."""
    if not columns:
        return 0
    code = columns[0] + 1
    for column in columns[1:]:
        wide = code * (int(column.max(initial=-1)) + 2) + column + 1
        code = np.unique(wide, return_inverse=True)[1].astype(np.int64)
    return len(code) - len(np.unique(code))


def effective_rows(table: TrainingTable) -> tuple[float, list[Finding]]:
    """Rows that an unweighted sample of the same precision would have (Kish 1965)."""
    weight = table.extras.get("weight")
    if weight is None:
        return float(len(table)), []
    values = np.asarray(weight, dtype=np.float64)
    effective = float(values.sum() ** 2 / (values**2).sum())
    if effective >= _LEAST_EFFECTIVE * len(table):
        return effective, []
    said = f"with its weights the table is worth {effective:,.0f} of its {counted(len(table), 'row')}"
    do = "Expect wider intervals; sample with more even weights."
    return effective, [Finding(severity="care", check="weights", column="weight", said=said, do=do)]
