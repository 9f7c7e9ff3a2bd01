"""What our policy is to reach, and whether it does: each goal with its worst case."""

from collections.abc import Iterable, Sequence

import msgspec

from simulator.quality.first_price import FirstRow
from simulator.quality.regimes import RegimeRow
from simulator.quality.runs import DELAYS, Row, Table
from simulator.quality.targets import TargetRow
from simulator.quality.through_engine import EngineRow

VALUE = {1 / 32: 0.97, 1 / 8: 0.985, 1 / 2: 0.995}
"""Least value over hindsight without delay, by budget share."""
SMOOTH = 0.985
SPENT, DEVIATION = 0.995, 0.01
LOSS_AT_100 = 0.005
VALUE_AT_1000, SPENT_AT_1000 = 0.97, 0.99
WAITED = 0.97
"""Of what is left of hindsight by spending evenly and by setting each bid aside until its notice."""
DELIVERY = 0.05
LEARNED = 0.97
OURS = "dual"
VIOLATION, TARGET_VALUE = 0.02, 0.95
OUR_TARGET = "target"


class Goal(msgspec.Struct, frozen=True):
    """One goal.

    bound: what is to be reached; `at_least` or at most. worst: of all cases, None where there is none, and where.
    median: of all cases. met, cases: how many cases keep it.
    """

    name: str
    bound: float
    at_least: bool
    worst: float | None
    where: str
    median: float | None
    met: int
    cases: int

    @property
    def holds(self) -> bool:
        """Whether every case keeps it."""
        return self.met == self.cases


def goals(
    table: Table,
    regimes: Sequence[RegimeRow],
    engine: Sequence[EngineRow],
    first: Sequence[FirstRow] = (),
    targets: Sequence[TargetRow] = (),
) -> list[Goal]:
    """All goals, beside what was measured."""
    ours = [row for row in table.rows if row.policy == OURS]
    found = [
        _goal(f"value / hindsight, budget {_share(share)}, no delay", bound, True, _ratios(ours, share, 0))
        for share, bound in VALUE.items()
    ]
    found.append(_goal("value / hindsight that spends evenly, no delay", SMOOTH, True, _smooth(table)))
    found.append(
        _goal("spend / budget, no delay", SPENT, True, [(r.spent, _where(r)) for r in ours if not r.delay])
    )
    found.append(
        _goal(
            "curve deviation, no delay",
            DEVIATION,
            False,
            [(r.deviation, _where(r)) for r in ours if not r.delay],
        )
    )
    at_once = {_where(r): r.ratio for r in ours if not r.delay}
    found.append(
        _goal("value lost by delay 100", LOSS_AT_100, False,
              [(at_once[_where(r)] - r.ratio, _where(r)) for r in ours if r.delay == 100 and _where(r) in at_once])
    )  # fmt: skip
    late = [r for r in ours if r.delay == 1_000]
    found.append(
        _goal("value / hindsight, delay 1,000", VALUE_AT_1000, True, [(r.ratio, _where(r)) for r in late])
    )
    found.append(
        _goal(
            "value / hindsight that spends evenly and waits as long, delay 1,000",
            WAITED,
            True,
            _waited(table),
        )
    )
    found.append(
        _goal("spend / budget, delay 1,000", SPENT_AT_1000, True, [(r.spent, _where(r)) for r in late])
    )
    hours = [
        (r.hourly, f"{_where(r)}, delay {r.delay}") for r in ours if r.hourly is not None and r.delay < 1_000
    ]
    found.append(_goal("hourly delivery error, delay up to 100", DELIVERY, False, hours))
    quarters = [(r.quarters, f"{r.scenario}, delay {r.delay}") for r in regimes if r.policy == OURS]
    found.append(_goal("15-minute delivery error, synthetic days", DELIVERY, False, quarters))
    over = [(float(r.overspend_nanos), f"{r.policy}, {_where(r)}, delay {r.delay}") for r in table.rows]
    over += [(float(r.overspend_nanos), f"{r.policy}, {r.case}") for r in targets]
    over += [(float(r.overspend_nanos), f"engine, {r.campaign}, delay {r.delay}") for r in engine]
    over += [(float(r.overspend_nanos), f"{r.policy}, {r.market}") for r in first]
    learned = [r for r in first if r.policy == "landscape"]
    found.append(
        _goal("first price learned: surplus / best bid, no budget", LEARNED, True,
              [(r.surplus, r.market) for r in learned if r.budget is None])
    )  # fmt: skip
    found.append(
        _goal("first price learned: value / best, with a budget", LEARNED, True,
              [(r.value, f"{r.market}, budget {_share(r.budget)}") for r in learned if r.budget is not None])
    )  # fmt: skip
    found += _target_goals(targets)
    found.append(_goal("overspend, nanos, all policies", 0.0, False, over))
    found.append(_goal("engine and kernel are one", 1.0, True, [(float(r.same), r.campaign) for r in engine]))
    return found


def _target_goals(rows: Sequence[TargetRow]) -> list[Goal]:
    """Of targets: violation, value over the coupled optimum, and that no baseline does better over all cases."""
    ours = [row for row in rows if row.policy == OUR_TARGET]
    second = [(row.worst_ratio, row.case) for row in ours if row.price == "second"]
    first = [(row.worst_linear, row.case) for row in ours if row.price == "first"]
    mean = _mean_score(ours)
    better = [
        (mean - _mean_score([row for row in rows if row.policy == name]), name)
        for name in dict.fromkeys(row.policy for row in rows if row.policy != OUR_TARGET)
    ]
    violations = [(row.worst_violation, row.case) for row in ours]
    return [
        _goal("tCPA and tROAS, violation at the end", VIOLATION, False, violations),
        _goal("tCPA and tROAS, value / optimum, second price", TARGET_VALUE, True, second),
        _goal("tCPA and tROAS, value / best in proportion, first price", TARGET_VALUE, True, first),
        _goal("tCPA and tROAS, mean score above a baseline's", 0.0, True, better),
    ]


def _mean_score(rows: Sequence[TargetRow]) -> float:
    return sum(row.score for row in rows) / max(len(rows), 1)


def _goal(name: str, bound: float, at_least: bool, cases: Iterable[tuple[float, str]]) -> Goal:
    ordered = sorted(cases, reverse=not at_least)
    if not ordered:
        return Goal(name, bound, at_least, None, "no case", None, 0, 0)
    met = sum(value >= bound if at_least else value <= bound for value, _ in ordered)
    worst, where = ordered[0]
    middle = ordered[len(ordered) // 2][0]
    return Goal(name, bound, at_least, worst, where if met < len(ordered) else "", middle, met, len(ordered))


def _smooth(table: Table) -> list[tuple[float, str]]:
    """Value over the best with even spending, without delay."""
    best = {(bound.campaign, bound.share): bound.smoothness for bound in table.bounds}
    ours = [row for row in table.rows if row.policy == OURS and not row.delay]
    return [(row.ratio / best[row.campaign, row.share], _where(row)) for row in ours]


def _waited(table: Table) -> list[tuple[float, str]]:
    """Value with notices after 1,000 auctions over what late money and even spending leave of the optimum.

    Both bounds are taken as factors: what one costs is thought to cost the same share of what the other leaves.
    """
    place = DELAYS.index(1_000)
    best = {
        (bound.campaign, bound.share): bound.smoothness * bound.waiting[place]
        for bound in table.bounds
        if bound.waiting
    }
    ours = [row for row in table.rows if row.policy == OURS and row.delay == 1_000]
    return [
        (row.ratio / best[row.campaign, row.share], _where(row))
        for row in ours
        if (row.campaign, row.share) in best
    ]


def _ratios(rows: Iterable[Row], share: float, delay: int) -> list[tuple[float, str]]:
    return [(row.ratio, _where(row)) for row in rows if row.share == share and row.delay == delay]


def _where(row: Row) -> str:
    start = "" if row.start is None else f", start x {row.start:g}"
    return f"{row.campaign}, budget {_share(row.share)}{start}"


def _share(share: float) -> str:
    return f"1/{round(1 / share)}"
