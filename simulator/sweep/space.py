"""What a sweep varies: lists and ranges of settings, as a grid of all of them or as random points."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bidder.errors import InputError
from simulator.whatif.change import Change

MOST_POINTS = 100_000


class Setting(NamedTuple):
    """One setting that can be varied: its name, what it is, and how a number becomes a change."""

    name: str
    said: str
    low: float
    high: float


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("budget", "units of the account", 1e-6, 1e9),
        Setting("max_bid", "CPM", 1e-4, 1e4),
        Setting("worth", "of a click or conversion, units of the account", 1e-6, 1e6),
        Setting("price_factor", "rivals' prices, so many times", 0.1, 10.0),
        Setting("shade", "share of the value bid at first price", 0.05, 1.0),
        Setting("eta", "step of pacing", 1e-6, 0.1),
    )
}


class Axis(NamedTuple):
    """One setting's values: a list, or all between two ends."""

    name: str
    values: tuple[float, ...]
    is_range: bool


Point = dict[str, float]
"""A value of each setting that is varied."""


def axis_of(text: str) -> Axis:
    """An axis as `budget=10,20,40`, `max_bid=1:10` (all between) or `max_bid=1:10:5` (five, evenly in the logarithm).

    Raises:
        InputError: no such text, no such setting, or a value out of its range.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    if not equals or not rest:
        raise InputError(f"--vary must be such as budget=10,20,40 or max_bid=1:10, was {text!r}")
    setting = SETTINGS.get(name)
    if setting is None:
        raise InputError(f"--vary must name one of {', '.join(SETTINGS)}, was {name!r}")
    ends = rest.split(":")
    parts = ends if len(ends) > 1 else rest.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        raise InputError(f"values of --vary {name} must be numbers, were {rest!r}") from None
    many = 0
    if len(ends) == 3:
        many = int(values.pop())
        if not 2 <= many <= 10_000:
            raise InputError(f"--vary {name} must have 2 to 10000 values between its ends, was {ends[2]}")
    if len(ends) > 3 or (len(ends) > 1 and values[0] >= values[1]):
        raise InputError(f"--vary {name} must be LOW:HIGH or LOW:HIGH:MANY with LOW below HIGH, was {rest!r}")
    for value in values:
        if not setting.low <= value <= setting.high:
            raise InputError(
                f"{name} ({setting.said}) must be from {setting.low:g} to {setting.high:g}, was {value:g}"
            )
    if many:
        return Axis(name, tuple(np.geomspace(values[0], values[1], many).tolist()), is_range=False)
    return Axis(name, tuple(values), is_range=len(ends) == 2)


def grid(axes: Sequence[Axis]) -> list[Point]:
    """Every combination of values, the last axis fastest.

    Raises:
        InputError: no axis, one that is a range, one named twice, or too many points.
    """
    _check(axes)
    for axis in axes:
        if axis.is_range:
            raise InputError(
                f"a grid needs values of {axis.name}: say LOW:HIGH:MANY, or ask for random points with --random"
            )
    many = math.prod(len(axis.values) for axis in axes)
    if many > MOST_POINTS:
        raise InputError(f"a grid must have at most {MOST_POINTS} points, has {many}")
    return [
        dict(zip((axis.name for axis in axes), values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def random_points(axes: Sequence[Axis], many: int, seed: int) -> list[Point]:
    """Points drawn from lists evenly and from ranges evenly in the logarithm; the same for the same seed.

    Raises:
        InputError: no axis, one named twice, or too many points.
    """
    _check(axes)
    if not 1 <= many <= MOST_POINTS:
        raise InputError(f"random points must be 1 to {MOST_POINTS}, were {many}")
    rng = np.random.default_rng([seed, 101])
    columns = {}
    for axis in axes:
        if axis.is_range:
            columns[axis.name] = np.exp(rng.uniform(math.log(axis.values[0]), math.log(axis.values[1]), many))
        else:
            columns[axis.name] = rng.choice(axis.values, size=many)
    return [{name: float(values[k]) for name, values in columns.items()} for k in range(many)]


def change_of(point: Point) -> Change:
    """The change that a point is."""
    nanos = {"budget": 10**9, "worth": 10**9, "max_bid": 10**6}
    whole = {name: round(value * nanos[name]) for name, value in point.items() if name in nanos}
    return Change(
        budget_nanos=whole.get("budget"),
        worth_nanos=whole.get("worth"),
        max_bid_nanos=whole.get("max_bid"),
        price_factor=point.get("price_factor", 1.0),
        shade=point.get("shade"),
        eta=point.get("eta"),
    )


def _check(axes: Sequence[Axis]) -> None:
    if not axes:
        raise InputError("a sweep must vary something: give --vary budget=10,20,40")
    names = [axis.name for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--vary must name each setting once, names {twice} twice")
