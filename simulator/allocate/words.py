"""A plan in words and as JSON: what it says first, its facts, its moves."""

from collections.abc import Sequence
from typing import Any

from bidder.core.portfolio import Certificate
from bidder.core.portfolio_moves import Move
from models.pages.text import DASH, percent
from simulator.allocate.curves import CurveSet, Measure
from simulator.allocate.goals import Goal
from simulator.allocate.plan import LEAST_DRAWS, Plan, Sureness
from simulator.report.text import money

_SAME = 0.001
"""Up to so large a difference, as a share, curves and points are told as one."""


def amount(value: float, measure: Measure) -> str:
    """A value as people read it: money of the measure of value, else a number of events."""
    if measure.per_unit == 1.0:
        return money(round(value))
    return f"{value:,.1f}"


def rate(value: float, measure: Measure) -> str:
    """Value a nano, as people read it: money for money, else events for a unit of money."""
    return "any" if value == float("inf") else f"{value * measure.per_unit:,.4g}"


def verdict(found: Plan) -> str:
    """The answer in a sentence."""
    if found.hold:
        return f"Hold: {found.hold}."
    moved = sum(max(0, move.after - move.before) for move in found.moves)
    before, after = sum(found.base), sum(found.recommended)
    if found.wanted.goal is not Goal.TOTAL or before != after:
        return f"Place {money(after)} instead of {money(before)}, {_gained(found)}."
    if not moved:
        return "Keep the split: nothing would move."
    return f"Move {money(moved)} of {money(before)}, {_gained(found)}."


def _gained(found: Plan) -> str:
    sure = found.of_recommended
    if sure is None:
        gain = found.value(found.recommended) - found.value(found.base)
        return f"for {_signed(gain, found)} by the estimate; how sure that is needs {LEAST_DRAWS} draws"
    low, high = _signed(sure.low, found), _signed(sure.high, found)
    return f"for {_signed(sure.gain, found)} (95 % interval {low} to {high})"


def _signed(gain: float, found: Plan) -> str:
    sign = "+" if gain >= 0 else ""
    return f"{sign}{amount(gain, found.measure)} {found.measure.name}"


def facts(found: Plan) -> list[tuple[str, str]]:
    """What was found, by name."""
    rows = [
        ("answer", verdict(found)),
        ("now", _split(found, found.current)),
        ("best", _split(found, found.best)),
        ("recommended", "as now" if found.recommended == found.current else _split(found, found.recommended)),
    ]
    if sum(found.base) != sum(found.current):
        rows.insert(2, ("compared with", f"the split now scaled to {money(sum(found.base))}"))
    if found.sureness is not None and found.best != found.base:
        rows += _how_sure(found, found.sureness)
    if not found.allowed and not found.hold:
        rows.append(("bounds", "they do not allow the split now: what they ask for is done in full"))
    return rows + _proof(found)


def _how_sure(found: Plan, sure: Sureness) -> list[tuple[str, str]]:
    """How often the best split helps, and what its gain is once the luck of the choice is taken off."""
    looks = f"looks {_signed(found.apparent, found)}"
    luck = f"less {amount(sure.flattered, found.measure)} for having picked what looks best"
    left = f"{_signed(sure.gain, found)} is left"
    return [
        ("how sure", f"the best split helps in {sure.helps:.0%} of {sure.draws} draws of the curves"),
        ("its gain", f"{looks}, {luck}: {left}"),
    ]


def _split(found: Plan, budgets: Sequence[int]) -> str:
    estimated, concave = found.estimated(budgets), found.value(budgets)
    said = f"{money(sum(budgets))} in budgets, {amount(estimated, found.measure)} {found.measure.name} as estimated"
    if abs(concave - estimated) <= _SAME * abs(concave):
        return said
    return f"{said} ({amount(concave, found.measure)} by the concave curves that splits are compared by)"


def _proof(found: Plan) -> list[tuple[str, str]]:
    if found.certificate is not None:
        proof = found.certificate
        price = rate(proof.price, found.measure)
        return [
            ("price of money", f"{price}: what a unit of money brings at the margin of the best split"),
            ("proof", _proved(proof)),
        ]
    assert found.stepped is not None, "a plan has a proof of either kind"
    step = found.stepped
    rows = [("proof", f"within {percent(step.gap, 3)} of what any split could bring")]
    if step.left:
        rows.append(("left", f"{money(step.left)} that no step takes"))
    return rows


def _proved(proof: Certificate) -> str:
    """What the certificate proves, in words; its terms are in the JSON object and on the page."""
    within = f"to within {max(100.0 * proof.gap, 1e-4):.2g} % of what any split could bring"
    if proof.holds:
        return f"optimal: no other split of this money brings more by these curves, proved {within}"
    return f"NOT optimal: another split of this money may bring more, known only {within}"


MOVE_HEADS = ("Campaign", "Now", "New", "Move", "Last unit", "Next unit", "Gain", "Why no more",
              "Imputed")  # fmt: skip


def move_cells(found: Plan, curves: CurveSet, place: int) -> list[str]:
    """The row of a move, as `MOVE_HEADS`."""
    move = found.moves[place]
    last, following = found.curves[place].returns(move.after)
    return [
        move.name,
        money(move.before),
        money(move.after),
        f"{'+' if move.after > move.before else ''}{money(move.after - move.before)}",
        DASH if last == float("inf") else rate(last, found.measure),
        rate(following, found.measure) if following > 0.0 else "beyond the curve",
        amount(move.gain, found.measure),
        move.stopped,
        percent(curves.extrapolated(place, move.after)),
    ]


def summary(found: Plan, curves: CurveSet) -> dict[str, Any]:
    """The plan for a JSON object.

    What splits bring, in units of `measure`: `estimated` by the points of the curves as they are, `concave` by the
    concave curves above them, which splits are compared by and gains are of.
    """
    return {
        "measure": found.measure.column,
        "goal": found.wanted.goal.value,
        "hold": found.hold,
        "verdict": verdict(found),
        "total_nanos": {"now": sum(found.current), "base": sum(found.base), "best": sum(found.best),
                        "recommended": sum(found.recommended)},
        "estimated": {"now": found.estimated(found.current), "best": found.estimated(found.best),
                      "recommended": found.estimated(found.recommended)},
        "concave": {"now": found.value(found.current), "base": found.value(found.base),
                    "best": found.value(found.best), "recommended": found.value(found.recommended)},
        "spend_nanos": {"now": round(found.spend(found.current)), "best": round(found.spend(found.best)),
                        "recommended": round(found.spend(found.recommended))},
        "apparent_gain": found.apparent,
        "sureness": found.sureness,
        "sureness_recommended": found.of_recommended,
        "certificate": None if found.certificate is None else found.certificate._asdict(),
        "stepped": None if found.stepped is None else {
            "bound": found.stepped.bound, "gap": found.stepped.gap, "left_nanos": found.stepped.left},
        "current_split_allowed": found.allowed,
        "moves": [_move(found, curves, place, move) for place, move in enumerate(found.moves)],
    }  # fmt: skip


def _move(found: Plan, curves: CurveSet, place: int, move: Move) -> dict[str, Any]:
    endless = float("inf")
    last, following = found.curves[place].returns(move.after)
    return {
        "campaign": move.name,
        "from_nanos": move.before,
        "to_nanos": move.after,
        "best_nanos": found.best[place],
        "gain": move.gain,
        "return_before": None if move.return_before == endless else move.return_before,
        "return_after": None if move.return_after == endless else move.return_after,
        "return_of_last": None if last == endless else last,
        "return_of_next": following,
        "why_no_more": move.stopped,
        "extrapolated": curves.extrapolated(place, move.after),
        "concave_lift": found.curves[place].lift(),
    }
