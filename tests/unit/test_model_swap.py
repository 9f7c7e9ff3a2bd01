"""A promotion in a registry while requests run: none is lost, the new model decides, and a replay repeats it all."""

import asyncio
import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from bidder.core.messages import BID_RESPONSES
from bidder.core.settings import EngineSettings
from bidder.errors import InputError
from bidder.runtime.renewal import ModelFolder
from bidder.store.journal import ModelChange, read_journal
from bidder.store.model import load_model, model_mark
from bidder.store.model_apart import load_model_apart
from bidder.store.seat import JOURNAL, open_journal
from models.compile import compile_bundle
from models.errors import ArtifactError
from models.registry import ModelRegistry
from models.scorer import check_table
from simulator.replay import replay_journal
from tests.support import factories as make
from tests.support.bundles import make_bundle
from tests.unit.test_renewal import Running, running

SETTINGS = EngineSettings()


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """Two models with other scores; the first decides."""
    made = ModelRegistry(tmp_path / "registry")
    for seed, ctr in ((1, 0.002), (2, 0.004)):
        made.add(make_bundle(tmp_path / str(seed), seed, probability=(0.001, ctr)).path, "made")
        if seed == 1:
            made.promote(made.models()[0].hash, "the first")
    return made


def folder_of(registry: ModelRegistry) -> ModelFolder:
    return ModelFolder(registry.path, load_model, model_mark, model_mark(registry.path), 0.01)


async def keep_asking(it: Running, stop: asyncio.Event) -> None:
    while not stop.is_set():
        it.ask(8, external=None)
        await it.until(requests=it.asked - 64)
        await asyncio.sleep(0)


async def test_promotions_and_a_rollback_while_requests_run(registry: ModelRegistry, tmp_path: Path) -> None:
    first = registry.hash_of("champion")
    second = next(kept.hash for kept in registry.models() if kept.status == "candidate")
    folder, stop = tmp_path / "run", asyncio.Event()
    model = load_model(registry.path)
    with open_journal(folder, SETTINGS, make.KEY, model, make.START) as journal:
        async with running(journal, settings=SETTINGS, model=model, models=folder_of(registry)) as it:
            asking = asyncio.create_task(keep_asking(it, stop))
            await it.until(requests=100)
            for turn, change in enumerate(
                (
                    lambda: registry.promote(second, "better"),
                    lambda: registry.rollback("worse after all"),
                ),
                start=1,
            ):
                await asyncio.to_thread(change)
                await it.until(models=turn)
                await it.until(requests=it.asked + 100)
            stop.set()
            await asking
            await it.until(requests=it.asked)
            decisions = it.decisions()
            answers = Counter(
                orjson.loads(one.value)["id"] for one in it.bus.log(BID_RESPONSES)[0] if one.value
            )
    asked = [f"r{number}" for number in range(1, it.asked + 1)]
    assert [row["request_id"] for row in decisions] == asked
    assert answers == Counter(asked)
    named = [row.get("model") for row in decisions if row["reason"] == 0]
    runs = [name for place, name in enumerate(named) if place == 0 or named[place - 1] != name]
    assert runs == [each[:12] for each in (first, second, first)]
    assert it.renewal.refused_models == 0
    changes = [entry.hash for entry in read_journal(folder / JOURNAL) if isinstance(entry, ModelChange)]
    assert changes == [second, first]
    assert replay_journal(folder / JOURNAL, [registry.path], make.KEY).identical


async def test_a_damaged_champion_is_refused_and_the_model_before_goes_on(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    first = registry.hash_of("champion")
    second = next(kept.hash for kept in registry.models() if kept.status == "candidate")
    model = load_model(registry.path)
    (registry.path / second / "ctr.txt").write_text("not what it was")
    async with running(settings=SETTINGS, model=model, models=folder_of(registry)) as it:
        # By hand: `promote` would refuse it.
        (registry.path / "champion").write_text(f"{second}\n")
        async with asyncio.timeout(20):
            while not it.renewal.refused_models:  # noqa: ASYNC110 - a count tells nobody
                await asyncio.sleep(0.005)
        assert "ctr.txt must have sha256" in it.renewal.last_refusal
        assert it.worker.engine.model_hash == first
        it.ask(5, external=None)
        await it.until(requests=5)


async def test_a_replay_asks_a_registry_for_what_is_in_it_only(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    other = load_model(make_bundle(tmp_path / "other", 3).path)
    with open_journal(tmp_path / "run", SETTINGS, make.KEY, other, make.START):
        pass
    with pytest.raises(InputError, match=f"must be {other.hash[:12]}"):
        replay_journal(tmp_path / "run" / JOURNAL, [registry.path], make.KEY)


def test_a_model_from_another_process_is_the_same(registry: ModelRegistry) -> None:
    here, there = load_model(registry.path), load_model_apart(registry.path)
    assert (here.hash, here.spec.hash) == (there.hash, there.spec.hash)
    for name in here.table.__dataclass_fields__:
        one, two = getattr(here.table, name), getattr(there.table, name)
        assert (one.tobytes(), one.dtype, one.shape) == (two.tobytes(), two.dtype, two.shape)
        assert two.flags.c_contiguous


def test_what_is_wrong_with_a_model_is_said_across_processes(registry: ModelRegistry) -> None:
    (registry.resolve() / "spec.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"spec\.json must have sha256"):
        load_model_apart(registry.path)


def test_a_process_that_is_killed_is_a_refusal(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bidder.store.model_apart._load", _end)
    with pytest.raises(ChildProcessError, match="which did not end well"):
        load_model_apart(registry.path)


def _end(_: str) -> None:
    os._exit(9)


def test_a_process_that_cannot_be_started_is_a_refusal(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("multiprocessing.context.BaseContext.Pipe", full)
    with pytest.raises(ChildProcessError, match="Too many open files"):
        load_model_apart(registry.path)


def test_a_process_that_hangs_is_killed(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.store.model_apart._load", _hang)
    monkeypatch.setattr("bidder.store.model_apart.LONGEST_S", 0.2)
    before = set(multiprocessing.active_children())
    with pytest.raises(ChildProcessError, match=r"took longer than 0\.2 s"):
        load_model_apart(registry.path)
    assert set(multiprocessing.active_children()) == before


def _hang(_: str) -> None:
    time.sleep(600)


def test_a_model_that_lightgbm_does_not_read_is_refused(registry: ModelRegistry) -> None:
    bundle = registry.bundle()
    texts = [text.replace("objective=binary", "objective=nonsense") for text in bundle.texts.values()]
    with pytest.raises(ArtifactError, match=r"model 0 must be one that LightGBM reads, is not \(.*nonsense"):
        check_table(compile_bundle(bundle), texts)
