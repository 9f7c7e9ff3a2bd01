"""An estimate as one JSON object and as tables of a console."""

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from simulator.estimate.doubly import Check
from simulator.estimate.estimate import Estimates, Point
from simulator.estimate.intervals import Measure
from simulator.report.text import DASH, count, money, percent

ASSUMPTIONS = (
    "Rivals do not react: they would have bid the same, whatever this campaign bids.",
    "Inside a stratum, given prediction and time, bids depend on prices only by what the log holds.",
    "The traffic is that of the log; intervals are of other users, or blocks of time, like its own.",
    "The controller knows the plan of the traffic, and hears of wins at once.",
)
"""What an estimate takes for granted, in words."""
WINS_ONLY = "The log holds wins alone: what was lost is not in it, so more money finds no more auctions."

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


def json_object(found: Report) -> bytes:
    """Everything but the draws, which are in the file of curves."""
    plain = msgspec.to_builtins(found)
    plain["estimates"].pop("table")
    return msgspec.json.encode(plain)


def print_report(found: Report, console: Console) -> None:
    """A line for each scenario, then what was refused and what is taken for granted."""
    one = found.estimates
    heads = ("budget", "spend", "impressions", "clicks", "conversions", "value", "ROI", "CPA", "drawn")
    table = Table(
        title=f"{one.campaign} of {found.source}, {found.currency}, {one.draws} draws of {one.grouped}",
        box=None,
        padding=(0, 1, 1, 0),
    )
    for head in heads:
        # Folded, not cut: a number without its end reads as another.
        table.add_column(head, overflow="fold")
    for point in one.points:
        if point.refused is None:
            table.add_row(*cells(point))
    console.print(table)
    for point in one.points:
        if point.refused is not None:
            console.print(f"{asked_of(point)} refused: {point.refused}", style="red")
    for check in found.checks:
        far = abs(check.deviations or 0.0) > FAR_DEVIATIONS
        console.print(
            check_line(check) + (": do not rely on it" if far else ""), style="red" if far else None
        )
    for note in found.notes:
        console.print(f"- {note}", style="dim")


def cells(point: Point) -> list[str]:
    """One scenario as text, in the order of the table."""
    return [
        asked_of(point), _money(point.spend_nanos), counted(point.impressions), counted(point.clicks),
        counted(point.conversions), _money(point.value_nanos), ratio_of(point.roi), _money(point.cpa),
        percent(point.extrapolated),
    ]  # fmt: skip


def asked_of(point: Point) -> str:
    """The question of a scenario, in words."""
    return f"bids x {point.scale:g}" if point.budget_nanos is None else money(point.budget_nanos)


def check_line(check: Check) -> str:
    """A check of explored bids, in words."""
    told = (
        f"budget {money(check.budget_nanos)}: on {count(check.rows)} explored bids the replay says "
        f"{check.replayed:.1f} clicks, their own outcomes {check.doubly:.1f}"
    )
    if check.deviations is None:
        return f"{told}, as certain as {check.effective:.1f} clicks: too few to tell"
    return f"{told} with a standard error of {check.error:.1f}, {check.deviations:+.1f} normal deviations"


def counted(measure: Measure) -> str:
    """A count with its interval."""
    if measure.point is None or measure.low is None or measure.high is None:
        return DASH
    decimals = 0 if measure.point >= 100 else 1
    return f"{measure.point:,.{decimals}f} ({measure.low:,.{decimals}f} to {measure.high:,.{decimals}f})"


def ratio_of(measure: Measure) -> str:
    """A ratio with its interval."""
    if measure.point is None or measure.low is None or measure.high is None:
        return DASH
    return f"{measure.point:.3g} ({measure.low:.3g} to {measure.high:.3g})"


def _money(measure: Measure) -> str:
    if measure.point is None or measure.low is None or measure.high is None:
        return DASH
    decimals = 2 if measure.point >= 1e9 else 5
    point, low, high = (money(round(one), decimals) for one in (measure.point, measure.low, measure.high))
    return f"{point} ({low} to {high})"


def notes_of(*, wins_only: bool) -> tuple[str, ...]:
    """What is taken for granted of a history."""
    return (*ASSUMPTIONS, WINS_ONLY) if wins_only else ASSUMPTIONS


def scenarios_said(points: Sequence[Point]) -> str:
    """How many were answered, in words."""
    answered = sum(point.refused is None for point in points)
    return f"{answered} of {len(points)} questions answered"
