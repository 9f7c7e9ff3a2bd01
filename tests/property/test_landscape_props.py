"""Whatever the bids: curves stay within [0, 1], rise with the bid, and do not ask in which order rows came."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.landscape.counts import empty_counts
from models.landscape.curves import landscape_of
from models.landscape.grid import price_grid
from models.landscape.strata import Strata, Stratum
from tests.support.landscapes import naive_product_limit, seen

GRID = price_grid(10, 5000, 64)
TREE = Strata(
    ("a", "b"),
    (),
    tuple(Stratum(path, parent, 0) for path, parent in (((), 0), (("x",), 0), (("y",), 0), (("x", "z"), 1))),
)
price = st.integers(1, 9000)
row = st.tuples(
    price, price, st.booleans(), st.integers(0, 3), st.integers(0, 1000), st.sampled_from([0.5, 1.0, 3.0])
)
rows = st.lists(row, min_size=1, max_size=60)


def counted(found, half_life_ns=None, parts=1):
    z, bid, first, place, at, weight = (np.array(column) for column in zip(*found, strict=True))
    counts = empty_counts(GRID, len(TREE), half_life_ns)
    for part in np.array_split(np.arange(len(found)), parts):
        counts.update(
            seen(z[part], bid[part], first_price=first[part], weight=weight[part], at_ns=at[part]),
            place[part],
        )
    return counts


@given(rows, st.sampled_from([0.0, 5.0, 100.0]))
@settings(max_examples=150)
def test_curves_rise_with_the_bid_and_stay_in_their_bounds(found, shrinkage):
    landscape = landscape_of(counted(found), TREE, shrinkage)
    bids = np.sort(
        np.concatenate([[0.0, 1.0, 5.0, 1e9], GRID, np.random.default_rng(1).uniform(0, 9000, 50)])
    )
    for place in range(len(TREE)):
        chance, paid = landscape.win_probability(bids, place), landscape.mean_price(bids, place)
        assert ((chance >= 0) & (chance <= 1)).all()
        assert (np.diff(chance) >= -1e-12).all()
        assert (np.diff(paid) >= -1e-9 * paid[1:]).all()
        assert (paid <= bids + 1e-9 * bids).all()


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_order_of_rows_changes_nothing(found, random):
    mixed = list(found)
    random.shuffle(mixed)
    one, two = (landscape_of(counted(order), TREE) for order in (found, mixed))
    np.testing.assert_allclose(one.survival, two.survival, atol=1e-9)
    np.testing.assert_allclose(one.expected_price, two.expected_price, rtol=1e-9)


@given(rows, st.integers(1, 5), st.sampled_from([None, 100, 10**6]))
@settings(max_examples=100)
def test_updates_in_parts_are_one_update(found, parts, half_life_ns):
    whole, split = counted(found, half_life_ns), counted(found, half_life_ns, parts)
    assert whole.at_ns == split.at_ns
    for name in ("exact", "price_sum", "above", "below"):
        np.testing.assert_allclose(getattr(split, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)), min_size=1, max_size=40))
@settings(max_examples=100)
def test_on_points_of_the_grid_it_is_the_product_limit_by_hand(pairs):
    z, bid = GRID[[a for a, _ in pairs]], GRID[[b for _, b in pairs]]
    counts = empty_counts(GRID, 1)
    counts.update(seen(z, bid), np.zeros(len(pairs), dtype=np.int64))
    found = landscape_of(counts, Strata((), (), (Stratum((), 0, 0),)))
    times, died = np.minimum(z, bid).tolist(), (z <= bid).tolist()
    expected = [naive_product_limit(times, died, at) for at in GRID.tolist()]
    np.testing.assert_allclose(found.survival[0], expected, atol=1e-12)
