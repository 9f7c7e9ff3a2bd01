"""What a replay came to: counts in columns while it runs, one record a line item at its end."""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.playback.market import Verdicts
from simulator.playback.outcomes import Outcomes
from simulator.report.summary import cpa_nanos, cpc_nanos
from simulator.returns import roi

SLOTS = 48
"""Equal parts of the history's time in which spend is counted."""
(BIDS, WINS, UNKNOWN, SPEND, CLICKS, CLICKS_DRAWN, CLICKS_UNKNOWN, CONVERSIONS, CONVERSIONS_DRAWN, VALUE) = (
    range(10)
)
_COUNTS = 10


class LineResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line item; money in nanos.

    Attributes:
        id, campaign: names. budget_nanos: of its campaign.
        bids, impressions: made and won. unknown_bids: of which the log cannot say whether they won: taken
            as lost.
        spend_nanos: what the exchange sold for. booked_nanos: what the ledger heard of it, of all that its
            pacing budget pays for, fees included.
        clicks, conversions: all of them. clicks_drawn, conversions_drawn: those drawn by predictions and not logged.
        clicks_unknown: impressions of which nothing is known or predicted. expected_clicks: sum of predictions.
        value_nanos: of conversions, and of clicks where the goal is a click. roi: see `simulator.returns`.
            cpc_nanos, cpa_nanos: spend over clicks and conversions. All three are None where nothing is divided by.
        multiplier: of pacing at the end. curve_nanos: spend by slot of time. funnel: where candidates ended.
    """

    id: str
    campaign: str
    budget_nanos: int
    bids: int
    impressions: int
    unknown_bids: int
    spend_nanos: int
    booked_nanos: int
    clicks: int
    clicks_drawn: int
    clicks_unknown: int
    conversions: int
    conversions_drawn: int
    expected_clicks: float
    value_nanos: int
    roi: float | None
    cpc_nanos: int | None
    cpa_nanos: int | None
    multiplier: float
    curve_nanos: list[int]
    funnel: dict[str, int]


class Counts:
    """Counts by line item.

    Args:
        lines: of the table. begin_ns, end_ns: of the history, which slots of time are parts of.

    Attributes:
        totals: int64[lines, 10]. expected: float64[lines]. curve: int64[lines, SLOTS], nanos.
    """

    def __init__(self, lines: int, begin_ns: int, end_ns: int) -> None:
        self.totals: NDArray[np.int64] = np.zeros((lines, _COUNTS), dtype=np.int64)
        self.expected: NDArray[np.float64] = np.zeros(lines, dtype=np.float64)
        self.curve: NDArray[np.int64] = np.zeros((lines, SLOTS), dtype=np.int64)
        self._begin_ns, self._span_ns = begin_ns, max(end_ns - begin_ns, 1)

    def add(
        self,
        lines: NDArray[np.int64],
        at_ns: NDArray[np.int64],
        verdicts: Verdicts,
        outcomes: Outcomes,
        goal_value_nanos: NDArray[np.int64],
    ) -> None:
        """Counts bids and what followed.

        Args:
            lines: int64[k], who bid. at_ns: int64[k], when it was offered. verdicts: of all.
            outcomes: of those that won.
            goal_value_nanos: int64[wins], what each win brought by its goal.
        """
        totals = self.totals
        np.add.at(totals[:, BIDS], lines, 1)
        np.add.at(totals[:, UNKNOWN], lines, verdicts.unknown)
        own, paid = lines[verdicts.won], verdicts.paid_nanos[verdicts.won]
        for column, amounts in (
            (WINS, 1),
            (SPEND, paid),
            (CLICKS, outcomes.clicked),
            (CLICKS_DRAWN, outcomes.click_drawn),
            (CLICKS_UNKNOWN, outcomes.click_unknown),
            (CONVERSIONS, outcomes.converted),
            (CONVERSIONS_DRAWN, outcomes.conversion_drawn),
            (VALUE, goal_value_nanos),
        ):
            np.add.at(totals[:, column], own, amounts)
        np.add.at(self.expected, own, outcomes.expected_clicks)
        passed = at_ns[verdicts.won] - self._begin_ns
        slots = np.clip(passed * SLOTS // (self._span_ns + 1), 0, SLOTS - 1)
        np.add.at(self.curve, (own, slots), paid)


class Standing(NamedTuple):
    """How a line item stands at the end, beside its counts."""

    id: str
    campaign: str
    budget_nanos: int
    booked_nanos: int
    multiplier: float
    funnel: dict[str, int]


def line_result(counts: Counts, row: int, standing: Standing) -> LineResult:
    """One line item's record."""
    own = counts.totals[row].tolist()
    spend, value = own[SPEND], own[VALUE]
    return LineResult(
        **standing._asdict(),
        bids=own[BIDS],
        impressions=own[WINS],
        unknown_bids=own[UNKNOWN],
        spend_nanos=spend,
        clicks=own[CLICKS],
        clicks_drawn=own[CLICKS_DRAWN],
        clicks_unknown=own[CLICKS_UNKNOWN],
        conversions=own[CONVERSIONS],
        conversions_drawn=own[CONVERSIONS_DRAWN],
        expected_clicks=float(counts.expected[row]),
        value_nanos=value,
        roi=roi(value, spend),
        cpc_nanos=cpc_nanos(spend, own[CLICKS]),
        cpa_nanos=cpa_nanos(spend, own[CONVERSIONS]),
        curve_nanos=counts.curve[row].tolist(),
    )
