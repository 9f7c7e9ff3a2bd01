r"""Campaign sheets: CSV, TOML or JSON in; the same out, so that an export is an import.

One row (CSV), one `[[campaign]]` table (TOML) or one object of the list `campaign` (JSON) is a campaign:

| column | what | without it |
|---|---|---|
| id, advertiser | 1 to 64 letters, digits or `._:-` | wrong |
| name | 1 to 120 characters | wrong |
| adomain | domains of the advertiser | wrong |
| cat | IAB categories | none |
| status | `active` or `paused` | `active` |
| currency | three capitals | the account's |
| budget | for the whole flight, in currency units: `500.00` | wrong |
| start, end | ISO 8601 with zone: `2026-05-01T00:00:00Z`; the end is outside | wrong |
| goal | `click` or `conversion` | `click` |
| value | what one goal event is worth, in currency units: `2.00` | wrong |
| max_bid_cpm | highest bid for a thousand, in currency units: `8.50` | wrong |
| pacing | `even` or `asap` | `even` |
| geo, exchange, domain, segment, hour | values to bid on; see `core.campaigns.Targeting` | all |
| exclude_geo, ... | values not to bid on | none |
| creatives | `id\|w\|h\|image_url\|landing_url`, with `\|attr attr` if any | wrong |

Headers may be in any case, with spaces for underscores. In CSV, lists are separated by `;`, and a `;` or `|`
within a value has a `\` before it. In TOML and JSON, lists are lists, creatives are tables, and amounts stand in
quotes. A sheet is read as a whole: all its errors are told (the first 20), and nothing of it is used if there
is one.
"""

import csv
import difflib
import io
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bidder.core.campaigns import Campaign, Rule, Targeting
from bidder.errors import SheetError
from bidder.store.columns import COLUMNS, DIMENSIONS, FIELDS, creatives_text, escape

MOST_ERRORS = 20
_BY_NAME = {column.name: column for column in COLUMNS}
_TABLE = re.compile(r"\s*\[\[\s*campaign\s*\]\]")


class Row(NamedTuple):
    """One campaign of a sheet as it stands: its line in the file and its cells by column."""

    line: int
    cells: dict[str, Any]


class Problem(NamedTuple):
    """One error of a sheet; the column is empty where the whole row is wrong."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        """The error in words, without the file's name."""
        return f"{self.column or 'row'} {self.message} (row {self.line})"


def read_sheet(path: Path, currency: str = "USD") -> list[Campaign]:
    """Reads a campaign sheet, by its suffix `.csv`, `.toml` or `.json`.

    Args:
        path: the file, UTF-8.
        currency: of rows that state none.

    Raises:
        SheetError: if it cannot be read or has errors; it names them all, up to 20.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SheetError(f"sheet {path} must be UTF-8 text, was not at byte {error.start}") from None
    except OSError as error:
        raise SheetError(f"sheet {path} cannot be read: {error.strerror}") from None
    return parse_sheet(text, path.suffix.lower(), path.name, currency)


def parse_sheet(text: str, suffix: str, name: str, currency: str = "USD") -> list[Campaign]:
    """Campaigns of a sheet's text; `suffix` says its format, `name` is what errors call it."""
    readers = {".csv": _csv_rows, ".toml": _toml_rows, ".json": _json_rows}
    if suffix not in readers:
        raise SheetError(f"sheet {name} must end in .csv, .toml or .json, was {suffix or 'without suffix'!r}")
    problems: list[Problem] = []
    rows = readers[suffix](text, name, problems)
    campaigns = [_campaign(row, currency, problems) for row in rows]
    _check_ids(rows, problems)
    if problems:
        raise SheetError(_tell(problems, name))
    if not rows:
        raise SheetError(f"sheet {name} must hold at least one campaign, was empty")
    return [campaign for campaign in campaigns if campaign is not None]


def to_plain(campaign: Campaign) -> dict[str, Any]:
    """A campaign as columns of text and lists, as JSON and TOML sheets have them."""
    return {column.name: column.write(campaign) for column in COLUMNS}


def to_json(campaigns: Iterable[Campaign]) -> str:
    """A JSON sheet."""
    return json.dumps(
        {"campaign": [to_plain(campaign) for campaign in campaigns]}, indent=2, ensure_ascii=False
    )


def to_csv(campaigns: Iterable[Campaign]) -> str:
    """A CSV sheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_BY_NAME)
    for campaign in campaigns:
        writer.writerow(_cell(name, value) for name, value in to_plain(campaign).items())
    return out.getvalue()


def _cell(name: str, value: Any) -> str:
    if name == "creatives":
        return creatives_text(value)
    return ";".join(map(escape, value)) if isinstance(value, list) else value


def _csv_rows(text: str, name: str, problems: list[Problem]) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if columns is None:
                    columns = _columns(cells, line, problems)
                else:
                    rows.append(_csv_row(line, columns, cells, problems))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SheetError(f"sheet {name} must be CSV, was not in row {line}: {error}") from None
    return rows


def _csv_row(line: int, columns: list[str], cells: list[str], problems: list[Problem]) -> Row:
    if any(cell.strip() for cell in cells[len(columns) :]):
        problems.append(Problem(line, "", f"must have {len(columns)} cells as the header, was {len(cells)}"))
    known = {
        name: cell for name, cell in zip(columns, cells, strict=False) if name in _BY_NAME and cell.strip()
    }
    return Row(line, known)


def _toml_rows(text: str, name: str, problems: list[Problem]) -> list[Row]:
    try:
        sheet = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SheetError(f"sheet {name} must be TOML, was not: {error}") from None
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _TABLE.match(line)]
    return _table_rows(sheet, name, lines, problems)


def _json_rows(text: str, name: str, problems: list[Problem]) -> list[Row]:
    try:
        sheet = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SheetError(f"sheet {name} must be JSON, was not: {error}") from None
    return _table_rows(sheet, name, [], problems)


def _table_rows(sheet: object, name: str, lines: list[int], problems: list[Problem]) -> list[Row]:
    """Rows of tables; `lines` are where each begins, or empty where only their order is known."""
    tables = sheet.get("campaign") if isinstance(sheet, dict) and len(sheet) == 1 else None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SheetError(f"sheet {name} must be a list of tables named campaign and nothing else, was not")
    rows = []
    for number, table in enumerate(tables):
        line = lines[number] if len(lines) == len(tables) else number + 1
        names = _columns(list(table), line, problems)
        cells = zip(names, table.values(), strict=True)
        rows.append(
            Row(line, {name: cell for name, cell in cells if name in _BY_NAME and cell not in ("", [])})
        )
    return rows


def _columns(headers: list[str], line: int, problems: list[Problem]) -> list[str]:
    """Names of columns as we write them; one that is unknown or there twice is a problem."""
    names = [re.sub(r"[\s_-]+", "_", header.strip().lower()) for header in headers]
    for number, name in enumerate(names):
        if name and name not in _BY_NAME:
            near = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"nearest is {near[0]}" if near else f"allowed are {', '.join(_BY_NAME)}"
            problems.append(Problem(line, name, f"is no column; {hint}"))
        elif name and name in names[:number]:
            problems.append(Problem(line, name, "must be there once, was there twice"))
    return names


def _campaign(row: Row, currency: str, problems: list[Problem]) -> Campaign | None:
    """The campaign of a row, or None where the row has problems; these are added."""
    values: dict[str, Any] = {"currency": currency}
    found: list[Problem] = []
    for column in COLUMNS:
        try:
            if column.name in row.cells:
                values[column.name] = column.read(row.cells[column.name])
            elif column.required:
                raise ValueError("must be given, was empty")  # noqa: TRY301 - told as any other error of a cell
        except ValueError as error:
            found.append(Problem(row.line, column.name, str(error)))
    if not found and values["end"] <= values["start"]:
        found.append(Problem(row.line, "end", f"must be after start, was {row.cells['end']}"))
    problems.extend(found)
    return None if found else _build(row, values, problems)


def _build(row: Row, values: Mapping[str, Any], problems: list[Problem]) -> Campaign | None:
    rules = {
        dimension: Rule(values.get(dimension, ()), values.get(f"exclude_{dimension}", ()))
        for dimension in DIMENSIONS
    }
    targets = {*DIMENSIONS, *(f"exclude_{dimension}" for dimension in DIMENSIONS)}
    fields = {FIELDS.get(name, name): value for name, value in values.items() if name not in targets}
    try:
        # Converted and not only built: so the constraints of the record's own types have the last word.
        plain = msgspec.to_builtins(fields | {"targeting": Targeting(**rules)})
        return msgspec.convert(plain, Campaign)
    except msgspec.ValidationError as error:
        problems.append(Problem(row.line, "", str(error)))
        return None


def _check_ids(rows: list[Row], problems: list[Problem]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        campaign_id = str(row.cells.get("id", "")).strip()
        if campaign_id and campaign_id in first:
            problems.append(
                Problem(
                    row.line, "id", f"must be unique, was {campaign_id!r} in row {first[campaign_id]} too"
                )
            )
        first.setdefault(campaign_id, row.line)


def _tell(problems: list[Problem], name: str) -> str:
    """All problems in one text, in the order of the file."""
    problems.sort(key=lambda problem: problem.line)
    if len(problems) == 1:
        only = problems[0]
        return f"{only.column or 'row'} {only.message} (row {only.line}, {name}); nothing was applied"
    lines = [f"sheet {name} has {len(problems)} errors, nothing was applied:"]
    lines += [f"  {problem}" for problem in problems[:MOST_ERRORS]]
    if len(problems) > MOST_ERRORS:
        lines.append(f"  and {len(problems) - MOST_ERRORS} more")
    return "\n".join(lines)
