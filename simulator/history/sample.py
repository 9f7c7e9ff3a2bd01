"""A history that ships with Clearbid: the synthetic market, bought by its six campaigns under pacing, as a log.

Everything an analyst asks of a real log has an answer here, and it is the same for everybody: weeks of opportunities
with users, regions and hours, bids that a budget holds down, a little exploration whose density is known, prices that
are told only by wins, clicks and conversions by laws of which the log shows but predictions.
"""

import math
from collections.abc import Iterator

import numpy as np

from bidder.core.campaigns import Goal
from simulator.history.logrows import history_row
from simulator.history.schema import HistoryRow, Meta, known_loss, known_win
from simulator.logs.behaviour import conversion_value_nanos
from simulator.logs.plans import PLANS, Plan
from simulator.logs.rows import LogRow
from simulator.logs.synthetic import MAX_BID_CPM_MICROS, SyntheticMarket, default_campaigns
from simulator.logs.world import FIRST_PRICE_EXCHANGES

ROWS, DAYS = 120_000, 28.0
EXPLORED, SIGMA = 0.05, 0.25
"""Share of bids that exploration moves, and the deviation of the logarithm by which."""
BUDGET_SHARE = 0.4
"""Of the budgets of the shipped campaigns: so low that most of what is offered is lost."""
SHADE = 0.7
"""Share of the wish that is bid where the bid itself is paid."""
NOISE, OVER = 0.3, 1.2
"""Deviation of the logarithm of a predicted probability from the truth, and the factor by which all are too high."""
_STEP = 0.002
_TRAINING_SHARE = 0.02
_KNOWN_NS = 3_600 * 10**9


def sample_meta(seed: int) -> Meta:
    """What the history says of itself."""
    return Meta(source=f"synthetic market, seed {seed}")


def sample_rows(seed: int, rows: int = ROWS, days: float = DAYS) -> Iterator[HistoryRow]:
    """The rows of a seed, in order of time; no row of it is left out.

    Args:
        seed: of everything. rows: opportunities. days: of the log, a week's shape in it.

    Raises:
        InputError: a number is out of its range.
    """
    market = SyntheticMarket(
        seed, max(2, round(rows / (1 - _TRAINING_SHARE))), days, training_share=_TRAINING_SHARE
    )
    budgets = {campaign.id: campaign.budget_nanos for campaign in default_campaigns(market)}
    buyers = [_Buyer(plan, round(BUDGET_SHARE * budgets[plan.id]), market.evaluation_rows) for plan in PLANS]
    rng = np.random.default_rng([seed, 97])
    for row in market.opportunities():
        yield _bought(row, market, buyers, rng)


class _Buyer:
    """One campaign of the logged buyer: its value, what it spent, and the multiplier that its budget allows."""

    def __init__(self, plan: Plan, budget_nanos: int, expected: int) -> None:
        self.plan = plan
        self.worth_nanos = plan.value_cents * 10_000_000
        self._left_nanos = budget_nanos
        self._scale = expected / budget_nanos
        self.multiplier = 0.5

    def wants(self, row: LogRow) -> bool:
        """Whether its targeting takes the row: regions and segments."""
        plan = self.plan
        return (not plan.regions or row.region in plan.regions) and (
            not plan.segments or any(one in plan.segments for one in row.segments)
        )

    def offered(self) -> None:
        """An opportunity came by."""
        self.multiplier = min(1.0, self.multiplier * math.exp(_STEP))

    def can_pay(self, nanos: int) -> bool:
        """Whether its budget holds a bid."""
        return nanos <= self._left_nanos

    def spent(self, nanos: int) -> None:
        """A win was paid."""
        self._left_nanos -= nanos
        self.multiplier *= math.exp(-min(_STEP * nanos * self._scale, 0.5))


def _bought(
    row: LogRow, market: SyntheticMarket, buyers: list[_Buyer], rng: np.random.Generator
) -> HistoryRow:
    first_price = row.exchange in FIRST_PRICE_EXCHANGES
    plain = history_row(row, first_price=first_price)._replace(
        recorded_ns=row.at_ns, won=None, price_kind=known_loss(None).price_kind, price_nanos=0
    )
    best, most, chances = None, 0.0, (0.0, 0.0)
    for buyer in buyers:
        if not buyer.wants(row):
            continue
        buyer.offered()
        click, conversion = (
            min(
                truth(row, buyer.plan.id) * OVER * math.exp(NOISE * rng.standard_normal() - NOISE**2 / 2), 0.9
            )
            for truth in (market.true_ctr, market.true_cvr)
        )
        chance = click if buyer.plan.goal is Goal.CLICK else click * conversion
        wish = chance * buyer.worth_nanos * buyer.multiplier
        if wish > most:
            best, most, chances = buyer, wish, (click, conversion)
    if best is None:
        return plain
    return _bid(row, plain, market, best, most, chances, rng)


def _bid(
    row: LogRow,
    plain: HistoryRow,
    market: SyntheticMarket,
    buyer: _Buyer,
    wish: float,
    chances: tuple[float, float],
    rng: np.random.Generator,
) -> HistoryRow:
    draws = rng.random(4)
    moved = rng.standard_normal()
    density = None
    multiplier = buyer.multiplier
    if draws[0] < EXPLORED:
        wish *= math.exp(SIGMA * moved)
        density = math.exp(-(moved**2) / 2) / (SIGMA * math.sqrt(2 * math.pi))
    bid = min(int(wish * (SHADE if plain.first_price else 1.0)), MAX_BID_CPM_MICROS)
    if bid < row.floor_cpm_micros or bid <= 0 or not buyer.can_pay(bid):
        return plain
    offered = plain._replace(
        campaign=buyer.plan.id,
        bid_id=f"{row.id}-1",
        click_probability=chances[0],
        conversion_probability=chances[1] if buyer.plan.goal is Goal.CONVERSION else None,
        worth_nanos=buyer.worth_nanos,
        multiplier=multiplier,
        bid_nanos=bid,
        density=density,
        told_ns=row.at_ns + 10**9,
    )
    rival = row.market_cpm_micros or 0
    # A tie goes to the rival.
    if bid <= rival:
        return offered._replace(**known_loss(bid)._asdict())
    paid = bid if plain.first_price else max(rival, row.floor_cpm_micros, 1)
    buyer.spent(paid)
    clicked = bool(draws[1] < market.true_ctr(row, buyer.plan.id))
    converted = clicked and bool(draws[2] < market.true_cvr(row, buyer.plan.id))
    shown_ns = row.at_ns + 2 * 10**9
    return offered._replace(
        **known_win(bid, paid, row.floor_cpm_micros, first_price=plain.first_price)._asdict(),
        shown_ns=shown_ns,
        clicked=clicked,
        clicked_ns=shown_ns + 5 * 10**9 if clicked else None,
        converted=converted if clicked else None,
        converted_ns=shown_ns + 600 * 10**9 if converted else None,
        value_nanos=conversion_value_nanos(buyer.plan, float(draws[3])) if converted else 0,
        known_until_ns=shown_ns + _KNOWN_NS,
    )
