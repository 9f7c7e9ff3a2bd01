"""Which way predictions are off, in the same words wherever it is said: of too many events, bids are too high."""

from models.pages.text import percent

EVENTS = {"ctr": "clicks", "cvr": "conversions"}

_RIGHT = 0.0005
"""How far from 1 a ratio is still called right: less than the tenth of a percent that is shown."""


def too(ratio: float) -> str:
    """`too many` or `too few`, of events predicted over events that happened."""
    return "too many" if ratio > 1.0 else "too few"


def predicts(name: str, ratio: float) -> str:
    """How far predictions are off as a whole, such as `Predicts 4.0% too few clicks`.

    Args:
        name: `ctr` or `cvr`. ratio: events predicted over events that happened.
    """
    off = ratio - 1.0
    if abs(off) < _RIGHT:
        return f"Predicts {EVENTS[name]} right on the whole"
    return f"Predicts {percent(abs(off))} {too(ratio)} {EVENTS[name]}"


def fault(name: str, ratio: float) -> str:
    """What predictions that are surely off mean for bids."""
    return f"Predicts {too(ratio)} {EVENTS[name]}, so bids are too {'high' if ratio > 1.0 else 'low'}"


def still_to_come(ratio: float | None) -> str:
    """What conversions that have yet to come would change, by the way in which the predictions are off so far."""
    if ratio is None:
        return "so its calibration is not known yet"
    if ratio > 1.0:
        return "so a part of the conversions that it predicts too many may be on its way"
    return "so it predicts too few by more than is measured here"
