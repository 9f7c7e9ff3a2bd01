"""What one run plays: campaigns, budgets, processes and what goes wrong, all drawn from the seed.

Even seeds are without faults, and their budgets bind: they must be spent. Odd seeds have faults of some kinds, each
drawn on or off; among both are markets where every bid wins at its full price at the very end of its time.
"""

from typing import NamedTuple

from bidder.core.bankrules import BankRules
from bidder.core.budgets import Budget, standing_budgets
from bidder.core.campaigns import Advertiser, Budgets, Campaign, Creative, LineItem, Pacing
from bidder.core.settings import EngineSettings, ExchangeRules, UserSettings
from bidder.core.traffic import TrafficRules
from simulator.faults.dice import Dice

S = 1_000_000_000
MS = 1_000_000
START_NS = 1_767_225_600 * S - 30 * S
"""Half a minute before a year begins: an hour, and a day, end inside each run."""

MAX_BID_CPM_MICROS = 2_000_000
FULL_PCTR = 0.001
VALUE_NANOS = 2 * S
"""A click is worth two units, so that the usual probability makes the largest bid."""

LEASE_NS, MARGIN_NS = 3 * S, S
RESULT_S, BILLING_S = 2.0, 3.0
ACCEPT_NS, CONVERSION_NS = 15 * S, 400 * S
MAX_SKEW_NS = 100 * MS
SESSION_NS = 1_500 * MS
"""A process that stands still for longer is thrown out of its groups; below the lease, as Kafka's is."""
TMAX_MS = 2_000
_SHARE_WITH_FAULTS = 0.4
_MANY_AUCTIONS = 5_000
KINDS = ("second_price", "all_win_late_full", "first_price", "second_price")


class Faults(NamedTuple):
    """What goes wrong, all of it nothing by default.

    Attributes:
        ack_lost: share of sends that are written and whose acknowledgement is lost: half are sent again, half fail.
        send_torn: share of sends of which a part is written before they fail.
        delayed: share of messages that come up to `longest_delay_ns` late, and with them those behind.
        broker_out, database_out: mean time between outages, ns; 0 for none.
        crash_steps: mean number of steps in the life of a process; 0 for no crashes.
        stall_steps: mean number of steps between two times that a process stands still.
        takeover: mean time between starts of a second bank or of a seat that is held; 0 for none.
        rebalance: mean time between rebalances of the groups; 0 for none.
        skew_ns: most that a clock is wrong.
        call_lost: share of calls of the exchange that do not reach a tracker, and are made again.
        never_called: share of calls that are never made.
        repeated: share of calls that are made again though they were answered.
        reordered: share of calls that are made much later than others.
        very_late: share of billings beyond all times that they had.
        false_loss: share of won bids that are told to have lost, first.
        invalid: share of calls with a price, currency, macro or signature that must not pass.
        rogue: mean time between notices in the log that no tracker of ours would write; 0 for none.
        budget_changes: mean time between changes of a budget; 0 for none.
    """

    ack_lost: float = 0.0
    send_torn: float = 0.0
    delayed: float = 0.0
    longest_delay_ns: int = 2 * S
    broker_out: int = 0
    database_out: int = 0
    crash_steps: int = 0
    stall_steps: int = 0
    takeover: int = 0
    rebalance: int = 0
    skew_ns: int = 0
    call_lost: float = 0.0
    never_called: float = 0.0
    repeated: float = 0.0
    reordered: float = 0.0
    very_late: float = 0.0
    false_loss: float = 0.0
    invalid: float = 0.0
    rogue: int = 0
    budget_changes: int = 0


NO_FAULTS = Faults()


class Scenario(NamedTuple):
    """One run, before anything happens.

    Attributes:
        kind: of market, one of `KINDS`. faulty: whether anything may go wrong.
        auctions: how many. duration_ns: in what time.
        seats, trackers, banks, partitions: how many. lines: line items, each with the ids of its budgets.
        budgets: by id. feasible_nanos: what can be spent of all of them together.
    """

    seed: int
    kind: str
    faulty: bool
    auctions: int
    duration_ns: int
    seats: int
    trackers: int
    banks: int
    partitions: int
    campaigns: tuple[Campaign, ...]
    advertisers: tuple[Advertiser, ...]
    lines: dict[str, tuple[str, ...]]
    campaign_of: dict[str, str]
    budgets: dict[str, Budget]
    feasible_nanos: int
    faults: Faults

    @property
    def end_ns(self) -> int:
        """When the last auction begins, and faults end."""
        return START_NS + self.duration_ns

    def settings(self, seat: str) -> EngineSettings:
        """Of the engine of a seat."""
        rules = ExchangeRules(
            result_seconds=RESULT_S,
            billing_seconds=BILLING_S,
            default_tmax_ms=TMAX_MS,
            dedupe_seconds=0,
            first_price_shade=1.0,
            network_margin_ms=0,
        )
        return EngineSettings(
            seat=seat,
            exchanges={"default": rules},
            external_scores=True,
            users=UserSettings(cap_pairs=1_024, profiles=256, exposure_ids=1_024),
            traffic=TrafficRules(
                crawlers=False,
                data_centres=False,
                impossible_devices=False,
                user_per_minute=0,
                address_per_minute=0,
            ),
        )

    def rules(self) -> BankRules:
        """Of the bank."""
        return BankRules(
            lease_ns=LEASE_NS,
            longest_reservation_ns=self.settings("any").longest_wait_ns,
            margin_ns=MARGIN_NS,
            min_chunk_bids=2,
            accept_ns=ACCEPT_NS,
            conversion_ns=CONVERSION_NS,
        )


def scenario(seed: int, auctions: int, faults: Faults | None = None, kind: str | None = None) -> Scenario:
    """The run of a seed.

    Args:
        seed: of all that is drawn; an even one has no faults.
        auctions: how many, at least 100.
        faults: instead of those of the seed. kind: of market, instead of the seed's.
    """
    dice = Dice(seed, "plan")
    faulty = seed % 2 == 1 if faults is None else faults != NO_FAULTS
    kind = kind or KINDS[seed // 2 % len(KINDS)]
    # Few auctions make small budgets, of which a bid at each seat may stay unspent.
    seats = dice.between(1, 4) if auctions >= _MANY_AUCTIONS else dice.between(1, 1 + faulty)
    campaigns, advertisers = _campaigns(dice, kind, auctions, faulty=faulty)
    of = {one.id: one for one in advertisers}
    lines: dict[str, tuple[str, ...]] = {}
    campaign_of: dict[str, str] = {}
    budgets: dict[str, Budget] = {}
    for campaign in campaigns:
        for item in campaign.line_items or (None,):
            own = standing_budgets(campaign, item, of[campaign.advertiser])
            name = item.id if item is not None else campaign.id
            lines[name] = tuple(budget.account_id for budget in own)
            campaign_of[name] = campaign.id
            budgets |= {budget.account_id: budget for budget in own}
    return Scenario(
        seed=seed,
        kind=kind,
        faulty=faulty,
        auctions=auctions,
        duration_ns=max(24 * S, auctions * S // 180),
        seats=seats,
        trackers=dice.between(1, 2),
        banks=dice.between(1, 2),
        partitions=dice.between(1, 3) + seats - 1,
        campaigns=campaigns,
        advertisers=advertisers,
        lines=lines,
        campaign_of=campaign_of,
        budgets=budgets,
        feasible_nanos=_feasible(campaigns, of),
        faults=(_drawn(dice) if faulty else NO_FAULTS) if faults is None else faults,
    )


def _campaigns(
    dice: Dice, kind: str, auctions: int, *, faulty: bool
) -> tuple[tuple[Campaign, ...], tuple[Advertiser, ...]]:
    """Three campaigns of two advertisers: one alone, one with line items, one that shares its advertiser's limit."""
    mean_nanos = {"all_win_late_full": 1_600_000, "first_price": 1_000_000}.get(kind, 500_000)
    # Faults cost auctions, and budgets are to bind beside them.
    share_of_traffic = (0.25 + 0.1 * dice.uniform()) * (_SHARE_WITH_FAULTS if faulty else 1.0)
    whole = int(auctions * mean_nanos * share_of_traffic)
    share = whole // 3
    two = (
        _item("c2-a", share * 6 // 10),
        _item("c2-b", share * 7 // 10),
    )
    campaigns = (
        _campaign("c1", "acme", share),
        _campaign("c2", "acme", share, two),
        _campaign("c3", "bold", share),
    )
    # Few auctions make small budgets, and what two seats hold of two levels may not match at their end.
    shared = share * 19 // 10 if auctions >= _MANY_AUCTIONS and dice.chance(0.5) else 0
    return campaigns, (
        Advertiser(id="acme", budgets=Budgets(lifetime_nanos=shared)),
        Advertiser(id="bold"),
    )


def _feasible(campaigns: tuple[Campaign, ...], advertisers: dict[str, Advertiser]) -> int:
    total = 0
    for advertiser in advertisers.values():
        own = sum(each.budget_nanos for each in campaigns if each.advertiser == advertiser.id)
        total += min(own, advertiser.budgets.lifetime_nanos or own)
    return total


def _item(name: str, limit_nanos: int) -> LineItem:
    return LineItem(id=name, budgets=Budgets(lifetime_nanos=limit_nanos))


def _campaign(name: str, advertiser: str, budget_nanos: int, items: tuple[LineItem, ...] = ()) -> Campaign:
    return Campaign(
        id=name,
        name=name,
        advertiser=advertiser,
        adomain=(f"{advertiser}.example",),
        budget_nanos=budget_nanos,
        start_ns=START_NS - 3_600 * S,
        end_ns=START_NS + 86_400 * S,
        value_nanos=VALUE_NANOS,
        max_bid_cpm_micros=MAX_BID_CPM_MICROS,
        pacing=Pacing.ASAP,
        creatives=(
            Creative(
                id=f"{name}-k",
                w=300,
                h=250,
                image_url="https://cdn.example/banner.png",
                landing_url="https://shop.example/",
            ),
        ),
        line_items=items,
    )


def _drawn(dice: Dice) -> Faults:
    """Each kind of fault in half of the scenarios, at a strength of its own."""

    def share(most: float) -> float:
        return most * dice.uniform() if dice.chance(0.5) else 0.0

    def every(least: int, most: int) -> int:
        return dice.between(least, most) if dice.chance(0.5) else 0

    return Faults(
        ack_lost=share(0.02),
        send_torn=share(0.01),
        delayed=share(0.02),
        longest_delay_ns=dice.between(S // 2, 3 * S),
        broker_out=every(10 * S, 40 * S),
        database_out=every(10 * S, 40 * S),
        crash_steps=dice.between(100, 1_500) if dice.chance(0.7) else 0,
        stall_steps=every(200, 4_000),
        takeover=every(5 * S, 20 * S),
        rebalance=every(3 * S, 20 * S),
        skew_ns=MAX_SKEW_NS if dice.chance(0.5) else 0,
        call_lost=share(0.3),
        never_called=share(0.1),
        repeated=share(0.4),
        reordered=share(0.2),
        very_late=share(0.05),
        false_loss=share(0.05),
        invalid=share(0.1),
        rogue=every(S // 2, 4 * S),
        budget_changes=every(5 * S, 20 * S),
    )
