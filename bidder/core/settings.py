"""What an engine must know beside events: fixed for its life, recorded in the journal, never read from a clock."""

from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from bidder.core.campaigns import Name, Nanos
from bidder.core.traffic import TrafficRules
from bidder.openrtb.schain import SchainPolicy
from bidder.privacy.permissions import PrivacyPolicy
from bidder.zones import day_number

NS_PER_SECOND = 1_000_000_000
Seconds = Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]
NoBidForm = Literal["nbr", "empty_seatbid", "empty_object", "none"]
GENERAL = "*"
"""Name of the rules for exchanges that have none of their own."""


class ExchangeRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How we deal with one exchange.

    first_price_shade: share of the value to bid where the exchange charges the bid itself (`at=1`) and no landscape
    says better.
    result_seconds: how long a bid's money waits for a win or loss, at most; result_time: whether it waits as long
    as was measured (`core.waits`) or always that long. result_quantile, result_factor: of the measured times that
    quantile, so many times, is waited. result_least_seconds: and at least so long. result_least_wins: so many wins
    must have been measured. billing_seconds: how long after a win for the billing notice.
    network_margin_ms: taken off `tmax` for the way there and back, on the wall's clock.
    default_tmax_ms: where a request has none. currency: of requests that name none. approval: whether a
    creative of which nothing is stated may be shown (`assumed`) or not (`required`). no_bid: what is answered
    where there is no bid (section 4.2.1): the reason, empty lists, an empty object, or nothing at all. strict:
    whether a soft field that had to be dropped refuses the request. dedupe_seconds: how long an opportunity is known
    by its `source.tid`, so that it is bid on once whoever offers it; 0 for never. schain_required, schain_complete:
    whether a supply chain must be there, and be complete. schain_blocked: sellers that must not be in it, `system` or
    `system/seller`, see `SchainPolicy`. money_event: the notice that books spend there: `billing` (the exchange calls
    `burl`), `win` (`nurl`), or `impression`: the billing URL stands in the markup, called by who shows it.
    discrepancy_ppm: millionths by which its bill usually exceeds our count, set aside and booked as a fee; `clearbid
    reconcile` suggests it.
    """

    first_price_shade: Share = 0.7
    result_seconds: Seconds = 60.0
    result_time: Literal["measured", "fixed"] = "measured"
    result_quantile: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.999
    result_factor: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0
    result_least_seconds: Seconds = 1.0
    result_least_wins: Annotated[int, msgspec.Meta(gt=0)] = 1_000
    billing_seconds: Seconds = 600.0
    network_margin_ms: Annotated[int, msgspec.Meta(ge=0)] = 20
    default_tmax_ms: Annotated[int, msgspec.Meta(gt=0)] = 150
    currency: Currency = "USD"
    approval: Literal["assumed", "required"] = "assumed"
    no_bid: NoBidForm = "nbr"
    strict: bool = False
    dedupe_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 10.0
    schain_required: bool = False
    schain_complete: bool = False
    schain_blocked: tuple[str, ...] = ()
    money_event: Literal["billing", "win", "impression"] = "billing"
    discrepancy_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0

    def schain_policy(self) -> SchainPolicy | None:
        """What a supply chain must be, or None where anything will do."""
        if not (self.schain_required or self.schain_complete or self.schain_blocked):
            return None
        return SchainPolicy(
            require=self.schain_required,
            complete="required" if self.schain_complete else "any",
            blocked_asi=tuple(name for name in self.schain_blocked if "/" not in name),
            blocked_nodes=tuple(name for name in self.schain_blocked if "/" in name),
        )


class BrakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When spend is too fast, see `bidder.core.brakes`.

    factor: how many times the even rate of its budget a line item, campaign or advertiser may spend in a minute; 0
    leaves that out. floor_bids: no such limit is below so many maximum bids. reserved_ppm: millionths of what is set
    aside that count as spent, since most bids lose. max_nanos_per_minute: of all line items together, where several
    banks share the work each watches its part of it (`bidder.core.guard`); 0 is no limit.
    reset_seconds: how long the breaker stops bids, where nobody lets them go before.
    """

    factor: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10
    floor_bids: Annotated[int, msgspec.Meta(gt=0, le=100_000_000)] = 1_000
    reserved_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 100_000
    max_nanos_per_minute: Nanos = 0
    reset_seconds: Seconds = 600.0


DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Holiday(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the traffic of a day is like.

    like: the day of the week whose hours it has; empty for its own. factor: of that traffic.
    """

    like: Literal["", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = ""
    factor: Annotated[float, msgspec.Meta(ge=0, le=100)] = 1.0


class PacingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How multipliers move, see `bidder.core.pacing`.

    eta: step for one opportunity at the planned rate. first_eta: added to it at the first opportunity; half of that
    is left after 300 with known results, and so on. Both are less where results are late. target: `left` steers to
    what is left of budget and traffic and lowers the multiplier for bids under way; `fixed` to the budget over the
    foreseen traffic, with `eta` alone, which is what proofs of regret cover. start: multiplier without history.
    first_most: highest multiplier until `first_wins` wins are known, so that who knows nothing bids little.
    weekly_opportunities: expected at this seat. traffic_shape: 168 weights by hour of the week from Monday 00:00
    UTC, or none for an even week. learn_shape: whether it is corrected by what came, each day. holidays: by date,
    days in UTC whose traffic is other than their day of the week's.
    """

    eta: Annotated[float, msgspec.Meta(gt=0, le=0.1)] = 0.001
    first_eta: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.015
    target: Literal["left", "fixed"] = "left"
    start: Share = 0.5
    first_wins: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    first_most: Share = 1.0
    weekly_opportunities: Annotated[float, msgspec.Meta(gt=0)] = 1e6
    traffic_shape: tuple[float, ...] = ()
    learn_shape: bool = True
    holidays: dict[str, Holiday] = {}

    def __post_init__(self) -> None:
        for text in self.holidays:
            try:
                day_number(text)
            except ValueError:
                raise ValueError(f"holidays must be dates such as 2026-12-25, was {text[:80]!r}") from None


class ShadingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How bids at first price are made of a landscape, see `bidder.core.shading_kernels`.

    holdout: share of the opportunities that keep the constant share of their exchange, to compare with; it counts
    where there is a landscape. explore_share: share of the other bids that are moved by chance, so that what else
    would have won is learned; 0 for none, 0.01 to 0.05 do. explore_sigma: spread of the logarithm of what they are
    moved by. exploration_budget_ppm: millionths of a budget's even part of a day that explored bids may spend.
    """

    holdout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05
    explore_share: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.0
    explore_sigma: Annotated[float, msgspec.Meta(ge=0.01, le=1)] = 0.2
    exploration_budget_ppm: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 50_000


class TargetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How target controllers move, see `bidder.core.targets`.

    eta: step for one opportunity at the mean spend. first_eta: added to it at first; half of that is left after 2,000
    opportunities. start: room above the worth at target without history, as a share of it. prior_outcomes: so many
    predicted outcomes weigh as much as the belief that predictions are right; fewer are `learning`.
    click_delay_seconds, conversion_delay_seconds: mean times from a win until a click, or the conversion that
    follows, is known.
    """

    eta: Annotated[float, msgspec.Meta(gt=0, le=0.1)] = 0.002
    first_eta: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.02
    start: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.4
    prior_outcomes: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 200
    click_delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=7 * 86_400)] = 30.0
    conversion_delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=90 * 86_400)] = 43_200.0


class UserSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is remembered of users, in bounded memory.

    cap_pairs: pairs of user and capped line item, see `core.frequency`. profiles: users whose segments are known.
    exposure_ids: bids whose exposure is known, so that none counts twice.
    """

    cap_pairs: Annotated[int, msgspec.Meta(gt=0, le=100_000_000)] = 262_144
    profiles: Annotated[int, msgspec.Meta(gt=0, le=100_000_000)] = 200_000
    exposure_ids: Annotated[int, msgspec.Meta(gt=0, le=100_000_000)] = 500_000


class EngineSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True, omit_defaults=True
):
    """Settings of one engine.

    seat: the stable place that this worker holds; leases and tokens name it. buyer: the seat name that
    exchanges know us by (`seatbid.seat`, `wseat`, `bseat`). currency: of all accounts and bids.
    exchanges: rules by exchange name, those of `*` for all others; `default_exchange` names the one that requests
    without a name are of. public_url: where exchanges reach the tracker. external_scores: whether
    `imp.ext.clearbid.pctr` of a request is believed; for replayed logs only, or any sender could set our prices.
    targets: see `TargetSettings`. brakes: see `BrakeSettings`. shading: see `ShadingSettings`.
    privacy: see `PrivacyPolicy`. traffic: see `TrafficRules`; data_centres: their networks, as CIDR text.
    rates: exchange rates by date, see `RateTable.parse`; without them only the account's currency is bid in.
    funnel: whether refusals are counted by line item and dimension in the hot path; where there are more than a
    thousand line items that belongs beside it, see `core.funnel`.
    """

    seat: Name = "seat-1"
    buyer: Name = "clearbid"
    currency: Currency = "USD"
    exchanges: dict[str, ExchangeRules] = {}
    default_exchange: Name = "default"
    public_url: str = "http://127.0.0.1:8080"
    external_scores: bool = False
    pacing: PacingSettings = PacingSettings()
    targets: TargetSettings = TargetSettings()
    brakes: BrakeSettings = BrakeSettings()
    privacy: PrivacyPolicy = PrivacyPolicy()
    traffic: TrafficRules = TrafficRules()
    data_centres: tuple[str, ...] = ()
    rates: dict[str, Any] = {}
    users: UserSettings = UserSettings()
    shading: ShadingSettings = ShadingSettings()
    funnel: bool = True

    @cached_property
    def general(self) -> ExchangeRules:
        """Rules of exchanges that have none of their own."""
        return self.exchanges.get(GENERAL, _GENERAL)

    def rules(self, exchange: str) -> ExchangeRules:
        """Rules of an exchange; the general ones where it has none of its own."""
        return self.exchanges.get(exchange) or self.general

    @property
    def longest_wait_ns(self) -> int:
        """The longest that a bid's money can wait on any exchange: for its result, then for its billing."""
        every = [*self.exchanges.values(), self.general]
        return int(max(rules.result_seconds + rules.billing_seconds for rules in every) * NS_PER_SECOND)

    @property
    def highest_discrepancy_ppm(self) -> int:
        """The highest discrepancy of any exchange."""
        return max(rules.discrepancy_ppm for rules in (*self.exchanges.values(), self.general))


_GENERAL = ExchangeRules()
