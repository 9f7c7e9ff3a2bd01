"""Idempotent producers: ids, and the sequence check of each partition (KIP-98, as changed by KIP-360).

A retry of one of a producer's last five batches is answered with the offset it got the first time and stored
once. Transactions are not there.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from simulator.broker.codes import ErrorCode
from simulator.broker.records import NO_PRODUCER_ID, BatchHeader

# A producer has at most five requests in flight, so an older batch cannot come again.
_REMEMBERED_BATCHES = 5
_MAX_SEQUENCE = 2**31 - 1
# What one partition remembers: enough for any test, and bounded whoever connects.
_MAX_PRODUCERS = 10_000


class Checked(NamedTuple):
    """What a check says: the error, if any, and where the batch stands already, if it is a retry."""

    error: ErrorCode
    stored_at: int | None = None


_NEW = Checked(ErrorCode.NONE)


@dataclass(slots=True)
class _Producer:
    epoch: int
    last_sequence: int = -1
    # (first sequence, last sequence, base offset)
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_BATCHES))

    def check(self, header: BatchHeader) -> Checked:
        if header.producer_epoch < self.epoch:
            return Checked(ErrorCode.INVALID_PRODUCER_EPOCH)
        expected = _advance(self.last_sequence, 1) if header.producer_epoch == self.epoch else 0
        last_sequence = _advance(header.base_sequence, header.last_offset_delta)
        for first, last, base_offset in self.batches:
            if (header.producer_epoch, first, last) == (self.epoch, header.base_sequence, last_sequence):
                return Checked(ErrorCode.NONE, base_offset)
        return _NEW if header.base_sequence == expected else Checked(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)


def _advance(sequence: int, by: int) -> int:
    return (sequence + by) % (_MAX_SEQUENCE + 1)


class ProducerIds:
    """Hands out producer ids, each once."""

    def __init__(self) -> None:
        self._ids = count(1)

    def take(self) -> int:
        """A new id."""
        return next(self._ids)


class Sequences:
    """What one partition knows of the producers that wrote to it."""

    def __init__(self, max_producers: int = _MAX_PRODUCERS) -> None:
        self._max_producers = max_producers
        self._producers: dict[int, _Producer] = {}

    def check(self, header: BatchHeader) -> Checked:
        """Whether a batch may be appended."""
        if header.producer_id == NO_PRODUCER_ID:
            return _NEW
        if header.base_sequence < 0:
            return Checked(ErrorCode.INVALID_RECORD)
        # Of a producer that is not known any sequence is taken: what it wrote may have been forgotten.
        producer = self._producers.get(header.producer_id)
        return _NEW if producer is None else producer.check(header)

    def note(self, header: BatchHeader, base_offset: int) -> None:
        """Remembers a batch that passed `check` and was appended at `base_offset`."""
        if header.producer_id == NO_PRODUCER_ID:
            return
        producer = self._producers.pop(header.producer_id, None)
        if producer is None or producer.epoch != header.producer_epoch:
            producer = _Producer(header.producer_epoch)
        producer.last_sequence = _advance(header.base_sequence, header.last_offset_delta)
        producer.batches.append((header.base_sequence, producer.last_sequence, base_offset))
        # Taken out and put back: the first of the dict is the one that has been silent longest.
        self._producers[header.producer_id] = producer
        if len(self._producers) > self._max_producers:
            del self._producers[next(iter(self._producers))]
