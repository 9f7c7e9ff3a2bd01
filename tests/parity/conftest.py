"""Runs that left a journal: on virtual time and embedded, with scores from outside and with a model."""

from pathlib import Path

import pytest
import uvloop

from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.store.model import load_model
from models.dataset import read_table
from models.schema import DEFAULT_DECLARATIONS
from models.train import train_bundle
from simulator.demo.embedded import run_embedded
from simulator.demo.inprocess import Faults, run_in_process
from simulator.demo.plan import Plan, synthetic_plan
from simulator.exchange.delays import LogNormalDelay
from simulator.logs.training import write_training_table
from tests.support.playing import KEY, S, scored_plan

ROWS = 500


@pytest.fixture(scope="session")
def scored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On virtual time, batches of some requests, notices lost and twice, one restart: two journals."""
    folder = tmp_path_factory.mktemp("scored")
    plan = scored_plan(7, ROWS, 40.0, S // 20)
    faults = Faults(loss_share=0.1, duplicate_share=0.2, restarts_ns=(plan.start_ns + 8 * S,))
    latency = LogNormalDelay(0.1, 0.5, 0.2)
    run_in_process(plan, None, folder, KEY, patience_s=2.0, latency=latency, faults=faults)
    return folder


@pytest.fixture(scope="session")
def market() -> Plan:
    return synthetic_plan(seed=3, training_rows=3_000, rows=ROWS)


@pytest.fixture(scope="session")
def table(market: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert market.training is not None
    path = tmp_path_factory.mktemp("table") / "training.parquet"
    settings = EngineSettings(currency=market.currency)
    write_training_table(market.training(), market.campaigns, market.encoder(), settings, path)
    return path


def trained(table: Path, directory: Path, seed: int) -> Model:
    train_bundle(read_table(table, DEFAULT_DECLARATIONS), DEFAULT_DECLARATIONS, directory, seed=seed)
    return load_model(directory)


@pytest.fixture(scope="session")
def other_model(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that served no run."""
    directory = tmp_path_factory.mktemp("other") / "model"
    trained(table, directory, seed=2)
    return directory


@pytest.fixture(scope="session")
def virtual_run(market: Plan, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On virtual time, with a model."""
    folder = tmp_path_factory.mktemp("virtual")
    model = trained(table, folder / "model", seed=1)
    run_in_process(market, model, folder, KEY, patience_s=1_800.0, tick_s=120.0)
    return folder


@pytest.fixture(scope="session")
def embedded_run(market: Plan, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Over the embedded broker, with a model; a day in about a second."""
    folder = tmp_path_factory.mktemp("embedded")
    model = trained(table, folder / "model", seed=1)
    uvloop.run(run_embedded(market, model, folder, KEY, 100_000.0, lambda run: None))
    return folder


@pytest.fixture(params=["scored_run", "virtual_run", "embedded_run"])
def run(request: pytest.FixtureRequest) -> Path:
    """Each run in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder
