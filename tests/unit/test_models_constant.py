"""The model that knows nothing: the same probabilities wherever it is asked."""

import orjson
import pytest

from bidder.core.campaigns import Goal
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from models.constant import constant_model
from models.errors import ArtifactError
from tests.support import factories as make
from tests.support.factories import Offer

SETTINGS = EngineSettings()


@pytest.mark.parametrize("goal", [Goal.CLICK, Goal.CONVERSION, Goal.VALUE])
def test_every_opportunity_has_the_stated_probabilities(goal: Goal) -> None:
    model = Model.of(*constant_model(0.02, 0.5))
    engine = make.engine([make.campaign(goal=goal)], settings=SETTINGS, model=model)
    offers = [Offer(id="a", region="CA", external=None), Offer(id="b", exchange="one", external=None)]
    for row in make.decide(engine, *map(make.body, offers)):
        assert (row["pctr"], row.get("pcvr", 0.0)) == (0.02, 0.0 if goal is Goal.CLICK else 0.5)


def test_models_of_other_probabilities_have_other_hashes() -> None:
    hashes = {constant_model(*pair)[2] for pair in ((0.1, 0.2), (0.2, 0.1), (0.1, 0.1))}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("ctr", "cvr", "named"), [(-0.1, 0.5, "ctr"), (0.1, 1.5, "cvr"), (float("nan"), 0, "ctr")]
)
def test_what_is_no_probability_is_refused(ctr: float, cvr: float, named: str) -> None:
    with pytest.raises(ArtifactError, match=named):
        constant_model(ctr, cvr)


def test_the_hash_stands_in_decisions() -> None:
    spec, table, name = constant_model(0.02, 0.5)
    engine = make.engine(settings=SETTINGS, model=Model.of(spec, table, name))
    (row,) = make.decide(engine, make.body(Offer(external=None)))
    assert row["model"] == name[:12]
    assert orjson.loads(spec.to_json())["features"]
