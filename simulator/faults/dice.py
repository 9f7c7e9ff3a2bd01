"""Randomness of a run: splitmix64 (Steele, Lea and Flood 2014).

There is one stream a name, so that what is drawn for one thing does not move another.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import TypeVar

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_Item = TypeVar("_Item")


class Dice:
    """One stream of numbers.

    Args:
        seed: of the run. name: of the stream.
    """

    __slots__ = ("_name", "_seed", "_state")

    def __init__(self, seed: int, name: str = "") -> None:
        self._seed, self._name = seed, name
        digest = blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
        self._state = int.from_bytes(digest, "big")

    def fork(self, name: str) -> "Dice":
        """The stream of that name below this one; whatever was drawn here, it is the same."""
        return Dice(self._seed, f"{self._name}/{name}")

    def bits(self) -> int:
        """64 of them."""
        self._state = (self._state + _GOLDEN) & _MASK
        z = self._state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        return z ^ z >> 31

    def uniform(self) -> float:
        """In [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def chance(self, share: float) -> bool:
        """True in that share of cases; where it is 0 nothing is drawn."""
        return share > 0 and self.uniform() < share

    def between(self, least: int, most: int) -> int:
        """A whole number, both ends included."""
        return least + self.bits() % (most - least + 1)

    def about(self, mean: float) -> int:
        """A whole number >= 0, exponential with that mean."""
        return int(-log(1.0 - self.uniform()) * mean)

    def pick(self, items: Sequence[_Item]) -> _Item:
        """One of them."""
        return items[self.bits() % len(items)]
