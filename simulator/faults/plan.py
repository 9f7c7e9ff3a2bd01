"""What one run plays: campaigns, budgets, processes and what goes wrong, all drawn from the seed.

Even seeds are without faults, and their budgets bind: they must be spent. Odd seeds have faults of some kinds, each
drawn on or off; among both are markets where every bid wins at its full price at the very end of its time. Of the
odd ones those that end in 5 have late notices alone, by a law that the bank has measured.
"""

from typing import NamedTuple

import msgspec

from bidder.core.bankrules import BankRules
from bidder.core.bookings import LateRow
from bidder.core.budgets import Budget, accounts_of, daily_budgets, day_of, standing_budgets
from bidder.core.campaigns import Advertiser, Budgets, Campaign, Creative, Fee, LineItem, Pacing
from bidder.core.messages import ALL, NoticeKind
from bidder.core.settings import EngineSettings, ExchangeRules, UserSettings
from bidder.core.traffic import TrafficRules
from simulator.faults.dice import Dice
from simulator.faults.history import drawn_rates, history

S = 1_000_000_000
MS = 1_000_000
NEW_YEAR_NS = 1_767_225_600 * S
"""In the middle of each run: an hour, and a day, end there."""

MAX_BID_CPM_MICROS = 2_000_000
FULL_PCTR = 0.001
VALUE_NANOS = 2 * S
"""A click is worth two units, so that the usual probability makes the largest bid."""

LEASE_NS, MARGIN_NS = 3 * S, S
RESULT_S, BILLING_S = 2.0, 3.0
ACCEPT_NS, CONVERSION_NS = 15 * S, 400 * S
HOLD_NS = 5 * S
"""So long a conversion waits for a touch that is still under way."""
MAX_SKEW_NS = 100 * MS
TRACKER_WAIT_NS = 6 * S
"""So long after a tracker took a notice it must be written to count as of then; clocks differ within the margin."""
SESSION_NS = 1_500 * MS
"""A process that stands still for longer is thrown out of its groups; below the lease, as Kafka's is."""
TMAX_MS = 2_000
_SHARE_WITH_FAULTS = 0.4
_MANY_AUCTIONS = 5_000
_CLICK_ID = "?click=${CLICK_ID}"
_MEASURED = 5
"""Last digit of the seeds with a history."""
DISCREPANCY_PPM = 20_000
EXCHANGES = {
    "early": ExchangeRules(money_event="win", discrepancy_ppm=DISCREPANCY_PPM),
    "shown": ExchangeRules(money_event="impression"),
    "usual": ExchangeRules(),
}
"""What books money there: the win, with what its bill exceeds our count by; the billing URL in the markup; `burl`."""
STOPPED_NS = 500 * MS
"""So long after a stop there is no bid where nothing goes wrong: a tick of the bank, two polls and two steps."""
SLACK_NS = 2 * MAX_SKEW_NS + 100 * MS
"""Else a lease longer, and what clocks differ by: no lease is renewed after a stop that the bank could read."""
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
        tracker_disk: mean time between times in which syncs of a tracker's disk fail; 0 for none.
        tracker_cut: mean time between times in which one tracker cannot reach the broker, and all others can.
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
    tracker_disk: int = 0
    tracker_cut: int = 0


NO_FAULTS = Faults()


class Charge(NamedTuple):
    """What a line item pays at an exchange: the notice that books it, and what comes on top of the price."""

    money: NoticeKind
    ppm: int
    each_nanos: int

    def cost_nanos(self, price_nanos: int) -> int:
        """The price with its fees; a part of a nano of each is owed as a whole one."""
        return price_nanos + -(-price_nanos * self.ppm // 1_000_000) + self.each_nanos


class Stop(NamedTuple):
    """That nobody of a name (`core.brakes`) may bid, from when until when."""

    name: str
    begin_ns: int
    end_ns: int


class Scenario(NamedTuple):
    """One run, before anything happens.

    Attributes:
        kind: of market, one of `KINDS`. faulty: whether anything may go wrong.
        auctions: how many. duration_ns: in what time.
        seats, trackers, banks, partitions: how many. shards: among how many advertisers are shared out.
        spooled: whether trackers keep notices on their disks while the broker is away. exchanges: who offers.
        lines: line items, each with its campaign and what it is itself. budgets: by id, those of a day among them.
        feasible_nanos: what can be spent of all of them together. stops: of what, and when.
        history: what the bank has measured of late spend before; where there is some, nothing goes wrong but by the
            law that made it, and the reserve must hold at its quantile.
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
    shards: int
    spooled: bool
    exchanges: tuple[str, ...]
    stops: tuple[Stop, ...]
    campaigns: tuple[Campaign, ...]
    advertisers: tuple[Advertiser, ...]
    lines: dict[str, tuple[Campaign, LineItem | None]]
    budgets: dict[str, Budget]
    feasible_nanos: int
    faults: Faults
    history: tuple[LateRow, ...] = ()

    @property
    def start_ns(self) -> int:
        """When it begins."""
        return NEW_YEAR_NS - self.duration_ns // 2

    @property
    def end_ns(self) -> int:
        """When the last auction begins, and faults end."""
        return self.start_ns + self.duration_ns

    def accounts(self, line: str, at_ns: int) -> tuple[str, ...]:
        """The budgets that a bid of a line item charges."""
        campaign, item = self.lines[line]
        (advertiser,) = (each for each in self.advertisers if each.id == campaign.advertiser)
        return tuple(budget.account_id for budget in accounts_of(campaign, item, advertiser, at_ns))

    def charge(self, line: str, exchange: str) -> Charge:
        """What a line item pays there."""
        campaign, item = self.lines[line]
        fees = campaign.fees + (item.fees if item is not None else ())
        rules = EXCHANGES[exchange]
        return Charge(
            NoticeKind.WIN if rules.money_event == "win" else NoticeKind.BILLING,
            sum(fee.ppm for fee in fees) + rules.discrepancy_ppm,
            sum(fee.cpm_micros for fee in fees),
        )

    def windows(self, line: str) -> tuple[int, int]:
        """How long after a click, and after an impression, a purchase counts for a line item; 0 is never."""
        campaign, item = self.lines[line]
        click_s, view_s = campaign.click_window_seconds, campaign.view_window_seconds
        if item is not None and item.click_window_seconds is not None:
            click_s = item.click_window_seconds
        if item is not None and item.view_window_seconds is not None:
            view_s = item.view_window_seconds
        return click_s * S, view_s * S

    def stopped_by(self, line: str) -> set[str]:
        """Names of which a stop is one of a line item."""
        campaign, item = self.lines[line]
        return {ALL, f"a/{campaign.advertiser}", f"c/{campaign.id}", f"l/{item.id if item else ''}"}

    def settings(self, seat: str) -> EngineSettings:
        """Of the engine of a seat."""
        exchanges = {
            name: msgspec.structs.replace(
                rules,
                result_seconds=RESULT_S,
                billing_seconds=BILLING_S,
                default_tmax_ms=TMAX_MS,
                dedupe_seconds=0,
                first_price_shade=1.0,
                network_margin_ms=0,
            )
            for name, rules in (("default", ExchangeRules()), *EXCHANGES.items())
        }
        return EngineSettings(
            seat=seat,
            exchanges=exchanges,
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
            hold_ns=HOLD_NS,
            discrepancy_ppm=DISCREPANCY_PPM,
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
    measured = faults is None and seed % 10 == _MEASURED
    kind = kind or KINDS[seed // 2 % len(KINDS)]
    # Few auctions make small budgets, of which a bid at each seat may stay unspent.
    seats = dice.between(1, 4) if auctions >= _MANY_AUCTIONS else dice.between(1, 1 + faulty)
    campaigns, advertisers = _campaigns(dice, kind, auctions, faulty=faulty)
    of = {one.id: one for one in advertisers}
    lines: dict[str, tuple[Campaign, LineItem | None]] = {}
    budgets: dict[str, Budget] = {}
    days = [day_of("UTC", NEW_YEAR_NS + number * 86_400 * S) for number in (-1, 0, 1)]
    for campaign in campaigns:
        for item in campaign.line_items or (None,):
            whose = of[campaign.advertiser]
            lines[item.id if item is not None else campaign.id] = (campaign, item)
            own = standing_budgets(campaign, item, whose)
            daily = [each.on(day) for each in daily_budgets(campaign, item, whose) for day in days]
            budgets |= {budget.account_id: budget for budget in (*own, *daily)}
    duration_ns = max(24 * S, auctions * S // 180)
    banks = dice.between(1, 2)
    trackers = dice.between(1, 2)
    more = dice.fork("more")
    return Scenario(
        seed=seed,
        kind=kind,
        faulty=faulty,
        auctions=auctions,
        duration_ns=duration_ns,
        seats=seats,
        trackers=trackers,
        banks=banks,
        partitions=dice.between(1, 3) + seats - 1,
        campaigns=campaigns,
        advertisers=advertisers,
        shards=max(banks, more.between(1, 2)),
        spooled=more.chance(0.6),
        exchanges=tuple(EXCHANGES),
        stops=_stops(more, duration_ns, faulty=faulty),
        lines=lines,
        budgets=budgets,
        feasible_nanos=_feasible(campaigns, of),
        faults=_faults(dice, faulty=faulty, measured=measured) if faults is None else faults,
        history=_history(more, advertisers, duration_ns) if measured else (),
    )


def _faults(dice: Dice, *, faulty: bool, measured: bool) -> Faults:
    """Those of a seed."""
    if measured:
        return NO_FAULTS._replace(**drawn_rates(dice)._asdict())
    return _drawn(dice) if faulty else NO_FAULTS


def _history(dice: Dice, advertisers: tuple[Advertiser, ...], duration_ns: int) -> tuple[LateRow, ...]:
    return history(dice, [each.id for each in advertisers], NEW_YEAR_NS - duration_ns // 2)


def _stops(dice: Dice, duration_ns: int, *, faulty: bool) -> tuple[Stop, ...]:
    """One or two, each of another name; where leases bound them, for longer than a lease."""
    found = []
    for name in ("c/c1", dice.pick((ALL, "a/acme", "a/cora", "c/c2", "l/c2-a")))[: dice.between(1, 2)]:
        begin_ns = NEW_YEAR_NS - duration_ns // 2 + 2 * S + dice.between(0, duration_ns * 7 // 10)
        lasts_ns = dice.between(LEASE_NS + S, LEASE_NS + 3 * S) if faulty else dice.between(S, 2 * S)
        found.append(Stop(name, begin_ns, begin_ns + lasts_ns))
    return tuple(found)


def _campaigns(
    dice: Dice, kind: str, auctions: int, *, faulty: bool
) -> tuple[tuple[Campaign, ...], tuple[Advertiser, ...]]:
    """Three campaigns of two advertisers, with limits of every level and unit.

    One alone, with so many impressions as its money may buy; one with line items and fees; one with a limit a day.
    """
    mean_nanos = {"all_win_late_full": 1_600_000, "first_price": 1_000_000}.get(kind, 500_000)
    # Faults cost auctions, and budgets are to bind beside them.
    share_of_traffic = (0.25 + 0.1 * dice.uniform()) * (_SHARE_WITH_FAULTS if faulty else 1.0)
    whole = int(auctions * mean_nanos * share_of_traffic)
    share = whole // 3
    impressions = share // mean_nanos
    two = (
        msgspec.structs.replace(
            _item("c2-a", share * 6 // 10), fees=(Fee(name="data", ppm=50_001, cpm_micros=20_003),)
        ),
        msgspec.structs.replace(
            _item("c2-b", share * 7 // 10), click_window_seconds=10, view_window_seconds=0
        ),
    )
    campaigns = (
        msgspec.structs.replace(
            _campaign("c1", "acme", share), budgets=Budgets(lifetime_impressions=impressions)
        ),
        _campaign("c2", "acme", share, two),
        msgspec.structs.replace(_campaign("c3", "cora", share), budgets=Budgets(daily_nanos=share * 6 // 10)),
    )
    # Few auctions make small budgets, and what two seats hold of two levels may not match at their end.
    shared = share * 19 // 10 if auctions >= _MANY_AUCTIONS and dice.chance(0.5) else 0
    return campaigns, (
        Advertiser(id="acme", budgets=Budgets(lifetime_nanos=shared)),
        Advertiser(id="cora"),
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
        start_ns=NEW_YEAR_NS - 3_600 * S,
        end_ns=NEW_YEAR_NS + 86_400 * S,
        value_nanos=VALUE_NANOS,
        max_bid_cpm_micros=MAX_BID_CPM_MICROS,
        pacing=Pacing.ASAP,
        # Seconds, and another number of each, so that many purchases fall out of them.
        click_window_seconds={"c1": 8, "c2": 6}.get(name, 12),
        view_window_seconds={"c1": 3, "c2": 4}.get(name, 5),
        creatives=(
            Creative(
                id=f"{name}-k",
                w=300,
                h=250,
                image_url="https://cdn.example/banner.png",
                landing_url=f"https://shop.example/{_CLICK_ID}",
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
        tracker_disk=every(10 * S, 30 * S),
        tracker_cut=every(5 * S, 30 * S),
    )
