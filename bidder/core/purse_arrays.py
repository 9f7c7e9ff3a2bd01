"""Arrays of the purse that grow, and rows of the length of a cache line."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORD_WORDS = 8
"""int64 columns of a record, see `core.purse_columns`."""


class Column:
    """An array that grows at its end; `view` is the part in use."""

    __slots__ = ("_buffer", "view")

    def __init__(self, start: NDArray[Any]) -> None:
        self._buffer = start
        self.view = start

    def extend(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Appends rows; what was a view before may be stale after."""
        begin, end = len(self.view), len(self.view) + len(rows)
        if end > len(self._buffer):
            buffer = np.zeros((max(2 * end, 16), *self._buffer.shape[1:]), dtype=self._buffer.dtype)
            buffer[:begin] = self.view
            self._buffer = buffer
        self._buffer[begin:end] = rows
        self.view = self._buffer[:end]
        return self.view


def make_records(rows: int) -> NDArray[np.int64]:
    """Rows that each lie in one line of the cache; memory is not touched, so not taken, before they are used."""
    buffer = np.empty((rows + 1) * RECORD_WORDS, dtype=np.int64)
    skip = -(buffer.ctypes.data // buffer.itemsize) % RECORD_WORDS
    return buffer[skip : skip + rows * RECORD_WORDS].reshape(rows, RECORD_WORDS)
