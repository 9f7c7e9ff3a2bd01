"""How a column differs between what a model learns from and what it will be served: the index of `models.shift`."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.audit.columns import numbers_of
from models.audit.findings import Finding
from models.shift import number_bins, psi_of_bins, text_bins

MOST_PSI, MOST_UNSEEN = 0.25, 0.1


def _texts(column: Any) -> tuple[dict[str, int], int]:
    """How often each text of an Arrow column is there, and rows without one."""
    counts = {
        entry["values"]: entry["counts"] for entry in pc.value_counts(column.cast(pa.string())).to_pylist()
    }
    missing = counts.pop(None, 0)
    return counts, missing


def drift_of(name: str, kind: str, first: Any, second: Any) -> tuple[float, float | None, list[Finding]]:
    """PSI of a column, the share of unseen texts (None for numbers), and what is wrong with them.

    Args:
        name: of the column. kind: `numeric` or `categorical`. first, second: its Arrow columns.
    """
    unseen: float | None = None
    if kind == "numeric":
        bins = number_bins(numbers_of(first), numbers_of(second))
    else:
        (one, none_of_one), (two, none_of_two) = _texts(first), _texts(second)
        bins = text_bins(one, two, (none_of_one, none_of_two))
        unseen = sum(count for text, count in two.items() if text not in one) / max(len(second), 1)
    index = psi_of_bins(*bins)
    found = []
    if index > MOST_PSI:
        said = f"what is served differs from what is learned from: PSI {index:.2f}"
        found.append(_care(name, said, "Take newer rows, or find out what makes the difference."))
    if unseen is not None and unseen > MOST_UNSEEN:
        said = f"{unseen:.1%} of what is served has a value that the table does not know"
        found.append(
            _care(name, said, "Take newer rows or something coarser; unknown values share one code.")
        )
    return index, unseen, found


def _care(column: str, said: str, do: str) -> Finding:
    return Finding(severity="care", check="serving", column=column, said=said, do=do)
