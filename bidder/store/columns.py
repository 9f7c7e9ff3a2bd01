"""Columns of a campaign sheet, by what a row is: which field each reads and writes.

Kinds of cells are in `columns_cells`, `columns_targeting`, `columns_limits` and `columns_creatives`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, get_args

from bidder.core.campaigns import (
    DIMENSIONS,
    Advertiser,
    Campaign,
    CatchUp,
    Goal,
    LineItem,
    Pacing,
    Status,
    UnknownUser,
    ValueSource,
)
from bidder.store.columns_cells import (
    AMOUNT,
    COUNT,
    CPM,
    CURRENCY,
    DOMAINS,
    IDENTIFIER,
    IDENTIFIERS,
    INSTANT,
    NAME,
    PERCENT,
    TEXTS,
    YES,
    ZONE,
    Kind,
    choice,
    member,
    text_up_to,
)
from bidder.store.columns_creatives import CREATIVES
from bidder.store.columns_limits import CAPS, FEES, FLIGHTS, WINDOW
from bidder.store.columns_targeting import MODIFIERS, TARGETING

Record = Advertiser | Campaign | LineItem


class Level(StrEnum):
    """What a row of a sheet is; as the column `level` and the tables of TOML and JSON have it."""

    ADVERTISER = "advertiser"
    CAMPAIGN = "campaign"
    LINE_ITEM = "line_item"


class Column(NamedTuple):
    """One column.

    Attributes:
        name: header, lower case with underscores.
        field: of the record, with dots into the records within; empty where `sheet_build` puts it together.
        kind: how its cells are read and written.
        required: whether a row without it is wrong.
    """

    name: str
    field: str
    kind: Kind
    required: bool = False

    def write(self, record: Record) -> Any:
        """The cell of a record: text, a list of texts or tables; "" or [] where the record says nothing."""
        value: Any = record
        for name in self.field.split("."):
            value = getattr(value, name)
        return self.kind.write(value)


_STATUS = Column("status", "status", member(Status))
_LIMITS = (
    Column("daily_budget", "budgets.daily_nanos", AMOUNT),
    Column("impressions", "budgets.lifetime_impressions", COUNT),
    Column("daily_impressions", "budgets.daily_impressions", COUNT),
)
_OWN_LIMITS = (Column("budget", "budgets.lifetime_nanos", AMOUNT), *_LIMITS)
_GOAL = (
    Column("goal", "goal", member(Goal)),
    Column("value", "value_nanos", AMOUNT),
    Column("value_source", "value_source", choice(*get_args(ValueSource))),
    Column("target_cpc", "target_cpc_nanos", AMOUNT),
    Column("target_cpa", "target_cpa_nanos", AMOUNT),
    Column("target_roas", "target_roas_ppm", CPM),
    Column("cpm_cap", "cpm_cap_micros", CPM),
)
_RATE = Column("max_per_minute", "max_nanos_per_minute", AMOUNT)
_BUYING = (
    Column("max_bid_cpm", "max_bid_cpm_micros", CPM),
    Column("min_bid_cpm", "min_bid_cpm_micros", CPM),
    Column("fees", "fees", FEES),
    _RATE,
    Column("pacing", "pacing", member(Pacing)),
    Column("ahead_percent", "ahead_percent", PERCENT),
    Column("catch_up", "catch_up", choice(*get_args(CatchUp))),
    Column("caps", "caps", CAPS),
    Column("unknown_user", "unknown_user", choice(*get_args(UnknownUser))),
    Column("click_window", "click_window_seconds", WINDOW),
    Column("view_window", "view_window_seconds", WINDOW),
)
_TARGETING = (
    *(
        Column(f"{prefix}{name}", f"targeting.{name}.{side}", TARGETING[name])
        for name in DIMENSIONS
        for prefix, side in (("", "include"), ("exclude_", "exclude"))
    ),
    Column("modifiers", "modifiers", MODIFIERS),
)

CAMPAIGN_COLUMNS = (
    Column("id", "id", IDENTIFIER, required=True),
    Column("name", "name", NAME, required=True),
    Column("advertiser", "advertiser", IDENTIFIER, required=True),
    Column("adomain", "adomain", DOMAINS, required=True),
    Column("cat", "cat", TEXTS),
    Column("bundle", "bundle", text_up_to(200)),
    _STATUS,
    Column("currency", "currency", CURRENCY),
    Column("budget", "budget_nanos", AMOUNT, required=True),
    Column("lifetime_budget", "budgets.lifetime_nanos", AMOUNT),
    *_LIMITS,
    Column("start", "start_ns", INSTANT, required=True),
    Column("end", "end_ns", INSTANT, required=True),
    *_GOAL,
    _BUYING[0]._replace(required=True),
    *_BUYING[1:],
    Column("shared_pacing", "shared_pacing", YES),
    *_TARGETING,
    Column("creatives", "creatives", CREATIVES, required=True),
)
LINE_ITEM_COLUMNS = (
    Column("id", "id", IDENTIFIER, required=True),
    Column("name", "name", NAME),
    _STATUS,
    *_OWN_LIMITS,
    Column("start", "", INSTANT),
    Column("end", "", INSTANT),
    Column("flights", "flights", FLIGHTS),
    *_GOAL,
    *_BUYING,
    *_TARGETING,
    Column("creatives", "creatives", IDENTIFIERS),
)
ADVERTISER_COLUMNS = (
    Column("id", "id", IDENTIFIER, required=True),
    Column("name", "name", NAME),
    _STATUS,
    Column("time_zone", "time_zone", ZONE),
    *_OWN_LIMITS,
    _RATE,
    Column("caps", "caps", CAPS),
)
COLUMNS: Mapping[Level, Mapping[str, Column]] = {
    Level.ADVERTISER: {column.name: column for column in ADVERTISER_COLUMNS},
    Level.CAMPAIGN: {column.name: column for column in CAMPAIGN_COLUMNS},
    Level.LINE_ITEM: {column.name: column for column in LINE_ITEM_COLUMNS},
}
"""Columns of each level by name, in the order in which they are written."""

LEVEL_COLUMN = "level"
PARENT_COLUMN = "campaign"


def _in_order() -> tuple[str, ...]:
    """Names of all columns, those of line items and advertisers alone before the creatives, which are long."""
    names = list(COLUMNS[Level.CAMPAIGN])
    others = [name for level in COLUMNS.values() for name in level if name not in names]
    return (LEVEL_COLUMN, PARENT_COLUMN, *names[:-1], *dict.fromkeys(others), names[-1])


CSV_COLUMNS = _in_order()
"""All columns of a CSV sheet, in the order in which they are written."""


def level_of(record: Record) -> Level:
    """What kind of row a record is."""
    if isinstance(record, Campaign):
        return Level.CAMPAIGN
    return Level.LINE_ITEM if isinstance(record, LineItem) else Level.ADVERTISER


def to_plain(record: Record) -> dict[str, Any]:
    """A record as columns of text, lists and tables; what says nothing is left out.

    Line items of a campaign are tables under `line_item`.
    """
    cells: dict[str, Any] = {}
    for column in COLUMNS[level_of(record)].values():
        cell = column.write(record) if column.field else ""
        if cell not in ("", []):
            cells[column.name] = cell
    if isinstance(record, LineItem) and len(record.flights) == 1:
        (own,) = record.flights
        del cells["flights"]
        cells |= {"start": INSTANT.write(own.start_ns), "end": INSTANT.write(own.end_ns)}
    if isinstance(record, Campaign) and record.line_items:
        cells[Level.LINE_ITEM.value] = [to_plain(item) for item in record.line_items]
    return cells
