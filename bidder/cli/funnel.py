"""`clearbid funnel`: counts beside the bidders what targeting refused, line item by line item."""

import asyncio
import secrets
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from bidder.cli.options import ConfigOption, KafkaOption, configured
from bidder.cli.serve import connected, log_warnings, started

if TYPE_CHECKING:
    from bidder.config import Config
    from bidder.core.messages import FunnelHour

GROUP = "clearbid-funnel"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("funnel")(_funnel)


def _funnel(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    every: Annotated[float, typer.Option(help="Seconds between reports.", min=0.1, metavar="N")] = 60.0,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Send to topic `funnel` too, for bidders with [bid] funnel = false."),
    ] = False,
) -> None:
    """Count what targeting refused, for bidders with `[bid] funnel = false`; one JSON object a line item."""
    from bidder.cli.running import run_until_stopped

    settings = configured(config, kafka=kafka)
    log_warnings()
    run_until_stopped(lambda stop: count_funnel(settings, every, publish, stop))


async def count_funnel(config: "Config", every_s: float, publish: bool, stop: asyncio.Event) -> None:
    """Reads what bidders were asked until `stop` is set, and says what came of it.

    Offsets are committed after the report that holds their counts, so a crash repeats counting and not reports.

    Args:
        config: settings, as the bidders have them. every_s: wall seconds between reports.
        publish: whether reports go to the topic `funnel`. stop: ends it, with a last report.

    Raises:
        ClearbidError: no broker, or it fails.
    """
    from bidder.core.messages import CAMPAIGNS, FUNNELS, MATCHES, encode
    from bidder.runtime.recounting import Recounter
    from bidder.runtime.transport import Outbound

    counter = Recounter(config.engine_settings(), secrets.token_hex(8))
    async with AsyncExitStack() as stack:
        place = await connected(config)
        changes = await started(stack, place.source((CAMPAIGNS,), None, GROUP))
        matches = await started(stack, place.source((MATCHES,), GROUP, GROUP))
        sink = await started(stack, place.sink(GROUP))
        while not changes.caught_up():
            counter.on_messages(await changes.poll(1_000, 0.1))
        finished: dict[tuple[str, int], int] = {}
        due_s = time.monotonic() + every_s
        while not (ending := stop.is_set()) or finished:
            # Changes first: a record of theirs may wait behind them, and not the other way.
            counter.on_messages(await changes.poll(1_000, 0.0))
            read = [] if ending else await matches.poll(1_000, 0.1)
            counter.on_messages(read)
            finished |= {(message.topic, message.partition): message.offset + 1 for message in read}
            if ending or time.monotonic() >= due_s:
                due_s = time.monotonic() + every_s
                parts = counter.due()
                _print(parts)
                if publish:
                    await sink.publish(
                        [Outbound(FUNNELS, part.seat.encode(), encode(part)) for part in parts]
                    )
                    await sink.flush()
                # A record that still waits for its table would be lost with a commit.
                if not counter.waiting or ending:
                    await matches.commit(finished)
                    finished = {}
    typer.echo(f"funnel: stopped, {counter.rows:,} opportunities, {counter.left_out:,} left out", err=True)


def _print(parts: "list[FunnelHour]") -> None:
    import msgspec

    for part in parts:
        for row in part.rows:
            line = {"seat": part.seat, "hour_ns": part.hour_ns, **msgspec.to_builtins(row)}
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()
