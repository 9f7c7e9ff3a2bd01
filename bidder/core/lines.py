"""Line items as the tables read them: each with what its campaign and its advertiser say too.

See `core.campaigns` for which of the three has the word. Everything here is made once for each change of campaigns.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec

from bidder.core.campaigns import (
    DIMENSIONS,
    TARGETS,
    VALUE_SPREAD,
    Advertiser,
    Campaign,
    Cap,
    CatchUp,
    Creative,
    Flight,
    Goal,
    LineItem,
    Modifier,
    Pacing,
    Rule,
    Status,
    UnknownUser,
)
from bidder.core.frequency import Cap as OwnedCap
from bidder.core.frequency import Level, owner_number
from bidder.errors import InputError
from bidder.money import MAX_NANOS, MICROS_PER_UNIT

NO_RULE = Rule()
DEFAULT_AHEAD_PERCENT = 20
NS_PER_SECOND = 1_000_000_000


class Aim(IntEnum):
    """What a target counts: impressions, clicks or conversions that are paid, or value that is got for spend."""

    CPM = 0
    CPC = 1
    CPA = 2
    ROAS = 3


LEAST_CHANCE = {Goal.CLICK: 1e-3, Goal.CONVERSION: 1e-5, Goal.VALUE: 1e-5, Goal.VIEW: 0.1, Goal.COMPLETE: 0.1}
"""Where as many events as possible are wanted, an event is worth what makes the bid its highest at this probability:
so little that pacing, and not this, bounds bids, and so much that pacing gets there within some dozen wins."""


class Target(NamedTuple):
    """A target of a line item.

    Attributes:
        owner: line item or campaign over all of which it is kept. aim: what it counts.
        nanos: what one counted event may cost; of ROAS what the spend for a goal event may be, by its mean value.
    """

    owner: str
    aim: Aim
    nanos: int


class Line(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One line item, resolved; `item` is None where the campaign is its own.

    `least_value_nanos` and `most_value_nanos` bound what the model says of a conversion; both are 0 where the value
    is what is stated.
    """

    id: str
    campaign: Campaign
    advertiser: Advertiser
    item: LineItem | None
    active: bool
    flights: tuple[Flight, ...]
    goal: Goal
    value_nanos: int
    least_value_nanos: int
    most_value_nanos: int
    targets: tuple[Target, ...]
    max_bid_cpm_micros: int
    min_bid_cpm_micros: int
    fee_ppm: int
    fee_cpm_micros: int
    pacing: Pacing
    ahead_percent: int
    catch_up: CatchUp
    rules: dict[str, Rule]
    modifiers: tuple[Modifier, ...]
    caps: tuple[OwnedCap, ...]
    unknown_user: UnknownUser
    creatives: tuple[Creative, ...]

    @property
    def line_item_id(self) -> str:
        """As messages name it: empty where the line item is the campaign's own."""
        return "" if self.item is None else self.item.id

    @property
    def unit_nanos(self) -> int:
        """What a goal event is worth to the bidder: as stated, else so much that pacing and targets bound bids."""
        if self.value_nanos:
            return self.value_nanos
        return min(round(self.max_bid_cpm_micros / LEAST_CHANCE[self.goal]), MAX_NANOS)

    @property
    def most_nanos(self) -> int:
        """The most that one impression costs its budgets: the highest bid with its fees."""
        return (
            self.max_bid_cpm_micros - (-self.max_bid_cpm_micros * self.fee_ppm // 10**6) + self.fee_cpm_micros
        )


def lines_of(campaigns: Mapping[str, Campaign], advertisers: Mapping[str, Advertiser]) -> tuple[Line, ...]:
    """All line items in the order of their ids.

    Args:
        campaigns: by id. advertisers: by id; one that is not there is as `Advertiser` has it by default.

    Raises:
        InputError: two line items of one id.
    """
    lines: dict[str, Line] = {}
    for campaign in campaigns.values():
        advertiser = advertisers.get(campaign.advertiser) or Advertiser(id=campaign.advertiser)
        for item in campaign.line_items or (None,):
            line = line_of(campaign, item, advertiser)
            if line.id in lines:
                raise InputError(
                    f"ids of line items must be of their own, {line.id} of campaign {campaign.id} is one of "
                    f"campaign {lines[line.id].campaign.id} too"
                )
            lines[line.id] = line
    return tuple(lines[line_id] for line_id in sorted(lines))


def line_of(campaign: Campaign, item: LineItem | None, advertiser: Advertiser) -> Line:
    """One line item with what its campaign and its advertiser say; `item` None is the campaign's own."""
    own = item or LineItem(id=campaign.id)
    statuses = (advertiser.status, campaign.status, own.status)
    fees = campaign.fees + own.fees
    whole = Flight(start_ns=campaign.start_ns, end_ns=campaign.end_ns)
    least, most = _value_bounds(campaign, own)
    return Line(
        id=own.id,
        campaign=campaign,
        advertiser=advertiser,
        item=item,
        active=all(status is Status.ACTIVE for status in statuses),
        flights=_within(own.flights, whole) if own.flights else (whole,),
        goal=own.goal or campaign.goal,
        value_nanos=own.value_nanos or campaign.value_nanos,
        least_value_nanos=least,
        most_value_nanos=most,
        targets=_targets(campaign, own),
        max_bid_cpm_micros=own.max_bid_cpm_micros or campaign.max_bid_cpm_micros,
        min_bid_cpm_micros=own.min_bid_cpm_micros or campaign.min_bid_cpm_micros,
        fee_ppm=sum(fee.ppm for fee in fees),
        fee_cpm_micros=sum(fee.cpm_micros for fee in fees),
        pacing=own.pacing or campaign.pacing,
        ahead_percent=own.ahead_percent or campaign.ahead_percent or DEFAULT_AHEAD_PERCENT,
        catch_up=own.catch_up or campaign.catch_up,
        rules=_rules(campaign, item),
        modifiers=campaign.modifiers + own.modifiers if own.modifiers else campaign.modifiers,
        caps=_caps(campaign, item, advertiser),
        unknown_user=own.unknown_user or campaign.unknown_user,
        creatives=_creatives(campaign, own),
    )


def _value_bounds(campaign: Campaign, own: LineItem) -> tuple[int, int]:
    """The least and the most that the model's value of a conversion may be; 0 and 0 where the model has no say."""
    if (own.value_source or campaign.value_source) != "model":
        return 0, 0
    value = own.value_nanos or campaign.value_nanos
    return max(1, value // VALUE_SPREAD), min(value * VALUE_SPREAD, MAX_NANOS)


def _targets(campaign: Campaign, own: LineItem) -> tuple[Target, ...]:
    """The target of cost or return and the cap on the mean CPM, each with over whose spend it is kept."""
    found: list[Target] = []
    stated = own if any(getattr(own, name) for name in TARGETS) else campaign
    if stated.target_cpc_nanos:
        found.append(Target(stated.id, Aim.CPC, stated.target_cpc_nanos))
    elif stated.target_cpa_nanos:
        found.append(Target(stated.id, Aim.CPA, stated.target_cpa_nanos))
    elif stated.target_roas_ppm:
        value = own.value_nanos or campaign.value_nanos
        found.append(Target(stated.id, Aim.ROAS, max(1, value * MICROS_PER_UNIT // stated.target_roas_ppm)))
    cap = own.cpm_cap_micros or campaign.cpm_cap_micros
    if cap:
        found.append(Target(own.id if own.cpm_cap_micros else campaign.id, Aim.CPM, cap))
    return tuple(found)


def _within(flights: tuple[Flight, ...], whole: Flight) -> tuple[Flight, ...]:
    """The parts of a line item's flights that lie in its campaign's, in order of time."""
    parts = ((max(flight.start_ns, whole.start_ns), min(flight.end_ns, whole.end_ns)) for flight in flights)
    return tuple(Flight(start_ns=start, end_ns=end) for start, end in sorted(parts) if start < end)


def _rules(campaign: Campaign, item: LineItem | None) -> dict[str, Rule]:
    """Rules by dimension, those that say nothing left out."""
    found: dict[str, Rule] = {}
    for name in DIMENSIONS:
        above: Rule = getattr(campaign.targeting, name)
        if item is not None:
            own: Rule = getattr(item.targeting, name)
            if own != NO_RULE:
                above = Rule(own.include or above.include, above.exclude + own.exclude)
        if above.include or above.exclude:
            found[name] = above
    return found


def _caps(campaign: Campaign, item: LineItem | None, advertiser: Advertiser) -> tuple[OwnedCap, ...]:
    """Caps of all three levels, each with whose impressions it counts; those of one owner stand together."""
    levels: list[tuple[Level, str, tuple[Cap, ...]]] = [
        (Level.LINE_ITEM, item.id if item is not None else "", item.caps if item is not None else ()),
        (Level.CAMPAIGN, campaign.id, campaign.caps),
        (Level.ADVERTISER, advertiser.id, advertiser.caps),
    ]
    return tuple(
        OwnedCap(owner_number(level, name), cap.seconds * NS_PER_SECOND, cap.impressions)
        for level, name, caps in levels
        for cap in caps
    )


def _creatives(campaign: Campaign, item: LineItem) -> tuple[Creative, ...]:
    """The creatives that may be shown, in the campaign's order."""
    shown = [creative for creative in campaign.creatives if creative.status is Status.ACTIVE]
    if not item.creatives:
        return tuple(shown)
    wanted = set(item.creatives)
    return tuple(creative for creative in shown if creative.id in wanted)
