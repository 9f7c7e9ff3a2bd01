"""A sink that is connected when the broker comes."""

import asyncio

import pytest

from bidder.errors import BrokerUnavailable, ConfigError
from bidder.runtime.bus import Bus, BusSink
from bidder.runtime.late_sink import LateSink
from bidder.runtime.transport import Outbound, Run, Sink

MESSAGE = Outbound("t", b"k", b"v")


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0.005)


class Door:
    """Connects a sink of a bus once it is open."""

    def __init__(self) -> None:
        self.bus = Bus({"t": 1})
        self.error: Exception | None = BrokerUnavailable("away")
        self.tries = 0

    async def connect(self) -> Sink:
        self.tries += 1
        if self.error is not None:
            raise self.error
        return self.bus.sink()


async def test_it_refuses_until_the_broker_is_there_and_then_passes_all_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Door()
    sink = LateSink(door.connect, again_s=0.001)
    await sink.start()
    await turns()
    for call in (sink.publish([MESSAGE]), sink.send([Run("t", 0, [b"w"])]), sink.flush()):
        with pytest.raises(BrokerUnavailable, match="was not there yet"):
            await call
    assert door.tries > 1
    assert caplog.text.count("started without the broker: away") == 1
    door.error = None
    await turns()
    await sink.publish([MESSAGE])
    await sink.send([Run("t", 0, [b"w"])])
    await sink.flush()
    assert [message.value for message in door.bus.log("t")[0]] == [b"v", b"w"]
    await sink.stop()


async def test_an_error_that_waiting_does_not_mend_is_raised() -> None:
    door = Door()
    door.error = ConfigError("no address")
    sink = LateSink(door.connect)
    await sink.start()
    await turns()
    with pytest.raises(ConfigError, match="no address"):
        await sink.publish([MESSAGE])
    await sink.stop()


async def test_stopped_before_it_was_connected_it_tries_no_more() -> None:
    door = Door()
    sink = LateSink(door.connect, again_s=0.001)
    await sink.start()
    await turns()
    await sink.stop()
    tries = door.tries
    await turns()
    assert door.tries == tries


async def test_what_is_connected_is_stopped_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    async def stop(self: BusSink) -> None:
        stopped.append(self)

    monkeypatch.setattr(BusSink, "stop", stop)
    door = Door()
    door.error = None
    sink = LateSink(door.connect)
    await sink.start()
    await turns()
    await sink.stop()
    assert len(stopped) == 1
