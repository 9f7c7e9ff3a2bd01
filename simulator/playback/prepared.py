"""Rows of a history as the engine's own columns, and what the log knows of each: made once, played many times.

Rows that show the same (exchange, place, size, device, region, segments, hour of the week) share one template, for
which the engine reads one request; the rest is work on whole columns.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from bidder.core.columnar import ColumnarEngine, Rows, Template
from bidder.core.decision_columns import (
    EXTERNAL,
    ONLY,
    R_BLOCKS,
    R_BLOCKS_END,
    R_FLAGS,
    R_FLOOR,
    R_OUTSIDE,
    R_SEED,
    R_USER,
)
from bidder.core.opportunity import NS_PER_HOUR
from bidder.core.token import BID_ID_BYTES
from simulator.history.checking import flags, numbers
from simulator.history.schema import PriceKind
from simulator.playback.bodies import body_of

SHOWN = (
    "exchange", "domain", "placement", "position", "w", "h", "os", "browser", "region", "city", "segments",
    "first_price",
)  # fmt: skip
"""Columns on which a template depends, beside the hour."""
NEEDED = (
    *SHOWN, "id", "offered_ns", "user", "floor_nanos", "campaign", "line_item", "click_probability",
    "conversion_probability", "bid_nanos", "price_kind", "price_nanos", "paid_nanos", "won", "clicked", "converted",
    "value_nanos", "worth_nanos",
)  # fmt: skip
"""Columns of a history that are read."""
_MOST_TEMPLATES = 200_000
_HOURS_PER_WEEK = 168


class Facts(NamedTuple):
    """What the log knows of n opportunities, beside what the engine may see; see `simulator.history.schema`.

    Attributes:
        draw: uint64[n], a hash of the row's id, from which all that is drawn of it comes.
        line: int64[n], row in the table of the line item that the log's own bid was for, -1 for none.
        bid_nanos, price_kind, price_nanos, paid_nanos, floor_nanos, first_price: as in the history;
            an unknown bid is -1.
        click, conversion: float64[n], predictions, NaN where there is none.
        clicked, converted: int8[n], 1, 0 or -1 where not known. value_nanos: of the conversions.
        worth_nanos: int64[n], what the outcome of the goal was taken to be worth; 0 where not known.
    """

    draw: NDArray[np.uint64]
    line: NDArray[np.int64]
    bid_nanos: NDArray[np.int64]
    price_kind: NDArray[np.uint8]
    price_nanos: NDArray[np.int64]
    paid_nanos: NDArray[np.int64]
    floor_nanos: NDArray[np.int64]
    first_price: NDArray[np.bool_]
    click: NDArray[np.float64]
    conversion: NDArray[np.float64]
    clicked: NDArray[np.int8]
    converted: NDArray[np.int8]
    value_nanos: NDArray[np.int64]
    worth_nanos: NDArray[np.int64]


class Piece(NamedTuple):
    """Some rows, as the engine reads them and as the log knows them.

    `clock_ns`, int64[], are the times of these rows and of others of the history that lie between them.
    """

    rows: Rows
    facts: Facts
    clock_ns: NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many rows."""
        return len(self.rows.at_ns)


class Preparer:
    """Makes pieces of the tables of a history.

    Args:
        engine: with the campaigns to be played; its table says what of a row matters.
        by_conversion: bool[lines], which of them pay for conversions.
        currency: of the history.

    Attributes:
        refused: rows that nobody bids on, by cause. templates: made so far.
    """

    def __init__(self, engine: ColumnarEngine, by_conversion: NDArray[np.bool_], currency: str) -> None:
        self._engine = engine
        self._by_conversion = np.append(by_conversion, False)
        self._currency = currency
        self._templates: dict[tuple[object, ...], Template | None] = {}
        self.refused: Counter[str] = Counter()
        self.templates = 0

    def piece(self, table: pa.Table, clock_ns: NDArray[np.int64] | None = None) -> Piece:
        """Rows of a history, with `NEEDED`; those that nobody may bid on are left out. `clock_ns`: see `Piece`."""
        clock = numbers(table, "offered_ns", 0).copy() if clock_ns is None else clock_ns
        templates, which = self._looked_up(table)
        good = np.array([each is not None for each in templates], dtype=np.bool_)[which]
        if not good.all():
            self.refused["nobody may bid on it"] += int((~good).sum())
            table, which = table.filter(pa.array(good)), which[good]
        used = [each if each is not None else _NOBODY for each in templates]
        facts = self._facts(table)
        return Piece(self._rows(table, used, which, facts.line), facts, clock)

    def _looked_up(self, table: pa.Table) -> tuple[list[Template | None], NDArray[np.int64]]:
        """The distinct templates of a table, and which each row has."""
        codes = numbers(table, "offered_ns", 0) // NS_PER_HOUR % _HOURS_PER_WEEK
        for name in SHOWN:
            column = table.column(name)
            if name == "segments":
                column = pc.binary_join(column, "\n")
            encoded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
            if len(encoded.dictionary) > 1:
                joint = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
                codes = np.unique(joint, return_inverse=True)[1]
        _, first, which = np.unique(codes, return_index=True, return_inverse=True)
        rows = table.take(pa.array(first)).to_pylist()
        return [self._template(row) for row in rows], which.astype(np.int64)

    def _template(self, row: dict[str, object]) -> Template | None:
        at_ns = row["offered_ns"]
        assert isinstance(at_ns, int), "a history has times"
        key = (at_ns // NS_PER_HOUR % _HOURS_PER_WEEK, *(str(row[name]) for name in SHOWN))
        if key not in self._templates:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self.templates += 1
            # Anyone may be asked: whose score it is follows from the row and not from what it shows.
            own = row | {"campaign": None, "click_probability": None, "floor_nanos": 0}
            self._templates[key] = self._engine.template(body_of(own, self._currency), at_ns)
        return self._templates[key]

    def _rows(
        self, table: pa.Table, templates: list[Template], which: NDArray[np.int64], line: NDArray[np.int64]
    ) -> Rows:
        count = table.num_rows
        columns = np.array([each.columns for each in templates])[which].reshape(count, -1)
        sizes = np.array([len(each.blocks) for each in templates], dtype=np.int64)
        begins = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))
        columns[:, R_BLOCKS], columns[:, R_BLOCKS_END] = begins[which], begins[which + 1]
        columns[:, R_FLOOR] = numbers(table, "floor_nanos", 0)
        columns[:, R_USER] = numbers(table, "user", 0).astype(np.uint64).view(np.int64)
        scored = probabilities(table, self._by_conversion[line])
        outside = ~np.isnan(scored) & (line >= 0)
        # A row that brings no score for its line item asks nobody: no other was scored either.
        columns[:, R_FLAGS] |= ONLY | outside * EXTERNAL
        columns[:, R_OUTSIDE] = line
        ids = _ids(table)
        # As the engine does: the first seven bytes of the bid's id, the highest first.
        columns[:, R_SEED] = (
            ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64).view(np.int64) >> 8 & (1 << 56) - 1
        )
        lengths = np.array([len(each.record) for each in templates], dtype=np.int64)
        starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths[which])))
        return Rows(
            at_ns=numbers(table, "offered_ns", 0).copy(),
            columns=columns,
            liable_ns=np.array([each.liable_ns for each in templates], dtype=np.int64)[which],
            external=np.nan_to_num(scored),
            ids=ids,
            record=_joined(templates, which, lengths, starts),
            starts=starts,
            blocks=np.concatenate([*(each.blocks for each in templates), np.zeros(1, dtype=np.int32)]),
        )

    def _lines(self, table: pa.Table) -> NDArray[np.int64]:
        """The line item of the log's own bid, -1 where it is not played."""
        names = pc.dictionary_encode(pc.coalesce(table.column("line_item"), table.column("campaign")))
        names = names.combine_chunks()
        index = self._engine.table.index
        places = np.array(
            [index.get(name, -1) for name in names.dictionary.to_pylist()] + [-1], dtype=np.int64
        )
        codes = pc.fill_null(names.indices, len(names.dictionary)).to_numpy()
        return np.asarray(places[codes], dtype=np.int64)

    def _facts(self, table: pa.Table) -> Facts:
        ids = _ids(table)
        return Facts(
            draw=ids[:, :8].copy().view("<u8")[:, 0],
            line=self._lines(table),
            bid_nanos=numbers(table, "bid_nanos", -1).copy(),
            price_kind=numbers(table, "price_kind", PriceKind.UNKNOWN).copy(),
            price_nanos=numbers(table, "price_nanos", 0).copy(),
            paid_nanos=numbers(table, "paid_nanos", 0).copy(),
            floor_nanos=numbers(table, "floor_nanos", 0).copy(),
            first_price=flags(table.column("first_price")),
            click=table.column("click_probability").to_numpy(),
            conversion=table.column("conversion_probability").to_numpy(),
            clicked=_label(table, "clicked"),
            converted=_label(table, "converted"),
            value_nanos=numbers(table, "value_nanos", 0).copy(),
            worth_nanos=numbers(table, "worth_nanos", 0).copy(),
        )


_NOBODY = Template(
    np.zeros(23, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32), 0, 0
)
"""Holds the place of a template that no row is left of."""


def probabilities(table: pa.Table, by_conversion: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of what the goal of each row's line item pays for: a click, or one that converts; NaN where unknown."""
    click = table.column("click_probability").to_numpy()
    conversion = table.column("conversion_probability").to_numpy()
    return np.asarray(np.where(by_conversion, click * conversion, click), dtype=np.float64)


def _joined(
    templates: list[Template], which: NDArray[np.int64], lengths: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The records of all rows, one after the other."""
    flat = np.concatenate([*(each.record for each in templates), np.zeros(0, dtype=np.int32)])
    begins = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
    # Place in the flat records of each number of each row: its template's begin, and how far it is in its row.
    offsets = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths[which])
    return np.asarray(flat[np.repeat(begins[which], lengths[which]) + offsets], dtype=np.int32)


def _ids(table: pa.Table) -> NDArray[np.uint8]:
    texts = table.column("id").cast(pa.binary()).to_pylist()
    joined = b"".join([xxh3_128_digest(text)[:BID_ID_BYTES] for text in texts])
    return np.frombuffer(bytearray(joined), dtype=np.uint8).reshape(-1, BID_ID_BYTES)


def _label(table: pa.Table, name: str) -> NDArray[np.int8]:
    return np.asarray(pc.fill_null(pc.cast(table.column(name), pa.int8()), -1).to_numpy(), dtype=np.int8)
