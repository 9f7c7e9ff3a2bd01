"""Rows of a sheet as they stand in CSV, TOML or JSON: their places, levels and cells, not yet read.

A line item hangs on its campaign: within the campaign's table in TOML and JSON, by the column `campaign` in CSV.
"""

import csv
import difflib
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bidder.errors import SheetError
from bidder.store.columns import COLUMNS, CSV_COLUMNS, LEVEL_COLUMN, PARENT_COLUMN, Level

_TABLE = re.compile(r"\s*\[\[\s*(advertiser|campaign(\s*\.\s*line_item)?)\s*\]\]")
_MOST_CHARACTERS = 64 << 20
"""Longest cell that is read: domains may need far more than the 131,072 that are the reader's default."""


class Row(NamedTuple):
    """One row or table of a sheet.

    Attributes:
        line: where it stands, to tell errors in the order of the file.
        place: the same in words.
        level: what it is.
        cells: cells that are not blank, by column.
        items: line items of a campaign.
    """

    line: int
    place: str
    level: Level
    cells: dict[str, Any]
    items: "list[Row]"


class Problem(NamedTuple):
    """One error of a sheet; the column is empty where the whole row is wrong."""

    line: int
    place: str
    column: str
    message: str

    def __str__(self) -> str:
        """The error in words, without the file's name."""
        return f"{self.column or 'row'} {self.message} ({self.place})"


class Problems:
    """Errors of a sheet as they are found."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, row: Row, column: str, message: str) -> None:
        """An error of a row that has been read."""
        self.at(row.line, row.place, column, message)

    def at(self, line: int, place: str, column: str, message: str) -> None:
        """An error at a place."""
        self.found.append(Problem(line, place, column, message))


def rows_of(text: str, suffix: str, name: str, problems: Problems) -> list[Row]:
    """Advertisers and campaigns of a sheet in the order of the file; errors of its form are added to `problems`.

    Raises:
        SheetError: if it is no text of its format.
    """
    readers: dict[str, Callable[[str, str, Problems], list[Row]]] = {
        ".csv": _csv_rows,
        ".toml": _toml_rows,
        ".json": _json_rows,
    }
    if suffix not in readers:
        raise SheetError(f"sheet {name} must end in .csv, .toml or .json, was {suffix or 'without suffix'!r}")
    return readers[suffix](text, name, problems)


def _csv_rows(text: str, name: str, problems: Problems) -> list[Row]:
    columns: list[str] | None = None
    rows: list[Row] = []
    for line, cells in _csv_lines(text, name):
        if columns is None:
            columns = _columns(cells, CSV_COLUMNS, line, f"row {line}", problems)
        else:
            row = _csv_row(line, columns, cells, problems)
            if row is not None:
                rows.append(row)
    return _hang(rows, problems)


def _csv_lines(text: str, name: str) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line that it begins in."""
    lines: list[tuple[int, list[str]]] = []
    line = 1
    before = csv.field_size_limit(_MOST_CHARACTERS)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SheetError(f"sheet {name} must be CSV, was not in row {line}: {error}") from None
    finally:
        csv.field_size_limit(before)
    return lines


def _csv_row(line: int, columns: list[str], cells: list[str], problems: Problems) -> Row | None:
    place = f"row {line}"
    if any(cell.strip() for cell in cells[len(columns) :]):
        problems.at(line, place, "", f"must have {len(columns)} cells as the header, was {len(cells)}")
    given = {
        name: cell for name, cell in zip(columns, cells, strict=False) if name in CSV_COLUMNS and cell.strip()
    }
    word = given.pop(LEVEL_COLUMN, Level.CAMPAIGN.value)
    try:
        level = Level(_folded(word))
    except ValueError:
        problems.at(line, place, LEVEL_COLUMN, f"must be {' or '.join(Level)}, was {word[:80]!r}")
        return None
    row = Row(line, place, level, given, [])
    for name in [name for name in given if name not in COLUMNS[level] and name != PARENT_COLUMN]:
        allowed = "not a column of this level"
        problems.add(
            row, name, f"must be blank in a row of level {level}, was {given[name][:80]!r}: {allowed}"
        )
        del given[name]
    return row


def _hang(rows: Sequence[Row], problems: Problems) -> list[Row]:
    """Rows with each line item under its campaign."""
    campaigns = {
        str(row.cells.get("id", "")).strip(): row for row in reversed(rows) if row.level is Level.CAMPAIGN
    }
    for row in rows:
        parent = str(row.cells.pop(PARENT_COLUMN, "")).strip()
        if row.level is not Level.LINE_ITEM:
            if parent:
                message = (
                    f"must be blank but for line items, was {parent[:80]!r} in a row of level {row.level}"
                )
                problems.add(row, PARENT_COLUMN, message)
        elif parent in campaigns and parent:
            campaigns[parent].items.append(row)
        else:
            near = difflib.get_close_matches(parent, campaigns, n=1) if parent else []
            hint = f"; nearest is {near[0]}" if near else ""
            problems.add(
                row, PARENT_COLUMN, f"must be the id of a campaign of this sheet, was {parent[:80]!r}{hint}"
            )
    return [row for row in rows if row.level is not Level.LINE_ITEM]


def _toml_rows(text: str, name: str, problems: Problems) -> list[Row]:
    try:
        sheet = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SheetError(f"sheet {name} must be TOML, was not: {error}") from None
    lines = [
        (match[1].replace(" ", "").replace("\t", ""), number)
        for number, line in enumerate(text.splitlines(), 1)
        if (match := _TABLE.match(line))
    ]
    return _table_rows(sheet, name, lines, problems)


def _json_rows(text: str, name: str, problems: Problems) -> list[Row]:
    try:
        sheet = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SheetError(f"sheet {name} must be JSON, was not: {error}") from None
    if isinstance(sheet, dict):
        # `campaigns list --json` says which brakes hold; they are not of the sheet, and importing stops nobody.
        sheet.pop("brake", None)
    return _table_rows(sheet, name, [], problems)


class _Places:
    """Lines of tables by kind, in the order of the file; of no use where a table is not written as `[[kind]]`."""

    def __init__(self, lines: Iterable[tuple[str, int]]) -> None:
        self.advertisers: list[int] = []
        self.campaigns: list[int] = []
        self.items: list[list[int]] = []
        for kind, line in lines:
            if kind == "advertiser":
                self.advertisers.append(line)
            elif kind == "campaign":
                self.campaigns.append(line)
                self.items.append([])
            elif self.items:
                self.items[-1].append(line)

    def items_of(self, number: int) -> list[int]:
        """Lines of a campaign's line items."""
        return self.items[number] if number < len(self.items) else []


def _table_rows(sheet: object, name: str, lines: list[tuple[str, int]], problems: Problems) -> list[Row]:
    tables: dict[str, Any] = sheet if isinstance(sheet, dict) else {}
    if (
        not tables
        or not set(tables) <= {"campaign", "advertiser"}
        or not all(map(_is_tables, tables.values()))
    ):
        raise SheetError(
            f"sheet {name} must be a list of tables named campaign, with one named advertiser if any, and nothing "
            "else, was not"
        )
    places = _Places(lines)
    rows = []
    own = tables.get("advertiser", [])
    known = _known(places.advertisers, own)
    for number, table in enumerate(own, 1):
        line = known.get(number)
        place = f"advertiser {number}" if line is None else f"row {line}"
        rows.append(_table_row(table, Level.ADVERTISER, line or number, place, problems))
    own = tables.get("campaign", [])
    known = _known(places.campaigns, own)
    for number, table in enumerate(own, 1):
        line = known.get(number, number)
        row = _table_row(table, Level.CAMPAIGN, line, f"row {line}", problems)
        _add_items(row, places.items_of(number - 1) if known else [], problems)
        rows.append(row)
    return rows


def _known(lines: Sequence[int], tables: Sequence[object]) -> dict[int, int]:
    """Line of each table by its number from 1, or nothing where only their order is known."""
    return dict(enumerate(lines, 1)) if len(lines) == len(tables) else {}


def _add_items(row: Row, lines: Sequence[int], problems: Problems) -> None:
    """Puts the line items of a campaign's table under its row."""
    tables = row.cells.pop(Level.LINE_ITEM.value, [])
    known = _known(lines, tables)
    for number, table in enumerate(tables, 1):
        line = known.get(number)
        place = f"{row.place}, line item {number}" if line is None else f"row {line}"
        row.items.append(_table_row(table, Level.LINE_ITEM, line or row.line, place, problems))


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(table, dict) for table in value)


def _table_row(table: dict[str, Any], level: Level, line: int, place: str, problems: Problems) -> Row:
    known = tuple(COLUMNS[level])
    if level is Level.CAMPAIGN:
        known += (Level.LINE_ITEM.value,)
    names = _columns(list(table), known, line, place, problems)
    cells = {
        name: cell
        for name, cell in zip(names, table.values(), strict=True)
        if name in known and cell is not None and cell not in ("", [])
    }
    items = cells.get(Level.LINE_ITEM.value, [])
    if not _is_tables(items):
        problems.at(line, place, Level.LINE_ITEM.value, f"must be a list of tables, was {items!r:.80}")
        del cells[Level.LINE_ITEM.value]
    return Row(line, place, level, cells, [])


def _columns(
    headers: list[str], known: Sequence[str], line: int, place: str, problems: Problems
) -> list[str]:
    """Names of columns as we write them; one that is unknown or there twice is a problem."""
    names = [_folded(header) for header in headers]
    for number, name in enumerate(names):
        if name and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"nearest is {near[0]}" if near else f"allowed are {', '.join(known)}"
            if owners := [level.value for level in Level if name in COLUMNS[level]]:
                hint = f"it is one of level {' and '.join(owners)} only"
            problems.at(line, place, name, f"is no column{' here' if owners else ''}; {hint}")
        elif name and name in names[:number]:
            problems.at(line, place, name, "must be there once, was there twice")
    return names


def _folded(header: str) -> str:
    return re.sub(r"[\s_-]+", "_", header.strip().lower())
