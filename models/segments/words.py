"""A group in a sentence: `Evening phone users interested in sports, readers of a.example, 2.1 x the clicks`."""

from collections.abc import Sequence

from models.pages.text import counted
from models.schema import SEGMENTS_COLUMN
from models.segments.behaviour import DAY_PART, WEEK_PART
from models.segments.clusters import APART, STABLE
from models.segments.report import Report, TrialTold
from models.segments.response import Rate
from models.segments.traits import Trait

_LEAST_ODDS = 1.5
_MOST_PARTS = 4
_MOST_VALUES = 3
_OFTEN = 1.5
_DEVICES = {
    "1": "mobile", "2": "computer", "3": "TV", "4": "phone", "5": "tablet", "6": "connected-device",
    "7": "set-top-box",
}  # fmt: skip
"""Kinds of devices by the numbers of OpenRTB (AdCOM list "Device Types"), where a table has those."""


def taken_trial(report: Report) -> TrialTold | None:
    """The number of groups that the segments are of; None where nothing was tried."""
    usable = [one for one in report.trials if one.stable] if report.asked is None else report.trials
    return max(usable or report.trials, key=lambda one: one.silhouette, default=None)


def structure_words(report: Report) -> str:
    """What was measured of the structure, each figure beside the least that counts."""
    some = counted(report.directions, "direction")
    said = f"{some} of behaviour {'is' if report.directions == 1 else 'are'} more than chance, 1 is needed"
    trial = taken_trial(report)
    if trial is None:
        return said
    return (
        f"{said}; halves of the users agree by {trial.stability:.3f}, {STABLE} is needed; "
        f"silhouette {trial.silhouette:.2f}, groups stand apart from {APART} on"
    )


def words_of(traits: Sequence[Trait], rows_each: float, rows_each_others: float, ctr: Rate) -> str:
    """What stands out of a group, in a sentence; that nothing does, where nothing does.

    Args:
        traits: the most distinctive first.
        rows_each, rows_each_others: mean rows of a user, of the group and of all others.
        ctr: click rate; it is told where its lift is surely not 1.
    """
    by_column = _strongest(traits)
    before = [by_column[name][0] for name in (WEEK_PART, DAY_PART) if name in by_column]
    if "device_type" in by_column:
        before.append(value_words("device_type", by_column["device_type"][0]))
    after = []
    if SEGMENTS_COLUMN in by_column:
        after.append(f"interested in {_listed(by_column[SEGMENTS_COLUMN])}")
    if "domain" in by_column:
        after.append(f"readers of {_listed(by_column['domain'])}")
    systems = [value for name in ("os", "browser") for value in by_column.get(name, ())[:1]]
    if systems:
        after.append(f"on {' with '.join(systems)}")
    if "region" in by_column:
        after.append(f"in {_listed(by_column['region'])}")
    often = _often(rows_each, rows_each_others)
    if not before and not after and not often:
        return "Users without a trait of their own" + _answer(ctr)
    head = " ".join([*before, "users", *after[:1]])
    text = ", ".join([head, *after[1:], *([often] if often else [])])
    return text[:1].upper() + text[1:] + _answer(ctr)


def value_words(column: str, value: str) -> str:
    """A value of a column as people call it."""
    return _DEVICES.get(value, value) if column == "device_type" else value


def _strongest(traits: Sequence[Trait]) -> dict[str, list[str]]:
    """The values of the few columns that say the most, the strongest first."""
    found: dict[str, list[str]] = {}
    for trait in traits:
        if trait.odds < _LEAST_ODDS or (trait.column not in found and len(found) == _MOST_PARTS):
            continue
        values = found.setdefault(trait.column, [])
        if len(values) < _MOST_VALUES:
            values.append(trait.value)
    return found


def _listed(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


def _often(own: float, others: float) -> str | None:
    if own > _OFTEN * others:
        return f"seen often ({own:.1f} rows a user, others {others:.1f})"
    return f"seen seldom ({own:.1f} rows a user, others {others:.1f})" if own * _OFTEN < others else None


def _answer(ctr: Rate) -> str:
    if ctr.lift is None or ctr.lift_low is None or ctr.lift_high is None:
        return ""
    return f", {ctr.lift:.1f} x the clicks" if ctr.lift_low > 1.0 or ctr.lift_high < 1.0 else ""
