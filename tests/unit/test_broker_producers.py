"""The sequence check of idempotent producers."""

import pytest

from simulator.broker.codes import ErrorCode
from simulator.broker.producers import ProducerIds, Sequences
from simulator.broker.records import BatchHeader

MAX_SEQUENCE = 2**31 - 1


def header(sequence: int, count: int = 1, *, epoch: int = 0, producer: int = 7) -> BatchHeader:
    return BatchHeader(0, 0, 0, 2, 0, 0, count - 1, 0, 0, producer, epoch, sequence, count)


def wrote(*headers: BatchHeader) -> Sequences:
    """What a partition knows after these, stored at offsets 0, 10, 20 ..."""
    sequences = Sequences()
    for index, each in enumerate(headers):
        assert sequences.check(each) == (ErrorCode.NONE, None)
        sequences.note(each, 10 * index)
    return sequences


def test_a_batch_that_follows_is_new() -> None:
    assert wrote(header(0, 3)).check(header(3)) == (ErrorCode.NONE, None)


def test_a_retry_of_any_of_the_last_five_is_told_where_it_stands() -> None:
    batches = [header(n) for n in range(7)]
    sequences = wrote(*batches)
    assert [sequences.check(each).stored_at for each in batches[2:]] == [20, 30, 40, 50, 60]
    assert sequences.check(batches[1]) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, None)


@pytest.mark.parametrize("sequence", [0, 2, 4, 100])
def test_a_gap_or_an_overlap_is_out_of_order(sequence: int) -> None:
    sequences = wrote(header(0, 3))
    assert sequences.check(header(sequence)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_after_the_greatest_sequence_comes_zero() -> None:
    sequences = wrote(header(MAX_SEQUENCE - 1, 2))
    assert sequences.check(header(0)) == (ErrorCode.NONE, None)


def test_a_batch_may_run_across_the_greatest_sequence() -> None:
    sequences = wrote(header(MAX_SEQUENCE, 3))
    assert sequences.check(header(2)) == (ErrorCode.NONE, None)


def test_an_older_epoch_is_fenced() -> None:
    assert wrote(header(0, epoch=2)).check(header(1, epoch=1)).error is ErrorCode.INVALID_PRODUCER_EPOCH


def test_a_newer_epoch_begins_at_zero() -> None:
    sequences = wrote(header(0, 5, epoch=1))
    assert sequences.check(header(5, epoch=2)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    # The same numbers as in the epoch before are no retry.
    assert sequences.check(header(0, 5, epoch=2)) == (ErrorCode.NONE, None)


def test_without_a_producer_id_nothing_is_checked() -> None:
    sequences = wrote(header(0))
    for _ in range(2):
        assert sequences.check(header(-1, producer=-1)) == (ErrorCode.NONE, None)
        sequences.note(header(-1, producer=-1), 5)


def test_a_producer_id_needs_a_sequence() -> None:
    assert Sequences().check(header(-1)).error is ErrorCode.INVALID_RECORD


def test_the_producer_that_was_silent_longest_is_forgotten_first() -> None:
    sequences = Sequences(max_producers=2)
    for producer, sequence in [(1, 0), (2, 0), (1, 1), (3, 0)]:
        sequences.note(header(sequence, producer=producer), 0)
    assert sequences.check(header(1, producer=1)).stored_at == 0
    assert sequences.check(header(0, producer=2)).stored_at is None


def test_no_producer_id_is_given_twice() -> None:
    ids = ProducerIds()
    assert len({ids.take() for _ in range(100)}) == 100
