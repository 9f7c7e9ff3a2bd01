"""The worker and its shell: what goes out, where to, and when offsets are committed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.call import outputs_of
from bidder.core.engine import Engine
from bidder.core.messages import (
    BID_REQUESTS,
    BID_RESPONSES,
    CAMPAIGNS,
    DECISIONS,
    LEASES,
    SLICES,
    TOPICS,
    CampaignChange,
    Lease,
    SliceReport,
    encode,
)
from bidder.errors import DeliveryError, SeatTaken
from bidder.openrtb.reasons import Reason
from bidder.runtime.bus import Bus, BusSink
from bidder.runtime.clock import VirtualClock
from bidder.runtime.transport import Message, Outbound
from bidder.runtime.worker import MAX_AGE_MS, MAX_RECORD_BYTES, Worker, ages_ns, joined
from bidder.runtime.worker_shell import WorkerShell
from bidder.store.journal import (
    Adopt,
    Control,
    Decide,
    JournalWriter,
    Output,
    Tick,
    output_digest,
    read_journal,
)
from tests.support import factories as make
from tests.support.factories import Offer, body, campaign, lease

WALL_MS = 1_700_000_000_000
CHANGE = CampaignChange(version=1, campaign_id="c1", campaign=campaign())


def fresh(journal: JournalWriter | None = None) -> Worker:
    return Worker(Engine(make.SETTINGS, make.KEY, None, make.START), journal)


def control(*values: CampaignChange | Lease) -> list[Message]:
    return [Message("t", 0, offset, None, encode(value), 0) for offset, value in enumerate(values)]


def worker(journal: JournalWriter | None = None) -> Worker:
    made = fresh(journal)
    made.on_control(control(CHANGE, lease()), 0)
    return made


def request(value: bytes, partition: int = 0, timestamp_ms: int = WALL_MS) -> Message:
    return Message(BID_REQUESTS, partition, 0, None, value, timestamp_ms)


def offers(*names: str) -> list[bytes]:
    return [body(Offer(id=name)) for name in names]


def patient(*names: str) -> list[bytes]:
    """Offers with time enough for a busy machine, where being late is not what is tried."""
    return [body(Offer(id=name, more={"tmax": 60_000})) for name in names]


def ids(out: Sequence[Outbound], topic: str, partition: int) -> list[str]:
    """Request ids in what goes to a partition of a topic, in order."""
    values = [m.value for m in out if (m.topic, m.partition) == (topic, partition)]
    rows = [orjson.loads(line) for value in values for line in value.splitlines()]
    return [row["request_id"] if topic == DECISIONS else row["id"] for row in rows]


# -- the worker -----------------------------------------------------------------------------------------------


def test_it_is_ready_with_campaigns_and_money() -> None:
    made = fresh()
    assert not made.ready
    made.on_control(control(CHANGE), 0)
    assert not made.ready
    made.on_control(control(lease()), 0)
    assert made.ready


def test_answers_go_to_the_partition_of_their_request() -> None:
    messages = [request(value, number % 2) for number, value in enumerate(offers("a", "b", "c", "d"))]
    out = worker().on_requests(messages, 0, WALL_MS)
    assert (ids(out, BID_RESPONSES, 0), ids(out, BID_RESPONSES, 1)) == (["a", "c"], ["b", "d"])
    assert (ids(out, DECISIONS, 0), ids(out, DECISIONS, 1)) == (["a", "c"], ["b", "d"])


def test_what_cannot_be_answered_is_logged_all_the_same() -> None:
    made = worker()
    out = made.on_requests([request(b"{")], 0, WALL_MS)
    assert [message.topic for message in out] == [DECISIONS]
    assert (made.requests, made.bids) == (1, 0)


def test_bids_are_counted_by_request() -> None:
    made = worker()
    two = body(Offer(id="a", imp_id="1"), Offer(id="a", imp_id="2"))
    made.on_requests([request(two), request(b"{")], 0, WALL_MS)
    assert (made.requests, made.bids) == (2, 1)


@pytest.mark.parametrize(
    ("age_ms", "reason"), [(0, 0), (129, 0), (130, 103), (10**9, 103), (-5, 0), (WALL_MS + 1, 103)]
)
def test_a_request_older_than_its_time_is_not_bid_on(age_ms: int, reason: int) -> None:
    """150 ms where a request does not say, less 20 for the way."""
    out = worker().on_requests([request(offers("a")[0], timestamp_ms=WALL_MS - age_ms)], 0, WALL_MS)
    assert orjson.loads(out[-1].value)["reason"] == reason


@pytest.mark.parametrize(
    ("timestamp_ms", "age_ms"),
    [
        (WALL_MS, 0),
        (WALL_MS - 7, 7),
        (WALL_MS + 7, 0),
        (2**63 - 1, 0),
        (-1, MAX_AGE_MS),
        (-(2**63), MAX_AGE_MS),
    ],
)
def test_ages_are_bounded_whatever_the_clock_of_the_sender(timestamp_ms: int, age_ms: int) -> None:
    assert ages_ns([timestamp_ms], WALL_MS) == [age_ms * 1_000_000]


@given(st.lists(st.binary(max_size=12), max_size=20), st.integers(1, 20))
def test_records_hold_all_rows_in_order_and_no_more_than_they_may(rows: list[bytes], limit: int) -> None:
    records = joined(rows, limit)
    assert b"".join(records) == b"".join(rows)
    assert all(len(record) <= max(limit, *map(len, rows)) for record in records)
    assert all(len(one) + len(two) > limit or not two for one, two in pairwise(records))


def test_many_impressions_make_several_records_below_what_brokers_take() -> None:
    wide = [
        body(*[Offer(id=f"{n}" + "i" * 200, imp_id=f"{m}" + "j" * 200) for m in range(128)])
        for n in range(12)
    ]
    out = worker().on_requests([request(value) for value in wide], 0, WALL_MS)
    records = [message for message in out if message.topic == DECISIONS]
    assert len(records) > 1
    assert max(len(message.value) for message in out) <= MAX_RECORD_BYTES
    assert sum(message.value.count(b"\n") for message in records) == 12 * 128


def test_a_request_is_as_old_as_it_will_be_when_its_answer_leaves() -> None:
    made, sent_ms = worker(), WALL_MS - 110  # of 150 ms the exchange leaves us 130
    late = [request(value, timestamp_ms=sent_ms) for value in offers("before", "after")]
    assert orjson.loads(made.on_requests(late[:1], 0, WALL_MS)[-1].value)["reason"] == 0
    made.latency.add(30_000_000, 2_000)
    for tick in range(20):
        made.on_tick(tick)
    assert made.lag_ms in (30, 31)
    assert orjson.loads(made.on_requests(late[1:], 0, WALL_MS)[-1].value)["reason"] == Reason.EXPIRED


def test_what_was_measured_in_a_moment_of_trouble_refuses_nothing_for_ever() -> None:
    made = worker()
    made.latency.add(5_000_000_000, 2_000)
    for tick in range(20):
        made.on_tick(tick)
    assert made.lag_ms == 50


def test_the_lag_is_that_of_late() -> None:
    made = worker()
    lags = []
    for duration_ns in (40_000_000, 2_000_000):
        made.latency.add(duration_ns, 2_000)
        for tick in range(20):
            made.on_tick(tick)
        lags.append(made.lag_ms)
    assert lags[0] in (40, 41)
    assert lags[1] in (2, 3)


def test_a_tick_tells_the_bank_by_seat() -> None:
    (out,) = worker().on_tick(5)
    report = msgspec.json.decode(out.value, type=SliceReport)
    assert (out.topic, out.key, report.at_ns, report.epoch) == (SLICES, b"seat-1", 5, 1)


def test_the_journal_holds_inputs_and_the_digest_of_outputs(tmp_path: Path) -> None:
    bodies = offers("a", "b")
    with JournalWriter(tmp_path / "j", {}) as journal:
        made = worker(journal)
        made.on_requests([request(value, timestamp_ms=WALL_MS - 3) for value in bodies], 7, WALL_MS)
        made.on_tick(9)
    twin = make.engine()
    digest = output_digest(outputs_of(twin.decide(bodies, [3_000_000] * 2, 7)))
    entries = list(read_journal(tmp_path / "j"))
    assert [type(entry) for entry in entries] == [Control, Adopt, Decide, Output, Tick]
    assert entries[1:] == [Adopt(0, 1), Decide(7, tuple(bodies), (3_000_000,) * 2), Output(digest), Tick(9)]


# -- the shell ------------------------------------------------------------------------------------------------


class Lossy(BusSink):
    """Says at one flush that something was lost, as a sink does, and at the next that all is well."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.losses = 1

    async def flush(self) -> None:
        if self.losses:
            self.losses -= 1
            await asyncio.sleep(0.05)
            raise DeliveryError("1 message was not acknowledged")


def bus() -> Bus:
    two = (BID_REQUESTS, BID_RESPONSES, DECISIONS)
    return Bus({topic: 2 if topic in two else 1 for topic in TOPICS})


async def put(where: Bus, topic: str, *values: bytes, partition: int = 0) -> None:
    await where.sink().publish([Outbound(topic, None, value, partition) for value in values])


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5.0
    while not holds():
        assert time.monotonic() < end, "did not happen within 5 s"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    where: Bus, sink: BusSink | None = None, patience_s: float = 5.0
) -> AsyncIterator[tuple[Worker, asyncio.Task[None]]]:
    made, stop = fresh(), asyncio.Event()
    shell = WorkerShell(
        made,
        where.source([BID_REQUESTS], "g"),
        where.source([CAMPAIGNS, LEASES]),
        sink or where.sink(),
        VirtualClock(),
        tick_s=0.01,
        commit_s=0.02,
        patience_s=patience_s,
    )
    task = asyncio.create_task(shell.run(stop))
    try:
        yield made, task
    finally:
        stop.set()
        await asyncio.wait([task], timeout=5.0)
        assert task.done(), "the shell must end once it is told to"


def committed(where: Bus) -> list[int]:
    return [where.committed("g", BID_REQUESTS, partition) for partition in (0, 1)]


async def test_requests_are_answered_and_then_committed() -> None:
    where = bus()
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    await put(where, BID_REQUESTS, *offers("a", "b"), partition=1)
    async with running(where):
        await until(lambda: committed(where) == [0, 2])
        assert len(where.log(BID_RESPONSES)[1]) == 2
        await put(where, BID_REQUESTS, *offers("c"))
        await until(lambda: committed(where) == [1, 2])


async def test_requests_wait_for_campaigns_and_money() -> None:
    where = bus()
    await put(where, BID_REQUESTS, *patient("a"))
    async with running(where) as (made, _):
        await until(lambda: len(where.log(SLICES)[0]) > 3)
        assert made.requests == 0
        await put(where, CAMPAIGNS, encode(CHANGE))
        await put(where, LEASES, encode(lease()))
        await until(lambda: committed(where) == [1, 0])
    assert orjson.loads(where.log(DECISIONS)[0][0].value)["reason"] == 0


async def test_without_a_lease_requests_end_in_a_reason_after_a_while() -> None:
    where = bus()
    await put(where, BID_REQUESTS, *patient("a"))
    async with running(where, patience_s=0.05) as (made, _):
        await until(lambda: committed(where) == [1, 0])
        assert not made.ready
        assert orjson.loads(where.log(DECISIONS)[0][0].value)["reason"] == Reason.NO_CAMPAIGNS
        await put(where, CAMPAIGNS, encode(CHANGE))
        await until(lambda: made.inbox.campaigns == 1)
        await put(where, BID_REQUESTS, *patient("b"))
        await until(lambda: committed(where) == [2, 0])
        assert orjson.loads(where.log(DECISIONS)[0][1].value)["reason"] == Reason.NO_LEASE
        await put(where, LEASES, encode(lease()))
        await until(lambda: made.ready)
        await put(where, BID_REQUESTS, *patient("c"))
        await until(lambda: committed(where) == [3, 0])
    assert orjson.loads(where.log(DECISIONS)[0][2].value)["reason"] == Reason.BID


async def test_requests_wait_until_control_is_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    where = bus()
    behind = True
    monkeypatch.setattr("bidder.runtime.bus.BusSource.caught_up", lambda _: not behind)
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    await put(where, BID_REQUESTS, *offers("a"))
    async with running(where) as (made, _):
        await until(lambda: made.ready and len(where.log(SLICES)[0]) > 3)
        assert made.requests == 0
        behind = False
        await until(lambda: committed(where) == [1, 0])


async def test_a_worker_whose_seat_was_taken_stops_and_says_what_to_do() -> None:
    where = bus()
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    async with running(where) as (made, task):
        await until(lambda: made.ready)
        await put(where, LEASES, encode(lease(start_id="another", epoch=2)))
        await until(task.done)
    with pytest.raises(SeatTaken, match=r"seat seat-\d was taken by another start.* its own \[bid\] seat"):
        task.result()


async def test_leases_of_earlier_starts_stop_no_worker() -> None:
    where = bus()
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease(start_id="another", epoch=2)), encode(lease(epoch=3)))
    async with running(where) as (made, task):
        await until(lambda: made.ready)
        await put(where, LEASES, encode(lease("c2", start_id="another", epoch=2)))
        await until(lambda: len(where.log(SLICES)[0]) > 5)
        assert not task.done()


async def test_what_is_finished_when_told_to_stop_is_committed() -> None:
    where = bus()
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    async with running(where) as (made, _):
        await until(lambda: made.ready)
        await put(where, BID_REQUESTS, *offers("a"))
        await until(lambda: made.requests == 1)
    assert committed(where) == [1, 0]


async def test_a_seat_that_never_gets_ready_can_be_stopped() -> None:
    async with running(bus()) as (_, task):
        await asyncio.sleep(0.02)
    task.result()


async def test_nothing_is_committed_after_a_lost_delivery() -> None:
    where = bus()
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    await put(where, BID_REQUESTS, *offers("a"))
    async with running(where, Lossy(where)) as (made, task):
        await until(lambda: made.requests == 1)
        await asyncio.sleep(0.03)  # the flush that will fail has begun: this one is finished behind it
        await put(where, BID_REQUESTS, *offers("b"))
        await asyncio.wait([task], timeout=5.0)
    with pytest.raises(DeliveryError):
        task.result()
    assert made.requests == 2
    assert committed(where) == [0, 0]


async def test_a_part_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Worker, messages: Sequence[Message], now_ns: int) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(Worker, "take_control", broken)
    where = bus()
    await put(where, LEASES, encode(lease()))
    async with running(where) as (_, task):
        await asyncio.wait([task], timeout=5.0)
    with pytest.raises(RuntimeError, match="broken"):
        task.result()


async def test_a_stop_in_the_middle_of_a_commit_still_commits() -> None:
    where = bus()
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    await put(where, BID_REQUESTS, *offers("a"))

    class Slow(BusSink):
        begun = False

        async def flush(self) -> None:
            first, self.begun = not self.begun, True
            if first:
                await asyncio.sleep(10.0)

    sink = Slow(where)
    async with running(where, sink):
        await until(lambda: sink.begun)
    assert committed(where) == [1, 0]


async def test_cancelling_leaves_no_task_behind() -> None:
    async with running(bus()) as (_, task):
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_offsets_are_committed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    where, stored = bus(), []
    real = where.commit

    def commit(group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        stored.append(dict(offsets))
        real(group, offsets)

    monkeypatch.setattr(where, "commit", commit)
    await put(where, CAMPAIGNS, encode(CHANGE))
    await put(where, LEASES, encode(lease()))
    await put(where, BID_REQUESTS, *offers("a"))
    async with running(where):
        await until(lambda: bool(stored))
        await asyncio.sleep(0.08)
    assert stored == [{(BID_REQUESTS, 0): 1}]
