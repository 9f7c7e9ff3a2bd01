"""Splits of one budget: best of all, exact to the nano, never below where one stood."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.portfolio import Bound, Frontier, certify, value_of
from bidder.core.portfolio_moves import part_way, within
from bidder.core.portfolio_steps import Terms, solve
from bidder.core.responses import Response, points_of
from tests.support.naive_portfolio import best_by_linprog, best_by_trying

AMOUNTS = st.integers(1, 2_000_000_000_000)
VALUES = st.floats(0.0, 1e13, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def responses(draw: st.DrawFn, points: int = 8) -> Response:
    budgets = draw(st.lists(AMOUNTS, min_size=1, max_size=points, unique=True))
    values = draw(st.lists(VALUES, min_size=len(budgets), max_size=len(budgets)))
    return Response("one", points_of("one", budgets, values))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Response], list[Bound], list[int]]:
    """Curves, bounds, and a split within them."""
    curves = draw(st.lists(responses(), min_size=1, max_size=6))
    bounds, split = [], []
    for curve in curves:
        ends = sorted(draw(st.tuples(st.integers(0, curve.most), st.integers(0, curve.most))))
        bounds.append(Bound(*ends))
        split.append(draw(st.integers(*ends)))
    return curves, bounds, split


@given(responses(20))
def test_the_concave_curve_is_above_the_points_touches_corners_and_its_returns_fall(curve: Response) -> None:
    for budget, value in zip(curve.points.budgets, curve.points.values, strict=True):
        assert curve.value(budget) >= value * (1 - 1e-12)
    assert all(early > late >= 0 for early, late in zip(curve.slopes, curve.slopes[1:], strict=False))
    assert curve.values == [curve.points.value(budget) for budget in curve.budgets]


@given(problems())
def test_a_split_is_exact_within_bounds_and_never_below_the_split_now(
    problem: tuple[list[Response], list[Bound], list[int]],
) -> None:
    curves, bounds, now = problem
    best = Frontier(curves, bounds).at(sum(now), now).budgets
    assert sum(best) == sum(now)
    assert all(bound.least <= budget <= bound.most for bound, budget in zip(bounds, best, strict=True))
    assert value_of(curves, best) >= value_of(curves, now) * (1 - 1e-12)


@given(problems())
def test_a_split_proves_itself(problem: tuple[list[Response], list[Bound], list[int]]) -> None:
    curves, bounds, now = problem
    frontier = Frontier(curves, bounds)
    found = certify(curves, frontier.bounds, sum(now), frontier.at(sum(now)).budgets)
    assert found.residual < 1e-6
    assert found.gap < 1e-6
    assert found.unplaced == 0


@given(problems())
@settings(max_examples=60)
def test_no_linear_program_finds_more(problem: tuple[list[Response], list[Bound], list[int]]) -> None:
    curves, bounds, now = problem
    if sum(now) == 0:
        return
    best = value_of(curves, Frontier(curves, bounds).at(sum(now)).budgets)
    assert best == pytest.approx(best_by_linprog(curves, bounds, sum(now)), rel=5e-6, abs=1e-3)


@given(problems())
def test_whoever_is_best_already_does_not_move(
    problem: tuple[list[Response], list[Bound], list[int]],
) -> None:
    curves, bounds, now = problem
    frontier = Frontier(curves, bounds)
    best = frontier.at(sum(now)).budgets
    assert frontier.at(sum(now), best).budgets == best


@given(problems())
def test_a_split_that_is_worse_does_not_pass_the_proof(
    problem: tuple[list[Response], list[Bound], list[int]],
) -> None:
    curves, bounds, now = problem
    frontier = Frontier(curves, bounds)
    best = value_of(curves, frontier.at(sum(now)).budgets)
    proof = certify(curves, frontier.bounds, sum(now), now)
    if value_of(curves, now) < best * (1 - 1e-5):
        assert not proof.holds
        assert proof.residual > 0


@given(problems(), st.fractions(0, 1))
def test_part_of_the_way_is_exact_and_not_below_the_begin(
    problem: tuple[list[Response], list[Bound], list[int]], share: Fraction
) -> None:
    curves, bounds, now = problem
    best = Frontier(curves, bounds).at(sum(now)).budgets
    part = part_way(now, best, float(share))
    assert sum(part) == sum(now)
    assert all(min(a, b) <= c <= max(a, b) for a, b, c in zip(now, best, part, strict=True))
    assert value_of(curves, part) >= value_of(curves, now) - 1e-6 * value_of(curves, best)


@given(problems(), st.lists(st.integers(0, 10**12), min_size=6, max_size=6))
def test_a_scaled_split_keeps_total_and_bounds(
    problem: tuple[list[Response], list[Bound], list[int]], wanted: list[int]
) -> None:
    _, bounds, now = problem
    placed = within(wanted[: len(now)], sum(now), bounds)
    assert sum(placed) == sum(now)
    assert all(bound.least <= budget <= bound.most for bound, budget in zip(bounds, placed, strict=True))
    assert within(now, sum(now), bounds) == tuple(now)


@given(st.lists(responses(4), min_size=1, max_size=3), st.data())
def test_steps_are_within_the_stated_gap_of_every_combination(
    curves: list[Response], data: st.DataObject
) -> None:
    terms, choices, now = [], [], []
    for curve in curves:
        step = -(-curve.most // data.draw(st.integers(1, 5)))
        terms.append(Terms(Bound(0, curve.most), step))
        choices.append(list(range(0, curve.most + 1, step)))
        now.append(data.draw(st.sampled_from(choices[-1])))
    found = solve(curves, terms, sum(now), now)
    best = best_by_trying(curves, choices, sum(now))
    assert all(budget in own for budget, own in zip(found.budgets, choices, strict=True))
    assert sum(found.budgets) + found.left == sum(now)
    assert found.left >= 0
    assert found.bound * (1 + 1e-9) >= best >= found.value * (1 - 1e-9)
    standing = sum(curve.points.value(budget) for curve, budget in zip(curves, now, strict=True))
    assert found.value >= standing * (1 - 1e-12)


@given(problems())
def test_measured_curves_never_end_below_the_split_now(
    problem: tuple[list[Response], list[Bound], list[int]],
) -> None:
    curves, bounds, now = problem
    found = solve(curves, [Terms(bound) for bound in bounds], sum(now), now)
    standing = sum(curve.points.value(budget) for curve, budget in zip(curves, now, strict=True))
    assert sum(found.budgets) <= sum(now)
    assert found.value >= standing * (1 - 1e-12)
    assert 0 <= found.gap <= 1
