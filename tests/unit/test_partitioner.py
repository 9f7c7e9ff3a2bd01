"""Which partition a message goes to."""

import pytest
from aiokafka.partitioner import murmur2 as reference_murmur2
from hypothesis import given
from hypothesis import strategies as st

from bidder.errors import ConfigError
from bidder.runtime.partitioner import Partitioner, murmur2, partition_of
from bidder.runtime.shares import fair_shares
from bidder.runtime.transport import Outbound


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # the vectors of Apache Kafka's own UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_agrees_with_apache_kafka(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@given(st.binary(max_size=100))
def test_murmur2_agrees_with_aiokafka(key: bytes) -> None:
    assert murmur2(key) == reference_murmur2(key)


@given(st.binary(max_size=40), st.integers(1, 200))
def test_a_key_always_leads_to_the_same_partition(key: bytes, partitions: int) -> None:
    message = Outbound("t", key, b"")
    one, other = Partitioner(), Partitioner()
    other.end_turn("t")
    chosen = one.choose(message, partitions)
    assert 0 <= chosen < partitions
    assert chosen == other.choose(message, partitions) == partition_of(key, partitions)


def test_messages_without_a_key_take_turns_by_call() -> None:
    partitioner = Partitioner()
    keyless = Outbound("t", None, b"")
    chosen = []
    for _ in range(4):
        chosen.append((partitioner.choose(keyless, 3), partitioner.choose(keyless, 3)))
        partitioner.end_turn("t")
    assert chosen == [(0, 0), (1, 1), (2, 2), (0, 0)]


def test_the_partition_of_the_message_goes_before_its_key() -> None:
    assert {Partitioner().choose(Outbound("t", bytes([k]), b"", 2), 3) for k in range(20)} == {2}


@pytest.mark.parametrize("partition", [-1, 3])
def test_a_partition_that_is_not_there_is_refused(partition: int) -> None:
    with pytest.raises(ConfigError, match=f"partition of t must be 0 to 2, was {partition}"):
        Partitioner().choose(Outbound("t", None, b"", partition), 3)


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 200))
def test_shares_are_full_and_fair(waiting: list[int], room: int) -> None:
    shares = fair_shares(waiting, room)
    assert sum(shares) == min(room, sum(waiting))
    assert all(0 <= share <= there for share, there in zip(shares, waiting, strict=True))
    cut = [share for share, there in zip(shares, waiting, strict=True) if share < there]
    assert max(shares, default=0) - min(cut, default=max(shares, default=0)) <= 1
