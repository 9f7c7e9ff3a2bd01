"""The table of exposures against a dict of lists, and what a cap promises to a bidder that asks it first."""

import os
import subprocess
import sys
from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.frequency import Cap, FrequencyTable

ROOT = Path(__file__).resolve().parents[2]
START_NS = 1_000_000
WINDOWS_NS = (1, 10, 100, 1_000)
USERS = (1, 2, 3, 2**63, 2**64 - 1)
OWNERS = (0, 1, 7, 2**32, 2**62)

Pair = tuple[int, int]
Call = tuple[str, int, int, int, int]


class Twin:
    """What `FrequencyTable` does, without a bound on the number of pairs; `keep` is the table's limit."""

    def __init__(self, keep: int | None) -> None:
        self.keep = keep
        self.shown: defaultdict[Pair, list[int]] = defaultdict(list)
        self.pending: defaultdict[Pair, list[int]] = defaultdict(list)
        self.displaced = 0

    def add(self, pair: Pair, at_ns: int) -> None:
        insort(self.shown[pair], at_ns)
        if self.keep is not None:
            del self.shown[pair][: -self.keep]

    def pend(self, pair: Pair, at_ns: int, until_ns: int) -> None:
        held = self.pending[pair]
        if len(held) == self.keep:
            ended = [place for place, end_ns in enumerate(held) if end_ns <= at_ns]
            self.displaced += not ended
            held.pop(ended[0] if ended else 0)
        held.append(until_ns)

    def confirm(self, pair: Pair, at_ns: int) -> None:
        held = self.pending[pair]
        live = [place for place, end_ns in enumerate(held) if end_ns > at_ns]
        if held:
            held.pop(live[0] if live else 0)
        self.add(pair, at_ns)

    def release(self, pair: Pair) -> None:
        if self.pending[pair]:
            self.pending[pair].pop(0)

    def recent(self, pair: Pair, now_ns: int, window_ns: int) -> int:
        shown = sum(at_ns > now_ns - window_ns for at_ns in self.shown[pair])
        return shown + sum(end_ns > now_ns for end_ns in self.pending[pair])


def _calls(random: Random, count: int) -> Iterator[Call]:
    """Kind, user, owner, time and end; time goes on, and exposures may come late."""
    now_ns = START_NS
    for _ in range(count):
        now_ns += random.choice((0, 0, 1, 5, 60))
        kind = random.choice(("add", "pend", "pend", "pend", "confirm", "confirm", "release"))
        at_ns = now_ns - (random.choice((0, 0, 3, 40)) if kind in {"add", "confirm"} else 0)
        yield kind, random.choice(USERS), random.choice(OWNERS), at_ns, now_ns + random.choice((1, 20, 300))


def _play(random: Random, table: FrequencyTable, twin: Twin, count: int) -> Iterator[tuple[Pair, int]]:
    """Tells both the same; gives the pair that changed, and the time."""
    latest_ns = START_NS
    for kind, user, owner, at_ns, until_ns in _calls(random, count):
        pair = user, owner
        latest_ns = max(latest_ns, at_ns)
        if kind == "add":
            table.add(user, owner, at_ns)
            twin.add(pair, at_ns)
        elif kind == "pend":
            table.pend(user, owner, at_ns, until_ns)
            twin.pend(pair, at_ns, until_ns)
        elif kind == "confirm":
            table.confirm(user, owner, at_ns)
            twin.confirm(pair, at_ns)
        else:
            table.release(user, owner)
            twin.release(pair)
        yield pair, latest_ns


def _pairs() -> list[Pair]:
    return [(user, owner) for user in USERS for owner in OWNERS]


def _counts(table: FrequencyTable, now_ns: int, window_ns: int) -> list[int]:
    users = np.array([user for user, _ in _pairs()], dtype=np.uint64)
    owners = np.array([owner for _, owner in _pairs()], dtype=np.int64)
    return table.recent_rows(users, owners, now_ns, window_ns).tolist()


def _check_equal(random: Random, limit: int, count: int) -> None:
    table, twin = FrequencyTable(1_024, limit, max(WINDOWS_NS)), Twin(limit)
    now_ns = START_NS
    for (user, owner), now_ns in _play(random, table, twin, count):
        for window_ns in WINDOWS_NS:
            later_ns = now_ns + random.choice((0, 1, 19, 20))
            expected = twin.recent((user, owner), later_ns, window_ns)
            assert table.recent(user, owner, later_ns, window_ns) == expected
    for window_ns in WINDOWS_NS:
        assert _counts(table, now_ns, window_ns) == [twin.recent(p, now_ns, window_ns) for p in _pairs()]
    assert (table.evicted, table.expired, table.displaced) == (0, 0, twin.displaced)
    assert len(table) == sum(bool(twin.shown[pair] or twin.pending[pair]) for pair in _pairs())


def _check_forgets_only(random: Random, slots: int, limit: int, count: int) -> int:
    table, twin = FrequencyTable(slots, limit, max(WINDOWS_NS)), Twin(None)
    for _, now_ns in _play(random, table, twin, count):
        for window_ns in WINDOWS_NS:
            found = _counts(table, now_ns, window_ns)
            assert all(n <= twin.recent(p, now_ns, window_ns) for n, p in zip(found, _pairs(), strict=True))
        assert len(table) <= table.capacity
        assert np.count_nonzero(table.arrays[0]) == len(table)
    return table.evicted


@given(random=st.randoms(use_true_random=False), limit=st.integers(1, 32), count=st.integers(1, 120))
@settings(max_examples=150)
def test_table_equals_its_twin_while_nothing_is_evicted(random: Random, limit: int, count: int) -> None:
    _check_equal(random, limit, count)


@given(random=st.randoms(use_true_random=False), slots=st.sampled_from((8, 16)), count=st.integers(1, 120))
@settings(max_examples=100)
def test_eviction_forgets_and_never_invents(random: Random, slots: int, count: int) -> None:
    _check_forgets_only(random, slots, 4, count)


def test_tables_equal_their_twins_on_a_seeded_sample() -> None:
    """Guards the tests above too: their sequences do displace, and do evict."""
    for seed in range(4):
        _check_equal(Random(seed), 1 + seed, 300)
    assert sum(_check_forgets_only(Random(seed), 8, 3, 150) for seed in range(3)) > 10


@pytest.mark.parametrize(
    "tests",
    [
        f"{Path(__file__).relative_to(ROOT)}::test_tables_equal_their_twins_on_a_seeded_sample",
        "tests/unit/test_frequency.py",
    ],
)
def test_kernels_do_the_same_without_compilation(tests: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", tests]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@given(random=st.randoms(use_true_random=False), cuts=st.lists(st.integers(0, 80), max_size=3))
@settings(max_examples=60)
def test_batches_equal_single_calls(random: Random, cuts: list[int]) -> None:
    calls = [call for call in _calls(random, 80) if call[0] == "pend"]
    one, many = (FrequencyTable(16, 2, max(WINDOWS_NS)) for _ in range(2))
    edges = sorted({0, len(calls), *(cut for cut in cuts if cut < len(calls))})
    for begin, end in pairwise(edges):
        users, owners, at_ns, until_ns = (
            np.array([call[place] for call in calls[begin:end]], dtype=dtype)
            for place, dtype in ((1, np.uint64), (2, np.int64), (3, np.int64), (4, np.int64))
        )
        many.pend_rows(users, owners, at_ns, until_ns)
        many.confirm_rows(users[::2].copy(), owners[::2].copy(), at_ns[::2].copy())
        many.release_rows(users[1::2].copy(), owners[1::2].copy())
        many.add_rows(users[1::2].copy(), owners[1::2].copy(), at_ns[1::2].copy())
        for _, user, owner, at, until in calls[begin:end]:
            one.pend(user, owner, at, until)
        for _, user, owner, at, _ in calls[begin:end:2]:
            one.confirm(user, owner, at)
        for _, user, owner, _, _ in calls[begin + 1 : end : 2]:
            one.release(user, owner)
        for _, user, owner, at, _ in calls[begin + 1 : end : 2]:
            one.add(user, owner, at)
    assert all(np.array_equal(a, b) for a, b in zip(one.arrays, many.arrays, strict=True))


@given(random=st.randoms(use_true_random=False), limits=st.tuples(st.integers(1, 3), st.integers(2, 6)))
@settings(max_examples=80)
def test_a_bidder_that_asks_first_never_passes_a_cap(random: Random, limits: tuple[int, int]) -> None:
    """Reservations of one length; each bid is shown before its end, lost with notice, or lost in silence."""
    caps = [Cap(5, 50, limits[0]), Cap(5, 400, limits[1])]
    table = FrequencyTable(64, max(limits), 400)
    shown: list[int] = []
    ends: list[tuple[int, str]] = []  # when each outstanding bid ends, and how
    for now_ns in range(START_NS, START_NS + 1_200, 3):
        for at_ns, how in sorted(end for end in ends if end[0] <= now_ns):
            if how == "shown":
                table.confirm(9, 5, at_ns)
                shown.append(at_ns)
            else:
                table.release(9, 5)
        ends = [end for end in ends if end[0] > now_ns]
        if table.allows(9, caps, now_ns):
            table.pend(9, 5, now_ns, now_ns + 40)
            how = random.choice(("shown", "lost", "silence"))
            ends.append((now_ns + (40 if how == "silence" else random.randrange(1, 38)), how))
    for cap in caps:
        most = max(sum(at - cap.window_ns < other <= at for other in shown) for at in shown)
        assert most <= cap.limit
    assert table.displaced == 0
    assert len(shown) >= 1_200 // 400 * limits[0] // 2, "a cap must not stop everything either"
