"""What many runs came to."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from bidder.core.bankrules import BankRules
from simulator.faults.bounds import tolerated
from simulator.faults.run import Outcome


class KindSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one kind of market, with or without faults; `spend_share` is spend by what could be spent."""

    kind: str
    faulty: bool
    runs: int
    spend_share: float
    least_spend_share: float
    late_share: float
    late_share_most: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All runs.

    `late_share` is late spend by spend. `budgets` are those of which something was spent, `passed` those of them of
    which more was than is allowed, by late spend alone. `judged` are those of runs of which the bank knew the law of
    late notices: of these at most `tolerated` may be passed, or the reserve does not hold at its quantile. `again`
    has one command for each seed with a violation. Clicks, orders and conversions: see `Outcome`.
    """

    seeds: tuple[int, ...]
    auctions: int
    auctions_per_second: float
    faults: dict[str, int]
    violations: dict[str, int]
    late_wins: int
    late_nanos: int
    late_share: float
    budgets: int
    passed: int
    judged: int
    judged_passed: int
    tolerated: int
    kinds: tuple[KindSummary, ...]
    again: tuple[str, ...]
    stops: int
    spooled: int
    clicks: int
    orders: int
    orders_again: int
    conversions: int
    value_nanos: int
    seconds: float
    failed: tuple[Outcome, ...]


class Report:
    """Gathers outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """One more run."""
        self.outcomes.append(outcome)

    @property
    def violations(self) -> int:
        """How many there were in all."""
        return sum(self._violations().values())

    def _violations(self) -> dict[str, int]:
        found = _sum(run.violations for run in self.outcomes)
        judged, passed = self._judged()
        if passed > tolerated(judged, BankRules().late_quantile_ppm):
            found["late_reserve"] = passed
        return found

    def _judged(self) -> tuple[int, int]:
        """Budgets of runs with a measured reserve, and those of them that late spend passed."""
        runs = [run for run in self.outcomes if run.measured]
        return sum(run.budgets for run in runs), sum(run.passed for run in runs)

    def summary(self) -> Summary:
        """All of it together."""
        runs = self.outcomes
        seconds = sum(run.seconds for run in runs)
        auctions, spend = sum(run.auctions for run in runs), sum(run.spend_nanos for run in runs)
        late_nanos = sum(run.late_nanos for run in runs)
        failed = tuple(run for run in runs if run.violations)
        return Summary(
            seeds=tuple(run.seed for run in runs),
            auctions=auctions,
            auctions_per_second=auctions / seconds if seconds else 0.0,
            faults=_sum(run.faults for run in runs),
            violations=self._violations(),
            late_wins=sum(run.late_wins for run in runs),
            late_nanos=late_nanos,
            late_share=late_nanos / spend if spend else 0.0,
            budgets=sum(run.budgets for run in runs),
            passed=sum(run.passed for run in runs),
            judged=self._judged()[0],
            judged_passed=self._judged()[1],
            tolerated=tolerated(self._judged()[0], BankRules().late_quantile_ppm),
            kinds=tuple(
                _kind(kind, faulty, [run for run in runs if (run.kind, run.faulty) == (kind, faulty)])
                for kind, faulty in sorted({(run.kind, run.faulty) for run in runs})
            ),
            again=tuple(f"clearbid faults --seed {run.seed} --auctions {run.auctions}" for run in failed),
            stops=sum(run.stops for run in runs),
            spooled=sum(run.spooled for run in runs),
            clicks=sum(run.clicks for run in runs),
            orders=sum(run.orders for run in runs),
            orders_again=sum(run.orders_again for run in runs),
            conversions=sum(run.conversions for run in runs),
            value_nanos=sum(run.value_nanos for run in runs),
            seconds=seconds,
            failed=failed,
        )

    def json(self) -> str:
        """The summary as one JSON object."""
        return msgspec.json.encode(self.summary()).decode()


def _kind(kind: str, faulty: bool, runs: list[Outcome]) -> KindSummary:
    spend, feasible = sum(run.spend_nanos for run in runs), sum(run.feasible_nanos for run in runs)
    return KindSummary(
        kind=kind,
        faulty=faulty,
        runs=len(runs),
        spend_share=spend / feasible,
        least_spend_share=min(run.spend_nanos / run.feasible_nanos for run in runs),
        late_share=sum(run.late_nanos for run in runs) / max(1, spend),
        late_share_most=max(run.late_nanos / max(1, run.spend_nanos) for run in runs),
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
