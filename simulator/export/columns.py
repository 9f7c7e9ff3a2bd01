"""The columns of training tables, and the file that they are written to."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from bidder.core.campaigns import Campaign
from bidder.core.hindsight import Glimpse
from bidder.core.opportunity import NUMERIC_FEATURES, RAW_FEATURES
from bidder.core.scoring import campaign_features
from bidder.errors import InputError
from models.extras import TEXTS, TIMES
from simulator.reading import why_unwritten

CHUNK = 20_000
"""Rows of a row group; no more of a table are held in memory."""

FEATURES = pa.schema(
    [(name, pa.float64() if name in NUMERIC_FEATURES else pa.string()) for name in RAW_FEATURES]
    + [
        ("segments", pa.list_(pa.string())),
        ("campaign", pa.string()),
        ("advertiser", pa.string()),
        ("line_item", pa.string()),
    ]
)
"""What `feature_values` gives."""
LABELS = pa.schema([("at_ns", pa.int64()), ("click", pa.int64()), ("conversion", pa.int64())])
"""`conversion` is null where it is not known."""
WHOLE_EXTRAS = ("won", "first_price", "bid_cpm_micros", "conversion_value_nanos", "value_nanos")
"""Of `models.extras`, numbers that are whole."""


def extra_field(name: str) -> pa.Field:
    """A column of `models.extras` as Arrow has it."""
    if name in TEXTS:
        return pa.field(name, pa.string())
    return pa.field(name, pa.int64() if name in TIMES or name in WHOLE_EXTRAS else pa.float64())


def feature_values(glimpse: Glimpse, campaign: Campaign, line_item_id: str = "") -> tuple[object, ...]:
    """Values of `FEATURES`: what the bidder's own columns code makes of an opportunity and of who bids on it."""
    own = campaign_features(campaign, line_item_id)
    return (*glimpse.features, glimpse.segments, own["campaign"], own["advertiser"], own["line_item"])


class TableFile:
    """A Parquet file that is there once it is whole; leave the block to finish it, by an error to leave none.

    Rows say things of people, so only the file's owner may read it.

    Args:
        path: of the file; one of that name is replaced.
        schema: of its rows.

    Attributes:
        rows: written so far.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._schema = schema
        self._rows: list[Sequence[object]] = []
        self.rows = 0
        try:
            self._writer = pq.ParquetWriter(self._part, schema, compression="zstd")
            self._part.chmod(0o600)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, row: Sequence[object]) -> None:
        """Adds a row: values in the order of the schema."""
        self._rows.append(row)
        self.rows += 1
        if len(self._rows) >= CHUNK:
            self._write()

    def add_table(self, table: pa.Table) -> None:
        """Adds a table of the schema as row groups of its own, behind the rows that came before."""
        if self._rows:
            self._write()
        self.rows += table.num_rows
        self._put(table.replace_schema_metadata(self._schema.metadata))

    def _write(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else ((),) * len(self._schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._put(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def _put(self, table: pa.Table) -> None:
        try:
            self._writer.write_table(table)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"table {self._path} cannot be written: {why_unwritten(error)}")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the file, or removes what there is of it."""
        try:
            if kind is None:
                if self._rows or not self.rows:
                    self._write()
                self._writer.close()
                self._part.replace(self._path)
        finally:
            if self._part.exists():
                self._writer.close()
                self._part.unlink()
