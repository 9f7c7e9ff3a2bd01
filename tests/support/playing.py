"""Small plans for runs on virtual time: real requests of the synthetic market, scores that come with them."""

from functools import cache
from typing import Any

import msgspec
import orjson

from bidder.core.campaigns import Goal, Pacing, Targeting
from bidder.core.messages import DECISIONS
from bidder.core.settings import PacingSettings
from simulator.demo.inprocess import Played
from simulator.demo.plan import Plan
from simulator.exchange.outcomes import SyntheticOutcomes
from simulator.logs.synthetic import SyntheticMarket, default_campaigns

S = 1_000_000_000
"""Nanoseconds in a second, and nanos in a unit of currency."""
KEY = b"key of the runs on virtual time."
MAX_BID_CPM_MICROS = 2_000_000


@cache
def scored_plan(
    seed: int = 7, rows: int = 600, rows_per_second: float = 3.0, budget_nanos: int = S // 8
) -> Plan:
    """A plan without models: each row brings a click probability for one of two campaigns.

    Both pay for clicks, bid wherever a creative fits, and as soon as possible: they would spend about twice
    `budget_nanos`, so that budgets are met with all the force there is.
    """
    market = SyntheticMarket(seed, 2 * rows, days=2 * rows / rows_per_second / 86_400)
    shipped = default_campaigns(market)[:2]
    names = [campaign.id for campaign in shipped]
    played = tuple(
        row._replace(campaign=names[number % 2], pctr=0.01)
        for number, row in enumerate(market.opportunities())
    )
    changes: dict[str, Any] = {
        "budget_nanos": budget_nanos,
        "max_bid_cpm_micros": MAX_BID_CPM_MICROS,
        "value_nanos": S // 4,
        "goal": Goal.CLICK,
        "pacing": Pacing.ASAP,
        "targeting": Targeting(),
    }
    return Plan(
        name="scored rows",
        seed=seed,
        training=None,
        rows=lambda: iter(played),
        row_count=len(played),
        start_ns=market.split_ns,
        end_ns=market.end_ns,
        campaigns={one.id: msgspec.structs.replace(one, **changes) for one in shipped},
        outcomes=SyntheticOutcomes(market),
        currency="USD",
        exchanges=tuple(sorted({row.exchange for row in played})),
        first_price=frozenset(),
        pacing=PacingSettings(),
        notes=(),
    )


def decision_rows(played: Played) -> list[dict[str, Any]]:
    """The decision log of a run, in the order of its partitions."""
    return [
        orjson.loads(line)
        for log in played.bus.log(DECISIONS)
        for message in log
        for line in message.value.splitlines()
    ]


def overspent(played: Played, plan: Plan) -> dict[str, int]:
    """By campaign, nanos booked above its budget and its late wins; empty where the promise holds."""
    over = {
        name: report.spend_nanos - report.late_nanos - plan.campaigns[name].budget_nanos
        for name, report in played.reports.items()
    }
    return {name: nanos for name, nanos in over.items() if nanos > 0}
