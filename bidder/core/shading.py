"""The bid landscape as the decision kernel reads it: curves, best bids, and the way from an auction to its stratum.

A landscape is fitted on exported tables (`clearbid models landscape`), whose columns are those of `raw_features`. So
a level of its strata must be the prediction, or a text that requests have: what is looked up here is then what was
learned from.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bidder.core.exploration_kernels import LAW_COLUMNS
from bidder.core.opportunity import NUMERIC_FEATURES, RAW_FEATURES, Audience
from bidder.core.settings import ShadingSettings
from bidder.core.shading_kernels import envelopes
from bidder.errors import InputError

if TYPE_CHECKING:
    from models.landscape.curves import Landscape
    from models.landscape.strata import Strata

PREDICTION, OTHERS = "prediction", "*"
ALIASES = {"placement": "tag_id"}
"""As `models.landscape.strata` has them; a test holds both alike."""
LEVELS = tuple(name for name in RAW_FEATURES if name not in NUMERIC_FEATURES)
"""What a level may be beside the prediction."""

_HOURS = tuple(str(hour) for hour in range(24))
_Seen = tuple[Audience, str | None, tuple[str | None, str | None], int]
_READ: dict[str, Callable[[_Seen], str | None]] = {
    "exchange": lambda seen: seen[0].exchange,
    "region": lambda seen: seen[0].geo.region,
    "city": lambda seen: seen[0].geo.city,
    "domain": lambda seen: seen[0].domain,
    "tag_id": lambda seen: seen[1],
    "size": lambda seen: seen[2][0],
    "position": lambda seen: seen[2][1],
    "os": lambda seen: seen[0].device.os,
    "browser": lambda seen: seen[0].device.family,
    "device_type": lambda seen: seen[0].device.kind,
    "hour": lambda seen: _HOURS[seen[3] % 24],
    "weekday": lambda seen: _HOURS[seen[3] // 24],
}
"""Each level as `raw_features` has it, of audience, tag, slot and hour of the week."""

_Ints = NDArray[np.int32]
_Floats = NDArray[np.float64]
Arrays = tuple[
    int, _Floats, _Ints, _Ints, _Ints, _Ints, NDArray[np.int64], _Floats, _Ints, NDArray[np.int64], _Floats
]


@dataclass(frozen=True, eq=False)
class Shading:
    """One landscape, ready to price by; `arrays` are the arguments of the kernels.

    Attributes:
        hash: sha256 of the file, empty where there is no landscape. strata: for the names of strata, None likewise.
        levels: names of the levels. prediction: which of them is the prediction, -1 for none.
        edges to others: see `stratum_of`. starts, worths, segments, grid, survival: see `shaded_bid`.
    """

    hash: str
    strata: "Strata | None"
    levels: tuple[str, ...]
    prediction: int
    edges: NDArray[np.float64]
    child_start: NDArray[np.int32]
    child_code: NDArray[np.int32]
    child_place: NDArray[np.int32]
    others: NDArray[np.int32]
    starts: NDArray[np.int64]
    worths: NDArray[np.float64]
    segments: NDArray[np.int32]
    grid: NDArray[np.int64]
    survival: NDArray[np.float64]
    vocabularies: tuple[dict[str, int], ...]

    @classmethod
    def of(cls, landscape: "Landscape", digest: str) -> "Shading":
        """A landscape that was read.

        Args:
            landscape: with prices in CPM micros of the account's currency. digest: sha256 of its file.

        Raises:
            InputError: a level that no request has.
        """
        strata = landscape.strata
        levels = tuple(ALIASES.get(level, level) for level in strata.by)
        for named, level in zip(strata.by, levels, strict=True):
            if level != PREDICTION and level not in LEVELS:
                raise InputError(
                    f"levels of a landscape that prices bids must be among {PREDICTION}, placement, "
                    f"{', '.join(LEVELS)}, was {named}: fit it again with other --by"
                )
        vocabularies = _vocabularies(landscape)
        child_start, child_code, child_place, others = _children(strata, levels, vocabularies)
        survival = np.ascontiguousarray(landscape.survival)
        starts, worths, segments = envelopes_of(landscape.grid, survival)
        return cls(
            digest, strata, levels, levels.index(PREDICTION) if PREDICTION in levels else -1,
            np.array(strata.edges, dtype=np.float64), child_start, child_code, child_place, others,
            starts, worths, segments, landscape.grid, survival, vocabularies,
        )  # fmt: skip

    @classmethod
    def none(cls) -> "Shading":
        """No landscape: the constant share of each exchange."""
        nothing, number = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float64)
        starts = np.zeros(2, dtype=np.int64)
        none = np.full(1, -1, dtype=np.int32)
        return cls(
            "", None, (), -1, number, np.zeros(2, dtype=np.int32), nothing, nothing, none, starts, number, nothing,
            np.ones(1, dtype=np.int64), np.ones((1, 1), dtype=np.float64), (),
        )  # fmt: skip

    def __bool__(self) -> bool:
        """Whether there is a landscape."""
        return self.strata is not None

    def arrays(self) -> Arrays:
        """What `decide_rows` needs of it, in its order."""
        return (
            self.prediction, self.edges, self.child_start, self.child_code, self.child_place, self.others,
            self.starts, self.worths, self.segments, self.grid, self.survival,
        )  # fmt: skip

    def codes(
        self, audience: Audience, tag_id: str | None, slot: tuple[str | None, str | None], hour: int
    ) -> tuple[int, ...]:
        """The code of each level at an opportunity: 0 for a value that it does not know, and for the prediction.

        Args:
            audience, tag_id, slot: as `RowEncoder.row` takes them. hour: of the week.
        """
        seen = (audience, tag_id, slot, hour)
        return tuple(
            [
                known.get(_READ[level](seen) or "", 0) if known else 0
                for level, known in zip(self.levels, self.vocabularies, strict=True)
            ]
        )

    def name(self, stratum: int) -> str:
        """A stratum as people read it."""
        return self.strata.name(stratum) if self.strata is not None else ""


def envelopes_of(
    grid: NDArray[np.int64], survival: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int32]]:
    """`starts`, `worths` and `segments` of curves: what `shaded_bid` looks up.

    Args:
        grid: int64[G]. survival: float64[S, G].
    """
    starts = np.zeros(len(survival) + 1, dtype=np.int64)
    worths = np.zeros(survival.size, dtype=np.float64)
    segments = np.zeros(survival.size, dtype=np.int32)
    envelopes(grid, survival, starts, worths, segments)
    return starts, worths[: starts[-1]].copy(), segments[: starts[-1]].copy()


def law_of(settings: ShadingSettings) -> NDArray[np.float64]:
    """float64[LAW_COLUMNS]: the settings as kernels read them."""
    law = np.array([settings.holdout, settings.explore_share, settings.explore_sigma], dtype=np.float64)
    assert len(law) == LAW_COLUMNS
    return law


def _vocabularies(landscape: "Landscape") -> tuple[dict[str, int], ...]:
    """Of each level its values, numbered from 1; none of the prediction, whose tenths are numbers."""
    strata = landscape.strata
    found: list[dict[str, int]] = []
    for depth, level in enumerate(strata.by):
        values = {one.path[depth] for one in strata.strata if len(one.path) > depth} - {OTHERS}
        known = {} if level == PREDICTION else {value: code for code, value in enumerate(sorted(values), 1)}
        found.append(known)
    return tuple(found)


def _children(
    strata: "Strata", levels: tuple[str, ...], vocabularies: tuple[dict[str, int], ...]
) -> tuple[NDArray[np.int32], ...]:
    """Of each stratum its children by rising code, and the one that stands for all other values."""
    others = np.full(len(strata), -1, dtype=np.int32)
    rows: list[tuple[int, int, int]] = []
    for place, one in enumerate(strata.strata):
        if not one.path:
            continue
        depth, value = len(one.path) - 1, one.path[-1]
        if value == OTHERS:
            others[one.parent] = place
        elif levels[depth] == PREDICTION:
            rows.append((one.parent, int(value) if value else len(strata.edges) + 1, place))
        else:
            rows.append((one.parent, vocabularies[depth][value], place))
    return (*_by_parent(sorted(rows), len(strata)), others)


def _by_parent(rows: Iterable[tuple[int, int, int]], count: int) -> tuple[NDArray[np.int32], ...]:
    flat = np.array(list(rows), dtype=np.int32).reshape(-1, 3)
    starts = np.searchsorted(flat[:, 0], np.arange(count + 1)).astype(np.int32)
    return starts, flat[:, 1].copy(), flat[:, 2].copy()
