"""The log of one partition: record batches in memory, kept as the bytes they came in.

Knows offsets and sizes; no request, no time. Old batches are dropped from the front when there are too many
bytes; the log start moves on and whoever reads below it is told so.
"""

from bisect import bisect_right
from typing import NamedTuple

from simulator.broker.records import BatchHeader, first_at_or_after, place
from simulator.broker.wire import Buffer, WireError

# One node leads for ever.
LEADER_EPOCH = 0
# Lists shrink by moving what is left: worth it only when half of a big enough list is dead.
_COMPACT_AT = 256


class Slice(NamedTuple):
    """Whole batches, in order; the first may begin below the offset that was asked for."""

    batches: list[Buffer]
    size_bytes: int


_EMPTY = Slice([], 0)


class PartitionLog:
    """Batches of one partition, from `start_offset` up to but without `end_offset`.

    Args:
        retention_bytes: above it the oldest batches are dropped; the newest is always kept.
    """

    def __init__(self, retention_bytes: int) -> None:
        self._retention_bytes = retention_bytes
        self._batches: list[bytearray] = []
        self._base_offsets: list[int] = []
        # Bytes ever appended up to the end of each batch: two look-ups give the size of any run of batches.
        self._ends_bytes: list[int] = []
        self._max_timestamps_ms: list[int] = []
        self._head = 0
        self._dropped_bytes = 0
        self.start_offset = 0
        self.end_offset = 0

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self._ends_bytes[-1] - self._dropped_bytes if self._ends_bytes else 0

    def append(self, batch: bytearray, header: BatchHeader) -> int:
        """Takes over `batch`, which must not be changed afterwards, and returns its first offset."""
        base_offset = self.end_offset
        place(batch, base_offset, LEADER_EPOCH)
        self._batches.append(batch)
        self._base_offsets.append(base_offset)
        self._ends_bytes.append(
            (self._ends_bytes[-1] if self._ends_bytes else self._dropped_bytes) + len(batch)
        )
        self._max_timestamps_ms.append(header.max_timestamp_ms)
        self.end_offset = base_offset + header.record_count
        while self.size_bytes > self._retention_bytes and self.drop_oldest():
            pass
        return base_offset

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool) -> Slice | None:
        """Batches from the one that holds `offset` on, up to `max_bytes`.

        Args:
            offset: the first offset wanted.
            max_bytes: how much is wanted.
            at_least_one: give the first batch even if it is longer (KIP-74), so that a reader cannot be stuck.

        Returns:
            The batches, none at the end of the log; None when `offset` is outside of the log.
        """
        if not self.start_offset <= offset <= self.end_offset:
            return None
        if offset == self.end_offset:
            return _EMPTY
        first = bisect_right(self._base_offsets, offset, lo=self._head) - 1
        begin_bytes = self._ends_bytes[first - 1] if first > self._head else self._dropped_bytes
        last = bisect_right(self._ends_bytes, begin_bytes + max_bytes, lo=first)
        if last == first:
            if not at_least_one:
                return _EMPTY
            last += 1
        batches: list[Buffer] = [*self._batches[first:last]]
        return Slice(batches, self._ends_bytes[last - 1] - begin_bytes)

    def first_at_or_after(self, timestamp_ms: int) -> tuple[int, int] | None:
        """Offset and time of the first record that is not older than `timestamp_ms`; None when all are."""
        for index in range(self._head, len(self._batches)):
            if self._max_timestamps_ms[index] < timestamp_ms:
                continue
            try:
                offset, found_ms = first_at_or_after(self._batches[index], timestamp_ms)
            except WireError:
                # The producer's header promised more than its records hold; the next batch may do.
                continue
            return max(offset, self.start_offset), found_ms
        return None

    def delete_before(self, offset: int) -> None:
        """Moves the start to `offset`, which must be within the log, and drops what ends before it."""
        assert offset <= self.end_offset
        self.start_offset = max(self.start_offset, offset)
        while self._head < len(self._batches) and self._end_of(self._head) <= offset:
            self._drop_head()

    def drop_oldest(self) -> bool:
        """Drops the oldest batch and moves the start past it; false when only one is left."""
        if len(self._batches) - self._head <= 1:
            return False
        self.start_offset = max(self.start_offset, self._end_of(self._head))
        self._drop_head()
        return True

    def _end_of(self, index: int) -> int:
        following = index + 1
        return self._base_offsets[following] if following < len(self._base_offsets) else self.end_offset

    def _drop_head(self) -> None:
        self._dropped_bytes = self._ends_bytes[self._head]
        self._batches[self._head] = bytearray()
        self._head += 1
        if self._head == len(self._batches) or (
            self._head >= _COMPACT_AT and self._head * 2 >= len(self._batches)
        ):
            del self._batches[: self._head]
            del self._base_offsets[: self._head]
            del self._ends_bytes[: self._head]
            del self._max_timestamps_ms[: self._head]
            self._head = 0
