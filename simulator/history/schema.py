"""The canonical history: one row an opportunity of one buyer, in Parquet, in the order of `offered_ns`.

| column | what |
|---|---|
| `id` | names the opportunity in its log |
| `offered_ns` | when the exchange offered it, nanoseconds since the epoch |
| `recorded_ns` | when whoever wrote the log noted it; null where not known |
| `exchange` | name of the exchange |
| `user` | key of the user (`bidder.core.users`), null where not known or not to be known |
| `domain`, `placement`, `position` | where it is shown: domain or bundle, `imp.tagid`, position on the page |
| `w`, `h` | size in pixels |
| `os`, `browser`, `device_type`, `region`, `city` | of the user's device and place |
| `segments` | ids of audience segments |
| `floor_nanos` | the exchange's floor, 0 where none |
| `first_price` | whether a win pays its bid |
| `campaign`, `line_item`, `creative`, `bid_id` | who bid, with what; `campaign` is null where the buyer did not bid |
| `click_probability` | predicted; null where there is none |
| `conversion_probability` | predicted, of a conversion after a click; null where there is none |
| `worth_nanos` | what the goal's outcome is worth: what a model said, else what was stated; 0 where not known |
| `multiplier` | of pacing, when it was bid |
| `bid_nanos` | what was bid; 0 where no bid was made, null where one was made and is not known |
| `density` | of the logarithm of the bid where exploration drew it, else null |
| `won` | null where not known, and where no bid was made |
| `price_kind` | what is known of the price to beat: `simulator.history.auctions` |
| `price_nanos` | the price to beat where exact, else the bid that bounds it, else 0 |
| `paid_nanos` | what the win cost, 0 where it was lost |
| `told_ns` | when win or loss was heard of |
| `shown_ns` | when the impression was shown, or billed |
| `clicked`, `clicked_ns` | whether and when; null where not known: what was not shown has no outcome |
| `converted`, `converted_ns` | whether a conversion followed the click, and when the first did |
| `value_nanos` | worth of the conversions that followed, 0 where none |
| `known_until_ns` | until when conversions of this row were looked for |
| `request` | the request's body as it came, where it was kept |

Money is int64 nanos of the history's currency for one impression, which is micros of CPM. The price to beat is the
lowest bid that wins: a bid at it or above it wins, a tie with a rival goes to the rival. So at second price a win
costs one nano less than the price to beat, but never less than the floor.

There is no weight of a row. Budgets and pacing meet every opportunity once and in turn, so that a row cannot stand
for several, and a log that keeps all wins but one in so many losses has another win rate than there was. A sampled
log keeps the same share of both, by whole users: budgets as shares of what was spent then hold, and counts are of
the sample.

Two times stand in each row because they differ: learning and pacing may only use what was recorded by then.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from simulator.history.auctions import ABOVE, AT_MOST, EXACT, UNKNOWN

VERSION = 2
META_KEY = b"clearbid.history"
"""Of the Parquet file's metadata: `Meta` as JSON."""


class PriceKind(IntEnum):
    """The kinds of `price_kind`, to be printed."""

    EXACT = EXACT
    ABOVE = ABOVE
    AT_MOST = AT_MOST
    UNKNOWN = UNKNOWN


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What a history says of itself.

    Attributes:
        version: of the schema. currency: of its money. source: what it was made of.
        clock: whether times are of UTC or of the users' own places, written as if they were of UTC.
        wins_only: whether what was lost is not in it.
    """

    version: int = VERSION
    currency: str = "USD"
    source: str = ""
    clock: str = "utc"
    wins_only: bool = False


_NEEDED = (
    "id", "offered_ns", "exchange", "floor_nanos", "first_price", "worth_nanos", "price_kind", "price_nanos",
    "paid_nanos", "value_nanos",
)  # fmt: skip

_TYPES: dict[str, pa.DataType] = {
    "id": pa.string(), "offered_ns": pa.int64(), "recorded_ns": pa.int64(), "exchange": pa.string(),
    "user": pa.uint64(), "domain": pa.string(), "placement": pa.string(), "position": pa.string(),
    "w": pa.int32(), "h": pa.int32(), "os": pa.string(), "browser": pa.string(), "device_type": pa.string(),
    "region": pa.string(), "city": pa.string(), "segments": pa.list_(pa.string()), "floor_nanos": pa.int64(),
    "first_price": pa.bool_(), "campaign": pa.string(), "line_item": pa.string(), "creative": pa.string(),
    "bid_id": pa.string(), "click_probability": pa.float64(), "conversion_probability": pa.float64(),
    "worth_nanos": pa.int64(), "multiplier": pa.float64(), "bid_nanos": pa.int64(), "density": pa.float64(),
    "won": pa.bool_(), "price_kind": pa.uint8(), "price_nanos": pa.int64(), "paid_nanos": pa.int64(),
    "told_ns": pa.int64(), "shown_ns": pa.int64(), "clicked": pa.bool_(), "clicked_ns": pa.int64(),
    "converted": pa.bool_(), "converted_ns": pa.int64(), "value_nanos": pa.int64(), "known_until_ns": pa.int64(),
    "request": pa.binary(),
}  # fmt: skip

SCHEMA = pa.schema([pa.field(name, kind, nullable=name not in _NEEDED) for name, kind in _TYPES.items()])
"""Columns, in their order."""

MONEY = ("floor_nanos", "worth_nanos", "bid_nanos", "price_nanos", "paid_nanos", "value_nanos")
TIMES = (
    "offered_ns",
    "recorded_ns",
    "told_ns",
    "shown_ns",
    "clicked_ns",
    "converted_ns",
    "known_until_ns",
)


class HistoryRow(NamedTuple):
    """One row, in the order of `SCHEMA`; the columns that may be null have a default of None."""

    id: str
    offered_ns: int
    recorded_ns: int | None = None
    exchange: str = ""
    user: int | None = None
    domain: str | None = None
    placement: str | None = None
    position: str | None = None
    w: int | None = None
    h: int | None = None
    os: str | None = None
    browser: str | None = None
    device_type: str | None = None
    region: str | None = None
    city: str | None = None
    segments: tuple[str, ...] | None = None
    floor_nanos: int = 0
    first_price: bool = False
    campaign: str | None = None
    line_item: str | None = None
    creative: str | None = None
    bid_id: str | None = None
    click_probability: float | None = None
    conversion_probability: float | None = None
    worth_nanos: int = 0
    multiplier: float | None = None
    bid_nanos: int | None = 0
    density: float | None = None
    won: bool | None = None
    price_kind: int = UNKNOWN
    price_nanos: int = 0
    paid_nanos: int = 0
    told_ns: int | None = None
    shown_ns: int | None = None
    clicked: bool | None = None
    clicked_ns: int | None = None
    converted: bool | None = None
    converted_ns: int | None = None
    value_nanos: int = 0
    known_until_ns: int | None = None
    request: bytes | None = None


assert HistoryRow._fields == tuple(SCHEMA.names), "rows have the columns of the schema, in its order"


class Known(NamedTuple):
    """What a log tells of the price to beat: values of `won`, `price_kind`, `price_nanos`, `paid_nanos`."""

    won: bool | None
    price_kind: int
    price_nanos: int
    paid_nanos: int


NOTHING = Known(None, UNKNOWN, 0, 0)


def known_win(bid_nanos: int | None, paid_nanos: int, floor_nanos: int, *, first_price: bool) -> Known:
    """What a win tells.

    At second price the price to beat is one nano above what was paid, where that was a rival's price; a price at
    the floor was the floor. Where the bid itself was paid, at first price or by a tie, only that bound is known.

    Args:
        bid_nanos: None where not known. paid_nanos: what it cost. floor_nanos: the exchange's.
    """
    if not first_price and paid_nanos != bid_nanos:
        return Known(True, EXACT, paid_nanos + (paid_nanos > floor_nanos), paid_nanos)
    bound = paid_nanos if bid_nanos is None else bid_nanos
    return Known(True, AT_MOST, bound, paid_nanos)


def known_loss(bid_nanos: int | None, min_to_win_nanos: int | None = None) -> Known:
    """What a loss tells: the price that would have won where the exchange says it, else that it is above the bid."""
    if min_to_win_nanos is not None and (bid_nanos is None or min_to_win_nanos > bid_nanos):
        return Known(False, EXACT, min_to_win_nanos, 0)
    return Known(False, UNKNOWN, 0, 0) if bid_nanos is None else Known(False, ABOVE, bid_nanos, 0)


def empty_columns(rows: int, given: dict[str, Any]) -> pa.Table:
    """A table of `SCHEMA` of the columns that are given; the others have their defaults."""
    defaults = HistoryRow._field_defaults
    arrays = []
    for field in SCHEMA:
        value = given.get(field.name)
        if value is None:
            default = defaults[field.name]
            value = (
                pa.nulls(rows, field.type)
                if default is None
                else pa.repeat(pa.scalar(default, field.type), rows)
            )
        arrays.append(value)
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
