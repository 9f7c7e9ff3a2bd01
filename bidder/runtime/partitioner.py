"""Which partition a message goes to: the same answer in the Kafka sink and on the in-process bus.

A key always leads to one partition, by the murmur2 hash that Kafka's own clients use, so that other producers
of a topic (in any language) agree with us. Without a key messages take turns, one partition for each call of
`publish`: a batch then goes to one partition and stays one batch on the wire.
"""

from collections import defaultdict
from functools import lru_cache
from struct import unpack_from

from bidder.errors import ConfigError
from bidder.runtime.transport import Outbound

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """MurmurHash2 of `key`, unsigned 32 bit, with the seed that Kafka's clients use (`Utils.murmur2`)."""
    length = len(key)
    words = length >> 2
    h = _SEED ^ length
    for word in unpack_from(f"<{words}I", key):
        k = word * _MULTIPLIER & _MASK
        # The high bits of either product are cut by the mask: no need to cut them one by one.
        h = (h * _MULTIPLIER ^ (k ^ k >> 24) * _MULTIPLIER) & _MASK
    tail = key[words << 2 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _MULTIPLIER & _MASK
    h = (h ^ h >> 13) * _MULTIPLIER & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=8192)
def _positive_hash(key: bytes) -> int:
    # Campaigns and seats are few and come again and again; 8,192 keys are about a megabyte.
    return murmur2(key) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition, 0 to `partitions` - 1, that all messages of `key` go to."""
    return _positive_hash(key) % partitions


def check_partition(topic: str, partition: int, partitions: int) -> None:
    """Raises `ConfigError` where a topic of `partitions` does not have this one."""
    if not 0 <= partition < partitions:
        raise ConfigError(
            f"partition of {topic} must be 0 to {partitions - 1}, was {partition}; "
            "a topic answered in the asker's partition needs as many partitions as the asking one"
        )


class Partitioner:
    """Chooses partitions for one sink; remembers whose turn it is among messages without a key."""

    def __init__(self) -> None:
        self._turns: defaultdict[str, int] = defaultdict(int)

    def choose(self, message: Outbound, partitions: int) -> int:
        """The partition of `message` in a topic of `partitions`.

        Raises:
            ConfigError: the message names a partition that the topic does not have.
        """
        if message.partition is not None:
            check_partition(message.topic, message.partition, partitions)
            return message.partition
        if message.key is not None:
            return partition_of(message.key, partitions)
        return self._turns[message.topic] % partitions

    def end_turn(self, topic: str) -> None:
        """The next messages of `topic` without a key go to the next partition."""
        self._turns[topic] += 1
