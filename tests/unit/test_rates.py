"""A rate limiter counts what its window holds and no more."""

import numpy as np
import pytest

from bidder.core.rates import SLOTS, RateLimiter
from bidder.errors import ConfigError

SECOND = 10**9
MINUTE = 60 * SECOND
NOW = 1_772_409_600 * SECOND
SLOT = MINUTE // SLOTS
WIDEST = 2**64 - 1


def limiter(capacity: int = 8, limit: int = 3) -> RateLimiter:
    return RateLimiter(capacity, MINUTE, limit)


def test_the_hit_after_the_limit_is_over_it() -> None:
    rates = limiter(limit=3)
    assert [rates.hit(7, NOW) for _ in range(5)] == [False, False, False, True, True]


def test_keys_are_counted_apart() -> None:
    rates = limiter(limit=1)
    assert [rates.hit(key, NOW) for key in (1, 2, 1)] == [False, False, True]


def test_keys_that_differ_in_one_half_are_counted_apart() -> None:
    rates = limiter(limit=1)
    keys = (5, 5 << 32, (5 << 32) | 5, WIDEST)
    assert [rates.hit(key, NOW) for key in keys] == [False] * 4


def test_keys_of_one_bucket_are_counted_apart() -> None:
    rates = limiter(capacity=8, limit=2)
    for _ in range(2):
        assert not any(rates.hit(key, NOW) for key in (8, 16, 24, 32))
    assert [rates.count(key, NOW) for key in (8, 16, 24, 32)] == [2, 2, 2, 2]


def test_the_widest_key_is_counted() -> None:
    rates = limiter(limit=1)
    assert [rates.hit(WIDEST, NOW), rates.hit(WIDEST, NOW)] == [False, True]


def test_a_key_wider_than_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        limiter().hit(2**64, NOW)


def test_a_hit_is_forgotten_after_the_window() -> None:
    rates = limiter(limit=1)
    rates.hit(7, NOW)
    assert not rates.hit(7, NOW + MINUTE)


def test_a_hit_counts_for_seven_eighths_of_the_window() -> None:
    rates = limiter(limit=1)
    rates.hit(7, NOW + SLOT - 1)
    assert rates.hit(7, NOW + SLOT - 1 + MINUTE * 7 // 8)


def test_who_floods_stays_refused_until_the_flood_is_over() -> None:
    rates = limiter(limit=10)
    seconds = [rates.hit(7, NOW + at * SECOND) for at in range(300)]
    assert seconds == [False] * 10 + [True] * 290
    assert not rates.hit(7, NOW + 360 * SECOND)


def test_a_steady_rate_under_the_limit_is_never_over_it() -> None:
    rates = limiter(limit=60)
    assert not any(rates.hit(7, NOW + at * SECOND) for at in range(600))


def test_key_0_is_nobody() -> None:
    rates = limiter(limit=1)
    assert not any(rates.hit(0, NOW) for _ in range(5))
    assert (len(rates), rates.count(0, NOW)) == (0, 0)


def test_a_time_before_the_last_slot_counts_as_that_slot() -> None:
    rates = limiter(limit=1)
    rates.hit(7, NOW + MINUTE)
    assert rates.hit(7, NOW)
    assert rates.count(7, NOW + MINUTE) == 2


def test_time_zero_is_a_time() -> None:
    rates = limiter(limit=1)
    assert [rates.hit(7, 0), rates.hit(7, 1)] == [False, True]


def test_the_key_hit_longest_ago_makes_room() -> None:
    rates = limiter(capacity=3)
    for key in (1, 2, 3, 1, 4):
        rates.hit(key, NOW)
    assert [rates.count(key, NOW) for key in (1, 2, 3, 4)] == [2, 0, 1, 1]


def test_a_forgotten_key_begins_at_none() -> None:
    rates = limiter(capacity=1, limit=2)
    for key in (1, 1, 2):
        rates.hit(key, NOW)
    assert not rates.hit(1, NOW)
    assert rates.count(1, NOW) == 1


def test_no_more_keys_are_remembered_than_there_is_room_for() -> None:
    rates = limiter(capacity=5)
    for key in range(1, 100):
        rates.hit(key, NOW)
    assert len(rates) == 5


def test_asking_for_a_count_changes_nothing() -> None:
    rates = limiter(limit=1)
    rates.hit(7, NOW)
    assert [rates.count(7, NOW + MINUTE), rates.count(7, NOW), rates.count(8, NOW)] == [0, 1, 0]
    assert len(rates) == 1


def test_a_batch_counts_as_its_rows_one_by_one() -> None:
    rng = np.random.default_rng(4)
    one, many = limiter(capacity=50, limit=4), limiter(capacity=50, limit=4)
    for batch in range(60):
        keys = rng.integers(0, 80, 40, dtype=np.uint64) * np.uint64(0x9000_0001_0000_0003)
        now = NOW + batch * 5 * SECOND
        assert many.hit_many(keys, now).tolist() == [one.hit(int(key), now) for key in keys]


def test_a_batch_of_none_is_a_batch() -> None:
    assert limiter().hit_many(np.empty(0, dtype=np.uint64), NOW).tolist() == []


def test_a_batch_of_every_other_key_counts_those() -> None:
    rates = limiter()
    rates.hit_many(np.arange(1, 7, dtype=np.uint64)[::2], NOW)
    assert [rates.count(key, NOW) for key in range(1, 7)] == [1, 0, 1, 0, 1, 0]


def test_a_window_of_hours_is_kept() -> None:
    rates = RateLimiter(8, 24 * 60 * MINUTE, 1)
    rates.hit(7, NOW)
    assert rates.hit(7, NOW + 20 * 60 * MINUTE)
    assert rates.count(7, NOW + 24 * 60 * MINUTE) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, MINUTE, 1), "keys of a rate limiter must be from 1 to 67108864, was 0"),
        ((2**26 + 1, MINUTE, 1), "keys of a rate limiter"),
        ((8, 7, 1), "window of a rate limiter in ns must be from 8"),
        ((8, MINUTE, 0), "limit of a rate limiter must be from 1 to 2147483648, was 0"),
        ((8, MINUTE, 2**31 + 1), "limit of a rate limiter"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RateLimiter(*arguments)


def test_a_window_of_nanoseconds_is_kept_at_the_times_of_today() -> None:
    rates = RateLimiter(8, 80, 1)
    assert [rates.hit(7, NOW), rates.hit(7, NOW + 69), rates.hit(7, NOW + 200)] == [False, True, False]
    assert rates.count(7, NOW + 200) == 1
