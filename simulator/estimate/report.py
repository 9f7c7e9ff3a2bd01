"""Estimates as one JSON object and as tables of a console."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from simulator.estimate.doubly import Check
from simulator.estimate.estimate import Estimates, Point
from simulator.estimate.intervals import Measure
from simulator.report.text import DASH, count, decimals_for, money, percent, roi_text

ASSUMPTIONS = (
    "Rivals do not react: they would have bid the same, whatever this campaign bids.",
    "Among auctions alike in placement, prediction and time, our bids tell nothing of prices but what the log shows.",
    "Traffic is that of the log; intervals are of other users, or other quarters of an hour, like its own.",
    "Value is goal events times the worth that bids were made by; a run's report adds up what conversions told.",
    "Pacing knows how traffic is spread over time, and hears of wins at once.",
)
"""What an estimate takes for granted, in words."""
WINS_ONLY = "The log holds wins alone: what was lost is not in it, so more money finds no more auctions."

HEADS = ("budget", "spend", "impr.", "clicks", "conv.", "value", "ROI", "CPA", "drawn")
"""Of a row of `cells`, short enough for a terminal: impressions, conversions, share of the spend on drawn prices."""

FAR_DEVIATIONS = 3.0
"""Normal deviations between replay and explored bids from which on an estimate is not to be relied on."""


class Report(msgspec.Struct, frozen=True):
    """All that is told of one campaign.

    source: the history. currency: of its money. notes: assumptions. checks: of explored bids, by budget.
    """

    source: str
    currency: str
    estimates: Estimates
    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def json_object(found: Sequence[Report]) -> bytes:
    """Reports of one history as one object, its `campaigns` a list; all but the draws, which curves have."""
    return msgspec.json.encode(
        {
            "source": found[0].source,
            "currency": found[0].currency,
            "notes": found[0].notes,
            "campaigns": [_plain(one) for one in found],
        }
    )


def _plain(one: Report) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(one.estimates)
    plain.pop("table")
    plain["checks"] = msgspec.to_builtins(one.checks)
    return plain


def print_report(found: Sequence[Report], console: Console) -> None:
    """A table for each campaign and what was refused of it; what is taken for granted comes once, at the end."""
    for one in found:
        _print_one(one, console)
    console.print("ROI: (value - spend) / spend. Drawn: share of the spend at prices that the log hides.")
    for note in found[0].notes:
        console.print(f"- {note}", style="dim")


def _print_one(found: Report, console: Console) -> None:
    one = found.estimates
    console.print(
        f"{one.campaign}: {count(one.opportunities)} auctions of {found.source}, spent {money(one.spend_nanos)} "
        f"{found.currency}. Below each estimate its 95 % interval, from {one.draws} draws of {one.grouped}."
    )
    table = Table(box=None, padding=(0, 1, 1, 0))
    for head in HEADS:
        # Folded, not cut: a number without its end reads as another.
        table.add_column(head, overflow="fold")
    for point in one.points:
        if point.refused is None:
            table.add_row(*(cell.replace(" (", "\n", 1).removesuffix(")") for cell in cells(point)))
    console.print(table)
    for point in one.points:
        if point.refused is not None:
            console.print(f"{asked_of(point)} refused: {point.refused}", style="red")
    if found.checks:
        far = is_far(worst_of(found.checks))
        console.print(checks_line(found.checks), style="red" if far else None)


def cells(point: Point) -> list[str]:
    """One scenario as text, in the order of `HEADS`."""
    return [
        asked_of(point), _money(point.spend_nanos), counted(point.impressions), counted(point.clicks),
        counted(point.conversions), _money(point.value_nanos), roi_of(point.roi), _money(point.cpa),
        percent(point.extrapolated),
    ]  # fmt: skip


def asked_of(point: Point) -> str:
    """The question of a scenario, in words."""
    if point.budget_nanos is None:
        return f"bids x {point.scale:g}"
    return money(point.budget_nanos, decimals_for([point.budget_nanos]))


def check_line(check: Check) -> str:
    """A check of explored bids, in words."""
    told = (
        f"budget {money(check.budget_nanos)}: on {count(check.rows)} explored bids the replay says "
        f"{check.replayed:.1f} clicks, their own outcomes {check.doubly:.1f}"
    )
    if check.deviations is None:
        return f"{told}, as certain as {check.effective:.1f} clicks: too few to tell"
    verdict = "do not rely on it" if is_far(check) else "passes"
    return (
        f"{told}; were the replay right, chance would part them so far {_chance(check.deviations)}: {verdict}"
    )


def checks_line(checks: Sequence[Check]) -> str:
    """The worst check of explored bids, in words, and how many were judged; `checks` has at least one."""
    judged = sum(one.deviations is not None for one in checks)
    far = sum(map(is_far, checks))
    said = f"Explored bids: {judged} of {len(checks)} budgets could be judged"
    if judged:
        said += f", {far} must not be relied on" if far else ", all pass"
    return f"{said}. {'Worst: ' if judged else ''}{check_line(worst_of(checks))}"


def worst_of(checks: Sequence[Check]) -> Check:
    """Where chance explains least, else the one that is nearest to being judged."""
    return max(checks, key=lambda one: (abs(one.deviations or 0.0), one.effective))


def is_far(check: Check) -> bool:
    """Whether replay and explored bids differ by more than chance explains."""
    return abs(check.deviations or 0.0) > FAR_DEVIATIONS


def _chance(deviations: float) -> str:
    """The chance of a difference as far on either side; its law is not normal, so no deviations are told."""
    chance = math.erfc(abs(deviations) / math.sqrt(2.0))
    if chance < 1e-4:
        return "less than once in 10,000 times"
    return "in nearly every case" if chance > 0.99 else f"in {100.0 * chance:.2g} % of cases"


def counted(measure: Measure) -> str:
    """A count with its interval."""
    if measure.point is None or measure.low is None or measure.high is None:
        return DASH
    decimals = 0 if measure.point >= 100 else 1
    return f"{measure.point:,.{decimals}f} ({measure.low:,.{decimals}f} to {measure.high:,.{decimals}f})"


def roi_of(measure: Measure) -> str:
    """A ROI with its interval."""
    if measure.point is None or measure.low is None or measure.high is None:
        return DASH
    return f"{roi_text(measure.point)} ({roi_text(measure.low)} to {roi_text(measure.high)})"


def _money(measure: Measure) -> str:
    if measure.point is None or measure.low is None or measure.high is None:
        return DASH
    decimals = decimals_for([round(measure.point)])
    point, low, high = (money(round(one), decimals) for one in (measure.point, measure.low, measure.high))
    return f"{point} ({low} to {high})"


def notes_of(*, wins_only: bool) -> tuple[str, ...]:
    """What is taken for granted of a history."""
    return (*ASSUMPTIONS, WINS_ONLY) if wins_only else ASSUMPTIONS


def scenarios_said(points: Sequence[Point]) -> str:
    """How many were answered, in words."""
    answered = sum(point.refused is None for point in points)
    return f"{answered} of {len(points)} questions answered"
