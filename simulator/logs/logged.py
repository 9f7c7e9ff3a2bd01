"""Campaigns for a log of someone else's auctions: one for each campaign that the log has.

A log tells what was bought and what it brought, not what the buyer had to spend. `summarise` adds a log up
in one pass; `campaigns_of` makes campaigns that buy the same again with a budget that is a share of what it
cost, the setting of the published iPinYou experiments (budgets of 1/2 to 1/64 of the logged cost).
"""

from collections.abc import Iterable
from fractions import Fraction

import msgspec

from bidder.core.campaigns import Campaign, Creative, Goal, Rule, Targeting
from bidder.errors import InputError
from simulator.logs.ipinyou import CURRENCY, Kind
from simulator.logs.rows import LogRow

BUDGET_SHARES = {Kind.FEATURES: Fraction(1, 4), Kind.AUCTIONS: Fraction(1, 8)}
"""Budget over logged cost, unless told otherwise."""

VALUE_OVER_COST_PER_CLICK = 3
"""Worth of a click over what it cost in the log. At three times the logged price the mean bid is far above the
mean market price, so that without pacing a campaign would buy most of its log: a budget of a quarter binds."""

MAX_BID_CPM_MICROS = 30_000_000
"""30 CNY CPM, ten times the highest price in iPinYou: room for a click that is very likely."""

_CENT_NANOS = 10_000_000


class LoggedCampaign(msgspec.Struct):
    """What a log says of one campaign; costs in nanos."""

    rows: int = 0
    clicks: int = 0
    cost_nanos: int = 0
    sizes: set[tuple[int, int]] = msgspec.field(default_factory=set)
    exchanges: set[str] = msgspec.field(default_factory=set)


class LogSummary(msgspec.Struct):
    """What a log says of its campaigns, by id, and its first and last time."""

    campaigns: dict[str, LoggedCampaign] = msgspec.field(default_factory=dict)
    first_ns: int | None = None
    last_ns: int | None = None

    def add(self, row: LogRow) -> None:
        """Counts one row; one that nobody won counts for the times only."""
        self.first_ns = row.at_ns if self.first_ns is None else min(self.first_ns, row.at_ns)
        self.last_ns = row.at_ns if self.last_ns is None else max(self.last_ns, row.at_ns)
        if row.campaign is None:
            return
        campaign = self.campaigns.setdefault(row.campaign, LoggedCampaign())
        campaign.rows += 1
        campaign.clicks += bool(row.clicked)
        # A micro of CPM is a nano for one impression.
        campaign.cost_nanos += max(row.market_cpm_micros or 0, row.floor_cpm_micros)
        campaign.sizes.add((row.w, row.h))
        campaign.exchanges.add(row.exchange)


def summarise(rows: Iterable[LogRow]) -> LogSummary:
    """Adds up a log, or the part of it that campaigns are to be played on."""
    summary = LogSummary()
    for row in rows:
        summary.add(row)
    return summary


def campaigns_of(
    summary: LogSummary, budget_share: Fraction, start_ns: int | None = None, end_ns: int | None = None
) -> list[Campaign]:
    """One campaign for each of the log's, by id.

    Each pays for clicks, may bid on the exchanges where the log saw it, and has a creative of every size that
    it was shown in. A click is worth `VALUE_OVER_COST_PER_CLICK` times the cost per click in the log, with
    one click added so that a campaign without any has a finite one.

    Args:
        summary: of the evaluation part.
        budget_share: budget over logged cost, see `BUDGET_SHARES`.
        start_ns: begin of the flight; None takes the summary's first time.
        end_ns: end of the flight; None takes the nanosecond after the summary's last time.

    Raises:
        InputError: if the log has no campaign, or the share is not in (0, 1].
    """
    if not 0 < budget_share <= 1:
        raise InputError(f"budget share must be above 0 and at most 1, was {budget_share}")
    if not summary.campaigns or summary.first_ns is None or summary.last_ns is None:
        raise InputError("log must have rows that a campaign won, had none")
    flight = (
        summary.first_ns if start_ns is None else start_ns,
        summary.last_ns + 1 if end_ns is None else end_ns,
    )
    return [
        _campaign(name, summary.campaigns[name], budget_share, flight) for name in sorted(summary.campaigns)
    ]


def _campaign(name: str, logged: LoggedCampaign, budget_share: Fraction, flight: tuple[int, int]) -> Campaign:
    site = f"advertiser-{name}.example"
    value_cents = VALUE_OVER_COST_PER_CLICK * logged.cost_nanos // ((logged.clicks + 1) * _CENT_NANOS)
    budget_cents = int(logged.cost_nanos * budget_share) // _CENT_NANOS
    return Campaign(
        id=name,
        name=f"iPinYou {name}",
        advertiser=name,
        adomain=(site,),
        currency=CURRENCY,
        budget_nanos=max(1, budget_cents) * _CENT_NANOS,
        start_ns=flight[0],
        end_ns=flight[1],
        goal=Goal.CLICK,
        value_nanos=max(1, value_cents) * _CENT_NANOS,
        max_bid_cpm_micros=MAX_BID_CPM_MICROS,
        targeting=Targeting(exchange=Rule(include=tuple(sorted(logged.exchanges)))),
        creatives=tuple(
            Creative(
                id=f"{name}-{w}x{h}",
                w=w,
                h=h,
                image_url=f"https://cdn.{site}/{w}x{h}.png",
                landing_url=f"https://www.{site}/",
            )
            for w, h in sorted(logged.sizes)
        ),
    )
