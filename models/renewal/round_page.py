"""A round of renewal as one HTML page: how it ended and why, champion against challenger, every check, drift."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.pages import blocks, text
from models.pages.charts import Axis, ChartIds
from models.pages.markup import Markup, el
from models.pages.ranges import Mark, RangeRow, range_chart
from models.renewal.gate import Check
from models.renewal.page import FORMULAS, PREDICTS, drift_sections
from models.renewal.rounds import Round

_ENTROPY = "normalized entropy"
_FORMULAS = {
    "Difference": "normalized entropy of the challenger less that of the champion, or of always saying the mean "
    "where there is none; below 0 the challenger is better",
    "Better in": "share of the draws of users, or of stretches of time, in which the challenger was better",
}


def round_page(found: Round, at_ns: int) -> str:
    """The page of a round.

    Args:
        found: how it ended. at_ns: when.
    """
    ids = ChartIds()
    entropy = next((check.numbers for check in found.checks if check.name == _ENTROPY), {})
    return blocks.document(
        f"Renewal: {found.outcome}",
        blocks.header(
            "Renewal",
            _lead(found),
            f"{text.moment(at_ns)}; champion {found.champion[:12] or 'none'}, "
            f"challenger {found.challenger[:12] or 'none'} after the round",
            _badge(found),
            good=found.outcome == "promoted",
            care=found.outcome in {"kept", "challenging", "waiting"},
        ),
        _rivals(ids, entropy) if entropy else None,
        _checks(found.checks) if found.checks else None,
        *(drift_sections(found.drift, ids) if found.drift is not None else ()),
        blocks.glossary(_FORMULAS | FORMULAS) if found.checks else None,
    )


def _lead(found: Round) -> str:
    """How it ended, and why; the figures of a gate that was passed stand below."""
    passed = found.outcome in {"promoted", "challenging"}
    return f"{found.outcome.capitalize()}: {found.words.partition(': ')[0] if passed else found.words}"


def _badge(found: Round) -> str:
    failed = sum(not check.passed for check in found.checks)
    if not found.checks:
        return f"{found.outcome.capitalize()}: nothing was judged"
    passed = f"{len(found.checks) - failed} of {text.counted(len(found.checks), 'check')} passed"
    return f"{found.outcome.capitalize()}: {passed}"


def _rivals(ids: ChartIds, numbers: Mapping[str, Mapping[str, Any]]) -> Markup:
    """What the challenger changes, model by model."""
    known = {name: one for name, one in numbers.items() if one["difference"] is not None}
    title = "Normalized entropy, challenger less champion"
    columns = [
        blocks.Column(name, _FORMULAS.get(name))
        for name in ("Predicts", "Difference", "From", "To", "Better in", "Rows", "Events")
    ]
    rows = [
        (
            PREDICTS.get(name, name),
            *(_signed(one[key]) for key in ("difference", "low", "high")),
            text.percent(one["better_share"], 2),
            text.count(one["rows"]),
            text.count(one["events"]),
        )
        for name, one in numbers.items()
    ]
    return blocks.section(
        "Champion against challenger",
        "Below 0, to the left of the line, the challenger is better. On rows that neither has learned from.",
        blocks.card(_chart(ids, title, known) if known else None, blocks.table(title, columns, rows)),
    )


def _chart(ids: ChartIds, title: str, known: Mapping[str, Mapping[str, Any]]) -> Markup:
    ends = [abs(one[key]) for one in known.values() for key in ("difference", "low", "high") if one[key]]
    end = max([1e-4, *ends]) * 1.05
    rows = [
        RangeRow(PREDICTS.get(name, name), _signed(one["difference"]), (_mark(one),))
        for name, one in known.items()
    ]
    ticks = tuple((at, _signed(at)) for at in (-end / 2, 0.0, end / 2))
    axis = Axis("normalized entropy, new less old", -end, end, ticks)
    return range_chart(ids, title, "The same numbers stand in the table.", rows, axis, 0.0)


def _mark(one: Mapping[str, Any]) -> Mark:
    worse = one["low"] is not None and one["low"] > 0.0
    better = one["high"] is not None and one["high"] < 0.0
    return Mark(
        one["difference"], one["low"], one["high"], "fault" if worse else "value" if better else "spend"
    )


def _checks(checks: Sequence[Check]) -> Markup:
    entries = [
        (
            check.name,
            el(
                "span",
                el("b", "passed" if check.passed else "failed", class_=_tone(check)),
                f": {check.words}",
            ),
        )
        for check in checks
    ]
    return blocks.section("Checks and their reasons", None, blocks.card(blocks.facts(entries)))


def _tone(check: Check) -> str:
    return "good" if check.passed else "bad"


def _signed(value: float | None) -> str:
    return text.DASH if value is None else f"{value:+.4f}"
