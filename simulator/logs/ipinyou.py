"""Rows of the iPinYou logs (2013; Zhang et al., arXiv:1407.7073): real auctions that one bidder won.

Two shapes are read, told apart by `detect`. *Features* rows are impressions with all that a request said;
they make full requests. *Auctions* rows hold a campaign, click, price and an external click probability.

Units: prices are fen a thousand impressions; a fen is 0.01 CNY, so one is 10,000 micros of CNY CPM, exactly.

Sampling. Each file pools sources that were sampled in different ways, and `SOURCES` says how. Rows of different
sampling must not be pooled: pick sources by name. The default is the contiguous pieces, whose click rates are the
market's. `weight` is how many rows of the log one sampled row stands for: 84.28 for the unclicked rows
of `webecon2017_train` (clicked ones 1), 100 for `dlf2259_train`, unknown for the two click-enriched sets.

Time. A row with a timestamp keeps it; else it is spread evenly over its hour, in log order; without an hour,
over its day; *auctions* without a local hour over one day a campaign. Local time stands as if it were UTC, so
that hours of the day mean what they meant there. Sources come from different weeks: each is moved by whole
days to begin on the first day of the first chosen source, so that campaigns meet in one market.

What a log of wins cannot know: prices are censored at what the winner had bid; rows that were lost are missing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bidder.errors import InputError
from simulator.logs.agents import agent_of
from simulator.logs.parquet import ParquetLog
from simulator.logs.rows import LogRow
from simulator.logs.timeline import RUN_ROWS, Ints
from simulator.logs.twopass import DAY_NS, HOUR_NS, TEXT, TwoPassReader, column, flags

CURRENCY = "CNY"
COUNTRY = "CHN"
MICROS_PER_FEN_CPM = 10_000


class Kind(StrEnum):
    """The two shapes of iPinYou files."""

    FEATURES = "features"
    AUCTIONS = "auctions"


class Source(NamedTuple):
    """How the rows of one source were sampled; `contiguous` where nothing was left out of the piece."""

    kind: Kind
    sampling: str
    contiguous: bool


SOURCES = {
    "deepctr2997_train_joined": Source(Kind.FEATURES, "head of the log, every row", True),
    "nemusa2821_imp": Source(Kind.FEATURES, "first 10,000 lines of a day shuffled inside, every row", True),
    "dlf2259_train": Source(Kind.FEATURES, "one row in a hundred, drawn evenly", False),
    "webecon2017_train": Source(Kind.FEATURES, "every click and one in 84.28 of the rest", False),
    "featurehashing2259_train": Source(Kind.FEATURES, "clicks enriched, undocumented", False),
    "nemusa2821_clk": Source(Kind.FEATURES, "clicks only", False),
    "sam_1458.train": Source(Kind.AUCTIONS, "head of the log, every row", True),
    "sam_2259.test": Source(Kind.AUCTIONS, "head of the log, every row, days shuffled inside", True),
    "rlb_train_episode": Source(Kind.AUCTIONS, "blocks of 1,000 rows with a click at least", False),
}

_FEATURE_TYPES: dict[str, pa.DataType] = {
    "source": TEXT, "click": pa.int64(), "timestamp": TEXT, "weekday": pa.int64(), "hour": pa.int64(),
    "ipinyouid": TEXT, "useragent": TEXT, "IP": TEXT, "region": pa.int64(), "city": pa.int64(),
    "adexchange": TEXT, "domain": TEXT, "url": TEXT, "slotid": TEXT, "slotwidth": pa.int64(),
    "slotheight": pa.int64(), "slotvisibility": TEXT, "slotprice": pa.float64(), "payprice": pa.float64(),
    "advertiser": TEXT, "usertag": TEXT, "bidprice": pa.float64(),
}  # fmt: skip
_FEATURES_NEEDED = ("source", "click", "weekday", "slotwidth", "slotheight", "payprice", "advertiser")
_AUCTION_TYPES: dict[str, pa.DataType] = {
    "source": TEXT, "campaign": TEXT, "click": pa.int64(), "market_price": pa.float64(),
    "pctr_lr_insample": pa.float64(), "pctr_lr_sam": pa.float64(), "local_hour": pa.timestamp("us"),
}  # fmt: skip
_AUCTIONS_NEEDED = ("source", "campaign", "click", "market_price")

# iPinYou's slot visibility, as text in season 3 and as a number in season 2, to AdCOM "Placement Positions":
# the first screen is above the fold (1), the second and later ones below it (3); the rest is unknown (0).
_POSITIONS = {"FirstView": 1, "1": 1} | dict.fromkeys(
    ("SecondView", "ThirdView", "FourthView", "FifthView", "SixthView", "SeventhView", "EighthView", "NinthView",
     "TenthView", "2", "3", "4", "5", "6", "7", "8", "9", "10"), 3
)  # fmt: skip

NOMINAL_SIZE = (300, 250)
"""Size of every *auctions* row: those logs tell none, and a request must have one."""

_MONDAY_DAYS = int(np.datetime64("2013-10-21", "D").astype(np.int64))
"""Monday of the week where a source that knows only weekdays is placed: 19 to 25 October 2013."""


def detect(path: Path | str) -> Kind:
    """Tells by its columns which kind of iPinYou log a file is.

    Raises:
        InputError: if the file is missing, is not Parquet, or has the columns of neither kind.
    """
    return _kind_of(ParquetLog(path))


def default_sources(kind: Kind) -> tuple[str, ...]:
    """The sources of a kind whose rows are contiguous."""
    return tuple(name for name, source in SOURCES.items() if source.kind is kind and source.contiguous)


def read_features(
    path: Path | str,
    *,
    sources: Sequence[str] | None = None,
    drops: Counter[str] | None = None,
    run_rows: int = RUN_ROWS,
) -> Iterator[LogRow]:
    """Rows of a *features* file in time order.

    Args:
        path: Parquet file.
        sources: names out of `SOURCES` to take; None takes `default_sources`.
        drops: where rows that are left out are counted by cause, as they are met.
        run_rows: rows to hold in memory for sorting.

    Raises:
        InputError: at the call, if the file or a source cannot be read; later, if the file breaks off.
    """
    reader = _Features(_log(path, Kind.FEATURES), _chosen(sources, Kind.FEATURES), drops)
    return reader.rows(run_rows)


def read_auctions(
    path: Path | str,
    *,
    sources: Sequence[str] | None = None,
    drops: Counter[str] | None = None,
    run_rows: int = RUN_ROWS,
) -> Iterator[LogRow]:
    """Rows of an *auctions* file in time order, with an external click probability each.

    The probability is `pctr_lr_sam` where known, else `pctr_lr_insample`. Arguments and errors are those of
    `read_features`.
    """
    reader = _Auctions(_log(path, Kind.AUCTIONS), _chosen(sources, Kind.AUCTIONS), drops)
    return reader.rows(run_rows)


class _Features(TwoPassReader):
    types = _FEATURE_TYPES
    time_columns = ("source", "timestamp", "weekday", "hour")
    campaign_column = "advertiser"
    micros_per_unit = MICROS_PER_FEN_CPM

    def checked(self) -> tuple[str, ...]:
        return ("click", "payprice", "slotprice", "slotwidth", "slotheight", "advertiser")

    def prices(self) -> tuple[tuple[str, str, bool], ...]:
        pay = ("payprice", "pay price missing or out of range", False)
        return pay, ("slotprice", "floor out of range", True)

    def more_faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        sides = [
            pc.and_(pc.greater(table[c], 0), pc.less_equal(table[c], 10_000))
            for c in ("slotwidth", "slotheight")
        ]
        yield "size missing or out of range", flags(pc.invert(pc.and_(*sides)), unknown=True)
        yield "campaign missing", flags(pc.equal(pc.utf8_length(table["advertiser"]), 0), unknown=True)
        day = pc.and_(pc.greater_equal(table["weekday"], 0), pc.less_equal(table["weekday"], 6))
        stamp = pc.is_valid(stamps_of(table["timestamp"]))
        yield "time unknown", flags(pc.invert(pc.or_(stamp, pc.fill_null(day, False))))
        hour = pc.or_(
            pc.is_null(table["hour"]), pc.and_(pc.greater_equal(table["hour"], 0), pc.less(table["hour"], 24))
        )
        yield "hour out of range", flags(pc.invert(pc.or_(stamp, hour)))

    def span(self, table: pa.Table) -> tuple[Ints, Ints]:
        stamps = column(stamps_of(table["timestamp"]), -1)
        weekday, hour = column(table["weekday"], 0), column(table["hour"], -1)
        # Their weekday counts from Sunday; the week of the axis begins on Saturday the 19th.
        day = _MONDAY_DAYS - 2 + (weekday + 1) % 7
        begin = np.where(stamps >= 0, stamps, day * DAY_NS + np.maximum(hour, 0) * HOUR_NS)
        length = np.where(stamps >= 0, 0, np.where(hour >= 0, HOUR_NS, DAY_NS))
        return begin, length

    def row(self, values: tuple[Any, ...]) -> LogRow:
        (at_ns, place, _source, click, _stamp, _weekday, _hour, user, agent, ip, region, city, exchange, domain, url,
         slot, w, h, visibility, floor, pay, advertiser, tags, bid) = values  # fmt: skip
        ua, system, browser = agent_of(agent)
        return LogRow(
            id=f"f{place:08d}",
            at_ns=at_ns,
            exchange=f"ipinyou-{exchange}" if exchange else "ipinyou",
            user_id=user or None,
            # Their mask is a star for the last part; a request needs an address, and a truncated one ends in 0.
            ip=ip.replace("*", "0") if ip else None,
            ua=ua,
            os=system,
            browser=browser,
            region=None if region is None else str(region),
            city=None if city is None else str(city),
            domain=domain or None,
            page=url or None,
            tag_id=slot or None,
            w=w,
            h=h,
            position=position_of(visibility),
            floor_cpm_micros=0 if floor is None else round(floor * MICROS_PER_FEN_CPM),
            segments=segments_of(tags),
            market_cpm_micros=round(pay * MICROS_PER_FEN_CPM),
            campaign=advertiser,
            clicked=click == 1,
            converted=None,
            value_nanos=0,
            pctr=None,
            bid_cpm_micros=_bid_of(bid, pay),
        )


def _bid_of(bid: float | None, pay: float) -> int | None:
    """What was bid, where the log has it; a bid below what was paid is none."""
    return round(bid * MICROS_PER_FEN_CPM) if bid is not None and pay <= bid <= 1e6 else None


class _Auctions(TwoPassReader):
    types = _AUCTION_TYPES
    time_columns = ("source", "campaign", "local_hour")
    campaign_column = "campaign"
    micros_per_unit = MICROS_PER_FEN_CPM

    def checked(self) -> tuple[str, ...]:
        return ("click", "market_price", "pctr_lr_insample", "pctr_lr_sam")

    def prices(self) -> tuple[tuple[str, str, bool], ...]:
        return (("market_price", "market price missing or out of range", False),)

    def more_faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        yield "campaign missing", flags(pc.equal(pc.utf8_length(table["campaign"]), 0), unknown=True)
        pctr = pc.coalesce(table["pctr_lr_sam"], table["pctr_lr_insample"])
        fair = pc.and_(pc.greater_equal(pctr, 0.0), pc.less_equal(pctr, 1.0))
        yield "click probability missing or out of range", flags(pc.invert(fair), unknown=True)

    def span(self, table: pa.Table) -> tuple[Ints, Ints]:
        hours = column(pc.cast(table["local_hour"], pa.int64()), -1)
        begin = np.where(hours >= 0, hours * 1_000, _MONDAY_DAYS * DAY_NS)
        return begin, np.where(hours >= 0, HOUR_NS, DAY_NS)

    def row(self, values: tuple[Any, ...]) -> LogRow:
        at_ns, place, _source, campaign, click, price, insample, sam, _hour = values
        return LogRow(
            id=f"a{place:08d}",
            at_ns=at_ns,
            exchange="ipinyou",
            user_id=None,
            ip=None,
            ua=None,
            os=None,
            browser=None,
            region=None,
            city=None,
            domain=None,
            page=None,
            tag_id=None,
            w=NOMINAL_SIZE[0],
            h=NOMINAL_SIZE[1],
            position=0,
            floor_cpm_micros=0,
            segments=(),
            market_cpm_micros=round(price * MICROS_PER_FEN_CPM),
            campaign=campaign,
            clicked=click == 1,
            converted=None,
            value_nanos=0,
            pctr=sam if sam is not None else insample,
        )


def position_of(visibility: str | None) -> int:
    """IPinYou's visibility of a slot as AdCOM "Placement Positions", 0 where not known."""
    return _POSITIONS.get(visibility or "", 0)


def segments_of(tags: str | None) -> tuple[str, ...]:
    """User tags as segment ids; each is five digits.

    Some sources passed through a spreadsheet, which took `10048,16751,11278,...` for one large number: thousands
    marks moved and only the first fifteen digits, three tags, survived. Those three are read.
    """
    if not tags:
        return ()
    parts = tags.split(",")
    if all(len(part) == _TAG_DIGITS for part in parts):
        return tuple(parts)
    digits = "".join(parts)
    if not digits.isdecimal() or len(digits) % _TAG_DIGITS:
        return ()
    kept = (digits[at : at + _TAG_DIGITS] for at in range(0, min(len(digits), 3 * _TAG_DIGITS), _TAG_DIGITS))
    return tuple(tag for tag in kept if tag != "0" * _TAG_DIGITS)


_TAG_DIGITS = 5


def _log(path: Path | str, kind: Kind) -> ParquetLog:
    log = ParquetLog(path)
    found = _kind_of(log)
    if found is not kind:
        raise InputError(f"log must hold iPinYou {kind}, was {log.path}, which holds iPinYou {found}")
    return log


def _kind_of(log: ParquetLog) -> Kind:
    needed = {Kind.FEATURES: _FEATURES_NEEDED, Kind.AUCTIONS: _AUCTIONS_NEEDED}
    missing = {kind: [name for name in names if name not in log.columns] for kind, names in needed.items()}
    for kind, names in missing.items():
        if not names:
            return kind
    raise InputError(
        f"log must have the columns of iPinYou features ({', '.join(_FEATURES_NEEDED)}) or of iPinYou auctions "
        f"({', '.join(_AUCTIONS_NEEDED)}), was {log.path} without "
        f"{', '.join(missing[Kind.FEATURES])} and without {', '.join(missing[Kind.AUCTIONS])}"
    )


def _chosen(sources: Sequence[str] | None, kind: Kind) -> tuple[str, ...]:
    if sources is None:
        return default_sources(kind)
    allowed = [name for name, source in SOURCES.items() if source.kind is kind]
    for name in sources:
        if name not in allowed:
            raise InputError(f"source must be one of {', '.join(allowed)} for iPinYou {kind}, was {name!r}")
    if not sources:
        raise InputError(f"sources must name at least one of {', '.join(allowed)}, were none")
    return tuple(dict.fromkeys(sources))


def stamps_of(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of `yyyyMMddHHmmssSSS` texts in nanoseconds since the epoch, int64; null where it is not one."""
    shape = pc.match_substring_regex(texts, r"^\d{17}$")
    good = pc.if_else(shape, texts, pa.scalar(None, TEXT))
    seconds = pc.strptime(
        pc.utf8_slice_codeunits(good, 0, 14), format="%Y%m%d%H%M%S", unit="s", error_is_null=True
    )
    millis = pc.cast(pc.utf8_slice_codeunits(good, 14, 17), pa.int64())
    nanos = pc.multiply(pc.cast(seconds, pa.int64()), 1_000_000_000)
    return pc.add(nanos, pc.multiply(millis, 1_000_000))
