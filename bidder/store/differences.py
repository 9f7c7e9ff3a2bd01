"""What a change of a campaign or an advertiser comes to: column by column, as sheets have them.

For people: before a sheet is imported, and where history shows what it did.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bidder.core.campaigns import Advertiser, Campaign
from bidder.store.columns import Level, to_plain
from bidder.store.columns_creatives import creative_text
from bidder.store.sheet import cell_text

_ITEMS = Level.LINE_ITEM.value
_CREATIVES = "creatives"
_MOST_CHARACTERS = 60
"""Of a list that is shown whole; of a longer one only what it has gained and lost is shown."""


class Difference(NamedTuple):
    """One column that changed.

    Attributes:
        line_item_id: of which line item; empty where it is the campaign's or advertiser's own.
        what: the column; `creative ID` or `creative ID field` within creatives; `line item` where a whole one came
            or went.
        old: the cell before, as CSV has it; empty where there was none.
        new: the cell after; empty where there is none.
    """

    line_item_id: str
    what: str
    old: str
    new: str


def differences(old: Campaign | Advertiser, new: Campaign | Advertiser) -> list[Difference]:
    """Columns in which two states of a campaign or advertiser differ, line items after its own."""
    before, after = to_plain(old), to_plain(new)
    items = _by_id(before.pop(_ITEMS, [])), _by_id(after.pop(_ITEMS, []))
    found = list(_cells("", before, after))
    for item_id in dict.fromkeys((*items[0], *items[1])):
        was, now = items[0].get(item_id), items[1].get(item_id)
        if was is None or now is None:
            found.append(Difference(item_id, "line item", _summary(was), _summary(now)))
        else:
            found += _cells(item_id, was, now)
    if not found:
        found += _order(items)
    return found


def _cells(item_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name, ""), after.get(name, "")
        if was == now:
            continue
        if name == _CREATIVES and not item_id:
            yield from _creatives(was, now)
        elif isinstance(was, list) or isinstance(now, list):
            yield Difference(item_id, name, *_lists(was or [], now or []))
        else:
            yield Difference(item_id, name, str(was), str(now))


def _creatives(was: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    before, after = _by_id(was), _by_id(now)
    found = False
    for creative_id in dict.fromkeys((*before, *after)):
        old, new = before.get(creative_id), after.get(creative_id)
        if old == new:
            continue
        found = True
        if old is None or new is None:
            was_text, now_text = ("" if table is None else creative_text(table) for table in (old, new))
            yield Difference("", f"creative {creative_id}", was_text, now_text)
            continue
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) != new.get(name):
                values = _value(old.get(name, "")), _value(new.get(name, ""))
                yield Difference("", f"creative {creative_id} {name}", *values)
    if not found:
        yield Difference("", "order of creatives", " ".join(before), " ".join(after))


def _order(items: tuple[Mapping[str, Any], Mapping[str, Any]]) -> list[Difference]:
    if list(items[0]) == list(items[1]):
        return []
    return [Difference("", "order of line items", " ".join(items[0]), " ".join(items[1]))]


def _lists(was: Sequence[str], now: Sequence[str]) -> tuple[str, str]:
    """Two lists; of long ones only how many they have, and what one has and the other has not."""
    whole = cell_text(list(was)) if was else "", cell_text(list(now)) if now else ""
    if max(map(len, whole)) <= _MOST_CHARACTERS or set(was) == set(now):
        return whole
    sides = (was, set(now)), (now, set(was))
    gone, come = ([value for value in own if value not in other] for own, other in sides)
    return _excerpt(was, gone), _excerpt(now, come)


def _excerpt(values: Sequence[str], own: Sequence[str]) -> str:
    shown = cell_text(list(own)) if own else "none"
    return f"{len(values)} values, of them only here: {shown}" if values else ""


def _value(cell: Any) -> str:
    if isinstance(cell, dict):
        return " ".join(f"{name}={value}" for name, value in cell.items())
    return " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)


def _summary(item: Mapping[str, Any] | None) -> str:
    """A line item in one cell."""
    if item is None:
        return ""
    return ", ".join(f"{name} {cell_text(cell)}" for name, cell in item.items() if name != "id")


def _by_id(tables: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {table["id"]: table for table in tables}
