"""Whether an impression is clicked and a click converts: by a market's true rates, or as it was logged."""

from typing import Protocol

from simulator.logs.behaviour import conversion_value_nanos
from simulator.logs.conversions import ConversionLaw
from simulator.logs.draws import key_of, uniforms
from simulator.logs.plans import PLANS
from simulator.logs.rows import LogRow
from simulator.logs.synthetic import SyntheticMarket


class Outcomes(Protocol):
    """A law of outcomes: a function of row and campaign, whatever the order in which it is asked."""

    def clicked(self, row: LogRow, campaign_id: str) -> bool:
        """Whether the impression is clicked when it shows an ad of the campaign."""
        ...

    def converted(self, row: LogRow, campaign_id: str) -> tuple[bool, int]:
        """Whether such a click converts, and its worth in nanos, 0 where it does not."""
        ...


class SyntheticOutcomes:
    """Outcomes by the true rates of a synthetic market.

    The draw belongs to the row: a row that one campaign would have had a click on is clicked for every campaign
    whose rate is as high, so that runs with other bids differ by what was bought and not by luck.
    """

    def __init__(self, market: SyntheticMarket) -> None:
        self._market = market
        self._key = key_of(market.seed, "synthetic outcome")
        self._plans = {plan.id: plan for plan in PLANS}

    def clicked(self, row: LogRow, campaign_id: str) -> bool:
        """By the true click rate."""
        return uniforms(self._key, row.id)[0] < self._market.true_ctr(row, campaign_id)

    def converted(self, row: LogRow, campaign_id: str) -> tuple[bool, int]:
        """By the true conversion rate; worth half to one and a half of the plan's mean."""
        plan = self._plans.get(campaign_id)
        _, draw, worth, _ = uniforms(self._key, row.id)
        if plan is None or draw >= self._market.true_cvr(row, campaign_id):
            return False, 0
        return True, conversion_value_nanos(plan, worth)


class LoggedOutcomes:
    """Outcomes of a log: a click counts only for the campaign that logged it.

    What another campaign would have got there is not known and is never made up. Conversions are the log's own
    where it has them, else they follow the synthetic law.
    """

    def __init__(self, law: ConversionLaw) -> None:
        self._law = law

    def clicked(self, row: LogRow, campaign_id: str) -> bool:
        """Whether the log has a click of that campaign here."""
        return row.campaign == campaign_id and bool(row.clicked)

    def converted(self, row: LogRow, campaign_id: str) -> tuple[bool, int]:
        """The log's conversion, or the law's."""
        if row.campaign != campaign_id:
            return False, 0
        if row.converted is not None:
            return row.converted, row.value_nanos if row.converted else 0
        return self._law.converted(row)
