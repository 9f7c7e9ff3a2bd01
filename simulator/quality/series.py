"""One campaign's auctions as arrays: of an iPinYou *auctions* log, or of the synthetic market."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.logs.ipinyou import MICROS_PER_FEN_CPM, SOURCES, Kind, detect
from simulator.logs.parquet import ParquetLog

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIT_SHARE = 0.25
"""Earlier part of each log, for the parameters of baselines; the rest is measured."""
LEAST_ROWS = 2_000
_TYPES: dict[str, pa.DataType] = {
    "source": pa.large_string(), "campaign": pa.large_string(), "click": pa.int64(), "market_price": pa.float64(),
    "pctr_lr_insample": pa.float64(), "pctr_lr_sam": pa.float64(), "local_hour": pa.timestamp("us"),
}  # fmt: skip


class Series(NamedTuple):
    """One campaign's auctions in order of time.

    Attributes:
        name: of campaign and piece of the log.
        theta: float64[n], click probability that the bidder believes. truth: float64[n], the true one, or None.
        price: int64[n], nanos of the highest rival for one impression (micros of CPM).
        click: uint8[n]. hour: int32[n], hour of the log, empty where not known.
        unit_nanos: the smallest step of prices in the log.
    """

    name: str
    theta: Floats
    truth: Floats | None
    price: Ints
    click: NDArray[np.uint8]
    hour: NDArray[np.int32]
    unit_nanos: int

    def part(self, begin: int, end: int) -> "Series":
        """Auctions `begin` to `end`."""
        rows = slice(begin, end)
        return self._replace(
            theta=np.ascontiguousarray(self.theta[rows]),
            truth=None if self.truth is None else np.ascontiguousarray(self.truth[rows]),
            price=np.ascontiguousarray(self.price[rows]),
            click=np.ascontiguousarray(self.click[rows]),
            hour=self.hour[rows],
        )

    def split(self) -> tuple["Series", "Series"]:
        """The earlier part, to fit baselines on, and the later one, to measure."""
        at = int(len(self.price) * FIT_SHARE)
        return self.part(0, at), self.part(at, len(self.price))

    @property
    def cost_nanos(self) -> int:
        """Price of all its auctions."""
        return int(self.price.sum())

    @property
    def cap_nanos(self) -> int:
        """The highest bid: a step above the highest price."""
        return int(self.price.max()) + self.unit_nanos


def log_series(path: Path) -> list[Series]:
    """The pieces of an iPinYou *auctions* log, one for each campaign and source, in the order of the file.

    Sources were sampled in different ways and are never pooled (`simulator.logs.ipinyou.SOURCES`). The probability
    is `pctr_lr_sam` where known, else `pctr_lr_insample`.

    Raises:
        InputError: the file is not there, is no such log, or has no piece of enough rows.
    """
    if detect(path) is not Kind.AUCTIONS:
        raise InputError(
            f"--log must be iPinYou auctions with click probabilities, was {path}, iPinYou features"
        )
    table = pa.concat_tables(ParquetLog(path).batches(_TYPES))
    keys = np.array(table["campaign"].to_pylist(), dtype=object) + "\t"
    keys = keys + np.array(table["source"].to_pylist(), dtype=object)
    click = table["click"].to_numpy(zero_copy_only=False).astype(np.float64)
    fen = table["market_price"].to_numpy(zero_copy_only=False).astype(np.float64)
    both = [
        table[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("pctr_lr_sam", "pctr_lr_insample")
    ]
    theta = np.where(np.isnan(both[0]), both[1], both[0])
    hour = table["local_hour"].cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) // 3_600_000_000
    good = (fen >= 0) & (theta >= 0) & (theta <= 1) & np.isin(click, (0, 1))
    found = []
    for key in dict.fromkeys(keys.tolist()):
        rows = np.flatnonzero((keys == key) & good)
        if len(rows) < LEAST_ROWS:
            continue
        campaign, source = key.split("\t")
        hours = hour[rows]
        found.append(
            Series(
                f"{campaign} {_piece(source)}",
                theta[rows],
                None,
                np.rint(fen[rows] * MICROS_PER_FEN_CPM).astype(np.int64),
                click[rows].astype(np.uint8),
                (hours - hours[0]).astype(np.int32)
                if (np.diff(hours) >= 0).all() and hours[0] >= 0
                else _NO_HOURS,
                MICROS_PER_FEN_CPM,
            )
        )
    if not found:
        raise InputError(f"--log must hold a campaign of at least {LEAST_ROWS} auctions, {path} has none")
    return sorted(found)


class Slots(NamedTuple):
    """Parts of a series, each within one hour and one step of an even curve.

    Attributes:
        of: int32[n], the part of each auction. step, hour: int64[parts], where each part lies; hour is -1 unknown.
        auctions: int64[parts].
    """

    of: NDArray[np.int32]
    step: Ints
    hour: Ints
    auctions: Ints

    @property
    def hours(self) -> bool:
        """Whether hours are known."""
        return bool(len(self.hour)) and int(self.hour[0]) >= 0

    def by_step(self, nanos: Ints) -> Ints:
        """Spend of each step of the curve from that of each part."""
        return np.bincount(self.step, weights=nanos).astype(np.int64)

    def hourly_error(self, nanos: Ints, budget: int) -> float:
        """Mean distance of the hours' spend from their share of traffic, over the mean spend planned for an hour."""
        first = int(self.hour.min())
        planned = np.bincount(self.hour - first, weights=self.auctions) * (budget / self.auctions.sum())
        spent = np.bincount(self.hour - first, weights=nanos)
        there = planned > 0
        return float(np.abs(spent - planned)[there].mean() / planned[there].mean())


def slots_of(series: Series, steps: int) -> Slots:
    """Parts of a series by hour, where known, and by `steps` of equal traffic."""
    n = len(series.price)
    step = np.arange(n, dtype=np.int64) * steps // max(n, 1)
    hour = series.hour.astype(np.int64) if len(series.hour) else np.full(n, -1, dtype=np.int64)
    key = step * (hour.max(initial=0) + 2) + hour
    of = np.cumsum(np.diff(key, prepend=key[:1]) != 0).astype(np.int32)
    begins = np.flatnonzero(np.diff(of, prepend=-1))
    return Slots(of, step[begins], hour[begins], np.bincount(of).astype(np.int64))


_NO_HOURS: NDArray[np.int32] = np.zeros(0, dtype=np.int32)


def _piece(source: str) -> str:
    if source not in SOURCES:
        return source
    return "log" if SOURCES[source].contiguous else "blocks"


def synthetic_series(seed: int, campaigns: int = 4, rows: int = 80_000) -> Iterator[Series]:
    """Campaigns on a seeded market of second price, whose true click probabilities are known.

    Prices and rates share what makes an impression good, as rivals see some of what we see: log-normal prices,
    correlated .3 to .6 with log-normal click probabilities, both higher in the evening. Predictions are the truth
    times log-normal noise of mean 1. The number of rows differs from campaign to campaign.
    """
    for number in range(campaigns):
        rng = np.random.default_rng([seed, 61, number])
        n = rows - rows // 5 * number
        hour = np.minimum(np.sort(rng.random(n)) * 24, 23.999).astype(np.int32)
        evening = 0.15 * np.sin((hour - 14) / 24 * 2 * np.pi)
        quality, spread = rng.normal(0.0, 1.0, n), 0.8 + 0.2 * number
        share = rng.uniform(0.3, 0.6)
        other = rng.normal(0.0, 1.0, n)
        truth = np.exp(spread * quality + evening - spread**2 / 2) * (0.0008 + 0.0004 * number)
        truth = np.minimum(truth, 0.5)
        noise = 0.3
        theta = np.minimum(truth * np.exp(noise * rng.normal(0.0, 1.0, n) - noise**2 / 2), 1.0)
        usd = np.exp(0.2 + 0.6 * (share * quality + np.sqrt(1 - share**2) * other) + evening)
        cents = np.maximum(np.rint(usd * 100), 1.0)
        click = (rng.random(n) < truth).astype(np.uint8)
        yield Series(
            f"synthetic {number + 1}",
            theta,
            truth,
            (cents * _CENT_CPM).astype(np.int64),
            click,
            hour,
            _CENT_CPM,
        )


_CENT_CPM = 10_000
"""A cent of CPM in nanos for one impression."""
