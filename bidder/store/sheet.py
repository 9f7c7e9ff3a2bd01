r"""Campaign sheets: CSV, TOML or JSON in; the same out, so that an export is an import.

A row (CSV), a `[[campaign]]` table (TOML) or an object of the list `campaign` (JSON) is a campaign:

| column | what | without it |
|---|---|---|
| id, advertiser | 1 to 64 letters, digits or `._:-` | wrong |
| name | 1 to 120 characters | wrong |
| adomain | domains of the advertiser | wrong |
| cat | IAB categories | none |
| bundle | store id of the app that is advertised | none |
| status | `active` or `paused` | `active` |
| currency | three capitals | the account's |
| budget | for the whole flight, in currency units: `500.00` | wrong |
| lifetime_budget | of campaigns only: one more limit of money beside budget | no limit |
| daily_budget | for each day of the advertiser's time zone: `20.00` | no limit |
| impressions, daily_impressions | how many at most, in all and on each day | no limit |
| start, end | ISO 8601 with zone: `2026-05-01T00:00:00Z`; the end is outside | wrong |
| goal | `click`, `conversion`, `value` (of conversions), `view` or `complete` (an ad played out) | `click` |
| value | what one goal event is worth, in currency units: `2.00` | as many goal events as the money buys |
| value_source | who says what a conversion is worth: `stated`, the column value; `model`, the model | `stated` |
| target_cpc, target_cpa | what a click or a conversion may cost on average, in units: `0.40`; one target | none |
| target_roas | value that must come back for each unit spent: `4.00`; instead of target_cpc, target_cpa | none |
| cpm_cap | mean price of a thousand impressions at most, in currency units; beside a target too | none |
| max_bid_cpm | highest bid for a thousand, in currency units: `8.50` | wrong |
| min_bid_cpm | no bid below it; at most max_bid_cpm | none |
| fees | what comes on top of prices, from the same budgets: `margin:15%`, or a thousand: `data:0.20cpm` | none |
| max_per_minute | spend in a minute that stops bids, in currency units: `5.00` | left to the brakes |
| pacing | `even` with the traffic, `ahead` of that, or `asap` | `even` |
| ahead_percent | how much faster than evenly a budget that is spent ahead begins, 1 to 100 | 20 |
| catch_up | whether delivery that was missed is spread over the rest, `spread`, or not made up, `drop` | `spread` |
| shared_pacing | `yes` where line items are paced together, by the campaign's budgets | `no` |
| caps | impressions for one user in any such time: `3/day`, `10/week`, `2/3600s`, `5/2h` | none |
| unknown_user | what a cap means for a user whom we cannot know: `refuse` or `allow` | `refuse` |
| click_window | how long after a click a conversion counts for it: `30d`, `12h`, `off` | `30d` |
| view_window | the same after an impression, where no click counts | `1d` |
| geo, city, ... | values to bid on, a column for each dimension below | all |
| exclude_geo, ... | values not to bid on | none |
| modifiers | `device=phone*1.2`: a dimension, one of its values, and the factor from 0 to 10 for its worth | none |
| creatives | `id\|w\|h\|image_url\|landing_url`, with `\|attr attr` if any; or `key=value\|...`, see below | wrong |

| dimension | values |
|---|---|
| geo, city, circle | `USA`, `CA`, `USA-CA`; `paris`, `FRA/paris`; `48.85,2.35,25km` |
| exchange, deal, segment, carrier, keyword | any text |
| inventory | `site`, `app`, `dooh` |
| device | `desktop`, `phone`, `tablet`, `tv`, `console`, `box`, `dooh` |
| os | `windows`, `macos`, `linux`, `android`, `ios`, `chromeos`, `tv`, `other` |
| browser | `chrome`, `edge`, `opera`, `safari`, `firefox`, `ie`, `samsung`, `webview`, `other` |
| connection | `wifi`, `ethernet`, `cellular` |
| language | two letters: `en` |
| domain | domains or app bundles |
| content | `IAB7`, `IAB7-1`; `9:150` with the cattax |
| placement | `instl`, `rewarded`, `pos:0` to `pos:7`, `plcmt:1` to `plcmt:4`, `tag:ID` |
| viewability | one share in steps of ten, `10` to `100` |
| hour | hours of the week in the advertiser's time zone, `0` (Monday 00:00) to `167`; `8-17` for all from 8 to 17 |
| expression | conditions as in `core.expressions` |

A campaign may hold line items: `[[campaign.line_item]]` tables, the list `line_item` in JSON, or in CSV rows whose
column `level` says `line_item` and whose column `campaign` names the campaign. They take the columns from `id` on
but adomain, advertiser, bundle, cat and currency; only `id` is needed, and what is blank is left to the campaign.
`budget` is theirs alone; start and end make their flight, or `flights` several: `start/end; start/end`, within the
campaign's. `creatives` names those of the campaign's that they show.

What all campaigns of an advertiser share stands in `[[advertiser]]` tables, the list `advertiser`, or CSV rows of the
level `advertiser`: id, name, status, time_zone (`Europe/Berlin`; without it UTC), budget, daily_budget, impressions,
daily_impressions, max_per_minute, caps.

A creative has the fields of `core.campaigns.Creative`. TOML and JSON hold them as tables. In CSV an image banner is
written by place; all else as `id=v1|media=video|mime=video/mp4|duration_s=15|...`, with a space between the
values of a list, `native.title=...` for the assets of a native, and `approvals=alpha:approved beta:pending`.

Headers may be in any case, with spaces for underscores; a column that is none of these is wrong. In CSV, lists are
separated by `;`, and a `;` or `|` within a value has a `\` before it. In TOML and JSON, lists are lists, and amounts
stand in quotes. A sheet is read as a whole: all its errors are told (the first 20), but for what a wrong cell leaves
open, and nothing of it is used if there is one.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bidder.core.campaigns import Advertiser, Campaign
from bidder.errors import SheetError
from bidder.store.columns import COLUMNS, CSV_COLUMNS, LEVEL_COLUMN, PARENT_COLUMN, Level, to_plain
from bidder.store.columns_cells import escape
from bidder.store.columns_creatives import creatives_text
from bidder.store.sheet_build import advertisers_of, campaigns_of, tell
from bidder.store.sheet_rows import Problems, rows_of


class Sheet(NamedTuple):
    """What a sheet states, in its order."""

    campaigns: list[Campaign]
    advertisers: list[Advertiser]


def read_sheet(path: Path, currency: str = "USD") -> Sheet:
    """Reads a campaign sheet, by its suffix `.csv`, `.toml` or `.json`.

    Args:
        path: the file, UTF-8.
        currency: of campaigns that state none.

    Raises:
        SheetError: if it cannot be read or has errors; it names them all, up to 20.
    """
    try:
        # Not as text: that would turn every end of a line within a cell into one kind.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SheetError(f"sheet {path} must be UTF-8 text, was not at byte {error.start}") from None
    except OSError as error:
        raise SheetError(f"sheet {path} cannot be read: {error.strerror}") from None
    return parse_sheet(text, path.suffix.lower(), path.name, currency)


def parse_sheet(text: str, suffix: str, name: str, currency: str = "USD") -> Sheet:
    """What a sheet's text states; `suffix` says its format, `name` is what errors call it.

    Raises:
        SheetError: as `read_sheet`.
    """
    problems = Problems()
    rows = rows_of(text, suffix, name, problems)
    sheet = Sheet(campaigns_of(rows, currency, problems), advertisers_of(rows, problems))
    if problems.found:
        raise tell(problems, name)
    if not rows:
        raise SheetError(f"sheet {name} must hold at least one campaign, was empty")
    return sheet


def to_json(
    campaigns: Iterable[Campaign],
    advertisers: Iterable[Advertiser] = (),
    brakes: Sequence[Mapping[str, str]] = (),
) -> str:
    """A JSON sheet; brakes that hold stand beside it as tables named `brake`, which reading passes over."""
    told = {"brake": list(brakes)} if brakes else {}
    return json.dumps(_tables(campaigns, advertisers) | told, indent=2, ensure_ascii=False)


def to_toml(campaigns: Iterable[Campaign], advertisers: Iterable[Advertiser] = ()) -> str:
    """A TOML sheet."""
    lines: list[str] = []
    for kind, tables in _tables(campaigns, advertisers).items():
        for table in tables:
            lines += _toml_table(kind, table)
    return "\n".join(lines)


def to_csv(campaigns: Iterable[Campaign], advertisers: Iterable[Advertiser] = ()) -> str:
    """A CSV sheet; it has the columns that campaigns must have, and all others that say something."""
    rows = list(_csv_rows(campaigns, advertisers))
    used = {name for row in rows for name in row}
    used |= {name for name, column in COLUMNS[Level.CAMPAIGN].items() if column.required}
    columns = [name for name in CSV_COLUMNS if name in used]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    return out.getvalue()


def _tables(campaigns: Iterable[Campaign], advertisers: Iterable[Advertiser]) -> dict[str, list[Any]]:
    stated = [to_plain(advertiser) for advertiser in advertisers]
    own = {"campaign": [to_plain(campaign) for campaign in campaigns]}
    return {"advertiser": stated} | own if stated else own


def _csv_rows(campaigns: Iterable[Campaign], advertisers: Iterable[Advertiser]) -> Iterable[dict[str, str]]:
    for advertiser in advertisers:
        yield {LEVEL_COLUMN: Level.ADVERTISER.value} | _cells(to_plain(advertiser))
    for campaign in campaigns:
        plain = to_plain(campaign)
        items = plain.pop(Level.LINE_ITEM.value, [])
        yield _cells(plain)
        for item in items:
            yield {LEVEL_COLUMN: Level.LINE_ITEM.value, PARENT_COLUMN: campaign.id} | _cells(item)


def _cells(plain: dict[str, Any]) -> dict[str, str]:
    return {name: cell_text(value) for name, value in plain.items()}


def cell_text(cell: Any) -> str:
    """A cell of `to_plain` as CSV has it."""
    if not isinstance(cell, list):
        return str(cell)
    return creatives_text(cell) if isinstance(cell[0], dict) else ";".join(map(escape, cell))


def _toml_table(path: str, table: dict[str, Any]) -> Iterable[str]:
    """Lines of a table and of the tables within it, which must come after its own values."""
    within = {
        name: value for name, value in table.items() if isinstance(value, list) and isinstance(value[0], dict)
    }
    yield f"[[{path}]]"
    for name, value in table.items():
        if name not in within:
            yield f"{name} = {_toml_value(value)}"
    yield ""
    for name, tables in within.items():
        for each in tables:
            yield from _toml_table(f"{path}.{name}", each)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_toml_text(name)} = {_toml_value(own)}" for name, own in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return _toml_text(value) if isinstance(value, str) else json.dumps(value)


def _toml_text(text: str) -> str:
    """A basic string: as JSON's, but that TOML lets no DEL stand as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
