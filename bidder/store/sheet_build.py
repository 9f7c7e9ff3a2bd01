"""Advertisers and campaigns out of a sheet's rows: all errors are found, and a record is made where there is none."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from bidder.core.campaigns import Advertiser, Campaign, LineItem
from bidder.errors import SheetError
from bidder.store.columns import COLUMNS, Level
from bidder.store.columns_cells import WrongParts
from bidder.store.columns_limits import flight
from bidder.store.sheet_rows import Problems, Row

MOST_ERRORS = 20
_Record = TypeVar("_Record", Advertiser, Campaign, LineItem)


def advertisers_of(rows: Sequence[Row], problems: Problems) -> list[Advertiser]:
    """Advertisers of the rows that are without errors; the errors of others are added."""
    own = [row for row in rows if row.level is Level.ADVERTISER]
    found = [_advertiser(row, problems) for row in own]
    _check_unique(own, problems)
    return [advertiser for advertiser in found if advertiser is not None]


def _advertiser(row: Row, problems: Problems) -> Advertiser | None:
    before = len(problems.found)
    values = _read(row, problems)
    return _build(row, Advertiser, values, problems) if len(problems.found) == before else None


def campaigns_of(rows: Sequence[Row], currency: str, problems: Problems) -> list[Campaign]:
    """Campaigns of the rows that are without errors, with their line items; the errors of others are added.

    Args:
        rows: all rows.
        currency: of campaigns that state none.
        problems: where errors are added.
    """
    own = [row for row in rows if row.level is Level.CAMPAIGN]
    found = [_campaign(row, currency, problems) for row in own]
    _check_unique(own, problems)
    _check_lines(own, problems)
    return [campaign for campaign in found if campaign is not None]


def _campaign(row: Row, currency: str, problems: Problems) -> Campaign | None:
    before = len(problems.found)
    values = {"currency": currency} | _read(row, problems)
    if "start" in values and "end" in values and values["end"] <= values["start"]:
        problems.add(row, "end", f"must be after start, was {row.cells['end']}")
    _check_bids(row, values, values, problems)
    items = [_line_item(item, values, problems) for item in row.items]
    if len(problems.found) > before:
        return None
    return _build(row, Campaign, values | {"line_items": tuple(items)}, problems)


def _line_item(row: Row, campaign: Mapping[str, Any], problems: Problems) -> LineItem | None:
    """A line item; `campaign` are the values of its campaign, without those that are wrong."""
    before = len(problems.found)
    values = _read(row, problems)
    _join_flight(row, values, problems)
    _check_bids(row, {**campaign, **values}, values, problems)
    _check_creatives(row, values, campaign, problems)
    _check_flights(row, values, campaign, problems)
    return _build(row, LineItem, values, problems) if len(problems.found) == before else None


def _read(row: Row, problems: Problems) -> dict[str, Any]:
    """Values of a row's cells by column, without those that are wrong; their errors are added."""
    values: dict[str, Any] = {}
    for name, column in COLUMNS[row.level].items():
        if name in row.cells:
            try:
                values[name] = column.kind.read(row.cells[name])
            except WrongParts as error:
                for message in error.messages:
                    problems.add(row, name, message)
            except ValueError as error:
                problems.add(row, name, str(error))
        elif column.required:
            problems.add(row, name, "must be given, was empty")
    return values


def _join_flight(row: Row, values: dict[str, Any], problems: Problems) -> None:
    """Makes a flight of a line item's start and end."""
    given = [name for name in ("start", "end") if name in row.cells]
    if not given:
        return
    if "flights" in row.cells:
        problems.add(row, "flights", f"must be blank where {' and '.join(given)} are given, was not")
    elif len(given) == 1:
        missing = "end" if given == ["start"] else "start"
        problems.add(row, missing, f"must be given with {given[0]}, was empty")
    elif "start" in values and "end" in values:
        try:
            values["flights"] = (flight(values.pop("start"), values.pop("end"), row.cells["end"]),)
        except ValueError as error:
            problems.add(row, "end", str(error))


def _check_bids(row: Row, values: Mapping[str, Any], own: Mapping[str, Any], problems: Problems) -> None:
    """Bounds of a bid must leave room between them; `own` are the cells of the row itself."""
    given = {"min_bid_cpm", "max_bid_cpm"} & row.cells.keys()
    if not given or given - own.keys() or "max_bid_cpm" not in values:
        return
    if values.get("min_bid_cpm", 0) > values["max_bid_cpm"]:
        column = "min_bid_cpm" if "min_bid_cpm" in own else "max_bid_cpm"
        other, side = ("max", "at most") if column == "min_bid_cpm" else ("min", "at least")
        problems.add(row, column, f"must be {side} {other}_bid_cpm, was {row.cells[column]}")


def _check_creatives(
    row: Row, values: Mapping[str, Any], campaign: Mapping[str, Any], problems: Problems
) -> None:
    if "creatives" not in campaign:
        return
    known = [creative.id for creative in campaign["creatives"]]
    for creative_id in values.get("creatives", ()):
        if creative_id not in known:
            near = difflib.get_close_matches(creative_id, known, n=1) or known[:5]
            message = (
                f"must be ids of the campaign's creatives, was {creative_id!r}; nearest: {', '.join(near)}"
            )
            problems.add(row, "creatives", message)


def _check_flights(
    row: Row, values: Mapping[str, Any], campaign: Mapping[str, Any], problems: Problems
) -> None:
    if "start" not in campaign or "end" not in campaign or campaign["end"] <= campaign["start"]:
        return
    column = "flights" if "flights" in row.cells else "end"
    for own in values.get("flights", ()):
        if own.start_ns < campaign["start"] or own.end_ns > campaign["end"]:
            problems.add(
                row, column, f"must lie within the campaign's start and end, was {row.cells[column]}"
            )
            return


def _build(row: Row, kind: type[_Record], values: Mapping[str, Any], problems: Problems) -> _Record | None:
    """The record of a row's values; what its own type refuses is an error of the row."""
    fields: dict[str, Any] = {name: value for name, value in values.items() if name not in COLUMNS[row.level]}
    for name, column in COLUMNS[row.level].items():
        if name in values:
            *path, last = (column.field or name).split(".")
            place = fields
            for part in path:
                place = place.setdefault(part, {})
            place[last] = values[name]
    try:
        # Converted and not only built: so the constraints of the record's own types have the last word.
        return msgspec.convert(msgspec.to_builtins(fields), kind)
    except msgspec.ValidationError as error:
        problems.add(row, "", str(error))
        return None


def _check_unique(rows: Sequence[Row], problems: Problems) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        row_id = str(row.cells.get("id", "")).strip()
        if row_id and row_id in first:
            problems.add(row, "id", f"must be unique, was {row_id!r} in {first[row_id].place} too")
        first.setdefault(row_id, row)


def _check_lines(campaigns: Sequence[Row], problems: Problems) -> None:
    """No two line items may have one id, in all campaigns; a campaign without line items is one of its id."""
    first: dict[str, Row] = {}
    for campaign in campaigns:
        for row in campaign.items or [campaign]:
            row_id = str(row.cells.get("id", "")).strip()
            other = first.setdefault(row_id, row)
            if row_id and other is not row and Level.LINE_ITEM in {row.level, other.level}:
                message = f"must be unique among line items, was {row_id!r} in {other.place} too"
                problems.add(row, "id", message)


def tell(problems: Problems, name: str) -> SheetError:
    """All errors in one, in the order of the file; at most 20 of them in words."""
    found = sorted(problems.found, key=lambda problem: problem.line)
    if len(found) == 1:
        (only,) = found
        return SheetError(
            f"{only.column or 'row'} {only.message} ({only.place}, {name}); nothing was applied"
        )
    lines = [f"sheet {name} has {len(found)} errors, nothing was applied:"]
    lines += [f"  {problem}" for problem in found[:MOST_ERRORS]]
    if len(found) > MOST_ERRORS:
        lines.append(f"  and {len(found) - MOST_ERRORS} more")
    return SheetError("\n".join(lines))
