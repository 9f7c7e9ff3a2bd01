"""The market that ships with Clearbid: a seeded world of users, sites and rivals, as log rows.

It has two parts, one after the other in time. The *training log* is what six campaigns won under a logging policy
that picks one of the eligible at random: campaign, click, conversion and value are known. The *evaluation
part* is what is on offer afterwards: nobody has won it yet, and clicks are known only to the outcome law
(`true_ctr`, `true_cvr`).

Everything is a function of (seed, rows, days, training share). Rows are drawn chunk by chunk with a generator
of their own, so a part can be read again, and as many rows as one likes take the memory of one chunk.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bidder.core.campaigns import Campaign, Creative, Goal
from bidder.errors import InputError
from simulator.logs.behaviour import HOUR_NS, Behaviour, Columns, conversion_value_nanos, sigmoid
from simulator.logs.plans import PLANS, Plan, targeting_of
from simulator.logs.rows import LogRow
from simulator.logs.traffic import (
    PLACEMENT_POSITION,
    PLACEMENT_SIZE,
    arrivals,
    floors,
    hour_of_week,
    placements,
    rival_prices,
)
from simulator.logs.users import Users
from simulator.logs.world import (
    DEVICES,
    EXCHANGE_SHARES,
    EXCHANGES,
    OPERATING_SYSTEMS,
    PLACEMENTS,
    REGIONS,
    SIZES,
    TOPICS,
    Flags,
    Ints,
    World,
    zipf,
)

START_NS = 1_772_409_600_000_000_000
"""Monday 2 March 2026, 00:00 UTC: where the log begins unless told otherwise."""

CHUNK_ROWS = 8_192
PILOT_ROWS = 16_384
MAX_BID_CPM_MICROS = 25_000_000
CENT_NANOS = 10_000_000
_DAY_NS = 24 * HOUR_NS
_TRAINING, _EVALUATION, _PILOT = 0, 1, 2


class _Chunk(NamedTuple):
    """Rows as columns; see `LogRow` for what each means."""

    at_ns: Ints
    user: Ints
    placement: Ints
    exchange: Ints
    floor: Ints
    market: Ints
    rivals: Flags
    page: Ints
    behaviour: Columns


class SyntheticMarket:
    """A seeded market.

    Args:
        seed: any integer from 0 to 2**63 - 1.
        rows: opportunities in both parts together, >= 2.
        days: length of the whole log.
        start_ns: when it begins.
        training_share: share of rows, and of time, of the training log.

    Raises:
        InputError: if an argument is out of its range.

    Attributes:
        split_ns: where the training log ends and the evaluation part begins.
        end_ns: where the log ends.
        training_rows, evaluation_rows: how many rows each part has.
    """

    def __init__(
        self,
        seed: int,
        rows: int,
        days: float = 2.0,
        start_ns: int = START_NS,
        training_share: float = 0.5,
    ) -> None:
        _check(seed, rows, days, training_share)
        self.seed = seed
        self.rows = rows
        self.start_ns = start_ns
        self.end_ns = start_ns + max(2, round(days * _DAY_NS))
        self.split_ns = start_ns + round((self.end_ns - start_ns) * training_share)
        self.training_rows = min(rows - 1, max(1, round(rows * training_share)))
        self.evaluation_rows = rows - self.training_rows
        self.world = World(seed)
        self.users = Users(seed, rows, self.world)
        self._domain_cdf = np.cumsum(self.world.domain_share)
        self._topic_cdf = np.cumsum(zipf(self.world.domains_of_topic.shape[1], 0.9))
        self._device_mobile = np.array([device.mobile for device in DEVICES])
        self._device_system = np.array([OPERATING_SYSTEMS.index(device.os) for device in DEVICES])
        self._plan_masks = _Masks(self.world)
        pilot = self._chunk(_PILOT, 0)
        self.behaviour = Behaviour(seed, self.world, pilot.behaviour)
        self._pilot = pilot

    def training_log(self) -> Iterator[LogRow]:
        """The rows that the shipped campaigns won, in time order, outcomes known."""
        for number in range(_chunks(self.training_rows)):
            chunk = self._chunk(_TRAINING, number)
            yield from self._logged_rows(chunk, number)

    def opportunities(self) -> Iterator[LogRow]:
        """The rows of the evaluation part, in time order, outcomes unknown."""
        for number in range(_chunks(self.evaluation_rows)):
            chunk = self._chunk(_EVALUATION, number)
            yield from self._rows(chunk, "e", number)

    def true_ctr(self, row: LogRow, campaign_id: str) -> float:
        """Probability that `row`, shown with an ad of the campaign, is clicked."""
        return self.behaviour.ctr(row, campaign_id)

    def true_cvr(self, row: LogRow, campaign_id: str) -> float:
        """Probability that such a click is followed by a conversion."""
        return self.behaviour.cvr(row, campaign_id)

    def unconstrained_spend_nanos(self) -> dict[str, int]:
        """What each campaign would spend in the evaluation part with nothing to stop it, in nanos.

        Estimated on a pilot sample of `PILOT_ROWS` opportunities drawn over the whole part: each campaign
        bids its expected value by the true rates, the best of them takes the row where it beats floor and rivals,
        and pays the second price.
        """
        chunk, plans = self._pilot, len(PLANS)
        clicks = sigmoid(self.behaviour.click_logits(chunk.behaviour))
        buys = sigmoid(self.behaviour.buy_logits(chunk.behaviour))
        per_conversion = np.array([plan.goal is Goal.CONVERSION for plan in PLANS])
        cents = np.array([plan.value_cents for plan in PLANS])
        # A cent an impression is 10 a thousand, 10 million micros of CPM.
        bids = np.where(per_conversion, clicks * buys, clicks) * cents * CENT_NANOS
        bids = np.where(self._plan_masks.eligible(chunk, self.users), bids, 0.0)
        best = bids.argmax(axis=1)
        price = np.maximum(chunk.floor, chunk.market)
        won = np.minimum(bids.max(axis=1), MAX_BID_CPM_MICROS) > price
        spend = np.bincount(best[won], weights=price[won].astype(np.float64), minlength=plans)
        scale = self.evaluation_rows / len(price)
        return {plan.id: int(nanos * scale) for plan, nanos in zip(PLANS, spend.tolist(), strict=True)}

    def _chunk(self, part: int, number: int) -> _Chunk:
        """Chunk `number` of a part; the pilot is one chunk over the whole evaluation part."""
        rng = np.random.default_rng([self.seed, 4, part, number])
        n, low, high = self._extent(part, number)
        begin, end = (self.start_ns, self.split_ns) if part == _TRAINING else (self.split_ns, self.end_ns)
        at_ns = arrivals(begin, end, np.sort(rng.uniform(low, high, n)))
        user = np.searchsorted(self.users.activity_cdf, rng.random(n)).clip(max=len(self.users) - 1)
        device = self.users.device[user]
        domain = self._domains(rng, self.users.favourite[user])
        placement = placements(rng, self._device_mobile[device])
        columns = Columns(
            interests=self.users.interests[user],
            domain=domain,
            size=PLACEMENT_SIZE[placement],
            position=PLACEMENT_POSITION[placement],
            system=self._device_system[device],
            hour=at_ns // HOUR_NS % 24,
        )
        exchange = rng.choice(len(EXCHANGES), n, p=EXCHANGE_SHARES)
        floor = floors(rng, self.world.domain_quality[domain], exchange)
        market, rivals = rival_prices(rng, columns, self.world.domain_quality[domain], floor)
        page = rng.integers(0, 50, n)
        return _Chunk(at_ns, user, placement, exchange, floor, market, rivals, page, columns)

    def _extent(self, part: int, number: int) -> tuple[int, float, float]:
        """Rows of a chunk and the share of the part's traffic that comes before and with it."""
        if part == _PILOT:
            return PILOT_ROWS, 0.0, 1.0
        total = self.training_rows if part == _TRAINING else self.evaluation_rows
        first = number * CHUNK_ROWS
        n = min(CHUNK_ROWS, total - first)
        return n, first / total, (first + n) / total

    def _domains(self, rng: np.random.Generator, favourite: Ints) -> Ints:
        """A site for each visit: three in ten are to a site of a topic that the user likes."""
        n = len(favourite)
        rank = np.searchsorted(self._topic_cdf, rng.random(n)).clip(max=len(self._topic_cdf) - 1)
        liked = self.world.domains_of_topic[favourite, rank]
        any_site = np.searchsorted(self._domain_cdf, rng.random(n)).clip(max=len(self._domain_cdf) - 1)
        return np.where(rng.random(n) < 0.3, liked, any_site)

    def _rows(self, chunk: _Chunk, prefix: str, number: int) -> Iterator[LogRow]:
        """The chunk as opportunities."""
        users, names = self.users, self.world.domain_names
        columns = (
            chunk.at_ns, chunk.user, chunk.placement, chunk.exchange, chunk.floor, chunk.market, chunk.rivals,
            chunk.page, chunk.behaviour.domain, users.region[chunk.user], users.city[chunk.user],
            users.device[chunk.user],
        )  # fmt: skip
        values = zip(*(column.tolist() for column in columns), strict=True)
        for index, (
            at,
            user,
            place,
            exchange,
            floor,
            market,
            rivals,
            page,
            domain,
            region,
            city,
            device,
        ) in enumerate(values, number * CHUNK_ROWS):
            kind, placement, site = DEVICES[device], PLACEMENTS[place], names[domain]
            w, h = SIZES[placement.size]
            yield LogRow(
                id=f"{prefix}{index:09d}",
                at_ns=at,
                exchange=EXCHANGES[exchange],
                user_id=users.ids[user],
                ip=users.ips[user],
                ua=kind.ua,
                os=kind.os,
                browser=kind.browser,
                region=REGIONS[region],
                city=f"{REGIONS[region]}-{city}",
                domain=site,
                page=f"https://{site}/p{page}",
                tag_id=f"{site}-{place}",
                w=w,
                h=h,
                position=placement.position,
                floor_cpm_micros=floor,
                segments=users.segments[user],
                market_cpm_micros=market if rivals else None,
                campaign=None,
                clicked=None,
                converted=None,
                value_nanos=0,
                pctr=None,
            )

    def _logged_rows(self, chunk: _Chunk, number: int) -> Iterator[LogRow]:
        """The chunk as won by the logging policy, with clicks and conversions by the true rates."""
        rng = np.random.default_rng([self.seed, 5, number])
        n = len(chunk.at_ns)
        # The largest of log-share plus Gumbel noise is a draw by share among the eligible.
        shares = np.log([plan.log_share for plan in PLANS]) + rng.gumbel(size=(n, len(PLANS)))
        pick = np.where(self._plan_masks.eligible(chunk, self.users), shares, -np.inf).argmax(axis=1)
        each = np.arange(n)
        clicked = rng.random(n) < sigmoid(self.behaviour.click_logits(chunk.behaviour)[each, pick])
        buys = rng.random(n) < sigmoid(self.behaviour.buy_logits(chunk.behaviour)[each, pick])
        outcomes = zip(
            pick.tolist(), clicked.tolist(), (clicked & buys).tolist(), rng.random(n).tolist(), strict=True
        )
        for row, (campaign, click, conversion, draw) in zip(
            self._rows(chunk, "t", number), outcomes, strict=True
        ):
            plan = PLANS[campaign]
            value_nanos = conversion_value_nanos(plan, draw) if conversion else 0
            yield row._replace(campaign=plan.id, clicked=click, converted=conversion, value_nanos=value_nanos)


def default_campaigns(market: SyntheticMarket) -> list[Campaign]:
    """The six shipped campaigns, with the evaluation part as their flight.

    Each budget is the plan's `budget_factor` times what the campaign would spend there with nothing to stop it
    (`SyntheticMarket.unconstrained_spend_nanos`), in whole cents and at least one. So budgets scale with the
    number of rows, four of the six bind (factors of 0.4 to 0.5) and two do not (4.0).
    """
    spend = market.unconstrained_spend_nanos()
    return [_campaign(plan, spend[plan.id], market) for plan in PLANS]


def _campaign(plan: Plan, unconstrained_nanos: int, market: SyntheticMarket) -> Campaign:
    budget_cents = max(1, round(plan.budget_factor * unconstrained_nanos / CENT_NANOS))
    site = f"{plan.advertiser}.example"
    return Campaign(
        id=plan.id,
        name=plan.name,
        advertiser=plan.advertiser,
        adomain=(site,),
        budget_nanos=budget_cents * CENT_NANOS,
        start_ns=market.split_ns,
        end_ns=market.end_ns,
        goal=plan.goal,
        value_nanos=plan.value_cents * CENT_NANOS,
        max_bid_cpm_micros=MAX_BID_CPM_MICROS,
        targeting=targeting_of(plan, market.world),
        creatives=tuple(
            Creative(
                id=f"{plan.id}-{w}x{h}",
                w=w,
                h=h,
                image_url=f"https://cdn.{site}/{plan.id}-{w}x{h}.png",
                landing_url=f"https://www.{site}/{plan.id}",
            )
            for w, h in (SIZES[size] for size in plan.sizes)
        ),
    )


class _Masks:
    """The plans' targeting as one table of flags a dimension, bool (values, campaigns)."""

    def __init__(self, world: World) -> None:
        topics = [TOPICS[topic] for topic in world.domain_topic.tolist()]
        self._region = np.array([[not p.regions or name in p.regions for p in PLANS] for name in REGIONS])
        self._domain = np.array(
            [[not p.site_topics or name in p.site_topics for p in PLANS] for name in topics]
        )
        self._hour = np.array([[not p.hours or hour in p.hours for p in PLANS] for hour in range(168)])
        self._size = np.array([[size in p.sizes for p in PLANS] for size in range(len(SIZES))])
        self._segment = np.array([[name in p.segments for p in PLANS] for name in TOPICS])
        self._any_segment = np.array([not p.segments for p in PLANS])

    def eligible(self, chunk: _Chunk, users: Users) -> Flags:
        """Which campaigns may have each row, bool (n, campaigns)."""
        columns = chunk.behaviour
        segment = (columns.interests @ self._segment.astype(np.int64)) > 0
        return np.asarray(
            self._region[users.region[chunk.user]]
            & self._domain[columns.domain]
            & self._hour[hour_of_week(chunk.at_ns)]
            & self._size[columns.size]
            & (segment | self._any_segment)
        )


def _chunks(rows: int) -> int:
    return -(-rows // CHUNK_ROWS)


def _check(seed: int, rows: int, days: float, training_share: float) -> None:
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be from 0 to 2**63 - 1, was {seed}")
    if rows < 2:
        raise InputError(f"rows must be at least 2, one to train on and one to bid on, was {rows}")
    if not 0 < days <= 366:
        raise InputError(f"days must be above 0 and at most 366, was {days}")
    if not 0 < training_share < 1:
        raise InputError(f"training_share must be between 0 and 1, was {training_share}")
