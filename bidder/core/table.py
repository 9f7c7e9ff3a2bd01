"""The campaign table: an immutable struct of arrays with its bitset rows, made anew at each change.

Targeting is exact and works on bits, one bit a campaign (ARCHITECTURE.md calls this the one data structure
that carries the speed). For a dimension d and the values V that an opportunity shows in it, the campaigns
left are

    left &= (base[d] | OR of include[v], v in V) & ~(OR of exclude[v], v in V)

where base[d] holds the campaigns that include nothing in d and so admit every value.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Campaign, Creative, Goal, Pacing, Rule, Status
from bidder.core.opportunity import size_text

WORD_BITS = 64


class Dimension(IntEnum):
    """Dimensions of targeting in the order in which they are asked; `Reason` 201 + d names a refusal by d."""

    EXCHANGE = 0
    SIZE = 1
    HOUR = 2
    GEO = 3
    DOMAIN = 4
    SEGMENT = 5
    BLOCKED = 6


class Column(IntEnum):
    """Columns of `CampaignTable.columns`, int64."""

    START_NS = 0
    END_NS = 1
    MAX_BID_NANOS = 2
    VALUE_NANOS = 3
    GOAL = 4
    ASAP = 5


GOAL_CLICK = 0
GOAL_CONVERSION = 1
SECURE_MARK = "s"
"""A size that must be served by https is another value: `s300x250`."""


class CampaignTable:
    """All campaigns as the kernels read them.

    Args:
        campaigns: by id; the order of ids is the order of rows.
        version: grows with each change.

    Attributes:
        ids: campaign ids by row. index: row by id.
        active: uint64[words], bits of campaigns that may bid.
        base: uint64[dimensions, words]. include, exclude: uint64[values, words].
        values: for each dimension, value text -> row of include and exclude.
        columns: int64[campaigns, len(Column)].
        creatives: (row, size, or `s` + size where https is asked) -> creative.
    """

    def __init__(self, campaigns: Mapping[str, Campaign], version: int) -> None:
        self.version = version
        self.ids = tuple(sorted(campaigns))
        self.index = {campaign_id: row for row, campaign_id in enumerate(self.ids)}
        self.campaigns = tuple(campaigns[campaign_id] for campaign_id in self.ids)
        self.words = max(1, -(-len(self.ids) // WORD_BITS))
        self.creatives = self._creatives()
        self.active = self._bits(lambda campaign: campaign.status is Status.ACTIVE)
        rules = [self._rules(dimension) for dimension in Dimension]
        self.base = np.zeros((len(Dimension), self.words), dtype=np.uint64)
        self.values: tuple[dict[str, int], ...]
        self.include, self.exclude, self.values = self._rows(rules)
        self.columns = self._columns()

    def __len__(self) -> int:
        return len(self.ids)

    def _bits(self, holds: Callable[[Campaign], bool]) -> NDArray[np.uint64]:
        return self._rows_of(row for row, campaign in enumerate(self.campaigns) if holds(campaign))

    def _rows_of(self, rows: Iterable[int]) -> NDArray[np.uint64]:
        bits = np.zeros(self.words, dtype=np.uint64)
        for row in rows:
            bits[row // WORD_BITS] |= np.uint64(1 << (row % WORD_BITS))
        return bits

    def _creatives(self) -> dict[tuple[int, str], Creative]:
        found: dict[tuple[int, str], Creative] = {}
        for row, campaign in enumerate(self.campaigns):
            for creative in campaign.creatives:
                size = size_text(creative.w, creative.h)
                found.setdefault((row, size), creative)
                if creative.secure:
                    found.setdefault((row, SECURE_MARK + size), creative)
        return found

    def _rules(self, dimension: Dimension) -> list[Rule]:
        """The rule of each campaign in one dimension; sizes and blocks follow from what the campaign is."""
        if dimension is Dimension.SIZE:
            sizes: list[list[str]] = [[] for _ in self.campaigns]
            for row, size in self.creatives:
                sizes[row].append(size)
            return [Rule(include=tuple(own)) for own in sizes]
        if dimension is Dimension.BLOCKED:
            return [Rule(exclude=_blocks(campaign)) for campaign in self.campaigns]
        name = dimension.name.lower()
        return [getattr(campaign.targeting, name) for campaign in self.campaigns]

    def _rows(
        self, rules: list[list[Rule]]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64], tuple[dict[str, int], ...]]:
        names: list[dict[str, int]] = []
        include: list[NDArray[np.uint64]] = []
        exclude: list[NDArray[np.uint64]] = []
        for dimension, of_campaigns in enumerate(rules):
            self.base[dimension] = self._rows_of(r for r, rule in enumerate(of_campaigns) if not rule.include)
            wanted = _rows_by_value(rule.include for rule in of_campaigns)
            refused = _rows_by_value(rule.exclude for rule in of_campaigns)
            ids: dict[str, int] = {}
            for value in sorted(wanted.keys() | refused.keys()):
                ids[value] = len(include)
                include.append(self._rows_of(wanted.get(value, ())))
                exclude.append(self._rows_of(refused.get(value, ())))
            names.append(ids)
        shape = (len(include), self.words)
        return (
            np.array(include, dtype=np.uint64).reshape(shape),
            np.array(exclude, dtype=np.uint64).reshape(shape),
            tuple(names),
        )

    def _columns(self) -> NDArray[np.int64]:
        columns = np.zeros((len(self.ids), len(Column)), dtype=np.int64)
        for row, campaign in enumerate(self.campaigns):
            columns[row, Column.START_NS] = campaign.start_ns
            columns[row, Column.END_NS] = campaign.end_ns
            # A CPM micro is a nano per impression: no conversion (bidder.money).
            columns[row, Column.MAX_BID_NANOS] = campaign.max_bid_cpm_micros
            columns[row, Column.VALUE_NANOS] = campaign.value_nanos
            columns[row, Column.GOAL] = GOAL_CONVERSION if campaign.goal is Goal.CONVERSION else GOAL_CLICK
            columns[row, Column.ASAP] = campaign.pacing is Pacing.ASAP
        return columns


def _rows_by_value(values: Iterable[tuple[str, ...]]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, own in enumerate(values):
        for value in own:
            rows.setdefault(value, []).append(row)
    return rows


def _blocks(campaign: Campaign) -> tuple[str, ...]:
    """What a request may block that bars this campaign, as values of `Dimension.BLOCKED`.

    An advertiser domain is barred by itself and by any parent of two labels or more (`badv`), a category by
    itself and by its parent (`bcat`: `IAB7` covers `IAB7-39`), an attribute of any creative bars the
    campaign (`battr`): refusing too much is safe, serving what was blocked is not.
    """
    found: list[str] = []
    for domain in campaign.adomain:
        labels = domain.lower().split(".")
        found.extend("adv:" + ".".join(labels[start:]) for start in range(max(1, len(labels) - 1)))
    for category in campaign.cat:
        found.append("cat:" + category)
        if "-" in category:
            found.append("cat:" + category.split("-", 1)[0])
    found.extend(f"attr:{attr}" for creative in campaign.creatives for attr in creative.attr)
    return tuple(dict.fromkeys(found))
