"""`clearbid bank`, `bid`, `track`: the processes that run until they are told to stop."""

import asyncio
import logging
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

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
from bidder.cli.pixel import print_pixel
from bidder.errors import InputError

if TYPE_CHECKING:
    from bidder.config import BankSection, BidSection, Config, TrackSection
    from bidder.core.scoring import Model
    from bidder.core.settings import EngineSettings
    from bidder.core.shading import Shading
    from bidder.runtime.clock import Clock
    from bidder.runtime.kafka_prefix import KafkaPlace
    from bidder.runtime.metrics import Told
    from bidder.runtime.renewal import LandscapeFile, Renewal
    from bidder.runtime.transport import Sink
    from bidder.runtime.worker import Worker
    from bidder.store.journal import JournalWriter
    from bidder.web.spool import Spool


def register(app: typer.Typer) -> None:
    """Adds the serving commands."""
    app.command("bank")(_bank)
    app.command("bid")(_bid)
    track = typer.Typer(invoke_without_command=True)
    track.callback()(_track)
    track.command("pixel")(print_pixel)
    app.add_typer(track, name="track")


def _bank(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    db: DbOption = None,
    clock_origin_ns: OriginOption = None,
    clock_wall_ns: WallOption = None,
    speedup: SpeedupOption = 1.0,
) -> None:
    """Run a bank: the only owner of budgets. Several on one database share the advertisers among them."""
    from bidder.cli.running import run_until_stopped

    settings = configured(config, kafka=kafka, db=db)
    clock = shared_clock(clock_origin_ns, clock_wall_ns, speedup)
    log_warnings()
    run_until_stopped(lambda stop: serve_bank(settings, clock, speedup, stop))


def _track(
    context: typer.Context,
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    clock_origin_ns: OriginOption = None,
    clock_wall_ns: WallOption = None,
    speedup: SpeedupOption = 1.0,
) -> None:
    """Run the tracking endpoints: wins, billing, losses, impressions, views, clicks, conversions."""
    from bidder.cli.running import run_until_stopped

    if context.invoked_subcommand is not None:
        return
    settings = configured(config, kafka=kafka)
    clock = shared_clock(clock_origin_ns, clock_wall_ns, speedup)
    log_warnings()
    run_until_stopped(lambda stop: serve_track(settings, clock, stop))


def _bid(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="What `clearbid models train` wrote, watched for a newer one; none: requests bring scores.",
            metavar="DIR",
        ),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Folder for the input journal, for `clearbid replay`.", metavar="DIR")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="File for its counts, as JSON, when it ends.", metavar="FILE")
    ] = None,
    clock_origin_ns: OriginOption = None,
    clock_wall_ns: WallOption = None,
    speedup: SpeedupOption = 1.0,
) -> None:
    """Run a bidder: requests from Kafka in, responses and decisions out."""
    from bidder.cli.running import run_until_stopped
    from bidder.runtime.figures import figures_of, write_figures

    settings = configured(config, kafka=kafka)
    clock = shared_clock(clock_origin_ns, clock_wall_ns, speedup)
    log_warnings()

    async def serve(stop: asyncio.Event) -> None:
        worker = await serve_bid(settings, clock, model, journal, stop)
        if figures is not None:
            write_figures(figures, figures_of(worker, clock.now_ns()))

    run_until_stopped(serve)


def log_warnings() -> None:
    """Warnings, a line each, on standard error.

    Not aiokafka's own: while a broker is away it repeats itself hundreds of times a second. What it means for us
    our own watch and errors say, once.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


async def serve_bank(config: "Config", clock: "Clock", speedup: float, stop: asyncio.Event) -> None:
    """Opens the books, connects, and runs the shards that the group gives to this bank until `stop` is set.

    Raises:
        ClearbidError: if the database or the broker is not there, or fails for good.
    """
    from bidder.core.lowwater import LowWater
    from bidder.core.messages import NOTICES, SLICES, TRACKERS
    from bidder.core.settings import NS_PER_SECOND
    from bidder.runtime.bank import BANK_GROUP, bank_rules
    from bidder.runtime.bank_loop import bank_thread, run_bank
    from bidder.runtime.bank_metrics import BankMetrics
    from bidder.runtime.bank_shards import BankSource, ShardedBank
    from bidder.store.campaigns import CampaignStore
    from bidder.store.database import Database

    async with AsyncExitStack() as stack:
        place = await connected(config)
        database = stack.enter_context(Database(config.store.place, durable=config.store.durable))
        campaigns = len(CampaignStore(database).all())
        sink = await started(stack, place.sink("clearbid-bank"))
        notices = place.source((NOTICES,), BANK_GROUP, "clearbid-bank")
        source = await started(
            stack, BankSource(notices, place.source((SLICES, TRACKERS), None, "clearbid-bank"))
        )
        rules = bank_rules(config, speedup)
        service = ShardedBank(database, rules, notices.partitions)
        wait_ns = int(config.bank.tracker_wait_seconds * NS_PER_SECOND)
        low_water = LowWater(wait_ns, rules.lease_ns, clock.now_ns())
        typer.echo(f"bank: {campaigns} campaigns, database {database.name}, Kafka {place.bootstrap}")
        thread = stack.enter_context(bank_thread())
        await _answer_metrics(stack, "bank", config.bank, BankMetrics(service, clock, thread))
        await run_bank(
            service,
            source,
            sink,
            clock,
            stop,
            tick_s=config.bank.tick_seconds,
            thread=thread,
            low_water=low_water,
        )
    typer.echo("bank: stopped")


async def serve_track(config: "Config", clock: "Clock", stop: asyncio.Event) -> None:
    """Connects and serves the tracking endpoints until `stop` is set; with a spool also while the broker is away.

    Raises:
        ClearbidError: if there is no secret, no broker and no spool, or the address or the spool is taken.
    """
    from bidder.core.bankrules import HOUR_NS
    from bidder.web.metrics import TrackMetrics
    from bidder.web.publish import NoticePublisher, run_tracker
    from bidder.web.track import Tracker

    track = config.track
    bank = config.bank
    tracker = Tracker(
        config.keys(),
        config.account.currency,
        grace_ns=bank.late_event_hours * HOUR_NS,
        conversion_window_ns=bank.conversion_days * 24 * HOUR_NS,
        ciphers=config.ciphers(),
        privacy=config.privacy,
    )
    async with AsyncExitStack() as stack:
        spool = _spool(stack, config)
        sink = await _notice_sink(stack, config, late=spool is not None)
        name = f"{gethostname()[:200]}:{track.port}"
        publisher = NoticePublisher(sink, spool=spool, patience_s=track.broker_seconds, name=name)
        await _answer_metrics(stack, "track", track, TrackMetrics(tracker, publisher))
        typer.echo(f"track: http://{track.host}:{track.port}, Kafka {config.kafka.bootstrap}")
        await run_tracker(tracker, sink, clock, track.host, track.port, stop, publisher=publisher)
    typer.echo(f"track: stopped, {sum(tracker.counts.values()):,} calls")


def _spool(stack: AsyncExitStack, config: "Config") -> "Spool | None":
    """What keeps notices while the broker is away, where a folder is set."""
    from bidder.web.disk import Disk
    from bidder.web.spool import Spool

    if not config.track.spool_dir:
        return None
    disk = stack.enter_context(Disk(Path(config.track.spool_dir)))
    return Spool(disk, config.track.spool_megabytes << 20)


async def _notice_sink(stack: AsyncExitStack, config: "Config", *, late: bool) -> "Sink":
    """Where notices go: acknowledged by all in-sync replicas; `late` where the broker may come later."""
    from bidder.runtime.late_sink import LateSink

    async def connect() -> "Sink":
        place = await connected(config)
        sink = place.sink("clearbid-track", acks="all")
        try:
            await sink.start()
        except BaseException:
            await sink.stop()
            raise
        return sink

    if late:
        return await started(stack, LateSink(connect))
    sink = await connect()
    stack.push_async_callback(sink.stop)
    return sink


async def _answer_metrics(
    stack: AsyncExitStack, who: str, section: "BankSection | BidSection | TrackSection", metrics: "Told"
) -> None:
    """Answers `GET /metrics` until the stack ends, where the section of a part sets a port."""
    from bidder.runtime.metrics import metrics_server

    if section.metrics_port:
        server = metrics_server(metrics, section.metrics_host, section.metrics_port)
        await server.start()
        stack.push_async_callback(server.stop)
        typer.echo(f"{who}: metrics at http://{server.host}:{server.port}/metrics")


async def serve_bid(
    config: "Config", clock: "Clock", model_directory: Path | None, folder: Path | None, stop: asyncio.Event
) -> "Worker":
    """Loads the model, warms the kernels, connects, and bids until `stop` is set.

    A new model in the directory is loaded beside the loop and decides from then on; one that does not load or fit
    is logged and counted, and the old one goes on.

    Args:
        config: settings. clock: the shared clock.
        model_directory: what `clearbid models train` wrote, or None where requests bring their scores.
        folder: where the journal is written, or None for no journal.
        stop: ends it.

    Raises:
        ClearbidError, ModelError: a model that does not fit, no secret, or no broker.
    """
    from bidder.core.engine import Engine
    from bidder.core.inbox import CONTROL_TOPICS
    from bidder.core.messages import BID_REQUESTS, EXPOSURES, PROFILES
    from bidder.core.warm import warm_kernels
    from bidder.runtime.heap import settle_heap
    from bidder.runtime.metrics import Counted, Metrics
    from bidder.runtime.worker import Worker
    from bidder.runtime.worker_shell import WorkerShell
    from bidder.store.landscape import landscape_mark, load_and_keep
    from bidder.store.model import load_model, model_mark

    config.check_public_url()
    key, settings = config.key(), config.engine_settings()
    if model_directory is None and not settings.external_scores:
        raise InputError(
            "--model must name a model directory, unless [bid] external_scores is true, was not given"
        )
    # Before the model is read: one that comes meanwhile is then seen as new.
    seen = model_mark(model_directory) if model_directory is not None else None
    model = load_model(model_directory) if model_directory is not None else None
    landscape = Path(config.bid.landscape_file) if config.bid.landscape_file else None
    priced = landscape_mark(landscape) if landscape is not None else None
    shading = load_and_keep(landscape, folder) if landscape is not None else None
    warm_kernels(model)
    start_id = secrets.token_hex(8)
    async with AsyncExitStack() as stack:
        place = await connected(config)
        journal = _journal(folder, settings, key, model, start_id, shading)
        if journal is not None:
            stack.enter_context(journal)
        worker = Worker(Engine(settings, key, model, start_id, shading), journal)
        renewal = _renewal(config, worker, clock, model_directory, seen, _landscapes(config, folder, priced))
        name = f"clearbid-bid-{settings.seat}"
        of_users = (EXPOSURES, PROFILES)
        requests = await started(stack, place.source((BID_REQUESTS,), "clearbid-bid", name))
        control = await started(
            stack, place.source([topic for topic in CONTROL_TOPICS if topic not in of_users], None, name)
        )
        history = place.source(of_users, None, name)  # begun by the shell, once it knows for how long back
        stack.push_async_callback(history.stop)
        sink = await started(stack, place.sink(name))
        shell = WorkerShell(
            worker,
            requests,
            control,
            sink,
            clock,
            max_batch=config.bid.max_batch,
            tick_s=config.bid.tick_seconds,
            history=history,
            renewal=renewal,
        )
        transports: dict[str, Counted] = {
            "requests": requests,
            "control": control,
            "history": history,
            "sink": sink,
        }
        await _answer_metrics(stack, "bid", config.bid, Metrics(worker, renewal, clock, transports))
        typer.echo(
            f"bid: seat {settings.seat}, model {model.hash[:12] if model else 'external'}, Kafka {place.bootstrap}"
        )
        settle_heap()
        await shell.run(stop)
    typer.echo(f"bid: stopped, {worker.requests:,} requests, {worker.bids:,} bids")
    return worker


def _journal(
    folder: Path | None,
    settings: "EngineSettings",
    key: bytes,
    model: "Model | None",
    start_id: str,
    shading: "Shading | None",
) -> "JournalWriter | None":
    from bidder.store.seat import open_journal

    if folder is None:
        return None
    return open_journal(folder, settings, key, model, start_id, shading.hash if shading is not None else "")


def _landscapes(config: "Config", folder: Path | None, seen: str | None) -> "LandscapeFile | None":
    """The file to watch; each landscape is kept beside the journal, since the file is replaced."""
    from functools import partial

    from bidder.runtime.renewal import LandscapeFile
    from bidder.store.landscape import landscape_mark, load_and_keep

    if not config.bid.landscape_file:
        return None
    load = partial(load_and_keep, folder=folder)
    path = Path(config.bid.landscape_file)
    return LandscapeFile(path, load, landscape_mark, seen, config.bid.model_seconds)


def _renewal(
    config: "Config",
    worker: "Worker",
    clock: "Clock",
    directory: Path | None,
    seen: str | None,
    landscapes: "LandscapeFile | None",
) -> "Renewal":
    """Makes tables beside the loop, models where there is a directory to watch, landscapes where there is a file."""
    from bidder.runtime.renewal import ModelFolder, Renewal
    from bidder.store.model import model_mark
    from bidder.store.model_apart import load_model_apart

    folder = (
        ModelFolder(directory, load_model_apart, model_mark, seen, config.bid.model_seconds)
        if directory is not None
        else None
    )
    return Renewal(worker, clock, folder, landscapes)


async def connected(config: "Config") -> "KafkaPlace":
    """The broker, with every topic there."""
    from bidder.core.messages import COMPACTED, EXPOSURES, GUARDED, TOPICS, TRACKERS
    from bidder.runtime.kafka_prefix import KafkaPlace

    place = KafkaPlace(config.kafka.bootstrap, config.kafka.prefix)
    await place.ensure_topics(
        dict.fromkeys(TOPICS, config.kafka.partitions) | {TRACKERS: 1},
        COMPACTED,
        {EXPOSURES: config.kafka.exposure_hours},
        config.kafka.replicas,
        GUARDED,
    )
    return place


class _Startable(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


_Part = TypeVar("_Part", bound=_Startable)


async def started(stack: AsyncExitStack, part: _Part) -> _Part:
    """A source or sink, connected, and stopped when the stack ends."""
    stack.push_async_callback(part.stop)
    await part.start()
    return part
