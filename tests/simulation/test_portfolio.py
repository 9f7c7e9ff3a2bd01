"""A live portfolio over virtual days: more value than the split that nobody moves, and no money to and fro."""

import numpy as np
import pytest

from bidder.core.portfolio_live import LiveRules
from tests.support.virtual_days import DAY_NS, Account

SEEDS = range(10)
RULES = LiveRules()


@pytest.mark.parametrize("seed", SEEDS)
def test_values_that_drift_bring_no_less_than_the_split_that_nobody_moves(seed: int) -> None:
    account = Account(seed)
    moved, unmoved = account.live(RULES), account.live(None)
    assert moved.value >= unmoved.value
    assert (moved.budgets.sum(axis=1) == account.start.sum()).all()
    assert (moved.spent_by <= moved.budgets[-1]).all()


def test_on_the_whole_moving_pays() -> None:
    gains = [Account(seed).live(RULES).value / Account(seed).live(None).value - 1.0 for seed in range(20, 30)]
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_no_campaign_turns_before_its_time(seed: int) -> None:
    directions = Account(seed).live(RULES).directions
    settle = RULES.settle_ns // DAY_NS
    for ways in directions.T:
        days = np.flatnonzero(ways)
        turns = np.diff(ways[days]) != 0
        assert (np.diff(days)[turns] >= settle).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_drifts_moves_come_to_an_end(seed: int) -> None:
    """What still moves after three weeks answers the noise in what is told: little, and on few days."""
    found = Account(seed, drift=0.0, days=60).live(RULES)
    moved = np.abs(np.diff(found.budgets, axis=0)).sum(axis=1)
    assert moved[20:].sum() < 0.25 * moved[:20].sum()
    assert (moved[20:] > 0).sum() <= 6


def test_campaigns_that_are_alike_share_no_money() -> None:
    for seed in SEEDS:
        found = Account(seed, drift=0.0, alike=True).live(RULES)
        assert (found.budgets == found.budgets[0]).all()
        assert all("from the mean of all" in hold or "fewer than two" in hold for hold in found.holds)


def test_without_rules_against_it_the_same_account_passes_money_to_and_fro() -> None:
    """The negative control: what the rules are for happens where there are none."""
    wild = LiveRules(step=0.5, edge=0.0, least_gain=0.0, least_part=0.0, pause_ns=0, settle_ns=0)
    calm = [Account(seed, drift=0.0).live(RULES).directions for seed in range(4)]
    loose = [Account(seed, drift=0.0).live(wild).directions for seed in range(4)]

    def turns(found: list[np.ndarray]) -> int:
        return sum(int((np.diff(ways[ways != 0]) != 0).sum()) for each in found for ways in each.T)

    assert turns(loose) > 5 * max(turns(calm), 1)
