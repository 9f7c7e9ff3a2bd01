"""Campaigns as ad-ops state them: advertiser > campaign > line item > creative.

`Campaign` is the document that sheets, store and messages share: it holds its line items and their creatives.
A campaign that states no line item is its own: one of its id, with what the campaign says. `Advertiser` stands
beside it, for what all its campaigns share. What a line item leaves open is the campaign's:

| field | where a line item says nothing | where it says something |
|---|---|---|
| goal, value, target, bids, pacing, flights, creatives, windows, profile of unknown users | the campaign's | own |
| rules to include, by dimension | the campaign's | its own take their place |
| rules to exclude, modifiers, caps, budgets, fees, limits a minute | the campaign's | its own hold too |
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from bidder.money import MAX_NANOS

Nanos = Annotated[int, msgspec.Meta(ge=0, le=MAX_NANOS)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=MAX_NANOS)]
"""Nanoseconds since the epoch, up to the year 2255: an int64 with room to add to it."""
PositiveNanos = Annotated[int, msgspec.Meta(gt=0, le=MAX_NANOS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
OptionalName = Annotated[str, msgspec.Meta(max_length=120)]
_IDENTIFIER = r"\A[A-Za-z0-9._:-]{1,64}\Z"
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_IDENTIFIER)]
_identifier = re.compile(_IDENTIFIER)

MAX_CAP_IMPRESSIONS = 32
"""Highest limit of a cap: so many times of exposures are kept of a user and a line item."""
MAX_FEE_PPM = 10_000_000
"""Highest sum of all fees that are shares of the price: ten times the price."""
MAX_FEE_CPM_MICROS = 9_000_000
"""Highest sum of all fees that are amounts an impression: 9.00 CPM, so that no product passes 64 bits."""
MAX_CAP_SECONDS = 90 * 86_400
MAX_WINDOW_SECONDS = 90 * 86_400
CLICK_WINDOW_SECONDS = 30 * 86_400
VIEW_WINDOW_SECONDS = 86_400
WindowSeconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_WINDOW_SECONDS)]
"""How long after a click or an impression a conversion counts for it; 0 is never."""
Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Pixels = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


def is_identifier(text: str) -> bool:
    """Whether text can be the id of a campaign, a creative or an advertiser."""
    return _identifier.match(text) is not None


class Status(StrEnum):
    """Whether an advertiser, campaign, line item or creative may bid."""

    ACTIVE = "active"
    PAUSED = "paused"


class Goal(StrEnum):
    """What a line item pays for in value: the event that `value_nanos` is the worth of.

    `value` is the value of conversions: `value_nanos` is what one is worth on average, and with a target return what
    they turn out to be worth corrects it. A view is an impression that was viewable, a completion a video or audio
    ad that was played to its end; how likely they are is what exchanges measured of the slot.
    """

    CLICK = "click"
    CONVERSION = "conversion"
    VALUE = "value"
    VIEW = "view"
    COMPLETE = "complete"


class Pacing(StrEnum):
    """How a budget is spread over its time: evenly with the traffic, ahead of that, or as fast as possible."""

    EVEN = "even"
    AHEAD = "ahead"
    ASAP = "asap"


CatchUp = Literal["spread", "drop"]
"""What becomes of delivery that was missed: spread over the rest, or not made up."""
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class Media(StrEnum):
    """What a creative is; in the response `mtype` 1 to 4."""

    BANNER = "banner"
    VIDEO = "video"
    AUDIO = "audio"
    NATIVE = "native"


class Approval(StrEnum):
    """What an exchange's review of a creative came to; where nothing is stated, see `ExchangeRules.approval`."""

    APPROVED = "approved"
    PENDING = "pending"
    REJECTED = "rejected"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of what ad-ops state: closed, so that a misspelt field is an error."""


class Budgets(Record, frozen=True, kw_only=True):
    """Limits beside each other, each 0 where there is none. A day is a local one of the advertiser's zone."""

    lifetime_nanos: Nanos = 0
    daily_nanos: Nanos = 0
    lifetime_impressions: Count = 0
    daily_impressions: Count = 0


class Cap(Record, frozen=True, kw_only=True):
    """At most `impressions` for one user in any `seconds` that follow each other."""

    impressions: Annotated[int, msgspec.Meta(ge=1, le=MAX_CAP_IMPRESSIONS)]
    seconds: Annotated[int, msgspec.Meta(ge=1, le=MAX_CAP_SECONDS)]


class Fee(Record, frozen=True, kw_only=True):
    """What somebody takes of each impression that is paid: a vendor's, or our own margin.

    `ppm` millionths of the price, `cpm_micros` an impression, or both; each rounded up once a bid.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern=r"\A[A-Za-z0-9._-]+\Z")]
    ppm: Annotated[int, msgspec.Meta(ge=0, le=MAX_FEE_PPM)] = 0
    cpm_micros: Annotated[int, msgspec.Meta(ge=0, le=MAX_FEE_CPM_MICROS)] = 0

    def __post_init__(self) -> None:
        if not (self.ppm or self.cpm_micros):
            raise ValueError(f"fee {self.name} must be more than nothing, was 0")


class Flight(Record, frozen=True, kw_only=True):
    """[start_ns, end_ns), in which a line item may bid."""

    start_ns: Instant
    end_ns: Instant

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise ValueError(f"end must be after start, was {self.end_ns} <= {self.start_ns}")


class Native(Record, frozen=True, kw_only=True):
    """Assets of a native creative (Native 1.2); each empty where there is none. Sizes in pixels."""

    title: str = ""
    text: str = ""
    sponsored: str = ""
    cta: str = ""
    icon_url: str = ""
    icon_w: Pixels = 0
    icon_h: Pixels = 0
    image_url: str = ""
    image_w: Pixels = 0
    image_h: Pixels = 0


class Creative(Record, frozen=True, kw_only=True):
    """One ad.

    id: `crid`. media: what it is. landing_url: where a click leads. attr: AdCOM "Creative Attributes".
    w, h: pixels of a banner, or of a video's frame. flex: a banner that fills any slot of its ratio w:h.
    image_url: of an image banner; html: markup of another banner instead, with `${CLICK_URL}` where the click
    leads and `${CACHEBUSTER}`. btype: AdCOM "Banner Ad Types"; 0 means 2 for an image, 3 for html.
    media_url: file of a video or audio ad. mime: type of the file or image, such as `video/mp4`.
    duration_s, bitrate_kbps, protocols (AdCOM "Creative Subtypes - Audio/Video"), linearity, delivery: of a
    video or audio ad; `attr` 16 says that it can be skipped. api: frameworks that it needs. native: assets.
    adomain, cat, bundle, language: its own; empty means the campaign's (of language: any). Categories are of
    taxonomy 1 unless written `9:150`. approvals: by exchange. https_only is not stated but seen: `secure`.
    """

    id: Identifier
    media: Media = Media.BANNER
    w: Pixels = 0
    h: Pixels = 0
    flex: bool = False
    image_url: str = ""
    html: str = ""
    btype: Annotated[int, msgspec.Meta(ge=0, le=4)] = 0
    media_url: str = ""
    mime: str = ""
    duration_s: Annotated[int, msgspec.Meta(ge=0, le=3_600)] = 0
    bitrate_kbps: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    protocols: tuple[int, ...] = ()
    linearity: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    delivery: Annotated[int, msgspec.Meta(ge=1, le=3)] = 2
    api: tuple[int, ...] = ()
    native: Native | None = None
    landing_url: str
    attr: tuple[int, ...] = ()
    adomain: tuple[str, ...] = ()
    cat: tuple[str, ...] = ()
    bundle: str = ""
    language: str = ""
    status: Status = Status.ACTIVE
    approvals: dict[Name, Approval] = {}

    def __post_init__(self) -> None:
        missing = _missing_of(self)
        if missing:
            raise ValueError(f"{self.media.value} creative {self.id} must have {missing}, has none")
        for number in (*self.attr, *self.api, *self.protocols):
            if not 0 < number <= 1_000:
                raise ValueError(
                    f"attr, api and protocols of creative {self.id} must be 1 to 1000, was {number}"
                )

    @property
    def secure(self) -> bool:
        """Whether all that the creative loads comes by https (OpenRTB 2.6 section 3.2.4, `imp.secure`)."""
        return not any(url.startswith("http://") for url in self.assets) and "http://" not in self.html

    @property
    def assets(self) -> tuple[str, ...]:
        """Addresses of what it loads."""
        own = self.native
        urls = (self.image_url, self.media_url, *((own.icon_url, own.image_url) if own is not None else ()))
        return tuple(url for url in urls if url)


def _missing_of(creative: Creative) -> str:
    """What a creative of its media cannot do without and does not have."""
    media = creative.media
    if media is Media.BANNER:
        needed = {"w": creative.w, "h": creative.h, "image_url or html": creative.image_url or creative.html}
    elif media is Media.NATIVE:
        needed = {"native with a title": creative.native.title if creative.native is not None else ""}
    else:
        needed = {"media_url": creative.media_url, "mime": creative.mime, "duration_s": creative.duration_s}
    return ", ".join(name for name, value in needed.items() if not value)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values to include and to exclude of one dimension; an empty include admits every value."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Targeting(Record, frozen=True, kw_only=True):
    """Where a line item may bid, a rule a dimension. Sizes and formats are not stated: they are its creatives'.

    geo: countries (`USA`), regions as `device.geo.region` has them (`CA`) or both (`USA-CA`), upper case.
    city: names, lower case, alone (`paris`) or with the country (`FRA/paris`). circle: `48.85,2.35,25km`.
    exchange: names of exchanges as configured. deal: ids of deals; a line item that includes deals bids on these
    alone, one that includes none bids in the open auction alone. inventory: `site`, `app`, `dooh`.
    device: `desktop`, `phone`, `tablet`, `tv`, `console`, `box`, `dooh`. os, browser: `android`, `chrome`, as
    `core.devices` has them. carrier: as `device.carrier`, lower case. connection: `wifi`, `ethernet`, `cellular`.
    language: of the device, two letters. domain: registrable domains or app bundles, lower case.
    content: categories of page, section, site or content with all that lies below them, `IAB7` or `9:150`.
    keyword: lower case. placement: `instl`, `rewarded`, `pos:1`, `plcmt:1`, `tag:ID`.
    viewability: least measured share in steps of ten, `70`; one value. segment: ids in
    `user.data[].segment[].id` or of our own profiles. hour: hours of the week in the advertiser's time zone, `0`
    (Monday 00:00) to `167`. expression: conditions on any field, see `core.expressions`; one that holds admits.
    """

    geo: Rule = Rule()
    city: Rule = Rule()
    circle: Rule = Rule()
    exchange: Rule = Rule()
    deal: Rule = Rule()
    inventory: Rule = Rule()
    device: Rule = Rule()
    os: Rule = Rule()
    browser: Rule = Rule()
    carrier: Rule = Rule()
    connection: Rule = Rule()
    language: Rule = Rule()
    domain: Rule = Rule()
    content: Rule = Rule()
    keyword: Rule = Rule()
    placement: Rule = Rule()
    viewability: Rule = Rule()
    segment: Rule = Rule()
    hour: Rule = Rule()
    expression: Rule = Rule()


DIMENSIONS: tuple[str, ...] = Targeting.__struct_fields__
"""Names of the dimensions that ad-ops state."""


class Modifier(Record, frozen=True, kw_only=True):
    """Multiplies what a line item thinks an opportunity is worth where it shows this value."""

    dimension: str
    value: Annotated[str, msgspec.Meta(min_length=1)]
    factor: Annotated[float, msgspec.Meta(ge=0, le=10)]

    def __post_init__(self) -> None:
        if self.dimension not in DIMENSIONS:
            raise ValueError(f"dimension must be one of {', '.join(DIMENSIONS)}, was {self.dimension}")


ValueSource = Literal["stated", "model"]
VALUE_SPREAD = 10
"""Who says what a conversion is worth: ad-ops, or the model, at most so many times more or less than they stated."""

UnknownUser = Literal["refuse", "allow"]
"""What a cap means for a user whom we cannot know: no bid, or a bid that the cap does not count."""


TargetReturn = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
"""Millionths of value for a unit of spend."""


class LineItem(Record, frozen=True, kw_only=True):
    """One way in which a campaign buys; the default of each field leaves it to the campaign.

    A target of its own takes the place of the campaign's, be it of another kind; it is kept by the line item alone.

    `creatives` names those of the campaign's that it shows; empty means all of them. A window that is None is the
    campaign's, as 0 means that it is off.
    """

    id: Identifier
    name: OptionalName = ""
    status: Status = Status.ACTIVE
    budgets: Budgets = Budgets()
    flights: tuple[Flight, ...] = ()
    goal: Goal | None = None
    value_nanos: Nanos = 0
    value_source: ValueSource | None = None
    target_cpc_nanos: Nanos = 0
    target_cpa_nanos: Nanos = 0
    target_roas_ppm: TargetReturn = 0
    cpm_cap_micros: Nanos = 0
    max_bid_cpm_micros: Nanos = 0
    min_bid_cpm_micros: Nanos = 0
    fees: tuple[Fee, ...] = ()
    max_nanos_per_minute: Nanos = 0
    pacing: Pacing | None = None
    ahead_percent: Percent = 0
    catch_up: CatchUp | None = None
    targeting: Targeting = Targeting()
    modifiers: tuple[Modifier, ...] = ()
    caps: tuple[Cap, ...] = ()
    unknown_user: UnknownUser | None = None
    click_window_seconds: WindowSeconds | None = None
    view_window_seconds: WindowSeconds | None = None
    creatives: tuple[Identifier, ...] = ()


class Campaign(Record, frozen=True, kw_only=True):
    """One campaign: who pays, for what, how much, when and where.

    `budget_nanos` is for the whole flight; `budgets` are limits beside it. `value_nanos` is what one goal event is
    worth to the advertiser; a bid never passes the expected value nor `max_bid_cpm_micros`. Where it is 0 as many
    goal events are bought as the budget and the target allow, and the highest bid alone is the bound. With
    `value_source` at `model` the model says it for each opportunity, at most `VALUE_SPREAD` times more or less, and
    `value_nanos` holds where it does not know. At most one target: `target_cpc_nanos` a click or `target_cpa_nanos` a
    conversion may cost on average, or `target_roas_ppm` millionths of value for what is spent; beside it
    `cpm_cap_micros`, the mean price of a thousand impressions at most. They hold over the flight and all line items
    that leave it to the campaign, see `core.targets`. The flight is [start_ns, end_ns); line items may have flights
    of their own inside it. `bundle` is the store id of the app that is advertised. A conversion counts for a click of
    at most `click_window_seconds` before it, else for an impression of at most `view_window_seconds` before it, see
    `core.attribution`. `fees` come on top of the price that exchanges are paid, out of the same budgets: expected
    value covers both. `max_nanos_per_minute` stops bids where more is spent in a minute; 0 leaves it to
    `BrakeSettings.factor`.

    `pacing` spreads every budget over its time: `ahead` begins by `ahead_percent` faster than evenly (20 where it is
    0) and ends by as much slower. With `catch_up` at `drop`, what was missed by lack of traffic is not made up. Each
    line item has a multiplier for each of its budgets; with `shared_pacing` all go by the campaign's, so that money
    goes where a nano buys most of all of them, and budgets of line items are limits only.
    """

    id: Identifier
    name: Name
    advertiser: Identifier
    adomain: tuple[str, ...]
    cat: tuple[str, ...] = ()
    bundle: str = ""
    status: Status = Status.ACTIVE
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")] = "USD"
    budget_nanos: PositiveNanos
    budgets: Budgets = Budgets()
    start_ns: Instant
    end_ns: Instant
    goal: Goal = Goal.CLICK
    value_nanos: Nanos = 0
    value_source: ValueSource = "stated"
    target_cpc_nanos: Nanos = 0
    target_cpa_nanos: Nanos = 0
    target_roas_ppm: TargetReturn = 0
    cpm_cap_micros: Nanos = 0
    max_bid_cpm_micros: PositiveNanos
    min_bid_cpm_micros: Nanos = 0
    fees: tuple[Fee, ...] = ()
    max_nanos_per_minute: Nanos = 0
    pacing: Pacing = Pacing.EVEN
    ahead_percent: Percent = 0
    catch_up: CatchUp = "spread"
    shared_pacing: bool = False
    targeting: Targeting = Targeting()
    modifiers: tuple[Modifier, ...] = ()
    caps: tuple[Cap, ...] = ()
    unknown_user: UnknownUser = "refuse"
    click_window_seconds: WindowSeconds = CLICK_WINDOW_SECONDS
    view_window_seconds: WindowSeconds = VIEW_WINDOW_SECONDS
    creatives: tuple[Creative, ...]
    line_items: tuple[LineItem, ...] = ()

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise ValueError(f"end must be after start, was {self.end_ns} <= {self.start_ns}")
        if not self.creatives:
            raise ValueError("creatives must hold at least one, was empty")
        known = {creative.id for creative in self.creatives}
        if len(known) < len(self.creatives):
            raise ValueError(f"ids of creatives must be of their own, was one twice in campaign {self.id}")
        _check_fees(self.fees, f"campaign {self.id}")
        _check_targets(self, f"campaign {self.id}")
        for item in self.line_items or (None,):
            _check_value(self, item)
        if self.line_items:
            self._check_line_items(known)

    def _check_line_items(self, known: set[str]) -> None:
        seen: set[str] = set()
        for item in self.line_items:
            if item.id in seen or (item.id == self.id and len(self.line_items) > 1):
                raise ValueError(f"ids of line items must be of their own, was {item.id} twice")
            seen.add(item.id)
            _check_fees(self.fees + item.fees, f"line item {item.id}")
            _check_targets(item, f"line item {item.id}")
            unknown = [creative_id for creative_id in item.creatives if creative_id not in known]
            if unknown:
                raise ValueError(
                    f"creatives of line item {item.id} must be the campaign's {', '.join(sorted(known))}, "
                    f"was {unknown[0]}"
                )


def _check_fees(fees: tuple[Fee, ...], whose: str) -> None:
    """Raises `ValueError` where the fees of a line item, those of its campaign among them, cannot be added up."""
    names = [fee.name for fee in fees]
    if len(set(names)) < len(names):
        raise ValueError(f"names of fees of {whose} must be of their own, was one twice")
    ppm, cpm_micros = sum(fee.ppm for fee in fees), sum(fee.cpm_micros for fee in fees)
    if ppm > MAX_FEE_PPM or cpm_micros > MAX_FEE_CPM_MICROS:
        raise ValueError(
            f"fees of {whose} must be at most {MAX_FEE_PPM} ppm and {MAX_FEE_CPM_MICROS} CPM micros in all, were "
            f"{ppm} and {cpm_micros}"
        )


TARGETS = ("target_cpc_nanos", "target_cpa_nanos", "target_roas_ppm")
"""Fields of targets of which one at most is stated."""


def _check_targets(record: Campaign | LineItem, whose: str) -> None:
    """Raises `ValueError` where more than one target is stated."""
    stated = [name for name in TARGETS if getattr(record, name)]
    if len(stated) > 1:
        raise ValueError(
            f"target of {whose} must be one of {', '.join(TARGETS)}, was {' and '.join(stated)}: leave one"
        )


def _check_value(campaign: Campaign, item: LineItem | None) -> None:
    """Raises `ValueError` where a goal or a target needs to know what an event is worth and nothing says it."""
    own = item or LineItem(id=campaign.id)
    goal = own.goal or campaign.goal
    record = own if any(getattr(own, name) for name in TARGETS) else campaign
    whose = f"line item {own.id}" if item is not None else f"campaign {campaign.id}"
    if record.target_roas_ppm and goal in (Goal.VIEW, Goal.COMPLETE):
        raise ValueError(
            f"goal of {whose} with a target_roas must be click, conversion or value, was {goal.value}"
        )
    modelled = (own.value_source or campaign.value_source) == "model"
    if modelled and goal not in (Goal.CONVERSION, Goal.VALUE):
        raise ValueError(
            f"goal of {whose} with value_source model must be conversion or value, was {goal.value}"
        )
    needs = "goal value" if goal is Goal.VALUE else "a target_roas" if record.target_roas_ppm else ""
    needs = "value_source model" if modelled else needs
    if needs and not (own.value_nanos or campaign.value_nanos):
        raise ValueError(
            f"value_nanos of {whose} must be > 0 with {needs}: state what an event is worth, was 0"
        )


class Advertiser(Record, frozen=True, kw_only=True):
    """What all campaigns of an advertiser share; one that nobody stated is active, in UTC, without limits."""

    id: Identifier
    name: OptionalName = ""
    status: Status = Status.ACTIVE
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "UTC"
    budgets: Budgets = Budgets()
    max_nanos_per_minute: Nanos = 0
    caps: tuple[Cap, ...] = ()
