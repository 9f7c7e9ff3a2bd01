"""One feature's column: what it holds, and what it knows of the label.

How much a column knows is the AUC of a score made of it alone: of a number the number itself, of a text the event
rate of its value, learned on the earlier half of the rows and judged on the later half, so that an id that never
repeats knows nothing. A feature that alone tells nearly all events apart was most likely written after the event.
"""

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.audit.findings import ColumnFacts, Finding
from models.evaluate import auc
from models.pages.text import counted
from models.schema import Declaration

LEAK_AUC, SUSPECT_AUC = 0.95, 0.85
MOST_MISSING, MOST_RARE, ID_SHARE = 0.5, 0.2, 0.5
MISSING_TELLS = 0.65
MIN_EVENTS = 20
_PRIOR_ROWS = 20.0
_AFTER = re.compile(
    r"(?:^|_)(?:click|clicked|conversion|converted|paid|win|won|bill|billed|price|revenue|label|outcome|target)(?:_|$)"
)
_NOT_AFTER = frozenset({"floor_price"})

Floats = NDArray[np.float64]


def codes_of(column: Any) -> NDArray[np.int64]:
    """A column's values as small numbers, -1 where missing."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), ";")
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    found = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    indices = found.combine_chunks().dictionary_encode().indices
    return np.asarray(
        pc.fill_null(indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False), dtype=np.int64
    )


def numbers_of(column: Any) -> Floats:
    """A numeric column, NaN where missing."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def facts_of(
    item: Declaration, column: Any, click: Floats, min_count: int
) -> tuple[ColumnFacts, list[Finding]]:
    """What a column holds, and what is wrong with it.

    Args:
        item: its declaration. column: Arrow column in the order of time. click: float64[N] of 0 and 1.
        min_count: fewest rows of a value that gets a code of its own.
    """
    numeric = item.kind == "numeric"
    codes = codes_of(column)
    counts = np.bincount(codes[codes >= 0]) if (codes >= 0).any() else np.zeros(0, dtype=np.int64)
    known = int(counts.sum())
    rows = max(len(codes), 1)
    absent = _absent(item, column, codes)
    own = auc_alone(numbers_of(column) if numeric else None, codes, click)
    facts = ColumnFacts(
        name=item.name,
        kind=item.kind,
        missing=absent,
        distinct=len(counts),
        rare=0.0 if numeric or item.kind == "segments" else float(counts[counts < min_count].sum()) / rows,
        top=float(counts.max(initial=0)) / max(known, 1),
        auc=own,
    )
    findings = [*_of_values(facts, known), *_of_leaks(facts, codes, click)]
    return facts, findings


def _absent(item: Declaration, column: Any, codes: NDArray[np.int64]) -> float:
    """Share of rows without a value; an empty list of segments is a value: nothing is known to be there."""
    missing = (
        np.asarray(column.is_null().to_numpy(), dtype=np.bool_) if item.kind == "segments" else codes < 0
    )
    return float(missing.mean()) if len(codes) else 1.0


def _of_values(facts: ColumnFacts, known: int) -> list[Finding]:
    name = facts.name
    if facts.missing >= 1.0:
        said = "no row has a value"
        return [
            _found(
                "block", "missing", name, said, "Leave it out of the features, or find out where it got lost."
            )
        ]
    found = []
    if facts.missing > MOST_MISSING:
        said = f"{facts.missing:.1%} of the rows have no value"
        found.append(
            _found("care", "missing", name, said, "See that it is missing in the same way when it is served.")
        )
    if facts.distinct == 1 and facts.missing == 0.0:
        found.append(
            _found("note", "constant", name, "all rows have the same value", "It can teach nothing yet.")
        )
    if facts.kind == "categorical" and known > 100 and facts.distinct > ID_SHARE * known:
        said = f"{counted(facts.distinct, 'value')} in {counted(known, 'row')}: it looks like an id"
        found.append(_found("care", "cardinality", name, said, "Leave it out, or take something coarser."))
    elif facts.rare > MOST_RARE:
        said = f"{facts.rare:.1%} of the rows have a value that is too rare for a code of its own"
        found.append(_found("care", "cardinality", name, said, "Take something coarser, or more rows."))
    return found


def _of_leaks(facts: ColumnFacts, codes: NDArray[np.int64], click: Floats) -> list[Finding]:
    name = facts.name
    found = []
    if name not in _NOT_AFTER and _AFTER.search(name):
        said = "its name is that of something known only after the bid"
        found.append(_found("care", "leak", name, said, "See that the bidder has it before it bids."))
    if _is_label(codes, click):
        said = "it is the label itself, value by value"
        return [*found, _found("block", "leak", name, said, "Leave it out: the bidder cannot know it.")]
    if facts.auc is not None:
        strength = max(facts.auc, 1.0 - facts.auc)
        said = f"alone it tells events from the rest with AUC {strength:.3f}"
        if strength >= LEAK_AUC:
            do = "It was most likely written after the event: leave it out, or show that it was not."
            found.append(_found("block", "leak", name, said, do))
        elif strength >= SUSPECT_AUC:
            found.append(_found("care", "leak", name, said, "See that it is known before the bid."))
    tells = _missing_tells(codes, click)
    if tells is not None and tells >= MISSING_TELLS:
        said = f"whether it is missing tells events from the rest with AUC {tells:.3f}"
        found.append(_found("care", "leak", name, said, "See that it is not filled in by the event."))
    return found


def _found(severity: Any, check: str, column: str, said: str, do: str) -> Finding:
    return Finding(severity=severity, check=check, column=column, said=said, do=do)


def auc_alone(numbers: Floats | None, codes: NDArray[np.int64], click: Floats) -> float | None:
    """AUC of one column on the later half of the rows; None where either half has fewer than 20 events.

    Args:
        numbers: float64[N], or None where the column holds texts. codes: int64[N], -1 where missing.
        click: float64[N] of 0 and 1.
    """
    half = len(click) // 2
    early, late = click[:half], click[half:]
    if min(early.sum(), late.sum(), len(late) - late.sum()) < MIN_EVENTS:
        return None
    if numbers is not None:
        score = numbers[half:]
        seen = np.isfinite(score)
        # Where missing, the middle: it must not count as very low or very high.
        score = np.where(seen, score, np.median(score[seen]) if seen.any() else 0.0)
    else:
        values = codes + 1  # missing is a value of its own
        size = int(values.max(initial=0)) + 1
        events = np.bincount(values[:half], weights=early, minlength=size)
        rows = np.bincount(values[:half], minlength=size)
        mean = float(early.mean())
        score = ((events + mean * _PRIOR_ROWS) / (rows + _PRIOR_ROWS))[values[half:]]
    found = auc(late, score)
    return found if math.isfinite(found) else None


def _missing_tells(codes: NDArray[np.int64], click: Floats) -> float | None:
    missing = codes < 0
    if not 0.0 < missing.mean() < 1.0 or click.sum() < MIN_EVENTS or click.min() == click.max():
        return None
    found = auc(click, missing.astype(np.float64))
    return max(found, 1.0 - found)


def _is_label(codes: NDArray[np.int64], click: Floats) -> bool:
    """Whether each of at most two values (missing is one) goes with one value of the label."""
    values = np.unique(codes)
    if len(values) != 2 or click.min() == click.max():
        return False
    means = [float(click[codes == value].mean()) for value in values]
    return sorted(means) == [0.0, 1.0]
