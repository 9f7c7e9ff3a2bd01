"""Whatever log there is, as a history: finds the reader by what the source is, and says what came of it."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bidder.errors import InputError
from simulator.export.inputs import journals_of
from simulator.export.run import source_of
from simulator.history.file import HistoryWriter, Progress
from simulator.history.logrows import ipinyou_meta, ipinyou_rows
from simulator.history.mapping import Mapped
from simulator.history.openrtb import openrtb_meta, openrtb_rows
from simulator.history.runs import run_meta, run_rows
from simulator.history.sample import DAYS, ROWS, sample_meta, sample_rows
from simulator.history.schema import META_KEY, HistoryRow, Meta
from simulator.history.seasons import season_meta, season_tables
from simulator.history.tally import CampaignTally
from simulator.logs.ipinyou import detect

KINDS = """a run's folder, a folder of iPinYou season logs (bid.*, imp.*), one of iPinYou's Parquet files, an \
OpenRTB log (.jsonl, .ndjson), any CSV or Parquet with --mapping FILE, or `sample` for the synthetic market"""
SAMPLE = "sample"
"""The source that ships with Clearbid; a file or folder of that name goes first."""
_JSON_LINES = (".jsonl", ".ndjson")


class Options(NamedTuple):
    """How to read a source.

    Attributes:
        mapping: of a table's columns. sources: of an iPinYou Parquet file, else the contiguous ones; `all` for all.
        currency: of an OpenRTB log. wait_s: how long its results are waited for. requests: keep bodies of requests.
        database, decisions: of a run, where they are elsewhere. seed, sample_rows, sample_days: of the sample.
    """

    mapping: Path | None = None
    sources: tuple[str, ...] | None = None
    currency: str = "USD"
    wait_s: float = 3_600.0
    requests: bool = False
    database: str | None = None
    decisions: Path | None = None
    seed: int = 7
    sample_rows: int = ROWS
    sample_days: float = DAYS


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        table: path of the file. source, currency, clock: what the history says of itself.
        rows: opportunities. unbid: without a bid. open: whose result is not known. won_share: of the results known.
        price_kinds: rows by what is known of the price to beat. campaigns: by name.
        drops: what of the source is no row, by cause. examples: where a cause was first met, if that was noted.
        seconds: wall time.
    """

    table: str
    source: str
    currency: str
    clock: str
    rows: int
    unbid: int
    open: int
    won: int
    won_share: float
    users: int
    first_ns: int
    last_ns: int
    price_kinds: dict[str, int]
    campaigns: dict[str, CampaignTally]
    drops: dict[str, int]
    examples: dict[str, str]
    seconds: float


class _Found(NamedTuple):
    meta: Meta
    rows: Iterable[HistoryRow | pa.Table]
    examples: dict[str, str]


def convert(
    place: Path, out: Path, options: Options | None = None, *, progress: Progress | None = None
) -> Converted:
    """Writes the history of a log.

    Args:
        place: the log. out: the Parquet file, made new. options: how to read it. progress: hears how far it is.

    Raises:
        InputError: the source is of no known kind, cannot be read, or gives no row.
    """
    began_s = time.monotonic()
    drops: Counter[str] = Counter()
    found = _read(place, drops, options or Options(), progress)
    with HistoryWriter(out, found.meta) as writer:
        for each in found.rows:
            if isinstance(each, HistoryRow):
                writer.add(each)
            else:
                writer.add_table(each)
        writer.flush()
        if not writer.tally.rows:
            causes = ", ".join(f"{count:,} {cause}" for cause, count in drops.most_common())
            left = f"; left out: {causes}" if causes else ""
            raise InputError(f"{place} must have an opportunity, had none{left}")
    tally = writer.tally
    return Converted(
        table=str(out),
        source=found.meta.source,
        currency=found.meta.currency,
        clock=found.meta.clock,
        rows=tally.rows,
        unbid=tally.unbid,
        open=tally.open,
        won=tally.won,
        won_share=tally.won_share,
        users=tally.users,
        first_ns=tally.first_ns,
        last_ns=tally.last_ns,
        price_kinds=dict(tally.kinds.most_common()),
        campaigns=dict(sorted(tally.campaigns.items(), key=lambda item: (-item[1].rows, item[0]))),
        drops={cause: count for cause, count in drops.most_common() if count},
        examples=found.examples,
        seconds=time.monotonic() - began_s,
    )


def _read(place: Path, drops: Counter[str], options: Options, progress: Progress | None) -> _Found:
    if str(place) == SAMPLE and not place.exists():
        rows = sample_rows(options.seed, options.sample_rows, options.sample_days)
        return _Found(sample_meta(options.seed), _counted(rows, progress, options.sample_rows), {})
    if not place.exists():
        raise InputError(f"source {place} must be there, is not: it may be {KINDS}")
    if options.mapping is not None:
        mapped = Mapped(place, options.mapping)
        return _Found(mapped.meta, mapped.tables(drops, progress), mapped.examples)
    if place.is_dir():
        return _folder(place, drops, options, progress)
    if place.suffix.lower() in _JSON_LINES:
        rows = openrtb_rows(
            place,
            drops,
            currency=options.currency,
            wait_s=options.wait_s,
            requests=options.requests,
            progress=progress,
        )
        return _Found(openrtb_meta(place, options.currency), rows, {})
    if place.suffix.lower() == ".parquet":
        _check_table(place)
        return _Found(
            ipinyou_meta(place), _counted(ipinyou_rows(place, drops, options.sources), progress), {}
        )
    raise InputError(f"source must be {KINDS}; was {place}: say what its columns are with --mapping FILE")


def _folder(place: Path, drops: Counter[str], options: Options, progress: Progress | None) -> _Found:
    if journals_of(place):
        source = source_of(place, options.decisions, options.database)
        rows = run_rows(source, drops, requests=options.requests, progress=progress)
        return _Found(run_meta(source), rows, {})
    if any(place.glob("bid.*")) or any(place.glob("imp.*")):
        return _Found(season_meta(place), season_tables(place, drops, progress), {})
    raise InputError(f"source must be {KINDS}; folder {place} has no journal and no season logs")


def _check_table(place: Path) -> None:
    """Raises `InputError` where a Parquet file is a history already."""
    try:
        metadata = pq.read_metadata(place).metadata or {}
    except (pa.ArrowException, OSError):
        return  # its reader says what is wrong
    if META_KEY in metadata:
        raise InputError(f"source {place} is a history already")
    try:
        detect(place)
    except InputError as error:
        names = ", ".join(pq.read_schema(place).names[:20])
        raise InputError(
            f"columns of {place} must be those of an iPinYou file, or be named with --mapping FILE (one to start "
            f"from is in simulator/README.md), were {names}"
        ) from error


def _counted(rows: Iterator[HistoryRow], progress: Progress | None, many: int = 0) -> Iterator[HistoryRow]:
    for count, row in enumerate(rows, start=1):
        yield row
        if progress is not None and count % (1_000 if many else 50_000) == 0:
            progress(count, many)
