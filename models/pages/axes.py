"""Axes that are easy to read: ends and ticks at round numbers, written short."""

import math
from collections.abc import Callable

from models.pages.charts import Axis

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_STEPS = 5
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """A number in few characters and without an exponent: `0.25`, `950`, `1.5k`, `2M`."""
    for scale, mark in _SCALES:
        # What would round to a thousand of a mark is written with the next one.
        if abs(value) >= scale * 0.9995:
            return f"{_plain(value / scale)}{mark}"
    return _plain(value)


def round_axis(name: str, low: float, high: float, form: Callable[[float], str] = short) -> Axis:
    """An axis from a round number to a round number, with two to six steps.

    Args:
        name: of the axis. low, high: numbers that must lie on it. form: how a tick is written.
    """
    span = high - low
    if not (math.isfinite(span) and span > 0.0):
        span = abs(high) if math.isfinite(high) and high else 1.0
        low, high = high - span / 2, high + span / 2
    least = span / _MOST_STEPS
    base = 10.0 ** math.floor(math.log10(least))
    step = min(one * base for one in _STEPS if one * base >= least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return Axis(name, ticks[0], ticks[-1], tuple((at, form(at)) for at in ticks))


def _plain(value: float) -> str:
    """Three digits that count, without zeros at the end."""
    if value == 0.0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(places, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
