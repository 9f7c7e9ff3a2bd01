"""What is told of a set of segments: `segments.json`, printed, and drawn. No user's key stands in it."""

from collections.abc import Mapping

import msgspec

from models.segments.matching import Churn
from models.segments.response import Cell, Rate

FORMAT = 1
NO_STRUCTURE, NO_STABLE, FOUND = "no structure found", "no stable segments", "found"
"""No direction of behaviour is more than chance; groups are not found again in halves; segments to build on."""


class TraitTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trait, see `models.segments.traits.Trait`."""

    column: str
    value: str
    share: float
    share_others: float
    odds: float
    odds_low: float
    odds_high: float
    z: float


class TrialTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number of groups that was tried, see `models.segments.clusters.Trial`."""

    asked: int
    groups: int
    smallest: int
    silhouette: float
    stability: float
    stable: bool


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One audience.

    Attributes:
        name: id in targeting and in features (`segment:NAME`). words: what stands out of it.
        users: members. share: of all users. rows_each, rows_each_others: mean rows of a user.
        traits: the most distinctive first.
        ctr, cvr: clicks by impression, conversions by click. value_nanos: by impression, None where not known.
    """

    name: str
    words: str
    users: int
    share: float
    rows_each: float
    rows_each_others: float
    traits: tuple[TraitTold, ...]
    ctr: Rate
    cvr: Rate
    value_nanos: Rate | None


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A set of segments.

    Attributes:
        verdict: `found`, `no stable segments` or `no structure found`; groups that were asked for are told with each.
        table, table_sha256: what they were found in. window_ns: first and last time of the rows that counted.
        rows: rows that counted. rows_unknown_user: rows left out because their user is null.
        users: users. columns: of behaviour that were used, with the number of values of each.
        smallest: least users of a segment and of anything told. seed: of all that is drawn.
        asked: number of groups, None where it was chosen.
        directions: that are more than chance. trials: numbers of groups that were tried.
        response_from_ns: impressions from then on count as answers.
        segments: the largest first. cells: segment by campaign. best: campaign -> segment that surely answers best.
        churn: against the set before, None where there was none.
        cautions: what the reader must know.
    """

    format: int = FORMAT
    verdict: str
    table: str
    table_sha256: str
    window_ns: tuple[int, int]
    rows: int
    rows_unknown_user: int
    users: int
    columns: Mapping[str, int]
    smallest: int
    seed: int
    asked: int | None
    directions: int
    trials: tuple[TrialTold, ...]
    response_from_ns: int
    segments: tuple[Segment, ...]
    cells: tuple[Cell, ...]
    best: Mapping[str, str | None]
    churn: Churn | None
    cautions: tuple[str, ...]
