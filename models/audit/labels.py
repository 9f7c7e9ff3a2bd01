"""Labels: how many events there are, how they spread over days and campaigns, when they become known."""

import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from models.audit.findings import DayFacts, Finding, LabelFacts, Severity
from models.dataset import FILE_ROW, TrainingTable
from models.extras import UNKNOWN_NS
from models.pages.text import counted, duration, lag, moment

NS_PER_DAY = 86_400 * 10**9
NS_PER_HOUR = 3_600 * 10**9
MIN_EVENTS, FEW_EVENTS = 20, 1_000
_Z = 1.959963984540054
_DRIFT_SIGMAS, _DRIFT_SHARE = 5.0, 0.25
_FEW_BY_CAMPAIGN = 50

Floats = NDArray[np.float64]


def wilson(events: int, rows: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927), which holds for few events too."""
    if rows == 0:
        return 0.0, 1.0
    rate, square = events / rows, _Z**2
    middle = (rate + square / (2 * rows)) / (1 + square / rows)
    half = _Z / (1 + square / rows) * math.sqrt(rate * (1 - rate) / rows + square / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def label_facts(table: TrainingTable) -> list[LabelFacts]:
    """Clicks of all impressions, conversions of clicks where known."""
    known = (table.click > 0) & ~np.isnan(table.conversion)
    return [_label("click", table.click), _label("conversion", table.conversion[known])]


def _label(name: str, values: Floats) -> LabelFacts:
    rows, events = len(values), int(values.sum())
    low, high = wilson(events, rows)
    rate = events / rows if rows else 0.0
    return LabelFacts(name=name, rows=rows, events=events, rate=rate, low=low, high=high)


def volume(labels: list[LabelFacts]) -> list[Finding]:
    """Too few events to learn from, or to know a rate by."""
    found = []
    for label in labels:
        rest = label.rows - label.events
        said = f"{counted(label.events, 'event')} in {counted(label.rows, 'row')}"
        if min(label.events, rest) < MIN_EVENTS:
            severity: Severity = "block" if label.name == "click" else "care"
            do = f"At least {MIN_EVENTS} rows of either kind are needed; below that a model is its mean."
            found.append(Finding(severity=severity, check="volume", column=label.name, said=said, do=do))
        elif label.events < FEW_EVENTS:
            width = (label.high - label.low) / 2 / label.rate
            said += f": the mean rate itself is known to {width:.0%}"
            do = "Collect more rows before small differences are trusted."
            found.append(Finding(severity="care", check="volume", column=label.name, said=said, do=do))
    return found


def by_campaign(table: TrainingTable) -> list[Finding]:
    """Campaigns that the model will know little of."""
    campaigns = table.columns.get("campaign")
    if campaigns is None:
        return []
    events: dict[object, float] = {}
    for campaign, click in zip(campaigns, table.click, strict=True):
        events[campaign] = events.get(campaign, 0.0) + click
    few = sorted(str(name) for name, count in events.items() if count < _FEW_BY_CAMPAIGN)
    if not few:
        return []
    shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    said = (
        f"{len(few)} of {counted(len(events), 'campaign')} have fewer than {_FEW_BY_CAMPAIGN} clicks: {shown}"
    )
    do = "They are predicted mostly from what they share with others."
    return [Finding(severity="note", check="volume", column="campaign", said=said, do=do)]


def day_facts(table: TrainingTable) -> list[DayFacts]:
    """Rows and clicks of each day, UTC."""
    days = table.at_ns // NS_PER_DAY
    first = int(days[0])
    rows = np.bincount(days - first)
    clicks = np.bincount(days - first, weights=table.click)
    return [
        DayFacts(day=_date(first + place), rows=int(count), clicks=int(clicks[place]))
        for place, count in enumerate(rows.tolist())
        if count
    ]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def rate_drift(days: list[DayFacts]) -> list[Finding]:
    """Days whose click rate is far from that of all: more than 5 standard errors and a quarter of the rate."""
    rows, clicks = sum(day.rows for day in days), sum(day.clicks for day in days)
    if len(days) < 2 or not 0 < clicks < rows:
        return []
    rate = clicks / rows
    odd = [
        f"{day.day} ({day.clicks / day.rows:.3%})"
        for day in days
        if abs(day.clicks / day.rows - rate)
        > max(_DRIFT_SHARE * rate, _DRIFT_SIGMAS * math.sqrt(rate * (1 - rate) / day.rows))
    ]
    if not odd:
        return []
    shown = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    said = (
        f"the click rate is {rate:.3%}, but on {len(odd)} of {counted(len(days), 'day')} far from it: {shown}"
    )
    do = "Find out what changed: tracking that broke, a campaign that began, or fraud."
    return [Finding(severity="care", check="label rate", column="click", said=said, do=do)]


_EARLIER_LATER = (
    ("at_ns", "click_at_ns"),
    ("click_at_ns", "conversion_at_ns"),
    ("at_ns", "observed_until_ns"),
    ("click_at_ns", "observed_until_ns"),
    ("conversion_at_ns", "observed_until_ns"),
)


def order(table: TrainingTable) -> list[Finding]:
    """Labels from the future, and events before what they follow."""
    times = {name: np.asarray(values) for name, values in table.extras.items() if name.endswith("_ns")}
    times["at_ns"] = table.at_ns
    found = []
    for before, after in _EARLIER_LATER:
        if before not in times or after not in times:
            continue
        first, second = times[before], times[after]
        wrong = (first != UNKNOWN_NS) & (second != UNKNOWN_NS) & (second < first)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            rows = counted(int(wrong.sum()), "row has", "rows have")
            gap = lag(int(first[row] - second[row]))
            place = int(np.asarray(table.extras.get(FILE_ROW, np.arange(len(table))))[row]) + 1
            said = (
                f"{rows} {after} before {before}, the first by {gap}: row {place} of {table.source}, shown at "
                f"{moment(int(table.at_ns[row]))}"
            )
            do = "A label cannot come from the future: mend the join or the clocks."
            found.append(Finding(severity="block", check="time order", column=after, said=said, do=do))
    return found


def delay(table: TrainingTable) -> list[Finding]:
    """Conversions that come late, and clicks that were not watched for as long as these take."""
    if not {"click_at_ns", "conversion_at_ns"} <= table.extras.keys():
        return []
    clicked, converted = (np.asarray(table.extras[name]) for name in ("click_at_ns", "conversion_at_ns"))
    both = (clicked != UNKNOWN_NS) & (converted != UNKNOWN_NS)
    if int(both.sum()) < MIN_EVENTS:
        return []
    waits = np.sort(converted[both] - clicked[both])
    p90 = int(waits[int(len(waits) * 0.9)])
    late = float((waits > NS_PER_HOUR).mean())
    said = (
        f"{late:.0%} of conversions come more than an hour after the click, one in ten after "
        f"{duration(p90 / 1e9)}"
    )
    if "observed_until_ns" not in table.extras:
        do = "Add observed_until_ns, so that training knows which clicks are too young to be judged."
        severity: Severity = "care" if late > 0.1 else "note"
        return [Finding(severity=severity, check="delay", column="conversion", said=said, do=do)]
    until = np.asarray(table.extras["observed_until_ns"])
    watched = (clicked != UNKNOWN_NS) & (until != UNKNOWN_NS)
    young = float((until[watched] - clicked[watched] < p90).mean()) if watched.any() else 1.0
    said += f"; {young:.0%} of the clicks were watched for less than that"
    severity = "care" if young > 0.1 else "note"
    do = "Train with a correction of the delay: otherwise young clicks count as if they would never convert."
    return [
        Finding(
            severity=severity, check="delay", column="conversion", said=said, do=do if young > 0.1 else ""
        )
    ]
