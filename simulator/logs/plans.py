"""The six campaigns that ship with the synthetic market: whom they address and who answers them.

Four advertisers, goals of both kinds, and one campaign at least for each kind of targeting: none, region,
site list, segment, hour.
"""

from typing import NamedTuple

from bidder.core.campaigns import Goal, Rule, Targeting
from simulator.logs.world import REGIONS, SIZES, TOPICS, World


class Plan(NamedTuple):
    """One campaign before it has a budget and a flight.

    Attributes:
        id, name, advertiser: as in `Campaign`; the advertiser's site is `<advertiser>.example`.
        goal: what it pays for.
        value_cents: worth of one goal event in cents of the account's currency.
        conversion_cents: worth of one conversion, whatever the goal.
        ctr, cvr: mean click and conversion probability over all users.
        topics: interests of the users that answer it.
        sizes: indexes in `SIZES` of its creatives.
        budget_factor: budget over what it would spend with nothing to stop it; below 1 it binds.
        regions, segments, hours: targeting, empty for all; `site_topics` stands for the sites of these topics.
        log_share: how often the logging policy of the training log picked it.
    """

    id: str
    name: str
    advertiser: str
    goal: Goal
    value_cents: int
    conversion_cents: int
    ctr: float
    cvr: float
    topics: tuple[str, ...]
    sizes: tuple[int, ...]
    budget_factor: float
    regions: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    site_topics: tuple[str, ...] = ()
    hours: tuple[int, ...] = ()
    log_share: float = 1.0


_ALL_SIZES = tuple(range(len(SIZES)))
_WAKING_HOURS = tuple(day * 24 + hour for day in range(7) for hour in range(6, 23))

PLANS = (
    Plan(
        "aurora-brand", "Aurora Shoes, new season", "aurora-shoes", Goal.CLICK, 30, 420, 0.013, 0.055,
        ("fashion", "sports"), _ALL_SIZES, 0.40, log_share=0.8,
    ),
    Plan(
        "aurora-sale", "Aurora Shoes, sale", "aurora-shoes", Goal.CONVERSION, 480, 480, 0.014, 0.042,
        ("fashion", "fitness", "sports"), (0, 3, 4), 0.45,
        segments=("fashion", "fitness", "sports", "outdoors", "travel"), log_share=1.3,
    ),
    Plan(
        "beacon-card", "Beacon Bank, card", "beacon-bank", Goal.CONVERSION, 600, 600, 0.012, 0.052,
        ("finance", "business"), (0, 1, 2), 0.50, regions=REGIONS[:14], log_share=1.3,
    ),
    Plan(
        "beacon-loan", "Beacon Bank, car loan", "beacon-bank", Goal.CLICK, 33, 480, 0.012, 0.05,
        ("autos", "finance"), (0, 1, 3, 4), 0.50, hours=_WAKING_HOURS, log_share=1.0,
    ),
    Plan(
        "cedar-trips", "Cedar Travel, trips", "cedar-travel", Goal.CLICK, 33, 450, 0.016, 0.055,
        ("travel", "outdoors"), _ALL_SIZES, 4.0,
        site_topics=("travel", "outdoors", "news", "cooking", "science"), log_share=1.5,
    ),
    Plan(
        "delta-play", "Delta Games, launch", "delta-games", Goal.CLICK, 27, 360, 0.015, 0.062,
        ("gaming", "technology", "movies"), (0, 3), 1.2, log_share=0.8,
    ),
)  # fmt: skip


def targeting_of(plan: Plan, world: World) -> Targeting:
    """The plan's targeting rules, with the sites of its topics as a list of domains."""
    topics = {TOPICS.index(topic) for topic in plan.site_topics}
    sites = (
        name
        for name, topic in zip(world.domain_names, world.domain_topic.tolist(), strict=True)
        if topic in topics
    )
    return Targeting(
        geo=Rule(include=plan.regions),
        domain=Rule(include=tuple(sites)),
        segment=Rule(include=plan.segments),
        hour=Rule(include=tuple(str(hour) for hour in plan.hours)),
    )
