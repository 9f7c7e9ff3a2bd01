"""What a tracker tells of itself: `GET /metrics`."""

import asyncio

from bidder.core.token import sign
from bidder.runtime.bus import Bus
from bidder.runtime.http import Request
from bidder.runtime.metrics import metrics_server
from bidder.web.metrics import TrackMetrics
from bidder.web.publish import NoticePublisher
from bidder.web.spool import Record, Spool
from bidder.web.track import Tracker
from simulator.disk import SimulatedDisk
from tests.unit.test_track_publish import FIELDS, KEY, NO_CONTENT, NOW, notice


def told(metrics: TrackMetrics) -> dict[str, str]:
    """Value of each series by its name and labels."""
    lines = metrics.text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_calls_are_told_by_path_and_outcome() -> None:
    tracker = Tracker([KEY], "USD")
    for price in ("1", "1", "99"):
        tracker.handle("GET", f"/bill?t={sign(FIELDS, KEY)}&p={price}", {}, NOW)
    tracker.handle("GET", f"/loss?t={sign(FIELDS, KEY)}&l=102", {}, NOW)
    tracker.handle("GET", '/"odd\n', {}, NOW)
    found = told(TrackMetrics(tracker, NoticePublisher(Bus({}).sink())))
    assert found['clearbid_track_calls_total{path="/bill",outcome="accepted"}'] == "2"
    assert found['clearbid_track_calls_total{path="/bill",outcome="above_cap"}'] == "1"
    assert found['clearbid_track_calls_total{path="other",outcome="not_found"}'] == "1"
    assert found['clearbid_track_losses_total{reason="102"}'] == "1"
    assert not any("spool" in name for name in found)


def test_the_spool_is_told() -> None:
    spool = Spool(SimulatedDisk(), 215)
    spool.append([Record(b"key", b"value") for _ in range(20)])
    batch = spool.oldest()
    assert batch is not None
    spool.append([Record(b"", b"")])
    spool.done(batch.number)
    found = told(TrackMetrics(Tracker([KEY], "USD"), NoticePublisher(Bus({}).sink(), spool=spool)))
    kept = len(batch.records) + 1
    assert found["clearbid_track_spool_spooled_total"] == str(kept)
    assert found["clearbid_track_spool_replayed_total"] == str(kept - 1)
    assert found["clearbid_track_spool_full_total"] == str(21 - kept)
    assert found["clearbid_track_spool_bytes"] == "14"


async def test_the_endpoint_answers_on_loopback() -> None:
    publisher = NoticePublisher(Bus({}).sink(), max_pending=0)
    publisher.submit(notice(), NO_CONTENT)
    metrics = TrackMetrics(Tracker([KEY], "USD"), publisher)
    assert metrics.handle(Request("GET", "/", {}, b"")).status == 404
    server = metrics_server(metrics, "127.0.0.1", 0)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    finally:
        await server.stop()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\nclearbid_track_overloaded_total 1\n" in answer


def test_every_family_is_described_once() -> None:
    publisher = NoticePublisher(Bus({}).sink(), spool=Spool(SimulatedDisk(), 1))
    lines = TrackMetrics(Tracker([KEY], "USD"), publisher).text().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) > 10
