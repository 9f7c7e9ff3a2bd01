"""A run whose conversions a model values: its journal is replayed to the byte, its export has what was served."""

from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import msgspec
import numpy as np
import pytest
import uvloop

from bidder.core.campaigns import Goal
from bidder.errors import InputError
from bidder.store.model import load_model
from bidder.store.seat import JOURNAL
from models.artifact import ModelBundle, save_bundle
from models.dataset import read_table
from models.schema import DEFAULT_DECLARATIONS
from models.train import train_bundle
from models.value import ValueModel, ValueTable
from simulator.demo.embedded import run_embedded
from simulator.demo.plan import Plan
from simulator.export.run import export_run, source_of
from simulator.replay import replay_journal
from tests.support.exporting import DECLARATIONS
from tests.support.playing import KEY


@pytest.fixture(scope="module")
def bundle(table: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Trained models with a value that differs by hour, size and campaign, about 5 units."""
    folder = tmp_path_factory.mktemp("valued")
    rows = read_table(table, DEFAULT_DECLARATIONS)
    trained = train_bundle(rows, DEFAULT_DECLARATIONS, folder / "plain", seed=1)
    x = trained.spec.encode_table(rows.columns)
    params = {"objective": "regression", "verbose": -1, "num_leaves": 8, "num_threads": 1, "seed": 1}
    target = np.sin(x.sum(axis=1))
    text = lgb.train(params, lgb.Dataset(x, target), num_boost_round=20).model_to_string()
    value = ValueModel(str(text), None, ValueTable(kind="gamma", scale_nanos=5e9))
    manifest, spec = trained.manifest, trained.spec
    return save_bundle(folder / "model", manifest, spec, trained.texts, trained.calibration, value)


@pytest.fixture(scope="module")
def valued_run(market: Plan, bundle: ModelBundle) -> Path:
    """Over the embedded broker; campaigns that pay for conversions leave their value to the model."""
    campaigns = {}
    for name, one in market.campaigns.items():
        by_model = one.goal is Goal.CONVERSION
        # One of them spends by a target return.
        roas_ppm = 1_500_000 if by_model and not campaigns else 0
        campaigns[name] = msgspec.structs.replace(
            one, value_source="model" if by_model else "stated", target_roas_ppm=roas_ppm
        )
    plan, model = replace(market, campaigns=campaigns), load_model(bundle.path)
    uvloop.run(run_embedded(plan, model, bundle.path.parent, KEY, 100_000.0, lambda run: None))
    return bundle.path.parent


def test_a_run_by_the_model_of_value_is_replayed_to_the_byte(valued_run: Path) -> None:
    found = replay_journal(valued_run / JOURNAL, [valued_run / "model"], KEY)
    assert found.identical
    assert found.same == found.calls > 40


def test_another_value_is_another_model(valued_run: Path, bundle: ModelBundle, tmp_path: Path) -> None:
    assert bundle.value is not None
    other = msgspec.structs.replace(bundle.value.table, scale_nanos=5.1e9)
    saved = save_bundle(
        tmp_path / "other", bundle.manifest, bundle.spec, bundle.texts, bundle.calibration,
        replace(bundle.value, table=other),
    )  # fmt: skip
    with pytest.raises(InputError, match=f"must be {bundle.hash[:12]}, was {saved.hash[:12]}"):
        replay_journal(valued_run / JOURNAL, [saved.path], KEY)


def test_the_bundle_says_of_an_exported_row_what_it_said_of_the_bid(
    valued_run: Path, bundle: ModelBundle, market: Plan, tmp_path: Path
) -> None:
    """Trained on a row it would learn from the very features that it was served, and say the very same."""
    assert bundle.value is not None
    export_run(source_of(valued_run), tmp_path / "bids.parquet", with_lost=True)
    exported = read_table(tmp_path / "bids.parquet", DECLARATIONS, lost=True)
    served = np.asarray(exported.extras["conversion_value_nanos"])
    asked = ~np.isnan(served)
    stated = np.array([market.campaigns[str(name)].value_nanos for name in exported.columns["campaign"]])
    predicted = bundle.value.nanos(bundle.spec.encode_table(exported.columns))
    bounded = np.clip(predicted, stated // 10, stated * 10).astype(np.int64)
    assert served[asked].tolist() == bounded[asked].tolist()
    assert len(set(served[asked].tolist())) > 10
    goals = [market.campaigns[str(name)].goal is Goal.CONVERSION for name in exported.columns["campaign"]]
    assert asked.tolist() == goals
