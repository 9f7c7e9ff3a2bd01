"""Tables and models made beside the loop: requests go on, and a replay adopts where the worker did."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from bidder.core.campaigns import Cap, Goal, LineItem, Pacing, Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.exposures import Exposure
from bidder.core.messages import (
    BID_REQUESTS,
    CAMPAIGNS,
    CREATIVES,
    DECISIONS,
    EXPOSURES,
    LEASES,
    PROFILES,
    SETTLEMENTS,
    TOPICS,
    CampaignChange,
    encode,
)
from bidder.core.profiles import Profile
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings
from bidder.errors import InputError
from bidder.runtime.bus import Bus
from bidder.runtime.clock import SystemClock
from bidder.runtime.heap import settle_heap
from bidder.runtime.renewal import LONGEST_PAUSE_S, ModelFolder, Renewal, _Again
from bidder.runtime.transport import Message, Outbound
from bidder.runtime.worker import Worker
from bidder.runtime.worker_shell import PIECE_BYTES, WorkerShell, pieces
from bidder.store.journal import Adopt, JournalWriter, ModelChange, read_journal
from bidder.store.seat import JOURNAL, open_journal
from simulator.replay import replay_journal
from tests.support import factories as make
from tests.support.factories import FOREVER_NS, Offer, S, body, campaign, lease

RICH = 10_000 * S
ALWAYS = campaign(pacing=Pacing.ASAP, budget_nanos=RICH)
"""Bids on whatever it is asked."""
CHANGE = CampaignChange(version=1, campaign_id="c1", campaign=ALWAYS)
FIRST = (CAMPAIGNS, LEASES, SETTLEMENTS, CREATIVES)


def many(number: int, version: int, items: int = 100) -> CampaignChange:
    """A campaign of many line items, all of another country but the first."""
    own = tuple(
        LineItem(
            id=f"m{number:03d}-{place:03d}",
            targeting=Targeting(
                geo=Rule(include=("USA" if place == 0 else "DEU",)),
                domain=Rule(exclude=(f"d{place}.example",)),
            ),
        )
        for place in range(items)
    )
    one = campaign(f"m{number:03d}", line_items=own)
    return CampaignChange(version=version, campaign_id=one.id, campaign=one)


class Running:
    """A worker on a bus, and what it said."""

    def __init__(self, bus: Bus, worker: Worker, renewal: Renewal) -> None:
        self.bus, self.worker, self.renewal = bus, worker, renewal
        self.asked = 0

    def put(self, topic: str, *values: bytes) -> None:
        self.bus.sink().put([Outbound(topic, None, value, 0) for value in values])

    def ask(self, count: int = 1, user: str = "", external: tuple[str, float] | None = ("c1", 0.001)) -> None:
        bodies = []
        for _ in range(count):
            self.asked += 1
            # Time enough for a machine that is busy: what is too late would be no bid.
            more = {"tmax": 60_000} | ({"user": {"buyeruid": user}} if user else {})
            bodies.append(body(Offer(id=f"r{self.asked}", external=external, more=more)))
        self.put(BID_REQUESTS, *bodies)

    async def until(self, *, requests: int = 0, tables: int = 0, models: int = 0) -> None:
        async with asyncio.timeout(60):
            while (  # noqa: ASYNC110 - a count tells nobody
                self.worker.requests < requests
                or self.renewal.tables < tables
                or self.renewal.models < models
            ):
                await asyncio.sleep(0.005)

    def decisions(self) -> list[dict[str, object]]:
        return [orjson.loads(line) for one in self.bus.log(DECISIONS)[0] for line in one.value.splitlines()]


@asynccontextmanager
async def running(
    journal: JournalWriter | None = None,
    *,
    settings: EngineSettings = make.SETTINGS,
    model: Model | None = None,
    models: ModelFolder | None = None,
    before: dict[str, list[bytes]] | None = None,
) -> AsyncIterator[Running]:
    bus, clock, stop = Bus(dict.fromkeys(TOPICS, 1)), SystemClock(), asyncio.Event()
    worker = Worker(Engine(settings, make.KEY, model, make.START), journal)
    renewal = Renewal(worker, clock, models)
    it = Running(bus, worker, renewal)
    it.put(CAMPAIGNS, encode(CHANGE))
    it.put(LEASES, encode(lease(bid_until_ns=FOREVER_NS, granted_nanos=RICH, budget_nanos=RICH)))
    for topic, values in (before or {}).items():
        it.put(topic, *values)
    shell = WorkerShell(
        worker,
        bus.source([BID_REQUESTS], "g"),
        bus.source(FIRST),
        bus.sink(),
        clock,
        history=bus.source((EXPOSURES, PROFILES)),
        renewal=renewal,
    )
    task = asyncio.create_task(shell.run(stop))
    try:
        yield it
    finally:
        stop.set()
        await asyncio.wait([task], timeout=20.0)
        assert task.done()
        task.result()


async def longest_stall(stop: asyncio.Event) -> float:
    """Seconds that the loop took at most for a turn, by the CPU time of the process.

    While the loop waits for the interpreter the other thread uses that time; while other processes have the machine
    nobody does, and nothing of ours could be quicker.
    """
    longest, last = 0.0, time.process_time()
    while not stop.is_set():
        await asyncio.sleep(0)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    return longest


@pytest.fixture
def served_heap() -> Iterator[None]:
    """The collector as a serving bidder has it."""
    thresholds = gc.get_threshold()
    settle_heap()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("served_heap")
async def test_ten_thousand_line_items_are_adopted_while_requests_flow(tmp_path: Path) -> None:
    """No request is lost, each bid names the table that it is of, and the loop is never held up for long."""
    folder = tmp_path / "run"
    with open_journal(folder, make.SETTINGS, make.KEY, None, make.START) as journal:
        async with running(journal) as it:
            it.ask(64)
            await it.until(requests=64)
            stop = asyncio.Event()
            watching = asyncio.create_task(longest_stall(stop))
            it.put(CAMPAIGNS, *(encode(many(number, 2 + number)) for number in range(100)))
            while len(it.worker.engine.table) < 10_001:
                it.ask(16)
                await it.until(requests=it.asked)
            it.ask(64)
            await it.until(requests=it.asked)
            stop.set()
            stall_s = await watching
            decisions = it.decisions()
    assert stall_s < 0.25, f"the loop was held up for {stall_s * 1e3:.0f} ms"
    assert [row["request_id"] for row in decisions] == [f"r{n}" for n in range(1, it.asked + 1)]
    versions = [row["table_version"] for row in decisions]
    assert versions == sorted(versions)
    assert (versions[0], versions[-1]) == (1, 101)
    assert replay_journal(folder / JOURNAL, [], make.KEY).identical


async def test_changes_that_come_while_a_table_is_made_start_another() -> None:
    async with running() as it:
        await it.until(tables=1)
        it.put(CAMPAIGNS, *(encode(many(number, 2 + number, 50)) for number in range(5)))
        async with asyncio.timeout(30):
            while it.worker.engine.table.version < 6:  # noqa: ASYNC110 - a table tells nobody
                await asyncio.sleep(0.005)
        assert len(it.worker.engine.table) == 251
        assert it.renewal.tables <= 6


async def test_an_adoption_stands_in_the_journal_behind_the_changes_that_it_knows(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "j", {}) as journal:
        async with running(journal) as it:
            await it.until(tables=1)
            it.put(CAMPAIGNS, encode(many(1, 2, 3)))
            await it.until(tables=2)
    entries = list(read_journal(tmp_path / "j"))
    adoptions = [entry for entry in entries if isinstance(entry, Adopt)]
    assert [entry.controls for entry in adoptions] == sorted({entry.controls for entry in adoptions})
    assert adoptions[-1].controls == it.worker.adopted_controls


def test_control_messages_are_applied_in_pieces_of_some_campaigns() -> None:
    large = [Message(CAMPAIGNS, 0, n, None, bytes(PIECE_BYTES // 2), 0) for n in range(5)]
    small = [Message(LEASES, 0, n, None, b"{}", 0) for n in range(500)]
    parts = list(pieces([*small, *large]))
    assert [message for part in parts for message in part] == [*small, *large]
    assert [len(part) for part in parts] == [502, 2, 1]


async def test_what_users_were_shown_before_the_start_counts_for_their_caps() -> None:
    """The log is read once the caps are known, and before requests are let in."""
    capped = campaign(caps=(Cap(impressions=1, seconds=3_600),), unknown_user="refuse")
    shown = Exposure(
        bid_id="A" * 16, user=make_user("u1"), line_item_id="c1", campaign_id="c1", advertiser="shop",
        at_ns=time.time_ns() - 60 * S,
    )  # fmt: skip
    change = CampaignChange(version=2, campaign_id="c1", campaign=capped)
    async with running(before={CAMPAIGNS: [encode(change)], EXPOSURES: [encode(shown)]}) as it:
        it.ask(user="u1")
        it.ask(user="u2")
        await it.until(requests=2)
        assert [row["reason"] == 0 for row in it.decisions()] == [False, True]


async def test_profiles_are_read_however_old_they_are() -> None:
    known = Profile(user=make_user("u1"), segments=("sport",), at_ns=1, expires_ns=FOREVER_NS)
    async with running(before={PROFILES: [encode(known)]}) as it:
        it.ask()
        await it.until(requests=1)
        assert len(it.worker.engine.gate.profiles) == 1


def make_user(buyeruid: str) -> str:
    """A user's key as messages carry it."""
    from bidder.core.users import key_text, user_key

    return key_text(user_key(buyeruid, (), None, None, "default"))


# -- models -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_models() -> tuple[Model, Model]:
    return replace(make.model(1), hash="a" * 64), replace(make.model(2), hash="b" * 64)


def folder_of(path: Path, models: dict[str, Model]) -> ModelFolder:
    """A directory whose `name` says which model is there; one that says `broken` cannot be loaded."""

    def load(directory: Path) -> Model:
        name = (directory / "name").read_text()
        if name not in models:
            raise InputError(f"model {directory} must be whole, was {name}")
        return models[name]

    return ModelFolder(path, load, lambda directory: (directory / "name").read_text(), "one", 0.01)


async def test_a_new_model_decides_from_its_adoption_on(
    tmp_path: Path, two_models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = two_models
    (tmp_path / "name").write_text("one")
    models = folder_of(tmp_path, {"one": one, "two": two})
    settings = EngineSettings()
    folder = tmp_path / "run"
    with open_journal(folder, settings, make.KEY, one, make.START) as journal:
        async with running(journal, settings=settings, model=one, models=models) as it:
            it.ask(50, external=None)
            await it.until(requests=50)
            (tmp_path / "name").write_text("two")
            await it.until(models=1)
            it.ask(50, external=None)
            await it.until(requests=100)
            named = [row.get("model") for row in it.decisions() if row["reason"] == 0]
    assert set(named) == {one.hash[:12], two.hash[:12]}
    assert named == sorted(named, key=[one.hash[:12], two.hash[:12]].index)
    changes = [entry for entry in read_journal(folder / JOURNAL) if isinstance(entry, ModelChange)]
    assert [entry.hash for entry in changes] == [two.hash]
    by_path = {Path("1"): one, Path("2"): two}
    monkeypatch.setattr("simulator.replay.load_model", lambda path, **_: by_path[path])
    assert replay_journal(folder / JOURNAL, [Path("2"), Path("1")], make.KEY).identical


async def test_line_items_whose_value_no_model_knows_are_named_once_for_each_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without, knowing = make.model(), replace(make.valued_model(), hash="c" * 64)
    (tmp_path / "name").write_text("without")
    models = folder_of(tmp_path, {"without": without, "knowing": knowing})
    wants = campaign("w1", goal=Goal.CONVERSION, value_source="model")
    change = CampaignChange(version=2, campaign_id="w1", campaign=wants)
    said = "does not know what conversions are worth, line items w1 want it: they bid by what they state"
    async with running(settings=EngineSettings(), model=without, models=models) as it:
        await it.until(tables=1)
        assert said not in caplog.text
        it.put(CAMPAIGNS, encode(change))
        await it.until(tables=2)
        it.put(CAMPAIGNS, encode(many(1, 3, 2)))
        await it.until(tables=3)
        assert caplog.text.count(said) == 1
        (tmp_path / "name").write_text("knowing")
        await it.until(models=1)
        assert it.worker.engine.values.known
        assert caplog.text.count(said) == 1
        (tmp_path / "name").write_text("without")
        await it.until(models=2)
        assert caplog.text.count(said) == 2


async def test_a_replay_wants_every_model_that_decided(
    tmp_path: Path, two_models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = two_models
    with open_journal(tmp_path, EngineSettings(), make.KEY, one, make.START) as journal:
        worker = Worker(Engine(EngineSettings(), make.KEY, one, make.START), journal)
        worker.on_control([Message(CAMPAIGNS, 0, 0, None, encode(CHANGE), 0)], 0)
        worker.adopt_model(two, two.own(worker.engine.table.lines), 1)
    monkeypatch.setattr("simulator.replay.load_model", lambda path, **_: {Path("1"): one}[path])
    with pytest.raises(InputError, match=r"must be b{12}, was a{12}; name it with --model"):
        replay_journal(tmp_path / JOURNAL, [Path("1")], make.KEY)


async def test_a_model_that_cannot_be_loaded_is_counted_and_the_old_one_goes_on(
    tmp_path: Path, two_models: tuple[Model, Model]
) -> None:
    one, two = two_models
    (tmp_path / "name").write_text("one")
    models = folder_of(tmp_path, {"one": one, "two": two})
    async with running(settings=EngineSettings(), model=one, models=models) as it:
        (tmp_path / "name").write_text("broken")
        async with asyncio.timeout(10):
            while not it.renewal.refused_models:  # noqa: ASYNC110 - a count tells nobody
                await asyncio.sleep(0.005)
        assert it.worker.engine.model_hash == one.hash
        await asyncio.sleep(0.1)
        assert (it.renewal.refused_models, it.renewal.last_refusal[-10:]) == (1, "was broken")
        (tmp_path / "name").write_text("two")
        await it.until(models=1)
        assert it.worker.engine.model_hash == two.hash


async def test_whatever_a_load_raises_does_not_end_the_worker(
    tmp_path: Path, two_models: tuple[Model, Model], caplog: pytest.LogCaptureFixture
) -> None:
    def load(_: Path) -> Model:
        raise MemoryError("no room")

    models = folder_of(tmp_path, {})._replace(load=load)
    (tmp_path / "name").write_text("two")
    async with running(settings=EngineSettings(), model=two_models[0], models=models) as it:
        async with asyncio.timeout(10):
            while not it.renewal.refused_models:  # noqa: ASYNC110 - a count tells nobody
                await asyncio.sleep(0.005)
        assert it.renewal.last_refusal == "MemoryError: no room"
        it.ask(5, external=None)
        await it.until(requests=5)
        assert it.worker.engine.model_hash == two_models[0].hash
    assert "model refused, the one before goes on: MemoryError: no room" in caplog.text


async def test_a_failure_that_may_pass_is_tried_again_with_growing_pauses(
    tmp_path: Path, two_models: tuple[Model, Model]
) -> None:
    one, two = two_models
    tried: list[float] = []

    def load(_: Path) -> Model:
        tried.append(time.monotonic())
        if len(tried) < 5:
            raise ChildProcessError("it was ended")
        return two

    models = folder_of(tmp_path, {})._replace(load=load)
    (tmp_path / "name").write_text("two")
    async with running(settings=EngineSettings(), model=one, models=models) as it:
        await it.until(models=1)
        assert it.worker.engine.model_hash == two.hash
        await asyncio.sleep(0.1)
    assert (len(tried), it.renewal.refused_models) == (5, 4)
    # 0.02, 0.04, 0.08 and 0.16 s at least; a busy machine takes longer.
    assert all(tried[n + 1] - tried[n] >= 0.02 * 2**n for n in range(4))
    last = _Again("two", 10**6).later(5.0)
    assert last.not_before_s - time.monotonic() <= LONGEST_PAUSE_S
