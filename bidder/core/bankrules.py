"""What the bank goes by, and the rules by which it refuses notices."""

from enum import StrEnum

import msgspec

from bidder.core.settings import BrakeSettings, EngineSettings

HOUR_NS = 3_600_000_000_000

MAX_EVENT_VALUE_NANOS = 10**15
"""A million currency units: above it a conversion's value is a mistake or an attack, and is refused."""


MAX_EVENTS_A_BID = 32
"""Conversions taken of one bid: its token can be read in a browser, and each new event id would be another."""


class Rule(StrEnum):
    """Why a notice was not taken."""

    ABOVE_CAP = "above_cap"
    NO_PRICE = "no_price"
    UNKNOWN_CAMPAIGN = "unknown_campaign"
    DUPLICATE = "duplicate"
    EXPIRED = "expired"
    BAD_VALUE = "bad_value"
    MALFORMED = "malformed"
    TOO_MANY_EVENTS = "too_many_events"
    DUPLICATE_ORDER = "duplicate_order"
    OUTSIDE_WINDOW = "outside_window"


class Unattributed(StrEnum):
    """Why a conversion that names its user counts for no bid."""

    NO_TOUCH = "no_touch"
    OUTSIDE_WINDOW = "outside_window"
    DUPLICATE_ORDER = "duplicate_order"
    UNKNOWN_USER = "unknown_user"
    NOT_PERMITTED = "not_permitted"
    BAD_VALUE = "bad_value"
    TOO_MANY_EVENTS = "too_many_events"


class BankRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank goes by; times in nanoseconds of the shared clock.

    lease_ns: how long a lease may be bid on without a word from the bank. longest_reservation_ns: the longest
    time from a bid to the end of its reservation. margin_ns: for clock skew and for notices under way.
    min_chunk_bids: a grant is never below so many maximum bids,
    unless that is all that is left. accept_ns: how long after its reservation a bid's notices are taken.
    conversion_ns: the same for conversions. hold_ns: how long a conversion whose touch has not been heard of waits
    for it. spent_refresh_ns: how often a seat hears of an account's spend
    alone, for pacing, and everyone of what a creative's counts are. discrepancy_ppm: the highest of any exchange,
    part of what one bid may cost. brakes: when spend is too fast.

    The reserve for late spend (`core.account`, `core.lateness`), shares in millionths: late_share_ppm: of what may
    still come, or None to measure it. late_quantile_ppm: that the measured share is to hold at. late_start_ppm: the
    share while too little was measured; late_floor_ppm, late_ceiling_ppm: least and most. late_window_hours: how long
    what was measured counts. late_tail_ns: how long after a booking others of its time may still come late.
    """

    lease_ns: int = 30_000_000_000
    longest_reservation_ns: int = EngineSettings().longest_wait_ns
    margin_ns: int = 5_000_000_000
    min_chunk_bids: int = 100
    accept_ns: int = 72 * HOUR_NS
    conversion_ns: int = 30 * 24 * HOUR_NS
    hold_ns: int = HOUR_NS // 6
    spent_refresh_ns: int = 200_000_000
    late_share_ppm: int | None = None
    late_quantile_ppm: int = 990_000
    late_start_ppm: int = 3_000
    late_floor_ppm: int = 1_000
    late_ceiling_ppm: int = 250_000
    late_window_hours: int = 168
    late_tail_ns: int = HOUR_NS
    discrepancy_ppm: int = 0
    brakes: BrakeSettings = BrakeSettings()

    @property
    def keep_ns(self) -> int:
        """How long after its reservation some notice of a bid is taken, a conversion mostly."""
        return max(self.accept_ns, self.conversion_ns)

    @property
    def remember_ns(self) -> int:
        """How long after it was made a bid is remembered in memory; of an older one the books are asked."""
        return self.longest_reservation_ns + self.accept_ns

    @property
    def stray_ns(self) -> int:
        """How long after a change of the number of shards a bid of before it may still be billed in time.

        Its billing may wait in a partition that another shard reads now.
        """
        return self.longest_reservation_ns + self.margin_ns

    def touch_ns(self, window_ns: int) -> int:
        """How long after its bid a touch is kept that counts for so long: events may come late by `accept_ns`."""
        return self.longest_reservation_ns + window_ns + self.accept_ns
