"""Shards: which bank owns an advertiser's money.

An advertiser is the root of its budgets: its campaigns and line items charge accounts of its own and of no other. So
advertisers can be shared out among banks, by the partition of `notices` that their key leads to: a shard is a
partition. A key always leads to one partition, by the murmur2 hash that Kafka's own clients use, so that other
producers of a topic (in any language) agree with us.
"""

from functools import lru_cache
from struct import unpack_from
from typing import NamedTuple

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


class Shard(NamedTuple):
    """One of so many equal shares of all advertisers; `number` is 0 to `of` - 1."""

    number: int
    of: int

    def owns(self, advertiser_id: str) -> bool:
        """Whether an advertiser is in it."""
        return self.of == 1 or partition_of(advertiser_id.encode(), self.of) == self.number


WHOLE = Shard(0, 1)
"""All advertisers in one."""


def shard_of(advertiser_id: str, of: int) -> int:
    """The number of an advertiser's shard among so many."""
    return partition_of(advertiser_id.encode(), of)
