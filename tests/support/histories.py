"""Histories for tests: plain rows with some fields changed, and files of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simulator.history.file import History, HistoryWriter
from simulator.history.sample import sample_meta, sample_rows
from simulator.history.schema import HistoryRow, Meta, known_loss, known_win

BEGIN_NS = 1_772_409_600_000_000_000
"""A Monday 00:00 UTC."""
SECOND = 1_000_000_000


def unbid(number: int, **changes: Any) -> HistoryRow:
    """An opportunity that nobody of ours bid on, a second after the one before."""
    row = HistoryRow(
        id=f"o{number}", offered_ns=BEGIN_NS + number * SECOND, exchange="adx", user=number % 5 + 1,
        domain="news.example", placement="top", w=300, h=250, region="CA", floor_nanos=100_000,
    )  # fmt: skip
    return row._replace(**changes)


def won(number: int, paid: int, bid: int = 2_000_000, **changes: Any) -> HistoryRow:
    """A bid of campaign `c1` that won at second price."""
    first_price = bool(changes.get("first_price", False))
    known = known_win(bid, paid, changes.get("floor_nanos", 100_000), first_price=first_price)
    bought = unbid(
        number, campaign="c1", bid_nanos=bid, click_probability=0.01, worth_nanos=100_000_000, clicked=False,
        **known._asdict(),
    )  # fmt: skip
    return bought._replace(**changes)


def lost(number: int, bid: int = 2_000_000, min_to_win: int | None = None, **changes: Any) -> HistoryRow:
    """A bid of campaign `c1` that lost."""
    known = known_loss(bid, min_to_win)
    return unbid(
        number,
        campaign="c1",
        bid_nanos=bid,
        click_probability=0.02,
        worth_nanos=100_000_000,
        **known._asdict(),
    )._replace(**changes)


def sampled(path: Path, rows: int, days: float) -> Path:
    """A history of the sample market, of one seed."""
    with HistoryWriter(path, sample_meta(3)) as writer:
        for row in sample_rows(3, rows, days):
            writer.add(row)
    return path


def written(path: Path, rows: Iterable[HistoryRow], **meta: Any) -> History:
    """A history of these rows."""
    with HistoryWriter(path, Meta(**meta)) as writer:
        for row in rows:
            writer.add(row)
    return History(path)
