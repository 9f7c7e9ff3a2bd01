"""Rates, calibration, impressions, bids and spend by group: who is shown, who is believed to click, who does.

It says what happened, not why. Shares of a group are shares of what this table holds, and it holds what the bidder
was offered and chose, not the population; base rates of groups differ, and a model can't be calibrated in each group
and err alike in each at once where they do (Kleinberg, Mullainathan and Raghavan, ITCS 2017). A user whose group is
not known is in the group `not known`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.clusters import Clusters, packed
from models.evaluation import kernels
from models.evaluation.intervals import DRAWS, MIN_EVENTS, Interval, interval
from models.evaluation.resampling import draws_of
from models.evaluation.slices import ColumnReport
from models.evaluation.slicing import Slicing
from models.pages.text import counted

Floats = NDArray[np.float64]

_BIDS, _IMPRESSIONS, _CLICKS, _PREDICTED, _SPEND = range(5)


class GroupReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One group. Shares are of the whole table, ratios are to the whole table's mean.

    Attributes:
        label: the group.
        bids, impressions, clicks: rows.
        impression_share: of the impressions. bid_share: of the bids, where lost bids are in the table.
        spend_share: of the money paid, where the table has prices.
        actual: click rate. predicted: mean predicted click rate.
        actual_ratio, predicted_ratio: these over those of the whole.
        calibration_ratio: predicted over actual clicks.
        price_ratio: mean price of an impression over that of the whole.
    """

    label: str
    bids: int
    impressions: int
    clicks: int
    impression_share: Interval
    bid_share: Interval | None
    spend_share: Interval | None
    actual: Interval
    predicted: Interval
    actual_ratio: Interval
    predicted_ratio: Interval
    calibration_ratio: Interval
    price_ratio: Interval | None


class Fairness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The groups of one column. limits: what these numbers can not say, in sentences."""

    column: str
    overlapping: bool
    groups: tuple[GroupReport, ...]
    flagged: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exposure:
    """All rows of a table, lost bids too where it has them.

    Attributes:
        weights: float64[N] > 0.
        shown: bool[N], whether the bid became an impression.
        click: float64[N], 0 where not shown.
        predicted: float64[N], predicted click rate, 0 where not shown.
        price_cpm_micros: float64[N], 0 where not shown; None where the table has no prices.
        unpriced: impressions whose price is not known.
        clusters: int32[N].
        has_lost: whether the table has lost bids.
    """

    weights: Floats
    shown: NDArray[np.bool_]
    click: Floats
    predicted: Floats
    price_cpm_micros: Floats | None
    unpriced: int
    clusters: Clusters
    has_lost: bool


def by_group(
    exposure: Exposure, slicing: Slicing, calibration: ColumnReport, *, draws: int = DRAWS, seed: int = 1
) -> Fairness:
    """Every group of a column against the whole.

    Args:
        exposure: all rows.
        slicing: the groups of those rows.
        calibration: the same groups judged as parts, which says whose calibration is off.
        draws: of the bootstrap.
        seed: of the draws.
    """
    sums = _draws(exposure, slicing, draws, seed)
    counts = _counts(exposure, slicing)
    groups = [
        _group(label, sums, counts[place], place, exposure)
        for place, label in enumerate(slicing.labels)
        if counts[place].any()
    ]
    return Fairness(
        column=slicing.column,
        overlapping=slicing.overlapping,
        groups=tuple(groups),
        flagged=tuple(part.label for part in calibration.flagged),
        limits=tuple(_limits(exposure, slicing)),
    )


def _values(exposure: Exposure) -> Floats:
    """float64[N, 5]: bids, impressions, clicks, predicted clicks and spend of each row."""
    w = exposure.weights
    price = np.zeros(len(w)) if exposure.price_cpm_micros is None else exposure.price_cpm_micros
    return np.column_stack([w, w * exposure.shown, w * exposure.click, w * exposure.predicted, w * price])


def _draws(exposure: Exposure, slicing: Slicing, draws: int, seed: int) -> Floats:
    """float64[1 + draws, groups + 1, 5]; the last group is the whole, each row once."""
    groups = len(slicing.labels)
    values, (clusters, n_clusters) = _values(exposure), packed(exposure.clusters)
    parts, part_clusters = np.ascontiguousarray(values[slicing.rows]), clusters[slicing.rows]
    whole = np.zeros(len(values), dtype=np.int64)
    out = np.zeros((1 + draws, groups + 1, values.shape[1]))
    every = [np.ones(n_clusters, dtype=np.uint8), *draws_of(n_clusters, draws, seed)]
    for draw, times in enumerate(every):
        kernels.group_sums(slicing.codes, part_clusters, parts, times, out[draw, :groups])
        kernels.group_sums(whole, clusters, values, times, out[draw, groups:])
    return out


def _counts(exposure: Exposure, slicing: Slicing) -> NDArray[np.int64]:
    """int64[groups, 3]: rows that are bids, impressions and clicks."""
    groups = len(slicing.labels)
    columns = (np.ones(len(exposure.weights)), exposure.shown, exposure.click > 0)
    found = [np.bincount(slicing.codes, weights=each[slicing.rows], minlength=groups) for each in columns]
    return np.column_stack(found).astype(np.int64)


def _group(
    label: str, sums: Floats, counts: NDArray[np.int64], place: int, exposure: Exposure
) -> GroupReport:
    mine, whole = sums[:, place], sums[:, -1]
    bids, impressions, clicks = (int(count) for count in counts)
    events = min(clicks, impressions - clicks) >= MIN_EVENTS

    def share(kind: int) -> Interval:
        return interval(_over(mine[:, kind], whole[:, kind]), certain=bids >= MIN_EVENTS)

    def to_whole(above: int, below: int, *, certain: bool) -> Interval:
        own, all_of_it = (_over(part[:, above], part[:, below]) for part in (mine, whole))
        return interval(_over(own, all_of_it), certain=certain)

    priced = exposure.price_cpm_micros is not None
    return GroupReport(
        label=label,
        bids=bids,
        impressions=impressions,
        clicks=clicks,
        impression_share=share(_IMPRESSIONS),
        bid_share=share(_BIDS) if exposure.has_lost else None,
        spend_share=share(_SPEND) if priced else None,
        actual=interval(_over(mine[:, _CLICKS], mine[:, _IMPRESSIONS]), certain=events),
        predicted=interval(
            _over(mine[:, _PREDICTED], mine[:, _IMPRESSIONS]), certain=impressions >= MIN_EVENTS
        ),
        actual_ratio=to_whole(_CLICKS, _IMPRESSIONS, certain=events),
        predicted_ratio=to_whole(_PREDICTED, _IMPRESSIONS, certain=impressions >= MIN_EVENTS),
        calibration_ratio=interval(_over(mine[:, _PREDICTED], mine[:, _CLICKS]), certain=events),
        price_ratio=to_whole(_SPEND, _IMPRESSIONS, certain=impressions >= MIN_EVENTS) if priced else None,
    )


def _over(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        out = above / below
    return np.where(np.isfinite(out), out, np.nan)


def _limits(exposure: Exposure, slicing: Slicing) -> Sequence[str]:
    base_rates = (
        "Groups may differ in how often they click. Then equal rates, equal calibration and equal errors can not "
        "all hold at once, and which of them is owed is for people to decide."
    )
    said = [
        "Groups are known only where the table gives them, and only as the table calls them.",
        "The table holds what the bidder was offered and chose, not everybody: shares are of its rows.",
        base_rates,
        "A difference between groups is no proof of its cause: place, time, device and campaign differ too.",
    ]
    if not exposure.has_lost:
        said.append("Bid shares can not be said: the table has no lost bids (no column won with 0 in it).")
    if exposure.unpriced:
        said.append(
            f"{counted(exposure.unpriced, 'impression')} without a known price count as free in the shares of spend."
        )
    if exposure.price_cpm_micros is None:
        said.append("Spend shares can not be said: the table has no column price_cpm_micros.")
    if slicing.overlapping:
        said.append("A row may be in several groups, so that shares sum to more than the whole.")
    return said
