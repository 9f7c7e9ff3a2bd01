"""Contributions and probabilities as people read them; the page and the terminal say the same."""

from models.explain.attribution import Attribution, Step
from models.explain.overview import ModelOverview
from models.explain.permutation import Shuffled
from models.pages.text import count, counted, percent

CALIBRATION, REST, BASE, TOTAL = "calibration", "all other features", "base", "probability"


def added(contribution: float) -> str:
    """A contribution in log odds, with its sign."""
    return f"{contribution:+.3f}"


def times(factor: float) -> str:
    """A factor on the odds."""
    return "\N{MULTIPLICATION SIGN}" + (f"{factor:.2f}" if 0.1 <= factor < 100 else f"{factor:.3g}")


def chance(probability: float) -> str:
    """A probability as a percentage with three digits that count."""
    if probability < 1e-6:
        return percent(probability, 4)
    return f"{probability * 100:#.3g}".rstrip(".") + "%"


def label(step: Step) -> str:
    """`domain: news.example`."""
    return f"{step.name}: {step.value}"


def rest_words(one: Attribution) -> str:
    """How many groups are told as one."""
    return f"{count(one.rest_groups)} more" if one.rest_groups else "none"


def shuffled_words(one: ModelOverview) -> str:
    """What rows were shuffled."""
    seen = "that training did not see" if one.unseen else "that may have been learned from, which flatters"
    return f"{counted(one.shuffled_rows, 'labelled row')} {seen}, with {counted(one.positives, 'positive')}"


def verdict(one: Shuffled) -> str:
    """Whether a group matters; one that hurts is learned by heart and better left out, or the labels are others."""
    return "yes" if one.matters else "hurts" if one.high < 0.0 else "not shown"
