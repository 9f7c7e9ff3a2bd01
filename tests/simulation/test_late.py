"""The reserve for late billings, measured by the bank under a stated law: it must hold at its quantile.

On hours, on flights of days and on daily budgets of campaigns, line items and advertisers.
"""

import math
from collections import Counter
from functools import cache

import msgspec
import pytest

from simulator.faults.bounds import tolerated
from simulator.faults.late import RULES, LateLaw, LateOutcome, play_late
from simulator.faults.late_flights import LEVELS, LONG_RULES, TIMES, Kept, play_flights, summed_up

LEARNT = 100
"""Hours, each a block: at .99 it takes 99 until a share is measured (`core.lateness`)."""
QUANTILE = RULES.late_quantile_ppm / 1e6


def most_failures(judged: int) -> float:
    """Of so many hours, where each fails in 1 of 100: three standard deviations above the mean."""
    mean = judged * (1 - QUANTILE)
    return mean + 3 * math.sqrt(mean * QUANTILE)


@cache
def played(fixed_ppm: int | None = None) -> LateOutcome:
    rules = msgspec.structs.replace(RULES, late_share_ppm=fixed_ppm)
    return play_late(2, learnt_hours=LEARNT, judged_hours=40, law=LateLaw(bad_hours=0.3), rules=rules)


def test_the_measured_reserve_holds_in_as_many_hours_as_its_quantile_says() -> None:
    outcome = played()
    assert len(outcome.hours) - outcome.held <= most_failures(len(outcome.hours))
    assert outcome.late_ppm > 500, "nothing is proved where nothing is late"
    assert all(hour.uncovered <= hour.reserve for hour in outcome.hours if hour.held)


def test_every_hour_spends_its_budget_but_for_the_reserve() -> None:
    for hour in played().hours:
        assert hour.wins >= 1_000, "each hour must be a block"
        assert hour.booked - hour.uncovered >= 0.99 * (hour.limit - hour.reserve)


def test_a_reserve_that_is_not_measured_fails_more_often() -> None:
    """The same hours with .3 % kept back, what is assumed before anything is known: so the judge can say no."""
    outcome = played(RULES.late_start_ppm)
    assert len(outcome.hours) - outcome.held > most_failures(len(outcome.hours))


@cache
def flights(fixed_ppm: int | None = None) -> tuple[Kept, ...]:
    rules = msgspec.structs.replace(LONG_RULES, late_share_ppm=fixed_ppm)
    return play_flights(3, flights=2, law=LateLaw(bad_hours=0.5, mean_share=0.01), rules=rules)


def test_flights_and_days_of_every_level_are_kept_and_spent_but_for_the_reserve() -> None:
    kinds = summed_up(flights())
    assert {(kind.level, kind.time) for kind in kinds} == {
        (level, time) for level in LEVELS for time in TIMES
    }
    assert sum(kind.budgets - kind.held for kind in kinds) <= tolerated(24, RULES.late_quantile_ppm)
    for kind in kinds:
        assert kind.budgets == (2 if kind.time == "flight" else 6)
        assert kind.unspent_ppm < (5_000 if kind.time == "flight" else 12_000), kind
        assert kind.late_ppm > 0, "what is late must come uncovered here, or nothing is proved"


def test_without_a_reserve_long_flights_and_days_of_every_level_are_passed() -> None:
    kinds = summed_up(flights(0))
    passed = Counter[str]()
    for kind in kinds:
        passed.update({kind.level: kind.budgets - kind.held, kind.time: kind.budgets - kind.held})
    assert all(passed[name] for name in (*LEVELS, *TIMES))
    assert passed["day"] + passed["flight"] > tolerated(24, RULES.late_quantile_ppm)


@pytest.mark.slow
@pytest.mark.parametrize("law", [LateLaw(), LateLaw(bad_hours=1.0)], ids=["clustered", "every hour"])
def test_the_measured_reserve_holds_over_seeds(law: LateLaw) -> None:
    outcomes = [play_late(seed, learnt_hours=168, judged_hours=160, law=law) for seed in range(8)]
    judged = sum(len(outcome.hours) for outcome in outcomes)
    held = sum(outcome.held for outcome in outcomes)
    assert judged - held <= most_failures(judged), [outcome.reserve_ppm for outcome in outcomes]


@pytest.mark.slow
@pytest.mark.parametrize("law", [LateLaw(), LateLaw(bad_hours=1.0)], ids=["clustered", "every hour"])
def test_the_measured_reserve_holds_for_long_flights_and_days_over_seeds(law: LateLaw) -> None:
    kinds = summed_up(each for seed in range(4) for each in play_flights(seed, flights=10, law=law))
    for time in TIMES:
        of = [kind for kind in kinds if kind.time == time]
        judged, passed = sum(kind.budgets for kind in of), sum(kind.budgets - kind.held for kind in of)
        assert passed <= tolerated(judged, RULES.late_quantile_ppm), of
