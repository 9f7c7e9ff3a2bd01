"""Which partition a message goes to: the same answer in the Kafka sink and on the in-process bus.

A key always leads to one partition (`core.shards`). Without a key messages take turns, one partition for each call
of `publish`: a batch then goes to one partition and stays one batch on the wire.
"""

from collections import defaultdict

from bidder.core.shards import murmur2, partition_of
from bidder.errors import ConfigError
from bidder.runtime.transport import Outbound

__all__ = ["Partitioner", "check_partition", "murmur2", "partition_of"]


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
