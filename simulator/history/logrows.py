"""Rows of `simulator.logs` as rows of a history: iPinYou's Parquet files, and whatever else makes `LogRow`.

iPinYou's impressions were all won, at second price. What was bid is known in a part of the *features* rows alone, and
no row has a conversion. A click is worth the same to all: nothing is known of that, so worth is 0 here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bidder.core.users import user_key
from simulator.history.auctions import EXACT
from simulator.history.schema import NOTHING, HistoryRow, Known, Meta, known_win
from simulator.logs.ipinyou import CURRENCY, SOURCES, Kind, detect, read_auctions, read_features
from simulator.logs.rows import LogRow


def ipinyou_meta(path: Path) -> Meta:
    """What a history of an iPinYou Parquet file says of itself."""
    return Meta(currency=CURRENCY, source=f"iPinYou {detect(path)}", clock="local", wins_only=True)


def ipinyou_rows(
    path: Path, drops: Counter[str], sources: Sequence[str] | None = None
) -> Iterator[HistoryRow]:
    """The rows of an iPinYou Parquet file, of either kind, in order of time.

    Args:
        path: of the file. drops: counts rows that are left out, by cause.
        sources: names out of `simulator.logs.ipinyou.SOURCES`; None takes those whose rows are contiguous.

    Raises:
        InputError: the file is neither kind, or a source is of another.
    """
    read = read_features if detect(path) is Kind.FEATURES else read_auctions
    return (history_row(row, first_price=False) for row in read(path, sources=sources, drops=drops))


def all_sources(kind: Kind) -> tuple[str, ...]:
    """The names of all sources of a kind."""
    return tuple(name for name, source in SOURCES.items() if source.kind is kind)


def history_rows(rows: Iterable[LogRow], first_price: frozenset[str] = frozenset()) -> Iterator[HistoryRow]:
    """Rows of any log; `first_price` names the exchanges that sell at first price."""
    return (history_row(row, first_price=row.exchange in first_price) for row in rows)


def history_row(row: LogRow, *, first_price: bool) -> HistoryRow:
    """One row; a micro of CPM is a nano for one impression.

    The price is the highest rival's, whoever won: where the log's campaign won it was paid, or the floor was.
    """
    known = _known(row, first_price=first_price)
    won = bool(known.won)
    return HistoryRow(
        id=row.id,
        offered_ns=row.at_ns,
        exchange=row.exchange,
        user=user_key(None, (), None, row.user_id, row.exchange) or None,
        domain=row.domain,
        placement=row.tag_id,
        position=str(row.position) if row.position else None,
        w=row.w,
        h=row.h,
        os=row.os,
        browser=row.browser,
        region=row.region,
        city=row.city,
        segments=row.segments or None,
        floor_nanos=row.floor_cpm_micros,
        first_price=first_price,
        campaign=row.campaign,
        click_probability=row.pctr,
        bid_nanos=0 if row.campaign is None else row.bid_cpm_micros,
        won=known.won,
        price_kind=known.price_kind,
        price_nanos=known.price_nanos,
        paid_nanos=known.paid_nanos,
        clicked=row.clicked if won else None,
        converted=row.converted if won else None,
        value_nanos=row.value_nanos if won else 0,
    )


def _known(row: LogRow, *, first_price: bool) -> Known:
    if row.market_cpm_micros is None:
        return NOTHING
    if row.campaign is None:
        # Nobody of ours bid, and yet the price is told: by a made market, not by an exchange.
        return Known(None, EXACT, max(row.floor_cpm_micros, row.market_cpm_micros + 1), 0)
    paid = max(row.market_cpm_micros, row.floor_cpm_micros)
    return known_win(row.bid_cpm_micros, paid, row.floor_cpm_micros, first_price=first_price)
