"""The clocks."""

import time

import pytest

from bidder.runtime.clock import AffineClock, SystemClock, VirtualClock

SECOND_NS = 1_000_000_000


def test_system_clock_shows_the_wall() -> None:
    assert abs(SystemClock().now_ns() - time.time_ns()) < SECOND_NS


def test_system_clock_never_goes_back() -> None:
    clock = SystemClock()
    shown = [clock.now_ns() for _ in range(1000)]
    assert shown == sorted(shown)


def test_system_clock_does_not_follow_the_wall_when_it_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now_ns()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert clock.now_ns() >= before


def test_affine_clock_runs_at_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 5 * SECOND_NS)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 70 * SECOND_NS)
    clock = AffineClock(origin_ns=1000 * SECOND_NS, wall_origin_ns=5 * SECOND_NS, speedup=60)
    assert clock.now_ns() == 1000 * SECOND_NS
    monkeypatch.setattr(time, "monotonic_ns", lambda: 72 * SECOND_NS)
    assert clock.now_ns() == 1120 * SECOND_NS
    assert clock.wall_seconds_until(1180 * SECOND_NS) == pytest.approx(1.0)
    assert clock.wall_seconds_until(1060 * SECOND_NS) == pytest.approx(-1.0)


def test_affine_clock_stands_still_before_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 5 * SECOND_NS)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)
    clock = AffineClock(origin_ns=7, wall_origin_ns=9 * SECOND_NS, speedup=10)
    assert clock.now_ns() == 7
    monkeypatch.setattr(time, "monotonic_ns", lambda: 5 * SECOND_NS)
    assert clock.now_ns() == 7 + 10 * SECOND_NS


def test_affine_clocks_of_two_processes_agree() -> None:
    origin, wall = 10**18, time.time_ns()
    one, other = AffineClock(origin, wall, 100), AffineClock(origin, wall, 100)
    assert abs(one.now_ns() - other.now_ns()) < SECOND_NS


@pytest.mark.parametrize("speedup", [0, -1.5])
def test_affine_clock_refuses_to_stand_or_run_back(speedup: float) -> None:
    with pytest.raises(ValueError, match=f"speedup must be > 0, was {speedup}"):
        AffineClock(0, 0, speedup)


def test_virtual_clock_shows_what_it_was_told() -> None:
    clock = VirtualClock(3)
    assert clock.now_ns() == 3
    clock.advance_to(3)
    clock.advance_to(10)
    assert clock.now_ns() == 10


def test_virtual_clock_cannot_go_back() -> None:
    clock = VirtualClock(3)
    with pytest.raises(AssertionError, match="cannot go back from 3 to 2"):
        clock.advance_to(2)
