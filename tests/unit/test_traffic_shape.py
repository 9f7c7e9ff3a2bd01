"""The shape of traffic: holidays, and what is learned of it."""

from typing import Any

import msgspec
import numpy as np
import pytest

from bidder.core.engine import Engine
from bidder.core.settings import EngineSettings, Holiday, PacingSettings
from bidder.core.traffic_shape import TrafficLearner, TrafficShape, overrides
from tests.support import factories as make
from tests.support.factories import S, campaign

HOUR_NS = 3_600 * S
DAY_NS = 24 * HOUR_NS
MONDAY_NS = 1_772_409_600 * S
"""2026-03-02."""
WEEK = tuple(float(10 + hour // 24) * (1.0 + hour % 24) for hour in range(168))


def of_day(shape: TrafficShape, day: int, hours: tuple[int, int] = (0, 24)) -> float:
    begin, end = (MONDAY_NS + day * DAY_NS + hour * HOUR_NS for hour in hours)
    return float(shape.weeks(end) - shape.weeks(begin))


# -- holidays -------------------------------------------------------------------------------------------------


def test_a_holiday_has_the_hours_of_another_day() -> None:
    shape = TrafficShape(WEEK, overrides({"2026-03-03": Holiday(like="sunday")}))
    plain = TrafficShape(WEEK)
    for hours in ((0, 24), (6, 7), (20, 23)):
        assert of_day(shape, 1, hours) == pytest.approx(of_day(plain, 6, hours))
        assert of_day(shape, 2, hours) == pytest.approx(of_day(plain, 2, hours))
    assert of_day(shape, 8) == pytest.approx(of_day(plain, 8))


def test_a_holiday_has_a_factor() -> None:
    shape = TrafficShape(WEEK, overrides({"2026-03-04": Holiday(factor=0.25)}))
    assert of_day(shape, 2) == pytest.approx(0.25 * of_day(TrafficShape(WEEK), 2))


def test_hours_that_are_closed_stay_closed_on_a_holiday() -> None:
    holidays = overrides({"2026-03-03": Holiday(like="sunday", factor=2.0)})
    shape = TrafficShape(WEEK, holidays).open_in(frozenset({24 + 5}), 0)
    plain = TrafficShape(WEEK)
    assert of_day(shape, 1) == pytest.approx(2.0 * of_day(plain, 6, (5, 6)))
    assert of_day(shape, 6) == 0.0


def test_a_holiday_is_a_date() -> None:
    with pytest.raises(ValueError, match=r"holidays must be dates such as 2026-12-25, was '25\.12\.'"):
        PacingSettings(holidays={"25.12.": Holiday()})
    read = msgspec.json.decode(b'{"holidays": {"2026-12-25": {"like": "sunday"}}}', type=PacingSettings)
    assert read.holidays["2026-12-25"] == Holiday(like="sunday")


# -- learned --------------------------------------------------------------------------------------------------


def learned(days: int, weights: tuple[float, ...] = WEEK, begin: int = 0) -> TrafficLearner:
    """What is known after so many days, each hour with ten times its weight of opportunities, and an hour more."""
    made = TrafficLearner()
    for hour in range(begin - 1, begin + 24 * days + 1):
        for part in range(10):
            made.count(int(weights[hour % 168]), MONDAY_NS + hour * HOUR_NS + part * HOUR_NS // 10)
    return made


def test_a_week_of_traffic_is_learned() -> None:
    found = np.array(learned(7).weights(()))
    assert found / found.sum() == pytest.approx(np.array(WEEK) / sum(WEEK), rel=0.12)
    four = np.array(learned(28).weights(()))
    assert four / four.sum() == pytest.approx(np.array(WEEK) / sum(WEEK), rel=0.04)


def test_before_half_a_day_nothing_is_known() -> None:
    assert learned(0).weights(()) == ()
    assert TrafficLearner().weights(WEEK) == ()


def test_an_hour_that_was_never_seen_is_like_that_of_other_days() -> None:
    found = np.array(learned(1).weights(()))
    assert found[24:48] == pytest.approx(found[:24], rel=1e-9)


def test_a_change_is_followed_within_weeks() -> None:
    made = learned(28)
    before = made.means.copy()
    for hour in range(28 * 24 + 1, 56 * 24 + 1):
        made.count(int(30 * WEEK[hour % 168]), MONDAY_NS + hour * HOUR_NS)
    # The first hour of the week was under way when it changed.
    assert (made.means / before)[1:] == pytest.approx(np.full(167, 1 + 2 * (1 - 0.75**4)))


def test_hours_without_traffic_and_the_first_after_them_are_not_counted() -> None:
    made = TrafficLearner()
    for hour in (0, 1, 2, 6, 7, 8):
        made.count(5, MONDAY_NS + hour * HOUR_NS)
    assert np.flatnonzero(made.weeks).tolist() == [1, 2, 7]


def test_a_new_day_is_told_once() -> None:
    made = TrafficLearner()
    at = [0, 5, 23, 24, 24, 25, 48]
    assert [made.count(1, MONDAY_NS + hour * HOUR_NS) for hour in at] == [
        False, False, False, True, False, False, True,
    ]  # fmt: skip


# -- in the engine --------------------------------------------------------------------------------------------


def engine(**changes: Any) -> Engine:
    pacing = PacingSettings(weekly_opportunities=1_000.0, **changes)
    made = Engine(EngineSettings(pacing=pacing, external_scores=True), make.KEY, None, make.START)
    made.adopt_campaigns({"c1": campaign(start_ns=MONDAY_NS, end_ns=MONDAY_NS + 4 * DAY_NS)}, 1, MONDAY_NS)
    made.adopt_leases([make.lease("c1")], MONDAY_NS)
    return made


def play(made: Engine) -> Engine:
    """A day and an hour with twice the traffic in its first half."""
    for number in range(25 * 4):
        hour = number // 4
        for part in range(2 if hour < 12 else 1):
            offer = make.Offer(id=f"r{number}.{part}", external=("c1", 1e-9))
            make.decide(made, make.body(offer), now_ns=MONDAY_NS + number * HOUR_NS // 4 + part)
    return made


def test_the_engine_plans_with_what_it_learned() -> None:
    at_ns = MONDAY_NS + 36 * HOUR_NS
    one, two, other = play(engine()), play(engine()), play(engine(learn_shape=False))
    shares = [made.status(at_ns)["c1"].planned_share for made in (one, two, other)]
    assert shares[0] == shares[1]
    assert shares[0] == pytest.approx((1 + 2 / 3) / 4, rel=0.03)
    assert shares[2] == pytest.approx(36 / 96)
