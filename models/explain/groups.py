"""Which features are told together, and how the value of a feature reads.

Features that say one thing are told as one: all segments with their count, the hour with the weekday. Contributions
add up, so that of a group is the sum of those of its features, and nothing is lost.
"""

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.schema import (
    SEGMENT_PREFIX,
    SEGMENTS_COLUMN,
    Columns,
    Feature,
    FeatureSpec,
    segments_of,
)

SEGMENTS, CLOCK = "segments", "hour and weekday"
MISSING = "missing"
_SEGMENT_COUNT = "segment_count"
_CLOCK = ("hour", "weekday")


class Group(msgspec.Struct, frozen=True):
    """Features that are told as one: its name, and their places in the spec."""

    name: str
    places: tuple[int, ...]


class Shown(msgspec.Struct, frozen=True):
    """What a row shows in one feature: its text, and whether the model has a code for it."""

    text: str
    known: bool = True


def groups_of(spec: FeatureSpec) -> tuple[Group, ...]:
    """All features of a spec, each in one group, in the order of the spec."""
    both = all(name in spec.names for name in _CLOCK)
    found: dict[str, list[int]] = {}
    for place, name in enumerate(spec.names):
        if name.startswith(SEGMENT_PREFIX) or name == _SEGMENT_COUNT:
            key = SEGMENTS
        else:
            key = CLOCK if both and name in _CLOCK else name
        found.setdefault(key, []).append(place)
    return tuple(Group(name, tuple(places)) for name, places in found.items())


def taken(values: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of a raw column, which is a list or can be asked for an array of places."""
    return [values[row] for row in rows.tolist()] if isinstance(values, list | tuple) else values[rows]


def shown(feature: Feature, columns: Columns, row: int) -> Shown:
    """What a row of raw columns shows in a feature."""
    if feature.name.startswith(SEGMENT_PREFIX):
        has = feature.name.removeprefix(SEGMENT_PREFIX) in segments_of(columns[SEGMENTS_COLUMN][row])
        return Shown("yes" if has else "no")
    value = columns[feature.name][row]
    if feature.kind == "categorical":
        text = value if isinstance(value, str) else MISSING
        return Shown(text, text in feature.vocabulary)
    number = math.nan if value is None else float(value)  # type: ignore[arg-type]
    return Shown(MISSING, known=False) if math.isnan(number) else Shown(number_text(number))


def number_text(value: float) -> str:
    """A number with all digits that a person wrote, and no others."""
    return f"{value:.12g}"


def reading(group: Group, spec: FeatureSpec, values: dict[int, Shown]) -> str:
    """What a row shows in a group, in words.

    Args:
        group: of `groups_of`. spec: of the model. values: what the row shows, by place in the spec.
    """
    if group.name == SEGMENTS:
        return _segments_reading(group, spec, values)
    if len(group.places) == 1:
        return _alone(values[group.places[0]])
    return ", ".join(f"{spec.names[place]} {_alone(values[place])}" for place in group.places)


def _alone(value: Shown) -> str:
    if value.known or value.text == MISSING:
        return value.text
    return f"{value.text} (unknown to the model)"


def _segments_reading(group: Group, spec: FeatureSpec, values: dict[int, Shown]) -> str:
    """The segments of the row that the model has, and how many there are in all."""
    named = {place: spec.names[place] for place in group.places}
    has = [
        name.removeprefix(SEGMENT_PREFIX)
        for place, name in named.items()
        if name.startswith(SEGMENT_PREFIX) and values[place].text == "yes"
    ]
    counts = [values[place].text for place, name in named.items() if name == _SEGMENT_COUNT]
    listed = ", ".join(has) or "none that the model knows"
    return f"{listed} ({counts[0]} in all)" if counts else listed
