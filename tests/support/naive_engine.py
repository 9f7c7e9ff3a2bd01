"""The slow twin of `bidder.core.kernels.decide_rows` and of the bitset rows it reads.

No bitsets, no columns: it loops over campaigns and their rules as ad-ops stated them, and over offers one after
another. For one candidate, in this order of operations (floats are compared bit by bit):

    value = pctr * value_of_the_goal (* pcvr where the goal is a conversion)
    worth = value * multiplier       (* the exchange's shade where it charges the bid itself)
    bid   = min(whole nanos of worth, max bid)          refused if below 1, the floor, or above what is free

The candidate of the highest worth takes the offer, of equals the one whose id sorts first. A multiplier drifts
at each offer that a campaign was eligible, in flight, scored and leased for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bidder.core.campaigns import Campaign, Goal, Pacing, Rule, Status
from bidder.openrtb.reasons import Reason
from tests.support.factories import Offer

Scorer = Callable[[Campaign, Offer, int], tuple[float, float]]
"""Probabilities of a click, and of a conversion after it, for (campaign, offer, hour of the week)."""


@dataclass
class Account:
    """What one campaign has at the seat, and what pacing has learned."""

    free_nanos: int
    lease_until_ns: int
    multiplier: float
    drift: float = 1.0
    seen: int = 0
    funnel: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Outcome:
    """How one offer ended."""

    reason: Reason
    campaign_id: str = ""
    bid_nanos: int = 0
    pctr: float = 0.0
    pcvr: float = 0.0
    multiplier: float = 0.0


class NaiveEngine:
    """Decides offers against campaigns and accounts by id; `score` stands for the model, None for no model."""

    def __init__(
        self,
        campaigns: Sequence[Campaign],
        accounts: dict[str, Account],
        shade: float,
        score: Scorer | None = None,
    ) -> None:
        self.campaigns = sorted(campaigns, key=lambda campaign: campaign.id)
        self.accounts = accounts
        self._shade = shade
        self._score = score

    def decide(self, offers: Sequence[Offer], now_ns: int) -> list[Outcome]:
        """An outcome for each offer, in order."""
        return [self._decide(offer, now_ns) for offer in offers]

    def _decide(self, offer: Offer, now_ns: int) -> Outcome:
        hour = (now_ns // (3_600 * 10**9) + 72) % 168
        eligible, refused = self._eligible(offer, hour)
        if refused is not None:
            return Outcome(refused)
        ends = {campaign.id: self._candidate(campaign, offer, hour, now_ns) for campaign in eligible}
        bids = [(end[1], end[0]) for end in ends.values() if isinstance(end, tuple)]
        reasons = [end for end in ends.values() if isinstance(end, Reason)]
        best: tuple[float, Outcome] | None = None
        for worth, outcome in bids:
            if best is None or worth > best[0]:
                best = (worth, outcome)
        if not offer.test:
            for campaign_id, end in ends.items():
                won = best is not None and isinstance(end, tuple) and end[0] is best[1]
                name = end.name.lower() if isinstance(end, Reason) else "bid" if won else "outbid"
                self.accounts[campaign_id].funnel.update(["eligible", name])
        if best is None:
            return Outcome(max(reasons))
        if not offer.test:
            self.accounts[best[1].campaign_id].free_nanos -= best[1].bid_nanos
        return best[1]

    def _eligible(self, offer: Offer, hour: int) -> tuple[list[Campaign], Reason | None]:
        left = [campaign for campaign in self.campaigns if campaign.status is Status.ACTIVE]
        if not left:
            return left, Reason.NO_CAMPAIGNS
        for reason, admits in _DIMENSIONS:
            left = [campaign for campaign in left if admits(campaign, offer, hour)]
            if not left:
                return left, reason
        return left, None

    def _candidate(
        self, campaign: Campaign, offer: Offer, hour: int, now_ns: int
    ) -> Reason | tuple[Outcome, float]:
        account = self.accounts[campaign.id]
        if not campaign.start_ns <= now_ns < campaign.end_ns:
            return Reason.FLIGHT
        scores = self._scores(campaign, offer, hour)
        if scores is None:
            return Reason.UNSCORED
        if now_ns >= account.lease_until_ns:
            return Reason.NO_LEASE
        multiplier = account.multiplier
        if not offer.test:
            account.seen += 1
            account.multiplier = min(1.0, multiplier * account.drift)
        pctr, pcvr = scores
        value = pctr * campaign.value_nanos
        if campaign.goal is Goal.CONVERSION:
            value *= pcvr
        worth = value * multiplier
        if offer.at == 1:
            worth *= self._shade
        if not worth >= 1.0:
            return Reason.NO_VALUE
        bid = min(int(worth), campaign.max_bid_cpm_micros)
        if bid < offer.floor_cpm_micros:
            return Reason.BELOW_FLOOR
        if bid > account.free_nanos:
            return Reason.BUDGET
        return Outcome(Reason.BID, campaign.id, bid, pctr, pcvr, multiplier), worth

    def _scores(self, campaign: Campaign, offer: Offer, hour: int) -> tuple[float, float] | None:
        if offer.external is not None:
            of_campaign, pctr = offer.external
            return (min(max(pctr, 0.0), 1.0), 0.0) if of_campaign == campaign.id else None
        if self._score is None:
            return None
        pctr, pcvr = self._score(campaign, offer, hour)
        return pctr, pcvr if campaign.goal is Goal.CONVERSION else 0.0


def _keeps(rule: Rule, shown: Sequence[str]) -> bool:
    if any(value in rule.exclude for value in shown):
        return False
    return not rule.include or any(value in rule.include for value in shown)


def _size(campaign: Campaign, offer: Offer, hour: int) -> bool:
    return any(
        (creative.w, creative.h) in offer.sizes and (creative.secure or not offer.secure)
        for creative in campaign.creatives
    )


def _domain(campaign: Campaign, offer: Offer, hour: int) -> bool:
    if offer.domain is None:
        return _keeps(campaign.targeting.domain, ())
    host = offer.domain.lower()
    rule = campaign.targeting.domain
    parents = [name for name in {*rule.include, *rule.exclude} if host.endswith("." + name) and "." in name]
    return _keeps(rule, (host, *parents))


def _not_blocked(campaign: Campaign, offer: Offer, hour: int) -> bool:
    for blocked in offer.badv:
        name = blocked.lower()
        for own in (domain.lower() for domain in campaign.adomain):
            if own == name or ("." in name and own.endswith("." + name)):
                return False
    if any(category in offer.bcat or category.split("-")[0] in offer.bcat for category in campaign.cat):
        return False
    return not any(attr in offer.battr for creative in campaign.creatives for attr in creative.attr)


_DIMENSIONS: tuple[tuple[Reason, Callable[[Campaign, Offer, int], bool]], ...] = (
    (Reason.EXCHANGE, lambda c, offer, hour: _keeps(c.targeting.exchange, (offer.exchange,))),
    (Reason.SIZE, _size),
    (Reason.HOUR, lambda c, offer, hour: _keeps(c.targeting.hour, (str(hour),))),
    (Reason.GEO, lambda c, offer, hour: _keeps(c.targeting.geo, _places(offer))),
    (Reason.DOMAIN, _domain),
    (Reason.SEGMENT, lambda c, offer, hour: _keeps(c.targeting.segment, offer.segments)),
    (Reason.BLOCKED, _not_blocked),
)


def _places(offer: Offer) -> tuple[str, ...]:
    return tuple(place for place in (offer.region, offer.country) if place)


def account(campaign: Campaign, free_nanos: int, lease_until_ns: int, start: float, drift: float) -> Account:
    """An account as an engine opens it: `asap` bids its whole value and does not drift."""
    if campaign.pacing is Pacing.ASAP:
        return Account(free_nanos, lease_until_ns, 1.0, 1.0)
    return Account(free_nanos, lease_until_ns, start, drift)
