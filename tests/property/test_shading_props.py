"""Best bids by the landscape against brute force over curves of any shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.shading import envelopes_of
from bidder.core.shading_kernels import shaded_bid, shaded_worth
from models.landscape.grid import price_grid
from models.landscape.kernels import win_probability

BOUND = 1e-3
"""Part of the best surplus that a bid may leave."""


@st.composite
def curves(draw):
    """A grid and survival curves that fall anyhow: smooth, in leaps, level, never or always won."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    if draw(st.booleans()):
        grid = price_grid(draw(st.floats(1e3, 1e6)), draw(st.floats(2e6, 5e7)), 64)
    else:
        grid = np.unique(random.integers(1, 10_000_000, draw(st.integers(2, 80))))
    if len(grid) < 2:
        grid = np.array([5, 9], dtype=np.int64)
    strata = draw(st.integers(1, 3))
    mass = random.random((strata, len(grid) + 1)) ** draw(st.sampled_from((1, 8, 40)))
    mass[:, -1] *= draw(st.sampled_from((0.0, 1.0, 50.0)))
    mass[random.random(mass.shape) < draw(st.sampled_from((0.0, 0.5, 0.9)))] = 0.0
    total = mass.sum(axis=1, keepdims=True)
    mass = np.where(total > 0, mass / np.where(total > 0, total, 1.0), 0.0)
    mass[:, -1] += 1.0 - mass.sum(axis=1)
    survival = np.clip(1.0 - np.cumsum(mass[:, :-1], axis=1), 0.0, 1.0)
    return grid, np.minimum.accumulate(survival, axis=1)


def surplus(worth, bids, grid, survival):
    """What each bid leaves."""
    return np.array([(worth - bid) * win_probability(bid, 0, grid, survival) for bid in np.atleast_1d(bids)])


def brute_force(worth, grid, survival, parts=400):
    """The most that any of many bids leaves: every price of the grid, and many between."""
    ends = np.concatenate([[0.0], grid.astype(np.float64)])
    between = (ends[:-1, None] + np.diff(ends)[:, None] * np.arange(1, parts + 1) / parts).ravel()
    points = np.concatenate([[0.0], grid, np.minimum(between, worth), [worth]])
    chance = np.interp(points, ends, np.concatenate([[0.0], 1.0 - survival[0]]))
    return float(((worth - points) * chance).max())


@settings(max_examples=150)
@given(curves(), st.lists(st.floats(1e-3, 3.0), min_size=1, max_size=6))
def test_the_bid_leaves_what_brute_force_finds(found, factors):
    grid, survival = found
    survival = survival[:1]
    starts, worths, segments = envelopes_of(grid, survival)
    for factor in factors:
        worth = float(grid[-1]) * factor
        bid = shaded_bid(worth, 0, starts, worths, segments, grid, survival)
        best = brute_force(worth, grid, survival)
        if starts[1] == 0:
            assert np.isnan(bid)
            assert best == 0.0
            continue
        assert 0.0 <= bid <= worth
        assert surplus(worth, bid, grid, survival)[0] >= best * (1.0 - BOUND)


@settings(max_examples=100)
@given(curves())
def test_bids_rise_with_what_a_win_is_worth(found):
    grid, survival = found
    tables = envelopes_of(grid, survival)
    for stratum in range(len(survival)):
        if tables[0][stratum] == tables[0][stratum + 1]:
            continue
        bids = [
            shaded_bid(worth, stratum, *tables, grid, survival)
            for worth in np.geomspace(1, 3 * grid[-1], 200)
        ]
        # A vertex is a difference of large numbers: its rounding is far below a whole nano.
        assert (np.diff(bids) >= -1e-6).all()


@settings(max_examples=60)
@given(curves(), st.floats(0.01, 3.0), st.integers(0, 20_000_000))
def test_a_floor_that_leaves_something_is_bid(found, factor, floor):
    grid, survival = found
    tables = envelopes_of(grid, survival)
    most = float(grid[-1]) * factor
    free = shaded_bid(most, 0, *tables, grid, survival)
    bid = shaded_worth(most, 0.7 * most, floor, 0, *tables, grid, survival)
    wish = 0.7 * most if np.isnan(free) else free
    assert bid == (float(floor) if wish < floor < most else wish)


def test_a_smooth_law_gives_its_known_best_bid():
    """Prices even from 0 to 1: half of the value is bid, and no more than all of the range."""
    grid = np.linspace(10_000, 1_000_000, 100).astype(np.int64)
    survival = (1.0 - grid / 1_000_000)[None]
    tables = envelopes_of(grid, survival)
    for worth, best in ((400_000.0, 200_000.0), (1_234_567.0, 617_283.5), (3_000_000.0, 1_000_000.0)):
        assert shaded_bid(worth, 0, *tables, grid, survival) == pytest.approx(best, rel=1e-9)


def test_a_price_that_repeats_is_bid_to_the_micro():
    """All rivals at one price: the bid is that price as soon as the win is worth more, and loses below."""
    grid = np.array([100, 499_999, 500_000, 900_000], dtype=np.int64)
    survival = np.array([[1.0, 1.0, 0.0, 0.0]])
    tables = envelopes_of(grid, survival)
    assert shaded_bid(500_100.0, 0, *tables, grid, survival) == 500_000.0
    assert shaded_bid(5e9, 0, *tables, grid, survival) == 500_000.0
    assert shaded_bid(400_000.0, 0, *tables, grid, survival) == 400_000.0
    assert shaded_bid(499_999.5, 0, *tables, grid, survival) < 500_000.0


def test_nothing_is_known_of_values_that_are_none():
    grid, survival = np.array([5, 9], dtype=np.int64), np.array([[0.5, 0.0]])
    tables = envelopes_of(grid, survival)
    for worth in (np.nan, 0.0, -3.0):
        assert np.isnan(shaded_bid(worth, 0, *tables, grid, survival))
