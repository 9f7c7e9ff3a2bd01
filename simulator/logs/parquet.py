"""Reads columns of a Parquet log, batch by batch, and says in one line what is wrong with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bidder.errors import InputError

BATCH_ROWS = 65_536


class ParquetLog:
    """One Parquet file.

    Args:
        path: the file.

    Raises:
        InputError: if there is no such file, or it is not Parquet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(
                f"log must be a Parquet file, was {self.path}, which is not a file that is there"
            )
        try:
            self._schema = pq.read_schema(self.path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0][:120]
            raise InputError(f"log must be a readable Parquet file, was {self.path}: {reason}") from None
        self.columns = frozenset(self._schema.names)

    def batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        """The wanted columns in log order, cast to the wanted types; a column that is not there is null.

        Raises:
            InputError: if a column holds what cannot be read as its type, or the file breaks off.
        """
        present = [name for name in types if name in self.columns]
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=present):
                    yield self._cast(batch, types)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"log {self.path} cannot be read to its end: {str(error)[:120]}") from None

    def _cast(self, batch: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> pa.Table:
        arrays = []
        for name, wanted in types.items():
            if name not in self.columns:
                arrays.append(pa.nulls(batch.num_rows, wanted))
                continue
            try:
                arrays.append(batch.column(name).cast(wanted))
            except pa.ArrowException as error:
                raise InputError(
                    f"column {name} of {self.path} must be {wanted}, was {self._schema.field(name).type}: "
                    f"{str(error).partition(chr(10))[0][:100]}"
                ) from None
        return pa.Table.from_arrays(arrays, names=list(types))
