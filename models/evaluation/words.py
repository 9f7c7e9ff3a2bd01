"""A judgement in sentences: what a person who spends money by these models has to know first."""

from collections.abc import Sequence

from models.evaluation.compare import Comparison
from models.evaluation.intervals import MIN_CLUSTERS, MIN_EVENTS, Interval, Judged
from models.evaluation.leaning import EVENTS, fault, predicts, too
from models.evaluation.report import Evaluation
from models.evaluation.slices import MIN_EXPECTED, ColumnReport
from models.pages.text import DASH, count, counted, percent

ROWS = {"ctr": "impressions", "cvr": "clicks with a known conversion"}
NAMES = {"ctr": "Clicks", "cvr": "Conversions"}


FORMULAS = {
    "Rate": "Events / rows, by weight where rows have weights.",
    "AUC": "Share of pairs of an event and a non-event in which the event was given the higher prediction, ties "
    "half; 0.5 is chance.",
    "Log loss": "Mean of -log of the probability that was given to what happened, in nats.",
    "NE": "Normalized entropy: log loss / log loss of always guessing the average rate; below 1 is better.",
    "Calibration": "Events predicted / events that happened; 1 is right on the whole.",
    "ECE": "Expected calibration error: mean distance of the predicted from the real rate over 20 groups of equal "
    "weight. Chance alone makes it larger than 0: by how much stands beside it. Its interval holds the truth at "
    "least as often as it says.",
    "Intervals": "95% percentiles of a bootstrap that draws users, or stretches of time where users are not known.",
    "Off": "Calibration differs from 1 by more than chance allows, all parts that were looked at taken together: of "
    "the parts called off, at most 5% are expected to be so by chance (Benjamini and Hochberg).",
    "Gain": "Share of all events among the rows with the highest predictions.",
}
"""How each figure is computed, for tooltips and for the end of the page."""

LEARNED_SHARE = 0.01
"""A table that begins a little before the end of training is warned of, and no more."""


def sentence(evaluation: Evaluation) -> str:
    """How the click model does, in one sentence."""
    judged = evaluation.models["ctr"].judged
    return f"{calibration_said('ctr', judged)[:-1]}; {ranking_said(judged)}"


def calibration_said(name: str, judged: Judged) -> str:
    """Whether the predictions sum to what happened."""
    ratio = judged.calibration_ratio
    where = f"on {count(judged.rows)} {ROWS[name]}"
    if ratio.value is None:
        return f"No {EVENTS[name]} happened {where}, so its calibration is not known."
    said = f"{predicts(name, ratio.value)} {where}"
    if ratio.low is None or ratio.high is None:
        return (
            f"{said}, with fewer than {MIN_EVENTS} {EVENTS[name]} or rows without, too few for an interval."
        )
    return f"{said} (95% interval {_between(ratio.low, ratio.high)})."


def ranking_said(judged: Judged) -> str:
    """What it knows beyond the average rate."""
    entropy, auc = judged.normalized_entropy, judged.auc
    if entropy.value is None or auc.value is None:
        return "what it knows beyond the average rate can not be said, as all labels are the same."
    gained = 1.0 - entropy.value
    better = "better" if gained >= 0 else "worse"
    said = f"its log loss is {percent(abs(gained))} {better} than that of always guessing the average rate"
    if entropy.high is not None and entropy.low is not None and entropy.low <= 1.0 <= entropy.high:
        said += ", which may be chance"
    return f"{said}, and it puts {percent(auc.value)} of pairs in the right order."


def verdict(evaluation: Evaluation) -> tuple[str, bool]:
    """Whether the models can be trusted as they are, and whether that is good news."""
    if evaluation.same_table and not evaluation.held_out:
        return "✗ Judged by the very table it learned from: too kind to rely on", False
    if evaluation.learned > LEARNED_SHARE * evaluation.impressions:
        return "✗ Judged by rows of its training window: too kind to rely on", False
    problems = [said for name, model in evaluation.models.items() if (said := _problem(name, model.judged))]
    if problems:
        rest = [said[:1].lower() + said[1:] for said in problems[1:]]
        return f"✗ {'; '.join([problems[0], *rest])}", False
    flagged = sum(len(column.flagged) for model in evaluation.models.values() for column in model.columns)
    if flagged:
        parts = counted(flagged, "part is", "parts are")
        return f"✗ Right on the whole, but {parts} off by more than chance allows", False
    weak = [EVENTS[name] for name, model in evaluation.models.items() if not _shows_gain(model.judged)]
    if weak:
        return (
            f"✓ No fault found, but not shown to know more of {' and '.join(weak)} than the average does",
            True,
        )
    return "✓ Calibrated as far as these rows can tell, and better than the average rate", True


def window_said(evaluation: Evaluation) -> str:
    """How the rows lie to the training."""
    if evaluation.brought:
        return "not known when its trees learned"
    return "rows later than training" if not evaluation.learned else "rows of the training window in part"


def off_said(columns: Sequence[ColumnReport], one: str = "part") -> str:
    """How many parts are off of how many that could be tested, and why that is not the number of intervals.

    Args:
        columns: all that were looked at together. one: what a part is called.
    """
    parts = [part for column in columns for part in column.slices]
    tested, flagged = sum(column.tested for column in columns), sum(len(column.flagged) for column in columns)
    measured = sum(part.judged.calibration_ratio.low is not None for part in parts)
    said = f"{flagged} of {counted(tested, f'tested {one}')} off by more than chance allows"
    if tested == measured == len(parts):
        return said
    return (
        f"{said}; of {counted(len(parts), one)} {tested} can be tested ({MIN_EXPECTED:.0f} events expected and as "
        f"many without, {MIN_CLUSTERS} users or stretches of time), and {measured} have an interval ({MIN_EVENTS} "
        f"events that happened and as many without)"
    )


def _problem(name: str, judged: Judged) -> str | None:
    """What is wrong beyond what chance explains."""
    ratio, entropy = judged.calibration_ratio, judged.normalized_entropy
    if ratio.low is not None and ratio.low > 1.0:
        return fault(name, ratio.low)
    if ratio.high is not None and ratio.high < 1.0:
        return fault(name, ratio.high)
    if entropy.low is not None and entropy.low > 1.0:
        return f"Knows less of {EVENTS[name]} than the average rate does"
    return None


def _shows_gain(judged: Judged) -> bool:
    high = judged.normalized_entropy.high
    return high is not None and high < 1.0


def comparison_said(name: str, comparison: Comparison) -> str:
    """Whether the new model is better, and how surely."""
    difference, low, high = comparison["normalized_entropy"]
    if difference is None:
        return f"The two models of {EVENTS[name]} can not be compared: all labels are the same."
    if low is None or high is None:
        return (
            f"Too little happened to say which model is better: at least {MIN_EVENTS} {EVENTS[name]} and "
            f"{MIN_CLUSTERS} users or stretches of time are needed."
        )
    if comparison.better:
        said = "The new model is better"
    elif low > 0.0:
        said = "The new model is worse"
    else:
        said = "Neither model is shown to be better"
    chance = comparison.probability_better["normalized_entropy"]
    return (
        f"{said}: normalized entropy {difference:+.4f} (95% interval {low:+.4f} to {high:+.4f}), "
        f"better in {percent(chance)} of the draws."
    )


def shown(interval: Interval | None, decimals: int = 3) -> str:
    """A number, with its interval where it has one."""
    if interval is None or interval.value is None:
        return DASH
    if interval.low is None or interval.high is None:
        return f"{interval.value:.{decimals}f}"
    return f"{interval.value:.{decimals}f} ({interval.low:.{decimals}f}{DASH}{interval.high:.{decimals}f})"


def shown_percent(interval: Interval | None, decimals: int = 2) -> str:
    """A share in percent, with its interval where it has one."""
    if interval is None or interval.value is None:
        return DASH
    if interval.low is None or interval.high is None:
        return percent(interval.value, decimals)
    low, high = interval.low * 100, interval.high * 100
    return f"{percent(interval.value, decimals)} ({low:.{decimals}f}{DASH}{high:.{decimals}f})"


def _between(low: float, high: float) -> str:
    """An interval of ratios in the words of the sentence before it, what is nearer to right first."""
    ends = sorted((low, high), key=lambda end: abs(end - 1.0))
    near, far = (percent(abs(end - 1.0)) for end in ends)
    if (low > 1.0) == (high > 1.0):
        return f"{near} to {far} {too(low)}"
    return f"{percent(abs(low - 1.0))} {too(low)} to {percent(abs(high - 1.0))} {too(high)}"
