"""Moves between campaigns under way: what is proposed of what stands, and why not."""

import pytest

from bidder.core.portfolio_live import CENT_NANOS, LiveRules, Standing, propose

S = 10**9
DAY = 86_400 * S
RICH = {"multiplier": 0.25, "window_value": 600 * S}
"""Money brings 4 at the margin: it lacks money."""
POOR = {"multiplier": 0.8, "window_value": 180 * S}
"""Money brings 1.25 at the margin."""


def standing(name: str, **changes: object) -> Standing:
    """A campaign half way through: 1000 of 2000 left for ten days, 100 spent a day."""
    fields: dict[str, object] = {
        "name": name, "budget": 2_000 * S, "spent": 1_000 * S, "rest_ns": 10 * DAY, "window_ns": DAY,
        "window_spend": 100 * S, "window_value": 200 * S, "multiplier": 0.5,
    }  # fmt: skip
    return Standing(**(fields | changes))  # type: ignore[arg-type]


def test_money_goes_to_where_the_next_unit_brings_more_and_a_step_at_a_time() -> None:
    found = propose([standing("poor", **POOR), standing("rich", **RICH)])
    poor, rich = found.moves
    assert (poor.before, poor.after) == (1_000 * S, 900 * S)
    assert (rich.before, rich.after) == (1_000 * S, 1_100 * S)
    assert poor.return_before == pytest.approx(1.25, rel=0.03)
    assert rich.return_before == pytest.approx(4.0, rel=0.03)
    assert poor.return_after > 1.25
    assert rich.return_after < 4.0
    assert rich.stopped == "at its largest: at most 10% at once"
    assert found.gain == pytest.approx(poor.gain + rich.gain)
    assert found.gain > 0 > poor.gain
    standings = [standing("poor", **POOR), standing("rich", **RICH)]
    assert found.budgets(standings) == {"poor": 1_900 * S, "rich": 2_100 * S}


def test_moves_are_of_whole_cents_and_sum_to_nothing() -> None:
    standings = [
        standing("a", **POOR, budget=2_000 * S + 7),
        standing("b", **RICH, budget=1_777_777_777_777),
        standing("c", multiplier=0.3, budget=1_500_000_000_001),
    ]
    found = propose(standings)
    assert sum(move.after - move.before for move in found.moves) == 0
    assert all((move.after - move.before) % CENT_NANOS == 0 for move in found.moves)
    assert any(move.after != move.before for move in found.moves)


def test_a_small_campaign_takes_of_a_large_one() -> None:
    """What is little to the one that gives is much to the one that takes."""
    found = propose([standing("large", **POOR), standing("small", **RICH, spent=1_980 * S)])
    assert [move.after - move.before for move in found.moves] == [-2 * S, 2 * S]


def test_a_part_that_is_a_crumb_of_what_moves_is_left_out() -> None:
    tiny = standing("tiny", **RICH, spent=1_990 * S)
    found = propose([standing("poor", **POOR), standing("rich", **RICH), tiny])
    assert found.moves[2].after == found.moves[2].before
    assert found.moves[2].stopped == "its part would be less than 2% of what moves"
    assert found.moves[1].after > found.moves[1].before


def test_one_who_will_not_use_its_money_gives_what_it_does_not_need() -> None:
    idle = standing("idle", multiplier=1.0, window_spend=50 * S, window_value=100 * S)
    found = propose([idle, standing("rich", **RICH)])
    assert found.moves[0].after == 900 * S
    assert found.moves[0].gain == 0.0


def test_one_who_will_not_use_its_money_takes_none() -> None:
    idle = standing("idle", multiplier=1.0, window_spend=50 * S, window_value=900 * S)
    found = propose([idle, standing("poor", multiplier=0.97, window_value=100 * S)])
    assert found.moves[0].after <= found.moves[0].before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frozen": "frozen"}, "frozen"),
        ({"spent": 2_000 * S}, "its money is spent"),
        ({"rest_ns": DAY // 2}, "its flight ends soon"),
        ({"multiplier": None}, "no seat has told its multiplier"),
        ({"window_spend": 0, "window_value": 0}, "it has not spent lately"),
        ({"moved": 1, "moved_ago_ns": DAY // 2}, "it moved lately"),
    ],
)
def test_a_campaign_of_which_too_little_is_known_stays_and_says_why(
    changes: dict[str, object], said: str
) -> None:
    found = propose([standing("poor", **POOR), standing("rich", **(RICH | changes))])
    assert found.hold == "fewer than two campaigns are free to move"
    assert found.moves[1].stopped == said
    assert found.moves[1].before == found.moves[1].after


@pytest.mark.parametrize(("way", "ago_days", "moves"), [(1, 2, True), (-1, 2, False), (-1, 4, True)])
def test_who_gave_lately_does_not_take(way: int, ago_days: int, moves: bool) -> None:
    rich = standing("rich", **RICH, moved=way, moved_ago_ns=ago_days * DAY)
    found = propose([standing("poor", **POOR), rich])
    assert (found.moves[1].after > found.moves[1].before) == moves


def test_returns_that_are_nearly_even_are_left_alone() -> None:
    found = propose([standing("a", multiplier=0.5), standing("b", multiplier=0.47)])
    assert found.hold == "no return is 10% from the mean of all"
    assert found.gain == 0.0


def test_a_gain_that_is_too_small_is_left_alone() -> None:
    rules = LiveRules(least_gain=0.5)
    found = propose([standing("poor", **POOR), standing("rich", **RICH)], rules)
    assert "less than 50.000%" in found.hold


def test_budgets_that_somebody_wants_are_kept() -> None:
    standings = [standing("poor", **POOR, least=1_950 * S), standing("rich", **RICH, most=2_020 * S)]
    found = propose(standings)
    assert found.budgets(standings) == {"poor": 1_980 * S, "rich": 2_020 * S}
    assert found.moves[1].stopped == "at its largest: largest budget"


def test_a_wish_that_is_broken_already_moves_nothing() -> None:
    """A budget above what somebody wants is theirs to lower; it does not take, and gives as any other."""
    found = propose([standing("poor", **POOR), standing("rich", **RICH, most=1_500 * S)])
    assert found.moves[1].after == found.moves[1].before


def test_nobody_and_one_campaign_hold() -> None:
    assert propose([]).hold == propose([standing("a")]).hold == "fewer than two campaigns are free to move"
