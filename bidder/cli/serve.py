"""`clearbid bank`: the processes that run until they are told to stop."""

import asyncio
import logging
from typing import TYPE_CHECKING

import typer

from bidder.cli.options import (
    ConfigOption,
    DbOption,
    KafkaOption,
    OriginOption,
    SpeedupOption,
    WallOption,
    configured,
    shared_clock,
)

if TYPE_CHECKING:
    from bidder.config import Config
    from bidder.runtime.clock import Clock


def register(app: typer.Typer) -> None:
    """Adds the serving commands."""
    app.command("bank")(_bank)


def _bank(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    db: DbOption = None,
    clock_origin_ns: OriginOption = None,
    clock_wall_ns: WallOption = None,
    speedup: SpeedupOption = 1.0,
) -> None:
    """Run the bank: the only owner of budgets. One for a database."""
    from bidder.cli.running import run_until_stopped

    settings = configured(config, kafka=kafka, db=db)
    clock = shared_clock(clock_origin_ns, clock_wall_ns, speedup)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    run_until_stopped(lambda stop: serve_bank(settings, clock, speedup, stop))


async def serve_bank(config: "Config", clock: "Clock", speedup: float, stop: asyncio.Event) -> None:
    """Opens the books, connects, and runs the bank until `stop` is set.

    Raises:
        ClearbidError: if the database or the broker is not there, or fails for good.
    """
    from contextlib import AsyncExitStack

    from bidder.core.messages import CAMPAIGNS, LEASES, TOPICS
    from bidder.runtime.bank import BANK_GROUP, BANK_TOPICS, BankService, bank_rules, run_bank
    from bidder.runtime.kafka import KafkaSink, KafkaSource, ensure_topics
    from bidder.store.database import Database

    bootstrap = config.kafka.bootstrap
    async with AsyncExitStack() as stack:
        await ensure_topics(bootstrap, dict.fromkeys(TOPICS, config.kafka.partitions), (LEASES, CAMPAIGNS))
        database = stack.enter_context(Database(config.store.path, durable=config.store.durable))
        sink = KafkaSink(bootstrap, client_id="clearbid-bank", acks="all")
        stack.push_async_callback(sink.stop)
        await sink.start()
        source = KafkaSource(
            bootstrap, BANK_TOPICS, group=BANK_GROUP, client_id="clearbid-bank", from_beginning=True
        )
        stack.push_async_callback(source.stop)
        await source.start()
        service = BankService.open(database, bank_rules(config, speedup), clock.now_ns())
        typer.echo(
            f"bank: {len(service.report())} campaigns, database {config.store.path}, Kafka {bootstrap}"
        )
        await run_bank(service, source, sink, clock, stop, tick_s=config.bank.tick_seconds)
    typer.echo("bank: stopped")
