"""Frequency caps: microseconds a check and an update, asked from a compiled loop as the engine's kernel asks.

    pytest benchmarks/bench_frequency.py

A table of 1,048,576 slots at a limit of 8 (168 MB, far beyond the caches), 600,000 seeded pairs in it with one to
eight exposures each; every element of a loop is another random pair, so that each look-up misses the caches as
it does in traffic. *full* is a table with every slot taken by pairs that still count, where each new pair
evicts one. *dict* is what plain Python would do: a dict of lists.
"""

import time
from collections import defaultdict

import numpy as np
import pytest
from numba import njit

from bidder.core import frequency_kernels as kernels
from bidder.core.frequency import FrequencyTable, warm_frequency

SLOTS = 1_048_576
PAIRS = 600_000
LIMIT = 8
ASKED = 100_000
DAY_NS = 86_400 * 10**9
NOW_NS = 20_000 * DAY_NS

_medians: dict[str, float] = {}


@njit(cache=True)
def check_all(users, rows, who, owners, now_ns, window_ns):
    """Sum of what counts, so that no look-up can be left out."""
    total = 0
    for i in range(who.shape[0]):
        total += kernels.recent(users, rows, who[i], owners[i], now_ns, window_ns)
    return total


@njit(cache=True)
def check_caps(users, rows, caps, who, now_ns):
    """Rows refused by a list of caps."""
    refused = 0
    for i in range(who.shape[0]):
        if kernels.first_refusal(users, rows, caps, 0, caps.shape[0], who[i], now_ns) >= 0:
            refused += 1
    return refused


class Traffic:
    """The same pairs for every measurement."""

    def __init__(self) -> None:
        warm_frequency()
        random = np.random.default_rng(3)
        self.users = random.integers(1, 2**64 - 1, PAIRS, dtype=np.uint64)
        self.owners = random.integers(0, 2**62, 100)[random.integers(0, 100, PAIRS)]
        some = random.integers(0, PAIRS, ASKED)
        self.known = self.users[some], self.owners[some]
        self.strangers = random.integers(1, 2**64 - 1, ASKED, dtype=np.uint64), self.owners[some]
        times = np.minimum(random.geometric(0.4, PAIRS), LIMIT)
        self.shown = np.repeat(np.arange(PAIRS), times)
        random.shuffle(self.shown)
        ages = np.sort(random.integers(0, 7 * DAY_NS, len(self.shown)))[::-1]
        self.at_ns = NOW_NS - ages
        self.now = np.full(ASKED, NOW_NS)

    def table(self, slots: int = SLOTS) -> FrequencyTable:
        """A table of its own, filled by the log of exposures."""
        found = FrequencyTable(slots, LIMIT, 7 * DAY_NS)
        found.add_rows(self.users[self.shown], self.owners[self.shown], self.at_ns)
        return found


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture(scope="module")
def table(traffic: Traffic) -> FrequencyTable:
    found = traffic.table()
    assert len(found) == PAIRS
    assert found.evicted == 0
    return found


@pytest.fixture(scope="module")
def full(traffic: Traffic) -> FrequencyTable:
    """Every slot taken by a pair that still counts."""
    found = traffic.table(PAIRS * 3 // 4)
    assert found.evicted > 0
    return found


def _run(benchmark, name, function, *arguments):
    function(*arguments)  # compiled before the clock starts
    result = benchmark.pedantic(function, args=arguments, rounds=15)
    if benchmark.stats is not None:
        _medians[name] = benchmark.stats.stats.median / ASKED * 1e6
        benchmark.extra_info["us_each"] = _medians[name]
    return result


pytestmark = pytest.mark.benchmark(group="frequency, 100,000 random pairs", timer=time.thread_time)


@pytest.mark.parametrize("whose", ["known", "strangers"])
def test_check(benchmark, traffic, table, whose):
    users, rows, _ = table.arrays
    total = _run(
        benchmark, f"check, {whose}", check_all, users, rows, *getattr(traffic, whose), NOW_NS, DAY_NS
    )
    assert (total > 0) == (whose == "known")


def test_check_of_ten_caps(benchmark, traffic, table):
    """Two windows of each of five owners, for every user: a request with five capped candidates."""
    users, rows, _ = table.arrays
    owners = np.unique(traffic.owners)[:5]
    caps = np.array([(owner, window, LIMIT) for owner in owners for window in (DAY_NS, 7 * DAY_NS)])
    _run(benchmark, "ten caps of one user", check_caps, users, rows, caps, traffic.known[0], NOW_NS)


def test_bid_and_loss(benchmark, traffic, table):
    """A pending bid of a known pair, and its end."""
    before = table.recent_rows(*traffic.known, NOW_NS, DAY_NS)

    def both():
        table.pend_rows(*traffic.known, traffic.now, traffic.now + 60 * 10**9)
        table.release_rows(*traffic.known)

    _run(benchmark, "pend + release, known", both)
    assert np.array_equal(before, table.recent_rows(*traffic.known, NOW_NS, DAY_NS))


def test_bid_and_loss_of_strangers(benchmark, traffic, table):
    """A pair is made for the bid and goes with its end."""

    def both():
        table.pend_rows(*traffic.strangers, traffic.now, traffic.now + 60 * 10**9)
        table.release_rows(*traffic.strangers)

    _run(benchmark, "pend + release, strangers", both)
    assert len(table) == PAIRS


def test_exposure(benchmark, traffic):
    table = traffic.table()
    _run(benchmark, "confirm, known", table.confirm_rows, *traffic.known, traffic.now)
    assert table.evicted == 0


def test_exposure_in_a_full_table(benchmark, traffic, full):
    """Each new pair evicts another."""
    random = np.random.default_rng(4)
    evicted = full.evicted

    def fresh():
        return (random.integers(1, 2**64 - 1, ASKED, dtype=np.uint64), *traffic.known[1:], traffic.now), {}

    benchmark.pedantic(full.confirm_rows, setup=fresh, rounds=15)
    if benchmark.stats is not None:
        _medians["confirm, evicting"] = benchmark.stats.stats.median / ASKED * 1e6
    assert full.evicted - evicted > ASKED // 2


def test_check_of_a_dict_of_lists(benchmark, traffic):
    """The rival: exact too, without a bound on memory."""
    book = defaultdict(list)
    for place, at_ns in zip(traffic.shown.tolist(), traffic.at_ns.tolist(), strict=True):
        book[int(traffic.users[place]), int(traffic.owners[place])].append(at_ns)
    asked = list(zip(traffic.known[0].tolist(), traffic.known[1].tolist(), strict=True))

    def check():
        oldest_ns = NOW_NS - DAY_NS
        return sum(1 for pair in asked for at_ns in book.get(pair, ()) if at_ns > oldest_ns)

    _run(benchmark, "check, dict of lists", check)


def test_summary(table, capsys):
    """Prints the table; runs last."""
    assert _medians or not table.evicted
    with capsys.disabled():
        print(f"\n\nFrequency caps, {PAIRS:,} pairs in {SLOTS:,} slots, {table.state_bytes / 1e6:.0f} MB:")
        for name, us in _medians.items():
            print(f"  {name:<26} {us:6.3f} us")
