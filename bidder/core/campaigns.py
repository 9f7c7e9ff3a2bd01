"""Campaigns as ad-ops state them.

`Campaign` is the frozen record that sheets, store and messages share.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

from bidder.errors import InputError
from bidder.money import MAX_NANOS

Nanos = Annotated[int, msgspec.Meta(ge=0, le=MAX_NANOS)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=MAX_NANOS)]
"""Nanoseconds since the epoch, up to the year 2255: an int64 with room to add to it."""
PositiveNanos = Annotated[int, msgspec.Meta(gt=0, le=MAX_NANOS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f\\]+\Z")
_IDENTIFIER = r"\A[A-Za-z0-9._:-]{1,64}\Z"
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_IDENTIFIER)]
_identifier = re.compile(_IDENTIFIER)


def is_identifier(text: str) -> bool:
    """Whether text can be the id of a campaign, a creative or an advertiser."""
    return _identifier.match(text) is not None


class Status(StrEnum):
    """Whether a campaign may bid."""

    ACTIVE = "active"
    PAUSED = "paused"


class Goal(StrEnum):
    """What a campaign pays for in value: the event that `value_nanos` is the worth of."""

    CLICK = "click"
    CONVERSION = "conversion"


class Pacing(StrEnum):
    """How a budget is spread over the flight."""

    EVEN = "even"
    ASAP = "asap"


class Creative(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One banner: its size in pixels, its image and its landing page (both https when `secure`)."""

    id: Identifier
    w: Annotated[int, msgspec.Meta(gt=0, le=10_000)]
    h: Annotated[int, msgspec.Meta(gt=0, le=10_000)]
    image_url: str
    landing_url: str
    attr: tuple[int, ...] = ()

    @property
    def secure(self) -> bool:
        """Whether all that the creative loads comes by https (OpenRTB 2.6 section 3.2.4, `imp.secure`)."""
        return self.image_url.startswith("https://")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values to include and to exclude of one dimension; an empty include admits every value."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Targeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a campaign may bid, a rule a dimension.

    geo: regions, as `device.geo.region` has them, or countries (`USA`), upper case.
    exchange: names of exchanges as configured. domain: registrable domains or app bundles, lower case.
    segment: ids in `user.data[].segment[].id`. hour: hours of the week of the flight's UTC clock, `0`
    (Monday 00:00) to `167`. Sizes are not stated: they are those of the creatives.
    """

    geo: Rule = Rule()
    exchange: Rule = Rule()
    domain: Rule = Rule()
    segment: Rule = Rule()
    hour: Rule = Rule()


class Campaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One campaign: who pays, for what, how much, when and where.

    `budget_nanos` is for the whole flight. `value_nanos` is what one goal event is worth to the advertiser;
    a bid never passes the expected value nor `max_bid_cpm_micros`. The flight is [start_ns, end_ns).
    """

    id: Identifier
    name: Name
    advertiser: Identifier
    adomain: tuple[str, ...]
    cat: tuple[str, ...] = ()
    status: Status = Status.ACTIVE
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")] = "USD"
    budget_nanos: PositiveNanos
    start_ns: Instant
    end_ns: Instant
    goal: Goal = Goal.CLICK
    value_nanos: PositiveNanos
    max_bid_cpm_micros: PositiveNanos
    pacing: Pacing = Pacing.EVEN
    targeting: Targeting = Targeting()
    creatives: tuple[Creative, ...]

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise ValueError(f"end must be after start, was {self.end_ns} <= {self.start_ns}")
        if not self.creatives:
            raise ValueError("creatives must hold at least one, was empty")


def check_campaigns(campaigns: Mapping[str, Campaign], currency: str) -> None:
    """Raises `InputError` where a campaign cannot be served by a bidder with accounts in `currency`."""
    for campaign in campaigns.values():
        if campaign.currency != currency:
            raise InputError(
                f"currency of campaign {campaign.id} must be the account's {currency}, was {campaign.currency}"
            )
        for creative in campaign.creatives:
            _check_urls(creative, campaign.id)


def _check_urls(creative: Creative, campaign_id: str) -> None:
    for name, url in (("image_url", creative.image_url), ("landing_url", creative.landing_url)):
        if _URL.match(url) is None:
            raise InputError(
                f"{name} of creative {creative.id} of campaign {campaign_id} must be http(s) without "
                f"spaces, backslashes and control characters, was {url[:200]!r}"
            )
