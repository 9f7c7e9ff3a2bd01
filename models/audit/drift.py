"""How a column differs between what a model learns from and what it will be served, by the index of `models.shift`.

Numbers are cut at the deciles of the first sample, texts at its most frequent values.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.audit.columns import numbers_of
from models.audit.findings import Finding
from models.shift import psi

MOST_PSI, MOST_UNSEEN = 0.25, 0.1
_BINS, _TOP = 10, 30

Floats = NDArray[np.float64]


def psi_of_numbers(first: Floats, second: Floats) -> float:
    """PSI of two samples of a number; missing is a bin of its own."""
    known = first[~np.isnan(first)]
    cuts = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.empty(0)

    def counts(values: Floats) -> Floats:
        seen = values[~np.isnan(values)]
        place = np.searchsorted(cuts, seen, side="right")
        inside = np.bincount(place, minlength=len(cuts) + 1)
        return np.append(inside, len(values) - len(seen)).astype(np.float64)

    return psi(counts(first), counts(second))


def psi_of_texts(first: Any, second: Any) -> tuple[float, float]:
    """PSI of two Arrow columns of texts, and the share of the second's rows whose text the first does not have."""
    one, two = _counts(first), _counts(second)
    top = sorted(one, key=lambda text: (-one[text], text or ""))[:_TOP]
    rest = [float(sum(found.values()) - sum(found.get(text, 0) for text in top)) for found in (one, two)]
    a = np.array([*(one[text] for text in top), rest[0]], dtype=np.float64)
    b = np.array([*(two.get(text, 0) for text in top), rest[1]], dtype=np.float64)
    unseen = sum(count for text, count in two.items() if text is not None and text not in one)
    return psi(a, b), unseen / max(sum(two.values()), 1)


def _counts(column: Any) -> dict[str | None, int]:
    texts = column.cast(pa.string())
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(texts).to_pylist()}


def drift_of(name: str, kind: str, first: Any, second: Any) -> tuple[float, float | None, list[Finding]]:
    """PSI of a column, the share of unseen texts (None for numbers), and what is wrong with them.

    Args:
        name: of the column. kind: `numeric` or `categorical`. first, second: its Arrow columns.
    """
    unseen: float | None = None
    if kind == "numeric":
        index = psi_of_numbers(numbers_of(first), numbers_of(second))
    else:
        index, unseen = psi_of_texts(first, second)
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
