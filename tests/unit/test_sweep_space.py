"""What a sweep varies."""

import numpy as np
import pytest

from bidder.errors import InputError
from simulator.sweep.space import Axis, axis_of, change_of, grid, random_points
from simulator.whatif.change import Change


def test_lists_ranges_and_steps_are_read() -> None:
    assert axis_of("budget=10, 20,40") == Axis("budget", (10.0, 20.0, 40.0), is_range=False)
    assert axis_of("max_bid=1:10") == Axis("max_bid", (1.0, 10.0), is_range=True)
    stepped = axis_of("eta=0.0001:0.01:3")
    assert stepped.values == pytest.approx((0.0001, 0.001, 0.01))
    assert not stepped.is_range


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget", "must be such as"),
        ("budget=", "must be such as"),
        ("colour=1", "must name one of budget, max_bid"),
        ("budget=ten", "must be numbers, were 'ten'"),
        ("budget=5:2", "LOW below HIGH"),
        ("budget=1:2:3:4", "LOW:HIGH:MANY"),
        ("budget=1:2:1", "2 to 10000 values"),
        ("shade=2", r"shade \(share of the value bid at first price\) must be from 0.05 to 1, was 2"),
    ],
)
def test_what_cannot_be_varied_is_an_error(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        axis_of(text)


def test_a_grid_is_every_combination_once() -> None:
    points = grid([axis_of("budget=1,2"), axis_of("max_bid=3,4,5")])
    assert len(points) == 6
    assert points[0] == {"budget": 1.0, "max_bid": 3.0}
    assert points[-1] == {"budget": 2.0, "max_bid": 5.0}
    assert len({tuple(point.items()) for point in points}) == 6


def test_a_grid_that_cannot_be_made_says_why() -> None:
    for axes, said in (
        ([], "must vary something"),
        ([axis_of("budget=1,2"), axis_of("budget=3")], "names budget twice"),
        ([axis_of("budget=1:2")], "LOW:HIGH:MANY, or ask for random points"),
        ([axis_of("budget=1:2:10000"), axis_of("max_bid=1:2:10000")], "at most 100000 points, has 100000000"),
    ):
        with pytest.raises(InputError, match=said):
            grid(axes)


def test_random_points_lie_in_their_ranges_evenly_in_the_logarithm_and_repeat() -> None:
    axes = [axis_of("budget=1:100"), axis_of("shade=0.5,0.9")]
    points = random_points(axes, 2_000, seed=3)
    assert points == random_points(axes, 2_000, seed=3)
    budgets = np.array([point["budget"] for point in points])
    assert 1 <= budgets.min() < budgets.max() <= 100
    assert (budgets < 10).mean() == pytest.approx(0.5, abs=0.05)
    assert {point["shade"] for point in points} == {0.5, 0.9}
    with pytest.raises(InputError, match="1 to 100000, were 0"):
        random_points(axes, 0, seed=1)


def test_a_point_is_a_change_in_whole_nanos() -> None:
    assert change_of({"budget": 1.5, "max_bid": 2.25, "worth": 0.4}) == Change(
        budget_nanos=1_500_000_000, max_bid_nanos=2_250_000, worth_nanos=400_000_000
    )
    assert change_of({"price_factor": 1.2, "shade": 0.6, "eta": 0.01}) == Change(
        price_factor=1.2, shade=0.6, eta=0.01
    )
