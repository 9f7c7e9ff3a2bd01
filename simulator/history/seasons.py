"""The season logs of iPinYou as they were published: tab-separated bid, impression, click and conversion logs.

The format is that of Zhang et al., "Real-Time Bidding Benchmarking with iPinYou Dataset" (arXiv:1407.7073), table 2.
Columns stand in its order and files have no header:

| log | columns |
|---|---|
| `bid.*` | 21: all but type of the log, paying price and landing page; 19 in season 1, without the last two |
| `imp.*`, `clk.*`, `conv.*` | 24; 22 in season 1, without advertiser and user tags |

A file is a text, or one packed as `.bz2` or `.gz`. Prices are fen CPM, second price. Bids whose id has an impression
won; the others are known to be below the price to beat. Impressions are held in memory while the bids are read, 24
bytes each. Times are of Beijing and stand as if they were of UTC. A conversion has no worth in these logs.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv
from xxhash import xxh3_64_intdigest

from bidder.core.users import user_key
from bidder.errors import InputError
from simulator.history.auctions import ABOVE, AT_MOST, EXACT
from simulator.history.file import Progress
from simulator.history.ordering import in_order
from simulator.history.schema import SCHEMA, Meta, empty_columns
from simulator.logs.agents import agent_of
from simulator.logs.ipinyou import CURRENCY, MICROS_PER_FEN_CPM, position_of, segments_of, stamps_of

_HEAD = ("bid_id", "timestamp")
_MIDDLE = (
    "user", "agent", "ip", "region", "city", "exchange", "domain", "url", "anonymous_url", "slot", "w", "h",
    "visibility", "format", "floor", "creative", "bid",
)  # fmt: skip
_TAIL = ("advertiser", "tags")
_BID_COLUMNS = (*_HEAD, *_MIDDLE, *_TAIL)
_SEEN_COLUMNS = (*_HEAD, "type", *_MIDDLE, "paid", "page", *_TAIL)
_KINDS = ("bid", "imp", "clk", "conv")
_BLOCK_BYTES = 16 << 20
_MOST_FEN = 1_000_000
_NAMELESS = "ipinyou"
"""Campaign of all bids in season 1, which names none."""

_Ints = NDArray[np.int64]


def season_files(place: Path) -> dict[str, list[Path]]:
    """The logs in a folder by kind: `bid`, `imp`, `clk`, `conv`; those of one kind in the order of their names.

    Raises:
        InputError: there are no bids, or no impressions.
    """
    found: dict[str, list[Path]] = {kind: sorted(place.glob(f"{kind}.*")) for kind in _KINDS}
    missing = [kind for kind in ("bid", "imp") if not found[kind]]
    if missing:
        raise InputError(
            f"folder {place} must hold season logs of iPinYou, bid.* and imp.*, and clk.* and conv.* where there are "
            f"any; has no {' and no '.join(f'{kind}.*' for kind in missing)}"
        )
    return found


def season_meta(place: Path) -> Meta:
    """What a history of season logs says of itself."""
    return Meta(currency=CURRENCY, source=f"iPinYou season logs {place.name}", clock="local")


def season_tables(
    place: Path, drops: Counter[str], progress: Progress | None = None, *, block_bytes: int = _BLOCK_BYTES
) -> Iterator[pa.Table]:
    """The bids of season logs as tables of the history's schema, in the order of time.

    Args:
        place: folder of the logs. drops: counts what is left out, by cause. progress: hears of bytes of bid logs.
        block_bytes: of a log to read at a time.

    Raises:
        InputError: logs that are missing or have other columns.
    """
    return in_order(_Season(season_files(place), drops, block_bytes).tables(progress))


class _Season:
    def __init__(self, files: dict[str, list[Path]], drops: Counter[str], block_bytes: int) -> None:
        self._files = files
        self._drops = drops
        self._block = block_bytes

    def tables(self, progress: Progress | None) -> Iterator[pa.Table]:
        shown = self._events("imp")
        clicks, conversions = self._events("clk"), self._events("conv")
        met = np.zeros(len(shown.ids), dtype=np.bool_)
        total = sum(path.stat().st_size for path in self._files["bid"])
        done = 0
        for path in self._files["bid"]:
            for table in self._read(path, _BID_COLUMNS):
                made = self._bids(table, shown, clicks, conversions, met)
                if made.num_rows:
                    yield made
            done += path.stat().st_size
            if progress is not None:
                progress(done, total)
        self._count("impression without a bid", int((~met).sum()))

    # -- files ----------------------------------------------------------------------------------------------

    def _read(self, path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
        """A log in pieces, all of it texts; rows with another number of columns are left out."""
        names = _present(path, columns)
        if not names:
            return

        def skip(_: Any) -> str:
            self._drops[f"{path.name.partition('.')[0]} row has not {len(names)} columns"] += 1
            return "skip"

        try:
            stream = pa.input_stream(str(path), compression="detect")
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(column_names=list(names), block_size=self._block, use_threads=False),
                csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=skip),
                csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
            for batch in reader:
                table = pa.Table.from_batches([batch])
                for name in columns:
                    if name not in names:
                        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
                yield table
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"season log {path} cannot be read to its end: {str(error)[:120]}") from None

    def _events(self, kind: str) -> "_Events":
        """Ids, times and prices of the impressions, clicks or conversions; of one id the first."""
        ids, at_ns, paid = [], [], []
        for path in self._files[kind]:
            for table in self._read(path, _SEEN_COLUMNS):
                stamps, fen = stamps_of(table["timestamp"]), _whole(table["paid"])
                good = pc.and_(pc.is_valid(stamps), pc.is_valid(fen))
                self._count(f"{kind} without time or price", table.num_rows - pc.sum(good).as_py())
                ids.append(_hashes(table["bid_id"].filter(good)))
                at_ns.append(stamps.filter(good).to_numpy())
                paid.append(fen.filter(good).to_numpy())
        if not ids:
            none = np.zeros(0, dtype=np.int64)
            return _Events(np.zeros(0, dtype=np.uint64), none, none)
        every = np.concatenate(ids)
        found, first = np.unique(every, return_index=True)
        self._count(f"{kind} a second time", len(every) - len(found))
        return _Events(found, np.concatenate(at_ns)[first], np.concatenate(paid)[first])

    # -- bids -----------------------------------------------------------------------------------------------

    def _bids(
        self, table: pa.Table, shown: "_Events", clicks: "_Events", conversions: "_Events", met: Any
    ) -> pa.Table:
        stamps, bid, floor = stamps_of(table["timestamp"]), _whole(table["bid"]), _whole(table["floor"])
        good = np.ones(table.num_rows, dtype=np.bool_)
        for cause, ok in (
            ("bid without a time", pc.is_valid(stamps)),
            ("bidding price is no price", pc.and_(pc.is_valid(bid), pc.greater(pc.fill_null(bid, 0), 0))),
            ("floor is no price", pc.is_valid(floor)),
        ):
            hit = good & ~ok.to_numpy()
            self._count(cause, int(hit.sum()))
            good &= ~hit
        ids = _hashes(table["bid_id"])
        won, place = shown.find(ids)
        met[place[won]] = True
        paid = np.where(won, shown.paid[place], 0) if len(shown.ids) else np.zeros(len(ids), dtype=np.int64)
        dear = good & won & (paid > pc.fill_null(bid, 0).to_numpy())
        self._count("paid more than was bid", int(dear.sum()))
        good &= ~dear
        keep = pa.array(good)
        kept = table.filter(keep)
        amounts = [values.filter(keep).to_numpy() * MICROS_PER_FEN_CPM for values in (bid, floor)]
        at_ns = stamps.filter(keep).to_numpy()
        result = _result(won[good], paid[good] * MICROS_PER_FEN_CPM, *amounts)
        seen = _labels(ids[good], won[good], clicks, conversions)
        times = np.where(won[good], shown.at_ns[place[good]], 0) if len(shown.ids) else at_ns
        given = {
            "id": kept["bid_id"],
            "offered_ns": pa.array(at_ns),
            "floor_nanos": pa.array(amounts[1]),
            "bid_nanos": pa.array(amounts[0]),
            "shown_ns": pa.array(times, mask=~won[good]),
            **_described(kept),
            **result,
            **seen,
        }
        return empty_columns(kept.num_rows, {**given, "bid_id": kept["bid_id"]}).cast(SCHEMA)

    def _count(self, cause: str, rows: int) -> None:
        if rows:
            self._drops[cause] += rows


class _Events:
    """Things that happened to bids.

    Attributes:
        ids: uint64[n], hashes of bid ids, ascending. at_ns, paid: int64[n], when, and fen CPM.
    """

    def __init__(self, ids: NDArray[np.uint64], at_ns: _Ints, paid: _Ints) -> None:
        self.ids, self.at_ns, self.paid = ids, at_ns, paid

    def find(self, ids: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], _Ints]:
        """Which bids are among them, and where."""
        if not len(self.ids):
            return np.zeros(len(ids), dtype=np.bool_), np.zeros(len(ids), dtype=np.int64)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.ids[place] == ids, place.astype(np.int64)


def _present(path: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that a log has: all, or all but the last two, as in season 1; none where it is empty."""
    with pa.input_stream(str(path), compression="detect") as stream:
        line = stream.read(1 << 16).split(b"\n", 1)[0]
    if not line:
        return ()
    count = line.count(b"\t") + 1
    for names in (columns, columns[: -len(_TAIL)]):
        if count == len(names):
            return tuple(names)
    raise InputError(
        f"season log {path} must have {len(columns)} columns set apart by tabs, or {len(columns) - len(_TAIL)} as in "
        f"season 1; line 1 has {count}"
    )


def _whole(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Prices in whole fen; null where a text is none."""
    shape = pc.match_substring_regex(texts, r"^\d{1,7}$")
    number = pc.cast(pc.if_else(shape, texts, pa.scalar(None, pa.string())), pa.int64())
    return pc.if_else(pc.less_equal(number, _MOST_FEN), number, pa.scalar(None, pa.int64()))


def _hashes(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    return np.fromiter(
        (xxh3_64_intdigest(each) for each in ids.cast(pa.binary()).to_pylist()), np.uint64, len(ids)
    )


def _result(won: NDArray[np.bool_], paid: _Ints, bid: _Ints, floor: _Ints) -> dict[str, pa.Array]:
    """`schema.known_win` and `known_loss` over columns."""
    tie = won & (paid == bid)
    exact = won & ~tie
    kind = np.where(exact, EXACT, np.where(won, AT_MOST, ABOVE)).astype(np.uint8)
    price = np.where(exact, paid + (paid > floor), bid)
    return {
        "won": pa.array(won),
        "price_kind": pa.array(kind),
        "price_nanos": pa.array(price),
        "paid_nanos": pa.array(np.where(won, paid, 0)),
    }


def _labels(
    ids: NDArray[np.uint64], won: NDArray[np.bool_], clicks: _Events, conversions: _Events
) -> dict[str, pa.Array]:
    clicked, when = clicks.find(ids)
    clicked &= won
    converted, later = conversions.find(ids)
    converted &= clicked
    at_click = clicks.at_ns[when] if len(clicks.ids) else when
    at_end = conversions.at_ns[later] if len(conversions.ids) else later
    return {
        "clicked": pa.array(clicked, mask=~won),
        "clicked_ns": pa.array(at_click, mask=~clicked),
        "converted": pa.array(converted, mask=~clicked),
        "converted_ns": pa.array(at_end, mask=~converted),
    }


def _described(table: pa.Table) -> dict[str, pa.Array]:
    """What a bid log says of opportunity and bidder."""
    agents = [agent_of(text) for text in table["agent"].to_pylist()]
    exchanges = ["ipinyou-" + name if _known(name) else "ipinyou" for name in table["exchange"].to_pylist()]
    users = [
        user_key(None, (), None, name if _known(name) else None, exchange) or None
        for name, exchange in zip(table["user"].to_pylist(), exchanges, strict=True)
    ]
    positions = [position_of(text) for text in table["visibility"].to_pylist()]
    return {
        "exchange": pa.array(exchanges, pa.string()),
        "user": pa.array(users, pa.uint64()),
        "domain": _texts(table["domain"]),
        "placement": _texts(table["slot"]),
        "position": pa.array([str(each) if each else None for each in positions], pa.string()),
        "w": pc.cast(_whole(table["w"]), pa.int32()),
        "h": pc.cast(_whole(table["h"]), pa.int32()),
        "os": pa.array([agent.os for agent in agents], pa.string()),
        "browser": pa.array([agent.browser for agent in agents], pa.string()),
        "region": _texts(table["region"]),
        "city": _texts(table["city"]),
        "segments": pa.array(
            [segments_of(tags if _known(tags) else None) or None for tags in table["tags"].to_pylist()],
            pa.list_(pa.string()),
        ),
        "campaign": pc.fill_null(_texts(table["advertiser"]), _NAMELESS),
        "creative": _texts(table["creative"]),
    }


def _known(text: str | None) -> bool:
    return text not in (None, "", "null", "Null", "NULL")


def _texts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts with what stands for nothing (`null`, nothing at all) as null."""
    nothing = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(["", "null"]))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), texts)
