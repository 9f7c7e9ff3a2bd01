"""All checks of a table, in order."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from models.audit import columns as column_checks
from models.audit import labels, rows
from models.audit.drift import drift_of
from models.audit.findings import Audit, ColumnFacts, Finding, ranked
from models.dataset import CLICK, CONVERSION, TIME, TrainingTable, read_arrow, table_from_arrow
from models.errors import TableError
from models.schema import Declaration

LATER_SHARE = 0.15
"""The last rows stand for what will be served where no other table does."""
_ENOUGH_ROWS = 1_000
_CLOCK = frozenset({"hour", "weekday"})
"""What only the time of a row says: later rows of one table differ in it by their nature."""

Progress = Callable[[int, int], None]


def audit_table(
    path: Path,
    declarations: Sequence[Declaration],
    *,
    serve: Path | None = None,
    min_count: int = 10,
    progress: Progress | None = None,
) -> Audit:
    """Checks whether a table is fit to learn from.

    Args:
        path: of the table, `.parquet` or `.csv`.
        declarations: its features.
        serve: a table of what is served; else the last 15 % of the rows stand for it.
        min_count: fewest rows of a value that gets a code of its own in training.
        progress: told of columns done and of all.

    Raises:
        TableError: a table that training could not read either.
    """
    arrow, digest = read_arrow(path)
    table = table_from_arrow(arrow, declarations, source=path.name, sha256=digest, any_times=True)
    arrow = _in_order(arrow)
    compared = _compared(arrow, declarations, serve)
    tell = progress or (lambda _done, _all: None)
    facts, found = _columns(arrow, compared, table, declarations, min_count, tell)
    label_facts, days = labels.label_facts(table), labels.day_facts(table)
    effective, of_weights = rows.effective_rows(table)
    names = (TIME, CLICK, CONVERSION, *(item.name for item in declarations), "user")
    found = [
        *labels.volume(label_facts),
        *labels.order(table),
        *rows.span(table),
        *labels.rate_drift(days),
        *labels.by_campaign(table),
        *rows.repeats(table, arrow, [name for name in names if name in arrow.column_names]),
        *labels.delay(table),
        *of_weights,
        *found,
    ]
    return Audit(
        table=path.name,
        other="" if compared is None else compared.name,
        rows=len(table),
        first_ns=int(table.at_ns[0]),
        last_ns=int(table.at_ns[-1]),
        effective_rows=effective,
        labels=label_facts,
        days=days,
        columns=facts,
        findings=ranked(found),
    )


def _in_order(arrow: Any) -> Any:
    """Impressions in the order of time, as `table_from_arrow` has them."""
    if "won" in arrow.column_names:
        won = np.asarray(arrow["won"].cast(pa.float64()).to_numpy())
        arrow = arrow.filter(pa.array(won > 0))
    at = np.asarray(arrow[TIME].cast(pa.int64()).to_numpy())
    return arrow.take(pa.array(np.argsort(at, kind="stable")))


class _Compared(NamedTuple):
    """Two tables of Arrow columns, what is learned from and what is served, and what the second is called."""

    learned: Any
    served: Any
    name: str
    same_table: bool


def _compared(arrow: Any, declarations: Sequence[Declaration], serve: Path | None) -> _Compared | None:
    """What to hold against each other, or None where there is too little of it to tell."""
    if serve is None:
        later = int(arrow.num_rows * LATER_SHARE)
        if later < _ENOUGH_ROWS:
            return None
        cut = arrow.num_rows - later
        return _Compared(
            arrow.slice(0, cut), arrow.slice(cut), f"the last {LATER_SHARE:.0%} of the rows", True
        )
    other, _ = read_arrow(serve)
    for item in declarations:
        if item.name in arrow.column_names and item.name not in other.column_names:
            raise TableError(
                f"served table {serve} must have the feature {item.name}, has {', '.join(other.column_names)}: "
                f"a model of {item.name} could not be served; leave it out or mend the export"
            )
    return _Compared(arrow, other, serve.name, False)


def _columns(
    arrow: Any,
    compared: _Compared | None,
    table: TrainingTable,
    declarations: Sequence[Declaration],
    min_count: int,
    progress: Progress,
) -> tuple[list[ColumnFacts], list[Finding]]:
    facts: list[ColumnFacts] = []
    found: list[Finding] = []
    present = [item for item in declarations if item.name in arrow.column_names]
    for place, item in enumerate(present):
        own, wrong = column_checks.facts_of(item, arrow[item.name], table.click, min_count)
        if compared is not None and _comparable(item, own, compared):
            pair = compared.learned[item.name], compared.served[item.name]
            index, unseen, differs = drift_of(item.name, item.kind, *pair)
            own = msgspec.structs.replace(own, psi=index, unseen=unseen)
            wrong += differs
        facts.append(own)
        found += wrong
        progress(place + 1, len(present))
    return facts, found


def _comparable(item: Declaration, own: ColumnFacts, compared: _Compared) -> bool:
    by_clock = compared.same_table and item.name in _CLOCK
    return item.kind != "segments" and own.missing < 1.0 and not by_clock
