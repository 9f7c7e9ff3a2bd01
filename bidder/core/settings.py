"""What an engine must know beside events: fixed for its life, recorded in the journal, never read from a clock."""

from typing import Annotated

import msgspec

from bidder.core.campaigns import Name

NS_PER_SECOND = 1_000_000_000
Seconds = Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class ExchangeRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How we deal with one exchange.

    first_price_shade: share of the value to bid where the exchange charges the bid itself (`at=1`).
    result_seconds: how long a bid's money waits for a win or loss. billing_seconds: how long after a win for
    the billing notice. network_margin_ms: taken off `tmax` for the way there and back, on the wall's clock.
    default_tmax_ms: where a request has none.
    """

    first_price_shade: Share = 0.7
    result_seconds: Seconds = 60.0
    billing_seconds: Seconds = 600.0
    network_margin_ms: Annotated[int, msgspec.Meta(ge=0)] = 20
    default_tmax_ms: Annotated[int, msgspec.Meta(gt=0)] = 150


class PacingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How multipliers move, see `bidder.core.pacing`.

    eta: step for one opportunity. start: multiplier without history. weekly_opportunities: expected at this
    seat. traffic_shape: 168 weights by hour of the week from Monday 00:00 UTC, or none for an even week.
    """

    eta: Annotated[float, msgspec.Meta(gt=0, le=0.1)] = 0.001
    start: Share = 0.5
    weekly_opportunities: Annotated[float, msgspec.Meta(gt=0)] = 1e6
    traffic_shape: tuple[float, ...] = ()


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one engine.

    seat: the stable place that this worker holds; leases and tokens name it. buyer: the seat name that
    exchanges know us by (`seatbid.seat`, `wseat`, `bseat`). currency: of all accounts and bids.
    exchanges: rules by exchange name; `default_exchange` names the one that requests without a name are of.
    public_url: where exchanges reach the tracker. external_scores: whether `imp.ext.clearbid.pctr` of a request
    is believed; for replayed logs only, or any sender could set our prices.
    """

    seat: Name = "seat-1"
    buyer: Name = "clearbid"
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")] = "USD"
    exchanges: dict[str, ExchangeRules] = {}
    default_exchange: Name = "default"
    public_url: str = "http://127.0.0.1:8080"
    external_scores: bool = False
    pacing: PacingSettings = PacingSettings()

    def rules(self, exchange: str) -> ExchangeRules:
        """Rules of an exchange; the general ones where it has none of its own."""
        return self.exchanges.get(exchange, _GENERAL)

    @property
    def longest_wait_ns(self) -> int:
        """The longest that a bid's money can wait on any exchange: for its result, then for its billing."""
        every = [*self.exchanges.values(), _GENERAL]
        return int(max(rules.result_seconds + rules.billing_seconds for rules in every) * NS_PER_SECOND)


_GENERAL = ExchangeRules()
