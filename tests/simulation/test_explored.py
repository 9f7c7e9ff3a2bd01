"""The check by explored bids over worlds: quiet where the replay is right, loud where predictions are wrong."""

import numpy as np
import pytest

from simulator.estimate.doubly import Check, doubly_check
from simulator.estimate.study import PLAIN, Options, Study
from simulator.worlds.draw import world_of
from simulator.worlds.recipe import RECIPES
from simulator.worlds.world import World

SHARES = (0.5, 1.0, 2.0)
AUCTIONS, SEED = 20_000, 300


def checks(world: World, factor: float = 1.0, options: Options = PLAIN) -> list[Check]:
    """The check of each budget; predictions times a factor, at the same values and so the same bids."""
    log = world.log
    if factor != 1.0:
        log = log._replace(
            click=np.minimum(factor * log.click, 0.99), worth_nanos=np.rint(log.worth_nanos / factor).astype(np.int64)
        )  # fmt: skip
    study = Study(log, world.controller._replace(seed=world.seed + 1_000), options=options)
    lot = study.lot(np.ones(log.opportunities), 1)
    found = [doubly_check(study, lot, int(world.budget_nanos * share)) for share in SHARES]
    return [one for one in found if one is not None]


def deviations(worlds: list[World]) -> list[float]:
    return [one.deviations for world in worlds for one in checks(world) if one.deviations is not None]


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [world_of(RECIPES["second"], SEED + number, AUCTIONS) for number in range(10)]


def test_deviations_are_those_of_the_normal_law(worlds: list[World]) -> None:
    """Also at budgets far from the logged one, where a few heavy clicks decide."""
    found = deviations(worlds)
    assert len(found) > 2 * len(worlds)
    assert abs(np.mean(found)) < 4 / np.sqrt(len(found))
    assert 0.6 < np.std(found) < 1.45
    assert max(map(abs, found)) < 3.6


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "many", "within"), [("second", 150, 0.13), ("first", 24, 0.25)])
def test_deviations_are_those_of_the_normal_law_over_many_worlds(
    recipe: str, many: int, within: float
) -> None:
    found = deviations([world_of(RECIPES[recipe], SEED + number, 50_000) for number in range(many)])
    assert len(found) == 3 * many
    assert abs(np.mean(found)) < 4 / np.sqrt(len(found))
    assert abs(np.std(found) - 1.0) < within
    assert 0.02 < np.mean(np.abs(found) > 1.96) < (0.09 if many > 100 else 0.12)


def test_predictions_that_are_too_high_are_found_out(worlds: list[World]) -> None:
    """The negative control: uncorrected, and four times too high."""
    found = [checks(world, 4.0, Options(corrected=False))[1].deviations or 0.0 for world in worlds[:4]]
    assert max(found) < -1.5
    assert np.mean(found) < -3.0


def test_predictions_that_are_too_low_are_found_out() -> None:
    """The negative control: uncorrected, and a quarter of what they should be."""
    world = world_of(RECIPES["second"], SEED, 60_000)
    (_, logged, _) = checks(world, 0.25, Options(corrected=False))
    assert logged.deviations is not None
    assert logged.deviations > 3.0
    assert logged.doubly > 1.5 * logged.replayed


def test_too_few_clicks_give_no_verdict() -> None:
    world = world_of(RECIPES["second"], SEED, 6_000)
    at_half = checks(world)[0]
    assert at_half.effective < 2.0
    assert at_half.deviations is None
    assert at_half.error > 0.0
