"""The rate limiter against a clerk who notes every hit, whatever comes in whatever order."""

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.rates import SLOTS, RateLimiter

WINDOW = 80
SLOT = WINDOW // SLOTS
keys = st.sampled_from([0, 1, 2, 3, 9, 17, 1 << 32, (1 << 32) | 9, 2**63, 2**64 - 1])
steps = st.lists(st.tuples(keys, st.integers(-15, 60)), min_size=1, max_size=120)


class Clerk:
    """The twin: the slots of all hits by key, the key hit longest ago first."""

    def __init__(self, capacity: int, limit: int) -> None:
        self.capacity = capacity
        self.limit = limit
        self.slots: OrderedDict[int, list[int]] = OrderedDict()

    def hit(self, key: int, now: int) -> bool:
        if key == 0:
            return False
        if key not in self.slots and len(self.slots) == self.capacity:
            self.slots.popitem(last=False)
        noted = self.slots.setdefault(key, [])
        self.slots.move_to_end(key)
        noted.append(max([now // SLOT, *noted]))
        return self.count(key, now) > self.limit

    def count(self, key: int, now: int) -> int:
        noted = self.slots.get(key, [])
        slot = max([now // SLOT, *noted])
        return sum(slot - SLOTS < each <= slot for each in noted)


def times(moves: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Keys with times that mostly go on and now and then fall back."""
    now, found = 1_000, []
    for key, step in moves:
        now = max(0, now + step)
        found.append((key, now))
    return found


@given(steps, st.integers(1, 12), st.integers(1, 6))
def test_equals_the_clerk_at_any_capacity(moves: list[tuple[int, int]], capacity: int, limit: int) -> None:
    clerk, rates = Clerk(capacity, limit), RateLimiter(capacity, WINDOW, limit)
    for key, now in times(moves):
        assert rates.hit(key, now) == clerk.hit(key, now)
        assert rates.count(key, now) == clerk.count(key, now)
    assert len(rates) == len(clerk.slots)


@given(steps, st.integers(1, 4))
def test_never_counts_what_the_window_does_not_hold(moves: list[tuple[int, int]], capacity: int) -> None:
    """With time that only goes on: between the hits of seven eighths of the window and of the whole."""
    small, ample = RateLimiter(capacity, WINDOW, 1), RateLimiter(32, WINDOW, 1)
    hits: list[tuple[int, int]] = []
    for key, now in times([(key, abs(step)) for key, step in moves]):
        hits.append((key, now))
        small.hit(key, now)
        ample.hit(key, now)
        within = [at for each, at in hits if each == key != 0 and at > now - WINDOW]
        surely = [at for at in within if at > now - WINDOW * (SLOTS - 1) // SLOTS]
        assert len(surely) <= ample.count(key, now) <= len(within)
        assert small.count(key, now) <= ample.count(key, now)


@given(steps, st.integers(1, 4))
def test_forgetting_never_makes_a_key_seem_more_frequent(moves: list[tuple[int, int]], capacity: int) -> None:
    small, ample = RateLimiter(capacity, WINDOW, 2), RateLimiter(32, WINDOW, 2)
    for key, now in times(moves):
        assert small.hit(key, now) <= ample.hit(key, now)


@given(steps, st.integers(1, 12), st.data())
def test_where_a_batch_is_split_changes_nothing(
    moves: list[tuple[int, int]], capacity: int, data: st.DataObject
) -> None:
    batch = np.array([key for key, _ in moves], dtype=np.uint64)
    cut = data.draw(st.integers(0, len(batch)))
    whole, parts, single = (RateLimiter(capacity, WINDOW, 2) for _ in range(3))
    expected = whole.hit_many(batch, 1_000).tolist()
    assert [*parts.hit_many(batch[:cut], 1_000), *parts.hit_many(batch[cut:], 1_000)] == expected
    assert [single.hit(int(key), 1_000) for key in batch] == expected
