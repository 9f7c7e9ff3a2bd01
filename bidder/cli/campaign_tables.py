"""Tables of campaigns for people: the tree, what a sheet would change, and the history of changes."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.messages import ALL
from bidder.money import NANOS_PER_UNIT, format_decimal
from bidder.store.columns import Level, to_plain
from bidder.store.columns_cells import format_instant
from bidder.store.differences import differences

if TYPE_CHECKING:
    from bidder.store.campaigns import AuditRow
    from bidder.store.sheet import Sheet

_MOST_CHARACTERS = 300
"""Of one cell; a sheet holds the rest."""
_INDENT = "  "


def show_tree(
    campaigns: Iterable[Campaign], advertisers: Mapping[str, Advertiser], held: Container[str] = ()
) -> None:
    """Advertisers, below each its campaigns, below each their line items; a budget for each day is said `a day`.

    Args:
        campaigns, advertisers: of the store. held: names whose brake holds (`bidder.core.brakes`); who stands below
            one bids no more, whatever its status.
    """
    name = Column("name", min_width=8)
    table = Table(_whole("id"), name, Column("status", min_width=10), _whole("flight"), box=SIMPLE_HEAD)
    for heading in ("budget", "value", "CPM"):
        table.add_column(heading, justify="right", no_wrap=True)
    below: dict[str, list[Campaign]] = {advertiser_id: [] for advertiser_id in advertisers}
    for campaign in campaigns:
        below.setdefault(campaign.advertiser, []).append(campaign)
    for advertiser_id in sorted(below):
        own = advertisers.get(advertiser_id) or Advertiser(id=advertiser_id)
        stopped = ALL in held or f"a/{advertiser_id}" in held
        _add(table, _halted(to_plain(own), stopped), "", "")
        for campaign in below[advertiser_id]:
            plain = to_plain(campaign)
            items = plain.pop(Level.LINE_ITEM.value, [])
            below_stop = stopped or f"c/{campaign.id}" in held
            _add(table, _halted(plain, below_stop), campaign.currency, _INDENT)
            for item in items:
                item_stop = below_stop or f"l/{item['id']}" in held
                _add(table, _halted(item, item_stop), campaign.currency, _INDENT * 2)
    Console().print(table)


def _halted(plain: dict[str, Any], stopped: bool) -> dict[str, Any]:
    """With a status that says of a brake that holds."""
    return {**plain, "status": f"{plain['status']}, stopped by a brake"} if stopped else plain


def _add(table: Table, plain: Mapping[str, Any], currency: str, indent: str) -> None:
    flight = [f"{len(plain['flights'])} flights"] if "flights" in plain else []
    flight += [plain["start"][:10], plain["end"][:10]] if "start" in plain else []
    money = [f"{plain['budget']} {currency}"] if "budget" in plain else []
    money += [f"{plain['daily_budget']} a day"] if "daily_budget" in plain else []
    money += [f"{plain['impressions']} imps"] if "impressions" in plain else []
    money += [f"{plain['daily_impressions']} imps a day"] if "daily_impressions" in plain else []
    value = [plain[name] for name in ("value", "goal") if name in plain]
    value += ["value by the model"] if plain.get("value_source") == "model" else []
    cells = (
        f"{indent}{plain['id']}",
        plain.get("name", ""),
        plain["status"],
        "\n".join(flight),
        "\n".join(money),
        "\n".join(value),
        plain.get("max_bid_cpm", ""),
    )
    # As text: a name in brackets is no markup.
    table.add_row(*map(Text, cells))


def show_review(
    sheet: "Sheet", campaigns: Mapping[str, Campaign], advertisers: Mapping[str, Advertiser]
) -> None:
    """What importing a sheet would change of what is in the store; nothing where it would change nothing."""
    table = Table(_whole("what"), *map(_folding, ("change", "now", "then")), box=SIMPLE_HEAD)
    pairs: list[tuple[str, Campaign | Advertiser | None, Campaign | Advertiser]] = [
        (f"advertiser {own.id}", advertisers.get(own.id), own) for own in sheet.advertisers
    ]
    pairs += [(own.id, campaigns.get(own.id), own) for own in sheet.campaigns]
    for called, old, new in pairs:
        for row in _changes(called, old, new):
            table.add_row(*map(_shown, row))
    if table.row_count:
        Console().print(table)


def _changes(
    called: str, old: Campaign | Advertiser | None, new: Campaign | Advertiser
) -> Iterator[tuple[str, str, str, str]]:
    if old is None:
        items = len(new.line_items) if isinstance(new, Campaign) else 0
        yield called, "added", "", f"with {items} line items" if items else ""
        return
    for item_id, what, was, now in differences(old, new):
        yield f"{called} / {item_id}" if item_id else called, what, was, now


def show_history(rows: "Sequence[AuditRow]", line_item_id: str | None = None) -> None:
    """Changes, oldest first; one that replaced the whole is shown by what it changed.

    Args:
        rows: the changes. line_item_id: shows those of this line item alone, and when its campaign was made.
    """
    heads = (_whole("version"), _folding("at", 10), _folding("by"), _whole("campaign"))
    said = [_folding("why", 24)] if any(row.why for row in rows) else []
    table = Table(
        *heads, _folding("what", 12), _folding("old"), _folding("new"), *said, box=SIMPLE_HEAD, pad_edge=False
    )
    for row in rows:
        at = format_instant(row.at_ns // NANOS_PER_UNIT * NANOS_PER_UNIT).replace("T", " ")
        for called, what, was, now in _audited(row):
            if line_item_id is not None and what != "create" and not called.endswith(f" / {line_item_id}"):
                continue
            cells = (str(row.version), at, row.actor, called, what, was, now, *((row.why,) if said else ()))
            table.add_row(*map(_shown, cells))
    Console().print(table)


def _audited(row: "AuditRow") -> Iterator[tuple[str, str, str, str]]:
    """Lines of one change."""
    called = f"advertiser {row.advertiser_id}" if row.advertiser_id else row.campaign_id
    if row.what == "replace" and row.old is not None:
        yield from _replaced(called, row, row.old)
    elif row.what in {"create", "replace"}:
        yield called, row.what, "", ""
    else:
        item = f" / {row.line_item_id}" if row.line_item_id else ""
        yield f"{called}{item}", row.what, _value(row.what, row.old), _value(row.what, row.new)


def _replaced(called: str, row: "AuditRow", old: str) -> Iterator[tuple[str, str, str, str]]:
    kind: type[Campaign | Advertiser] = Advertiser if row.advertiser_id else Campaign
    try:
        was, now = (msgspec.json.decode(body, type=kind) for body in (old, row.new))
    except msgspec.DecodeError:
        # Written by a Clearbid that had other fields: that it was replaced is all that can be said.
        yield called, row.what, "", ""
        return
    changes = list(_changes(called, was, now))
    yield from changes or [(called, row.what, "", "")]


def _value(what: str, value: str | None) -> str:
    """One side of a change: budgets are kept in nanos and shown in units."""
    if value is None:
        return ""
    if what in {"budget", "daily_budget"}:
        return format_decimal(int(value), NANOS_PER_UNIT) if int(value) else "none"
    return value.strip('"')


def _shown(cell: str) -> Text:
    """A cell as text; a very long one ends early."""
    return Text(cell if len(cell) <= _MOST_CHARACTERS else f"{cell[:_MOST_CHARACTERS]}...")


def _whole(heading: str) -> Column:
    """A column whose cells must stand whole: ids are copied into other commands."""
    return Column(heading, no_wrap=True, overflow="fold")


def _folding(heading: str, least: int = 5) -> Column:
    """A column whose cells may take several lines, none narrower than `least`; nothing is left out."""
    return Column(heading, overflow="fold", min_width=least)
