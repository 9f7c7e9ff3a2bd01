"""The line item table: an immutable struct of arrays with its rows of bits, made anew at each change.

Nothing here depends on the time but the bits of what is in flight, which the engine asks for again when the next
flight begins or ends. Making a table of ten thousand line items takes less than a second, and may be done in a
thread beside the loop: it reads only what it is given.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Advertiser, Campaign, Goal, Media, Modifier, Pacing, Rule
from bidder.core.circles import CircleIndex, parse_circle
from bidder.core.creatives import Creatives, ratio_code, size_code
from bidder.core.decision_columns import (
    AIM_CLICK,
    AIM_COLUMNS,
    AIM_CONVERSION,
    AIM_CPM,
    AIM_VALUE,
    GOAL_CLICK,
    GOAL_COMPLETE,
    GOAL_CONVERSION,
    GOAL_VIEW,
)
from bidder.core.dimensions import OPEN_AUCTION, REASONS, Dimension
from bidder.core.expressions import Expression, compile_expression
from bidder.core.lines import LEAST_CHANCE, NO_RULE, Aim, Line, Target, lines_of
from bidder.core.rows import RowBook, ValueRows, bits_of
from bidder.core.settings import EngineSettings
from bidder.openrtb.taxonomy import qualified

SPARE_ROWS = 512
"""Rows kept for what only a request can say, such as a list of allowed categories; see `core.specs`."""
FAR_NS = 2**62


class Column(IntEnum):
    """Columns of `LineTable.columns`, int64."""

    MAX_BID_NANOS = 0
    VALUE_NANOS = 1
    GOAL = 2
    MIN_BID_NANOS = 3
    CAP_START = 4
    CAP_END = 5
    REFUSE_UNKNOWN = 6
    MODIFIER_START = 7
    MODIFIER_END = 8
    FEE_PPM = 9
    FEE_NANOS = 10
    WANTS_CVR = 11
    AIM_START = 12
    AIM_END = 13
    VALUE_LEAST = 14
    VALUE_MOST = 15


GOALS = {
    Goal.CLICK: GOAL_CLICK,
    Goal.CONVERSION: GOAL_CONVERSION,
    Goal.VALUE: GOAL_CONVERSION,
    Goal.VIEW: GOAL_VIEW,
    Goal.COMPLETE: GOAL_COMPLETE,
}
_OPEN_RULE = Rule((OPEN_AUCTION,))


class LineTable:
    """All line items as the kernels read them.

    Args:
        campaigns, advertisers: by id. version: grows with each change. settings: of the engine.

    Attributes:
        lines: resolved line items in the order of ids; ids: their ids; index: row by id.
        active: uint64[words], line items that may bid but for their flights.
        dimensions: the used ones in order; slot: place of each dimension among them, or -1.
        refusals: int32[used], reason of each. base: uint64[used, words].
        rows: uint64[rows, words], see `core.rows`; from `first_spare` on they are empty.
        values: for each dimension value text -> row numbers (sizes by `size_key`); empty where unused.
        columns: int64[lines, len(Column)]. caps: int64[caps, 3]: owner, window_ns, limit.
        targets: all targets, each once; aims: float64[], by line item from AIM_START, see `decision_columns`.
        modifier_rows: int32[], modifier_factors: float64[]: see MODIFIER_START.
        creatives: of all line items.
        zones: time zones that day parts are stated in.

    Raises:
        InputError: line items of one id, an expression or circle that cannot be read.
    """

    def __init__(
        self,
        campaigns: Mapping[str, Campaign],
        version: int,
        settings: EngineSettings | None = None,
        advertisers: Mapping[str, Advertiser] | None = None,
    ) -> None:
        settings = settings or EngineSettings()
        self.version = version
        self.campaigns = campaigns
        self.lines = lines_of(campaigns, advertisers or {})
        self.ids = tuple(line.id for line in self.lines)
        self.index = {line_id: row for row, line_id in enumerate(self.ids)}
        exchanges = tuple(sorted(settings.exchanges))
        assumed = [name for name in exchanges if settings.rules(name).approval == "assumed"]
        if settings.general.approval == "assumed":
            assumed.append("")
        self.creatives = Creatives(self.lines, exchanges, frozenset(assumed))
        self._make_rows()
        self.columns, self.caps = self._columns()
        self.targets, self.aims = self._aims()
        self._flights = self._flight_columns()
        self.modifier_rows, self.modifier_factors = self._modifiers()

    def __len__(self) -> int:
        return len(self.ids)

    # -- rows of bits ---------------------------------------------------------------------------------------

    def _make_rows(self) -> None:
        book = RowBook(len(self.lines))
        self.words = book.words
        self.active = book.bits(
            [row for row, line in enumerate(self.lines) if line.active and line.creatives]
        )
        self._stated = _by_dimension(self.lines)
        stated = {dimension: self._rules(dimension) for dimension in Dimension}
        self.expressions: list[tuple[Expression, tuple[int, ...]]] = []
        named = {Dimension[one.dimension.upper()] for line in self.lines for one in line.modifiers}
        # An allow list of a request bars also those of whom nothing says what bars them.
        always = {Dimension.FLIGHT, Dimension.FORMAT, Dimension.BLOCKED, *named}
        self.dimensions = tuple(one for one in Dimension if stated[one] or one in always)
        self.slot = [-1] * len(Dimension)
        self.refusals = np.array([REASONS[dimension] for dimension in self.dimensions], dtype=np.int32)
        self.base = np.zeros((len(self.dimensions), self.words), dtype=np.uint64)
        self.values: list[ValueRows] = [{} for _ in Dimension]
        everyone = np.arange(len(self.lines), dtype=np.int64)
        for place, dimension in enumerate(self.dimensions):
            self.slot[dimension] = place
            rules = stated[dimension]
            self.values[dimension] = book.values(rules)
            picky = np.array([row for row, rule in rules if rule.include], dtype=np.int64)
            self.base[place] = bits_of(np.setdiff1d(everyone, picky, assume_unique=True), self.words)
        self._add_modifier_values(book)
        self._find_zones()
        self._make_circles()
        self._compile_expressions()
        self.first_spare = len(book)
        self.rows = book.matrix(SPARE_ROWS)

    def _rules(self, dimension: Dimension) -> list[tuple[int, Rule]]:
        """(row, rule) of the line items that have a rule in a dimension; three follow from what they are."""
        if dimension is Dimension.FLIGHT:
            return []
        if dimension is Dimension.FORMAT:
            formats = (_formats(line) for line in self.lines)
            return [(row, Rule(tuple(own))) for row, own in enumerate(formats)]
        if dimension is Dimension.BLOCKED:
            blocks = enumerate(self.creatives.full_blocks)
            return [(row, Rule((), values)) for row, values in blocks if values]
        name = dimension.name.lower()
        rules = self._stated.get(name, [])
        return self._deal_rules(rules) if dimension is Dimension.DEAL else self._in_words(dimension, rules)

    def _in_words(self, dimension: Dimension, rules: list[tuple[int, Rule]]) -> list[tuple[int, Rule]]:
        """Rules with the values that opportunities show, where ad-ops write them otherwise."""
        if dimension is Dimension.HOUR:
            return [(row, _zoned(rule, self.lines[row].advertiser.time_zone)) for row, rule in rules]
        if dimension is Dimension.CONTENT:
            return [(row, Rule(_qualified(rule.include), _qualified(rule.exclude))) for row, rule in rules]
        return rules

    def _deal_rules(self, rules: list[tuple[int, Rule]]) -> list[tuple[int, Rule]]:
        """Whoever includes no deal wants the open auction; nobody has rules where nobody names a deal."""
        if not rules and not any(one.dimension == "deal" for line in self.lines for one in line.modifiers):
            return []
        stated = dict(rules)
        return [
            (row, rule if rule.include else Rule(_OPEN_RULE.include, rule.exclude))
            for row, rule in ((row, stated.get(row, NO_RULE)) for row in range(len(self.lines)))
        ]

    def _find_zones(self) -> None:
        used = {
            line.advertiser.time_zone
            for line in self.lines
            if "hour" in line.rules or any(one.dimension == "hour" for one in line.modifiers)
        }
        self.zones = tuple(sorted(used))

    def _make_circles(self) -> None:
        texts = list(self.values[Dimension.CIRCLE])
        self.circle_rows = [self.values[Dimension.CIRCLE][text] for text in texts]
        self.circles = CircleIndex([parse_circle(text) for text in texts])

    def _compile_expressions(self) -> None:
        values = self.values[Dimension.EXPRESSION]
        self.expressions = [(compile_expression(text), rows) for text, rows in values.items()]

    def _add_modifier_values(self, book: RowBook) -> None:
        """Values that modifiers name get empty rows, so that the kernel sees whether they are shown.

        Rows of their own: the one that a value is included by may be that of a long list.
        """
        self._modifier_rows: dict[tuple[Dimension, str], int] = {}
        for line in self.lines:
            for modifier in line.modifiers:
                dimension = Dimension[modifier.dimension.upper()]
                values = self.values[dimension]
                for value in _modifier_values(modifier, line):
                    if (dimension, value) not in self._modifier_rows:
                        row = self._modifier_rows[dimension, value] = book.add(())
                        values[value] = (*values.get(value, ()), row)

    # -- numbers --------------------------------------------------------------------------------------------

    def _columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        columns = np.zeros((len(self.lines), len(Column)), dtype=np.int64)
        caps: list[tuple[int, int, int]] = []
        for row, line in enumerate(self.lines):
            begin = len(caps)
            caps += [(cap.owner, cap.window_ns, cap.limit) for cap in line.caps]
            # A CPM micro is a nano per impression: no conversion (bidder.money).
            columns[row] = (
                line.max_bid_cpm_micros,
                line.unit_nanos,
                GOALS[line.goal],
                line.min_bid_cpm_micros,
                begin,
                len(caps),
                bool(line.caps) and line.unknown_user == "refuse",
                0,
                0,
                line.fee_ppm,
                line.fee_cpm_micros,
                GOALS[line.goal] == GOAL_CONVERSION,
                0,
                0,
                line.least_value_nanos,
                line.most_value_nanos,
            )
        return columns, np.array(caps, dtype=np.int64).reshape(-1, 3)

    def _aims(self) -> tuple[tuple[Target, ...], NDArray[np.float64]]:
        """All targets, and what each line item's targets count."""
        groups: dict[Target, int] = {}
        aims: list[tuple[float, ...]] = []
        for row, line in enumerate(self.lines):
            self.columns[row, Column.AIM_START] = len(aims)
            for target in line.targets:
                kind = aim_of(line, target)
                self.columns[row, Column.WANTS_CVR] |= kind >= AIM_CONVERSION
                group = groups.setdefault(target, len(groups))
                nanos = target.nanos / line.value_nanos if kind == AIM_VALUE else target.nanos
                aims.append((group, kind, nanos, _base(line, target, kind)))
            self.columns[row, Column.AIM_END] = len(aims)
        return tuple(groups), np.array(aims, dtype=np.float64).reshape(-1, AIM_COLUMNS)

    def _modifiers(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        rows: list[int] = []
        factors: list[float] = []
        for row, line in enumerate(self.lines):
            self.columns[row, Column.MODIFIER_START] = len(rows)
            for modifier in line.modifiers:
                dimension = Dimension[modifier.dimension.upper()]
                for value in _modifier_values(modifier, line):
                    rows.append(self._modifier_rows[dimension, value])
                    factors.append(modifier.factor)
            self.columns[row, Column.MODIFIER_END] = len(rows)
        return np.array(rows or [0], dtype=np.int32), np.array(factors or [1.0], dtype=np.float64)

    def asap(self) -> NDArray[np.bool_]:
        """bool[lines], line items that are not paced."""
        return np.array([line.pacing is Pacing.ASAP for line in self.lines], dtype=np.bool_)

    def in_flight(self, now_ns: int) -> tuple[NDArray[np.uint64], int]:
        """uint64[words] of line items in flight, and when that changes next."""
        lines, edges = self._flights
        awake = (edges[:, 0] <= now_ns) & (now_ns < edges[:, 1])
        later = edges[edges > now_ns]
        return bits_of(lines[awake], self.words), int(later.min()) if later.size else FAR_NS

    def _flight_columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64[flights], line item of each; int64[flights, 2], its start and end."""
        flights = [(row, flight) for row, line in enumerate(self.lines) for flight in line.flights]
        edges = np.array([(flight.start_ns, flight.end_ns) for _, flight in flights], dtype=np.int64)
        return np.array([row for row, _ in flights], dtype=np.int64), edges.reshape(-1, 2)


_AIMS = {Aim.CPM: AIM_CPM, Aim.CPC: AIM_CLICK, Aim.CPA: AIM_CONVERSION}
_LEAST = {AIM_CPM: 0.1, AIM_CLICK: LEAST_CHANCE[Goal.CLICK], AIM_CONVERSION: LEAST_CHANCE[Goal.CONVERSION]}


def aim_of(line: Line, target: Target) -> int:
    """What a target of a line item counts, as the kernel knows it: of a return the goal's event."""
    if target.aim is Aim.ROAS and line.most_value_nanos:
        return AIM_VALUE
    if target.aim is Aim.ROAS:
        return AIM_CLICK if line.goal is Goal.CLICK else AIM_CONVERSION
    return _AIMS[target.aim]


def _base(line: Line, target: Target, kind: int) -> float:
    """What the room of a target is a part of, over the value; 0 where value and worth are of the same event."""
    if kind == AIM_VALUE:
        return 0.0
    if kind == AIM_CONVERSION and line.most_value_nanos:
        # Conversions cost the same and are not worth the same: the room is of what they are worth, in its size.
        return target.nanos / line.value_nanos
    if (kind, GOALS[line.goal]) in ((AIM_CLICK, GOAL_CLICK), (AIM_CONVERSION, GOAL_CONVERSION)):
        return 0.0
    # Where value is no amount of anybody's, its part is of the size of the worth.
    return 1.0 if line.value_nanos else target.nanos * _LEAST[kind] / line.max_bid_cpm_micros


def _formats(line: Line) -> Sequence[str]:
    """Media and sizes of a line item's creatives, as FORMAT values."""
    found: dict[str, None] = {}
    for creative in line.creatives:
        if creative.media is Media.BANNER:
            found[size_value(size_code(creative.w, creative.h))] = None
            if creative.flex:
                found[size_value(ratio_code(creative.w, creative.h))] = None
        elif creative.media is not Media.NATIVE:
            found[creative.media.value] = None
    return list(found) or ["none"]


def size_value(code: int) -> str:
    """FORMAT value of a banner of this size or ratio code."""
    return f"#{code}"


def _by_dimension(lines: Sequence[Line]) -> dict[str, list[tuple[int, Rule]]]:
    """(row, rule) of all rules that line items state, by the name of the dimension."""
    found: dict[str, list[tuple[int, Rule]]] = {}
    for row, line in enumerate(lines):
        for name, rule in line.rules.items():
            found.setdefault(name, []).append((row, rule))
    return found


@lru_cache(maxsize=4_096)
def _zoned(rule: Rule, zone: str) -> Rule:
    return Rule(tuple(zoned_hour(zone, hour) for hour in rule.include),
                tuple(zoned_hour(zone, hour) for hour in rule.exclude))  # fmt: skip


def zoned_hour(zone: str, hour: str | int) -> str:
    """HOUR value: an hour of the week by the clocks of a zone."""
    return f"{zone}|{hour}"


def _qualified(values: Iterable[str]) -> tuple[str, ...]:
    return tuple("{}:{}".format(*qualified(value)) for value in values)


def _modifier_values(modifier: Modifier, line: Line) -> tuple[str, ...]:
    """The value of a modifier as its dimension shows it."""
    if modifier.dimension == "hour":
        return (zoned_hour(line.advertiser.time_zone, modifier.value),)
    if modifier.dimension == "content":
        return _qualified((modifier.value,))
    return (modifier.value,)
