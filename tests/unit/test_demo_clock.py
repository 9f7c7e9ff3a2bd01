"""The demo's clock: affine, held where it is told, never going back."""

import time

import pytest

from simulator.demo.clock import PacedClock

S = 1_000_000_000


class Wall:
    """A monotonic clock that moves when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 5 * S
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.ns)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


def test_it_stands_at_its_origin_until_it_may_go(wall: Wall) -> None:
    clock = PacedClock(1_000 * S, 10.0)
    wall.ns += 3 * S
    assert clock.now_ns() == 1_000 * S


def test_it_runs_as_many_times_as_fast_as_the_wall(wall: Wall) -> None:
    clock = PacedClock(1_000 * S, 10.0)
    clock.set_limit(10_000 * S)
    wall.ns += 3 * S
    assert clock.now_ns() == 1_030 * S


def test_it_stops_at_its_limit_and_goes_on_from_there(wall: Wall) -> None:
    """It does not catch up: what waited would come all at once."""
    clock = PacedClock(0, 10.0)
    clock.set_limit(5 * S)
    wall.ns += 60 * S
    assert clock.now_ns() == 5 * S
    clock.set_limit(100 * S)
    wall.ns += 2 * S
    assert clock.now_ns() == 25 * S


def test_it_tells_how_long_it_waited(wall: Wall) -> None:
    clock = PacedClock(0, 10.0)
    clock.set_limit(5 * S)
    wall.ns += 2 * S
    clock.now_ns()
    assert clock.waited_s == pytest.approx(1.5)


def test_a_lower_limit_changes_nothing(wall: Wall) -> None:
    clock = PacedClock(0, 1.0)
    clock.set_limit(50 * S)
    clock.set_limit(1 * S)
    wall.ns += 20 * S
    assert clock.now_ns() == 20 * S


def test_it_says_when_a_time_will_come(wall: Wall) -> None:
    clock = PacedClock(0, 4.0)
    clock.set_limit(100 * S)
    wall.ns += S
    assert clock.wall_seconds_until(20 * S) == pytest.approx(4.0)
    assert clock.wall_seconds_until(0) < 0


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="speedup must be > 0, was 0"):
        PacedClock(0, 0)
