"""Rows with a user -> what each user does, as shares of that user's rows.

| block | columns | a user's values |
|---|---|---|
| visits | `domain`, part of the day, part of the week | share of the user's rows, which differ from row to row |
| attributes | `os`, `browser`, `device_type`, `region` | the same, but mostly one value a user |
| interests | `segments` | share of the user's rows that carry each id |
| habits | - | log of the number of rows, where asked for the click rate |

A value counts only where at least `smallest` users have it: rarer ones say little, and would point at people. Days
and hours are UTC. How long ago a user was seen is left out: it follows from the times of the rows, which are there
already, and looks like structure where there is none. Clicks are left out unless asked for: groups that were made by
their clicks and are then praised for them prove nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.dataset import TrainingTable
from models.errors import TableError
from models.schema import SEGMENTS_COLUMN, Declaration, segments_of

Kind = Literal["visits", "attributes", "interests", "habits"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VISITS = ("domain",)
ATTRIBUTES = ("os", "browser", "device_type", "region")
DEVICE = ("os", "browser", "device_type")
"""Columns that say one thing: that the one system goes with its own browser is no finding about people."""
DAY_PART, WEEK_PART = "part of the day", "part of the week"
DAY_PARTS = ("night", "morning", "afternoon", "evening")
"""Six hours each, from midnight UTC."""
WEEK_PARTS = ("weekday", "weekend")
ROWS, CLICKS = "rows", "click rate"

DECLARATIONS = (
    *(Declaration(name, "categorical", optional=True) for name in (*VISITS, *ATTRIBUTES)),
    Declaration(SEGMENTS_COLUMN, "segments", optional=True),
    Declaration("campaign", "categorical", "campaign", optional=True),
)
"""What is read of a table; at least one of the request's columns must be there."""

MOST_VALUES = 300
"""Values kept of a column, those with the most users: the covariance grows with their square."""
PRIOR_ROWS = 4.0
"""Rows of prior belief in a share of visits: a user of four rows is moved half the way from the average."""
_PRIOR_SHOWN = 100.0
_HOUR_NS = 3_600_000_000_000
_DAY_NS = 24 * _HOUR_NS
_THURSDAY = 3  # 1970-01-01, where Monday is 0


@dataclass(frozen=True, slots=True)
class Block:
    """One column of behaviour.

    Attributes:
        name: of the column. kind: see the table above.
        values: what a user can have of it.
        shares: CSR float64[users, values].
        codes: for visits int64[rows], the place of the row's value, -1 for none of them; else empty.
    """

    name: str
    kind: Kind
    values: tuple[str, ...]
    shares: Any
    codes: Ints

    @property
    def theme(self) -> str:
        """What the column is about; columns of one theme weigh as one and are shuffled together."""
        return "device" if self.name in DEVICE else self.name


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is known of users, and of which rows.

    Attributes:
        users: keys, sorted.
        rows: int64[n], places of the rows of these users in the table.
        row_user: int64[n], place of each such row's user.
        row_weight: float64[n], how many rows each stands for.
        count: int64[users], rows of each.
        blocks: columns of behaviour.
        unknown: rows left out because their user is null.
    """

    users: tuple[str, ...]
    rows: Ints
    row_user: Ints
    row_weight: Floats
    count: Ints
    blocks: tuple[Block, ...]
    unknown: int


def behaviour_of(table: TrainingTable, smallest: int, clicks_before_ns: int | None = None) -> Behaviour:
    """Gathers what each user did.

    Args:
        table: with the column `user`; lost bids tell of a user too.
        smallest: least users of a value that counts.
        clicks_before_ns: where given, the click rate of impressions before then is a habit too.

    Raises:
        TableError: no column `user`, no row with a user, too few users, or no column of behaviour.
    """
    keys = table.extras.get("user")
    if keys is None:
        raise TableError(
            f"table {table.source} must have the column user to find segments in, has not: "
            f"write it with `clearbid export`"
        )
    encoded = pa.array(list(keys), pa.string()).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.flatnonzero(codes >= 0)
    if len(rows) == 0:
        raise TableError(
            f"table {table.source} must have rows whose user is known, all its {len(table):,} are null"
        )
    names = encoded.dictionary.to_pylist()
    if len(names) < 2 * smallest:
        raise TableError(
            f"table {table.source} must have at least {2 * smallest} users to make groups of {smallest}, "
            f"had {len(names)}: take a longer window"
        )
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    place = np.empty(len(names), dtype=np.int64)
    place[order] = np.arange(len(names))
    user = place[codes[rows]]
    weight = table.extras.get("weight")
    weights = weight[rows] if isinstance(weight, np.ndarray) else np.ones(len(rows))
    count = np.bincount(user, minlength=len(names))
    gather = _Gather(table, rows, user, np.asarray(weights, dtype=np.float64), len(names), smallest)
    blocks = [block for block in gather.blocks() if block.values]
    if not blocks:
        raise TableError(
            f"table {table.source} must have a column of behaviour ({', '.join((*VISITS, *ATTRIBUTES))} or "
            f"{SEGMENTS_COLUMN}) with a value that {smallest} users have, has none"
        )
    blocks.append(gather.habits(count, clicks_before_ns))
    return Behaviour(
        tuple(names[at] for at in order),
        rows,
        user,
        gather.weights,
        count,
        tuple(blocks),
        len(table) - len(rows),
    )


@dataclass(frozen=True, slots=True)
class _Gather:
    table: TrainingTable
    rows: Ints
    user: Ints
    weights: Floats
    users: int
    smallest: int

    def blocks(self) -> list[Block]:
        columns = self.table.columns
        found = [
            self._single(name, "visits" if name in VISITS else "attributes", columns[name])
            for name in (*VISITS, *ATTRIBUTES)
            if name in columns
        ]
        if SEGMENTS_COLUMN in columns:
            found.append(self._interests(columns[SEGMENTS_COLUMN]))
        if any(block.values for block in found):
            at = self.table.at_ns[self.rows]
            weekday = (at // _DAY_NS + _THURSDAY) % 7
            found.append(self._visits(DAY_PART, DAY_PARTS, at // _HOUR_NS % 24 // 6))
            found.append(self._visits(WEEK_PART, WEEK_PARTS, (weekday >= 5).astype(np.int64)))
        return found

    def _single(self, name: str, kind: Kind, column: Sequence[object] | Floats) -> Block:
        taken = pa.array([column[row] for row in self.rows], pa.string()).dictionary_encode()
        codes = taken.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        kept, codes = self._frequent(taken.dictionary.to_pylist(), codes, self.user)
        return Block(name, kind, kept, self.shares(codes, len(kept)), codes if kind == "visits" else _NONE)

    def _visits(self, name: str, values: tuple[str, ...], codes: Ints) -> Block:
        kept, codes = self._frequent(list(values), codes, self.user)
        return Block(name, "visits", kept, self.shares(codes, len(kept)), codes)

    def _interests(self, column: Sequence[object] | Floats) -> Block:
        from scipy.sparse import csr_matrix

        ids = [tuple(dict.fromkeys(segments_of(column[row]))) for row in self.rows]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = pa.array([one for of_row in ids for one in of_row], pa.string()).dictionary_encode()
        row = np.repeat(np.arange(len(ids)), lengths)
        codes = flat.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        kept, codes = self._frequent(flat.dictionary.to_pylist(), codes, self.user[row])
        good = codes >= 0
        row, codes = row[good], codes[good]
        total = np.bincount(self.user, self.weights, self.users)
        share = self.weights[row] / total[self.user[row]]
        shares = csr_matrix((share, (self.user[row], codes)), shape=(self.users, len(kept)))
        return Block(SEGMENTS_COLUMN, "interests", kept, shares, _NONE)

    def _frequent(self, values: list[str], codes: Ints, users: Ints) -> tuple[tuple[str, ...], Ints]:
        """The values that enough users have, the most frequent first, and the codes by their places."""
        good = codes >= 0
        pairs = np.unique(users[good] * max(len(values), 1) + codes[good])
        having = np.bincount(pairs % max(len(values), 1), minlength=len(values))
        ranked = sorted(range(len(values)), key=lambda code: (-int(having[code]), values[code]))
        kept = [code for code in ranked if having[code] >= self.smallest][:MOST_VALUES]
        place = np.full(len(values) + 1, -1, dtype=np.int64)  # the last one is for -1
        place[kept] = np.arange(len(kept))
        return tuple(values[code] for code in kept), place[codes]

    def shares(self, codes: Ints, width: int) -> Any:
        """CSR float64[users, width]: of a user's rows, the share with each value."""
        return shares_of(codes, self.user, self.weights, self.users, width)

    def habits(self, count: Ints, clicks_before_ns: int | None) -> Block:
        """Numbers of a user as standard deviations from the average of all."""
        names, numbers = [ROWS], [np.log(count)]
        if clicks_before_ns is not None:
            names.append(CLICKS)
            numbers.append(self._click_rate(clicks_before_ns))
        return Block("habits", "habits", tuple(names), _standard(np.column_stack(numbers)), _NONE)

    def _click_rate(self, before_ns: int) -> Floats:
        """Click rate of each user, shrunk to the mean by the weight of a hundred impressions; as logits."""
        click = self.table.click[self.rows]
        seen = ~np.isnan(click) & (self.table.at_ns[self.rows] < before_ns)
        shown = np.bincount(self.user[seen], self.weights[seen], self.users)
        clicked = np.bincount(self.user[seen], (self.weights * click)[seen], self.users)
        mean = (clicked.sum() + 0.5) / (shown.sum() + 1.0)
        rate = (clicked + _PRIOR_SHOWN * mean) / (shown + _PRIOR_SHOWN)
        return np.asarray(np.log(rate / (1.0 - rate)))


_NONE: Ints = np.zeros(0, dtype=np.int64)


def shares_of(codes: Ints, user: Ints, weights: Floats, users: int, width: int) -> Any:
    """CSR float64[users, width]: of a user's rows, the share with each value (-1: with none of them).

    Args:
        codes: int64[rows]. user: int64[rows], whose row it is. weights: float64[rows].
        users: number of users. width: number of values.
    """
    from scipy.sparse import csr_matrix

    total = np.bincount(user, weights, users)
    good = codes >= 0
    share = weights[good] / total[user[good]]
    return csr_matrix((share, (user[good], codes[good])), shape=(users, width))


def _standard(numbers: Floats) -> Any:
    """CSR of columns as standard deviations from their average; zeros where all are the same."""
    from scipy.sparse import csr_matrix

    spread = numbers.std(axis=0)
    return csr_matrix((numbers - numbers.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0))
