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
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.logs.agents import agent_of
from simulator.logs.parquet import ParquetLog
from simulator.logs.rows import LogRow
from simulator.logs.timeline import RUN_ROWS, Spread, in_time_order

CURRENCY = "CNY"
COUNTRY = "CHN"
MICROS_PER_FEN_CPM = 10_000
HOUR_NS = 3_600_000_000_000
_MAX_OWNERS = 1 << 20
DAY_NS = 24 * HOUR_NS

Ints = NDArray[np.int64]


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

_TEXT = pa.large_string()
_FEATURE_TYPES: dict[str, pa.DataType] = {
    "source": _TEXT, "click": pa.int64(), "timestamp": _TEXT, "weekday": pa.int64(), "hour": pa.int64(),
    "ipinyouid": _TEXT, "useragent": _TEXT, "IP": _TEXT, "region": pa.int64(), "city": pa.int64(),
    "adexchange": _TEXT, "domain": _TEXT, "url": _TEXT, "slotid": _TEXT, "slotwidth": pa.int64(),
    "slotheight": pa.int64(), "slotvisibility": _TEXT, "slotprice": pa.float64(), "payprice": pa.float64(),
    "advertiser": _TEXT, "usertag": _TEXT,
}  # fmt: skip
_FEATURES_NEEDED = ("source", "click", "weekday", "slotwidth", "slotheight", "payprice", "advertiser")
_AUCTION_TYPES: dict[str, pa.DataType] = {
    "source": _TEXT, "campaign": _TEXT, "click": pa.int64(), "market_price": pa.float64(),
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


class _Reader:
    """What both kinds share: two passes, one to learn how many rows share an hour, one to read them."""

    types: dict[str, pa.DataType]
    time_columns: tuple[str, ...]
    campaign_column: str

    def __init__(self, log: ParquetLog, sources: tuple[str, ...], drops: Counter[str] | None) -> None:
        self._log = log
        self._sources = sources
        self._drops: Counter[str] = Counter() if drops is None else drops
        self._spread = Spread()
        self._first_day: dict[int, int] = {}
        self._owners: dict[tuple[str, str], int] = {}

    def rows(self, run_rows: int) -> Iterator[LogRow]:
        self._survey()
        ordered = in_time_order(self._timed(), run_rows)
        return (self.row(values) for values in ordered)

    def _survey(self) -> None:
        """First pass: rows of each span, first day of each source."""
        wanted = {name: self.types[name] for name in self.time_columns}
        for table in self._log.batches(wanted | {name: self.types[name] for name in self.checked()}):
            kept = table.filter(self._good(table))
            if not kept.num_rows:
                continue
            source, begin_ns, length_ns = self._source_index(kept), *self._span(kept)
            self._spread.count(self._number(kept, begin_ns, length_ns)[length_ns > 0])
            for index in np.unique(source).tolist():
                day = int(begin_ns[source == index].min() // DAY_NS)
                self._first_day[index] = min(day, self._first_day.get(index, day))

    def _timed(self) -> Iterator[pa.Table]:
        """Second pass: the rows with their time and place in the log put first, bad ones left out."""
        place = 0
        for whole in self._log.batches(self.types):
            numbered = whole.add_column(0, "place", pa.array(np.arange(place, place + whole.num_rows)))
            place += whole.num_rows
            kept = numbered.filter(self._good(whole, self._drops))
            if kept.num_rows:
                yield kept.add_column(0, "at_ns", pa.array(self._times(kept)))

    def _times(self, table: pa.Table) -> Ints:
        source, begin_ns, length_ns = self._source_index(table), *self._span(table)
        at_ns = begin_ns.copy()
        loose = length_ns > 0
        spans = self._number(table, begin_ns, length_ns)[loose]
        at_ns[loose] = self._spread.times(spans, begin_ns[loose], length_ns[loose])
        axis_day = next(self._first_day[i] for i in range(len(self._sources)) if i in self._first_day)
        moved = np.array([axis_day - self._first_day.get(i, axis_day) for i in range(len(self._sources))])
        return np.asarray(at_ns + moved[source] * DAY_NS)

    def _number(self, table: pa.Table, begin_ns: Ints, length_ns: Ints) -> Ints:
        """A number for each span: its hour, whether it is a whole day, and whose it is."""
        return (begin_ns // HOUR_NS * 2 + (length_ns > HOUR_NS)) * _MAX_OWNERS + self._owner(table)

    def _owner(self, table: pa.Table) -> Ints:
        """Numbers of (source, campaign): each spreads its rows for itself."""
        pairs = zip(table["source"].to_pylist(), table[self.campaign_column].to_pylist(), strict=True)
        owners = self._owners
        return np.fromiter((owners.setdefault(pair, len(owners)) for pair in pairs), np.int64, table.num_rows)

    def _good(self, table: pa.Table, drops: Counter[str] | None = None) -> NDArray[np.bool_]:
        """Which rows to keep; each of the others is counted by its first fault."""
        good = np.ones(table.num_rows, np.bool_)
        for cause, fault in self._faults(table):
            hit = good & fault.to_numpy(zero_copy_only=False)
            good &= ~hit
            if drops is not None and hit.any():
                drops[cause] += int(hit.sum())
        return good

    def _faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        chosen = pc.is_in(table["source"], value_set=pa.array(self._sources, _TEXT))
        yield "source not chosen", _flags(pc.invert(chosen))
        yield (
            "click is neither 0 nor 1",
            _flags(pc.invert(pc.is_in(table["click"], value_set=pa.array([0, 1])))),
        )
        for column, cause in self.prices().items():
            price = table[column]
            # A price above 10,000 CNY CPM is no price; one finer than a micro would not be exact.
            micros = pc.multiply(price, float(MICROS_PER_FEN_CPM))
            whole = pc.equal(pc.round(micros, 4), pc.round(micros))
            fair = pc.and_(pc.and_(pc.greater_equal(price, 0.0), pc.less_equal(price, 1e6)), whole)
            yield cause, _flags(pc.invert(fair), unknown=column != "slotprice")
        yield from self.more_faults(table)

    def _source_index(self, table: pa.Table) -> Ints:
        found = pc.index_in(table["source"], value_set=pa.array(self._sources, _TEXT))
        return np.asarray(pa.chunked_array(found).to_numpy()).astype(np.int64)

    def checked(self) -> tuple[str, ...]:
        """Columns that decide whether a row is kept."""
        raise NotImplementedError

    def prices(self) -> dict[str, str]:
        """Price columns, each with the cause by which bad ones are counted."""
        raise NotImplementedError

    def more_faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        """Faults of this kind of log."""
        raise NotImplementedError

    def _span(self, table: pa.Table) -> tuple[Ints, Ints]:
        """Begin of the span that a row's time is in, and length of it, 0 where the time is exact."""
        raise NotImplementedError

    def row(self, values: tuple[Any, ...]) -> LogRow:
        """One row; `values` are time, place in the log, and the columns of `types`."""
        raise NotImplementedError


class _Features(_Reader):
    types = _FEATURE_TYPES
    time_columns = ("source", "timestamp", "weekday", "hour")
    campaign_column = "advertiser"

    def checked(self) -> tuple[str, ...]:
        return ("click", "payprice", "slotprice", "slotwidth", "slotheight", "advertiser")

    def prices(self) -> dict[str, str]:
        return {"payprice": "pay price missing or out of range", "slotprice": "floor out of range"}

    def more_faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        sides = [
            pc.and_(pc.greater(table[c], 0), pc.less_equal(table[c], 10_000))
            for c in ("slotwidth", "slotheight")
        ]
        yield "size missing or out of range", _flags(pc.invert(pc.and_(*sides)), unknown=True)
        yield "campaign missing", _flags(pc.equal(pc.utf8_length(table["advertiser"]), 0), unknown=True)
        day = pc.and_(pc.greater_equal(table["weekday"], 0), pc.less_equal(table["weekday"], 6))
        stamp = pc.is_valid(_stamps(table["timestamp"]))
        yield "time unknown", _flags(pc.invert(pc.or_(stamp, pc.fill_null(day, False))))
        hour = pc.or_(
            pc.is_null(table["hour"]), pc.and_(pc.greater_equal(table["hour"], 0), pc.less(table["hour"], 24))
        )
        yield "hour out of range", _flags(pc.invert(pc.or_(stamp, hour)))

    def _span(self, table: pa.Table) -> tuple[Ints, Ints]:
        stamps = _column(_stamps(table["timestamp"]), -1)
        weekday, hour = _column(table["weekday"], 0), _column(table["hour"], -1)
        # Their weekday counts from Sunday; the week of the axis begins on Saturday the 19th.
        day = _MONDAY_DAYS - 2 + (weekday + 1) % 7
        begin = np.where(stamps >= 0, stamps, day * DAY_NS + np.maximum(hour, 0) * HOUR_NS)
        length = np.where(stamps >= 0, 0, np.where(hour >= 0, HOUR_NS, DAY_NS))
        return begin, length

    def row(self, values: tuple[Any, ...]) -> LogRow:
        (at_ns, place, _source, click, _stamp, _weekday, _hour, user, agent, ip, region, city, exchange, domain, url,
         slot, w, h, visibility, floor, pay, advertiser, tags) = values  # fmt: skip
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
            position=_POSITIONS.get(visibility, 0),
            floor_cpm_micros=0 if floor is None else round(floor * MICROS_PER_FEN_CPM),
            segments=segments_of(tags),
            market_cpm_micros=round(pay * MICROS_PER_FEN_CPM),
            campaign=advertiser,
            clicked=click == 1,
            converted=None,
            value_nanos=0,
            pctr=None,
        )


class _Auctions(_Reader):
    types = _AUCTION_TYPES
    time_columns = ("source", "campaign", "local_hour")
    campaign_column = "campaign"

    def checked(self) -> tuple[str, ...]:
        return ("click", "market_price", "pctr_lr_insample", "pctr_lr_sam")

    def prices(self) -> dict[str, str]:
        return {"market_price": "market price missing or out of range"}

    def more_faults(self, table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        yield "campaign missing", _flags(pc.equal(pc.utf8_length(table["campaign"]), 0), unknown=True)
        pctr = pc.coalesce(table["pctr_lr_sam"], table["pctr_lr_insample"])
        fair = pc.and_(pc.greater_equal(pctr, 0.0), pc.less_equal(pctr, 1.0))
        yield "click probability missing or out of range", _flags(pc.invert(fair), unknown=True)

    def _span(self, table: pa.Table) -> tuple[Ints, Ints]:
        hours = _column(pc.cast(table["local_hour"], pa.int64()), -1)
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


def _flags(values: pa.ChunkedArray, *, unknown: bool = False) -> pa.ChunkedArray:
    """Flags with null read as `unknown`."""
    return pc.fill_null(values, unknown)


def _column(values: pa.ChunkedArray, missing: int) -> Ints:
    return np.asarray(pc.fill_null(values, missing).to_numpy(), dtype=np.int64)


def _stamps(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of `yyyyMMddHHmmssSSS` texts in nanoseconds since the epoch, int64; null where it is not one."""
    shape = pc.match_substring_regex(texts, r"^\d{17}$")
    good = pc.if_else(shape, texts, pa.scalar(None, _TEXT))
    seconds = pc.strptime(
        pc.utf8_slice_codeunits(good, 0, 14), format="%Y%m%d%H%M%S", unit="s", error_is_null=True
    )
    millis = pc.cast(pc.utf8_slice_codeunits(good, 14, 17), pa.int64())
    nanos = pc.multiply(pc.cast(seconds, pa.int64()), 1_000_000_000)
    return pc.add(nanos, pc.multiply(millis, 1_000_000))
