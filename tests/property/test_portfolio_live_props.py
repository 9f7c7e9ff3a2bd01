"""Proposals for campaigns under way: whatever stands, what is proposed is bounded, exact and no loss by its model."""

from hypothesis import given
from hypothesis import strategies as st

from bidder.core.portfolio_live import CENT_NANOS, LiveRules, Standing, propose

DAY = 86_400 * 10**9
MONEY = st.integers(0, 10**16)
RULES = LiveRules()
STANDINGS = st.builds(
    Standing,
    name=st.just("c"),
    budget=st.integers(1, 10**16),
    spent=MONEY,
    rest_ns=st.integers(0, 90 * DAY),
    window_ns=st.integers(0, 7 * DAY),
    window_spend=MONEY,
    window_value=MONEY,
    multiplier=st.one_of(st.none(), st.just(1.0), st.floats(1e-6, 1.0)),
    least=MONEY,
    most=st.integers(0, 2**62),
    frozen=st.sampled_from(["", "", "frozen"]),
    moved=st.sampled_from([-1, 0, 1]),
    moved_ago_ns=st.integers(0, 10 * DAY),
)


def named(standings: list[Standing]) -> list[Standing]:
    return [one._replace(name=f"c{place}") for place, one in enumerate(standings)]


@given(st.lists(STANDINGS, max_size=6).map(named))
def test_a_proposal_moves_what_there_is_within_its_bounds_and_loses_nothing(
    standings: list[Standing],
) -> None:
    found = propose(standings)
    moved = {one.name: move.after - move.before for one, move in zip(standings, found.moves, strict=True)}
    assert sum(moved.values()) == 0
    whole = sum(abs(more) for more in moved.values()) / 2
    assert found.gain >= 0.0
    assert (found.gain > 0.0) == any(moved.values()) == (not found.hold)
    for one in standings:
        more = moved[one.name]
        assert more % CENT_NANOS == 0
        assert abs(more) <= one.left * RULES.step + 1
        assert more == 0 or abs(more) >= RULES.least_part * whole
        if one.frozen or one.multiplier is None or one.rest_ns < RULES.least_rest_ns:
            assert more == 0
        if more > 0:
            assert one.budget + more <= one.most
            assert not (one.moved < 0 and one.moved_ago_ns < RULES.settle_ns)
        if more < 0:
            assert one.budget + more >= max(one.least, one.spent)
            assert not (one.moved > 0 and one.moved_ago_ns < RULES.settle_ns)


@given(st.lists(STANDINGS, max_size=6).map(named))
def test_a_proposal_is_the_same_again(standings: list[Standing]) -> None:
    assert propose(standings) == propose(standings)
