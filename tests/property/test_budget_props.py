"""What the bank promises of budgets at every level, held against seats, midnights, crashes and changes.

The seats here are honest: a bid is set aside on every account that it charges, within what was granted of each and
while each lease lasts. What was booked where and what was late is the machine's own knowledge: by the time of the
bid and by the bid's end, never by the bank's word.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bidder.core.account import Account
from bidder.core.bank import AccountReport, Bank
from bidder.core.bankrules import BankRules
from bidder.core.budgets import FOREVER_NS, Budget, Unit, accounts_of
from bidder.core.campaigns import Budgets, Campaign, LineItem, Status
from bidder.core.chart import Chart
from bidder.core.effects import Effects
from bidder.core.messages import (
    ONE_IMPRESSION,
    AdvertiserChange,
    CampaignChange,
    Lease,
    Notice,
    NoticeKind,
    SliceReport,
    SliceRow,
)
from bidder.errors import InvariantError
from bidder.store.books import Batch, Books, Start
from bidder.store.database import Database
from tests.support.banking import S, advertiser, bid_id, campaign, item, notice

RULES = BankRules(
    lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S, min_chunk_bids=2, spent_refresh_ns=S
)
MAX_BID = 10
SEATS = ("s1", "s2")
DAY = 86_400 * S
MIDNIGHT = 20_780 * DAY
ZONES = {"UTC": 0, "Asia/Kolkata": 19_800 * S}
FLIGHT: dict[str, Any] = {"start_ns": 0, "end_ns": MIDNIGHT + 1_000 * DAY, "max_bid_cpm_micros": MAX_BID}
BUYERS = (("big", "x"), ("big", "y"), ("small", ""))
LIMITS = st.fixed_dictionaries(
    {
        "lifetime_nanos": st.sampled_from([0, 0, 150, 600]),
        "daily_nanos": st.sampled_from([0, 0, 90, 300]),
        "lifetime_impressions": st.sampled_from([0, 0, 25, 120]),
        "daily_impressions": st.sampled_from([0, 0, 15, 60]),
    }
)


@dataclass
class Bid:
    """One bid in the world, and what it sets aside of each account."""

    id: str
    seat: str
    epoch: int
    campaign_id: str
    line_item_id: str
    price: int
    impressions: int
    at_ns: int
    until_ns: int
    charges: dict[str, int]


@dataclass
class Seat:
    """An honest seat: by account what it was granted, until when, and what it posted."""

    name: str
    start_id: str
    epoch: int = 0
    seq: int = 0
    granted: dict[str, int] = field(default_factory=dict)
    until_ns: dict[str, int] = field(default_factory=dict)
    posted: dict[str, int] = field(default_factory=dict)
    open: dict[str, Bid] = field(default_factory=dict)
    told: dict[str, SliceRow] = field(default_factory=dict)

    def take(self, lease: Lease) -> None:
        if (lease.seat, lease.start_id) != (self.name, self.start_id):
            return
        self.epoch = lease.epoch
        if lease.bid_until_ns < self.until_ns.get(lease.account_id, 0):
            assert not lease.bid_until_ns, "leases come in order"
            return  # a grant that was forgotten and is not renewed yet: of the past, as `messages.Lease` says
        self.granted[lease.account_id] = lease.granted_nanos
        self.until_ns[lease.account_id] = lease.bid_until_ns

    def reserved(self, account_id: str) -> int:
        return sum(bid.charges.get(account_id, 0) for bid in self.open.values())

    def allows(self, charges: dict[str, int], now_ns: int) -> bool:
        return self.epoch > 0 and all(
            now_ns < self.until_ns.get(each, 0)
            and units <= self.granted[each] - self.posted.get(each, 0) - self.reserved(each)
            for each, units in charges.items()
        )

    def report(self, now_ns: int) -> SliceReport:
        """All accounts when another was leased and in every tenth report, else those that changed."""
        self.seq += 1
        rows = {
            each: SliceRow(each, units, self.reserved(each), self.posted.get(each, 0))
            for each, units in self.granted.items()
        }
        whole = not self.epoch or len(rows) != len(self.told) or self.seq % 10 == 0
        changed = tuple(row for each, row in rows.items() if whole or row != self.told[each])
        self.told = rows
        return SliceReport(
            seat=self.name,
            epoch=self.epoch,
            seq=self.seq if self.epoch else 0,
            start_id=self.start_id,
            at_ns=now_ns,
            rows=changed if self.epoch else (),
            whole=whole,
        )


class Shop(RuleBasedStateMachine):
    """An advertiser with a campaign of two line items and one of none; two seats; a bank that may crash."""

    @initialize(
        zone=st.sampled_from(sorted(ZONES)),
        shop=LIMITS,
        big=LIMITS,
        first=LIMITS,
        second=LIMITS,
        small=LIMITS,
    )
    def begin(self, zone: str, shop: Any, big: Any, first: Any, second: Any, small: Any) -> None:
        """A hundred seconds before midnight in the advertiser's zone."""
        self.now_ns = MIDNIGHT - ZONES[zone] - 100 * S
        self.database = Database(":memory:", durable=False)
        self.books = Books(self.database)
        self.books.claim()
        self.advertiser = advertiser(time_zone=zone, **shop)
        items = (item("x", **first), item("y", max_bid_cpm_micros=4, **second))
        self.campaigns = {
            "big": campaign("big", budget_nanos=700, line_items=items, **FLIGHT, **big),
            "small": campaign("small", budget_nanos=150, **FLIGHT, **small),
        }
        self.highest: dict[str, int] = {}
        self.booked: dict[str, int] = {}
        self.late: dict[str, int] = {}
        self.bids = self.starts = 0
        self.in_flight: list[Bid] = []
        self.delivered: list[Notice] = []
        self.paid: set[str] = set()
        self.known: dict[str, Bid] = {}
        self._note_limits()
        self.bank = self._bank()
        self.seats = [self._seat(name) for name in SEATS]
        self._report()

    def _bank(self) -> Bank:
        state = self.books.load(self.now_ns)
        return Bank(RULES, self.campaigns, state, {"acme": self.advertiser})

    def _seat(self, name: str) -> Seat:
        self.starts += 1
        return Seat(name, f"start-{self.starts}")

    def _keep(self, effects: Effects) -> None:
        self.books.write(Batch(steps=[effects.rows]))
        for lease in effects.leases:
            for seat in self.seats:
                seat.take(lease)

    def _accounts(self, campaign_id: str, line_item_id: str, at_ns: int) -> tuple[Budget, ...]:
        """What a bid charges, by what is stated now."""
        whole: Campaign = self.campaigns[campaign_id]
        line: LineItem | None = next((each for each in whole.line_items if each.id == line_item_id), None)
        return accounts_of(whole, line, self.advertiser, at_ns)

    def _note_limits(self) -> None:
        """Keeps the highest limit that each account ever had, those of days that begin soon among them."""
        for who in BUYERS:
            for at_ns in (self.now_ns, self.now_ns + RULES.lease_ns):
                for budget in self._accounts(*who, at_ns):
                    name = budget.account_id
                    self.highest[name] = max(self.highest.get(name, 0), budget.limit)

    @rule(
        data=st.data(),
        rounds=st.integers(1, 6),
        wanted=st.lists(st.tuples(st.integers(1, MAX_BID), st.integers(1, 2)), min_size=1, max_size=4),
        seconds=st.sampled_from([0, 1, 1, 11, 29]),
    )
    def trade(self, data: st.DataObject, rounds: int, wanted: list[tuple[int, int]], seconds: int) -> None:
        """Some busy seconds: every seat bids for everyone, some bids are paid, all seats report."""
        for _ in range(rounds):
            for index in range(len(SEATS)):
                for who in BUYERS:
                    self.bid(index, who, wanted)
            self.pay(data)
            self.wait(seconds, set())

    def bid(self, index: int, who: tuple[str, str], wanted: list[tuple[int, int]]) -> None:
        """A seat bids as long as every lease lasts and every grant has room."""
        seat = self.seats[index]
        budgets = self._accounts(*who, self.now_ns)
        for price, impressions in wanted:
            units = impressions * ONE_IMPRESSION
            charges = {each.account_id: price if each.unit is Unit.MONEY else units for each in budgets}
            if seat.allows(charges, self.now_ns):
                self.bids += 1
                name = bid_id(f"bid-{self.bids}")
                end_ns = self.now_ns + RULES.longest_reservation_ns
                made = Bid(name, seat.name, seat.epoch, *who, price, units, self.now_ns, end_ns, charges)
                seat.open[name] = made
                self.in_flight.append(made)

    @rule(data=st.data())
    def pay(self, data: st.DataObject) -> None:
        """Some bids win; some of their notices come twice, or with others about them."""
        if not self.in_flight:
            return
        chosen = data.draw(
            st.lists(st.sampled_from(self.in_flight), unique_by=lambda bid: bid.id, max_size=20)
        )
        others = st.lists(
            st.sampled_from([NoticeKind.WIN, NoticeKind.IMPRESSION, NoticeKind.CLICK]), max_size=2
        )
        batch = [
            self._notice(kind, bid) for bid in chosen for kind in [*data.draw(others), NoticeKind.BILLING]
        ]
        self.in_flight = [bid for bid in self.in_flight if bid not in chosen]
        for bid in chosen:
            self._pay(bid)
        self.delivered += batch
        self._book(batch + batch[::2] if data.draw(st.booleans()) else batch)

    def _pay(self, bid: Bid) -> None:
        for account_id, units in bid.charges.items():
            self.booked[account_id] = self.booked.get(account_id, 0) + units
            if self.now_ns > bid.until_ns:
                self.late[account_id] = self.late.get(account_id, 0) + units

    def _book(self, notices: Sequence[Notice]) -> None:
        effects = self.bank.apply(notices, self.now_ns)
        self._keep(effects)
        for told in effects.settlements:
            if not told.amount_nanos:
                continue
            assert told.bid_id not in self.paid, "a bid is paid once"
            self.paid.add(told.bid_id)
            for seat in self.seats:
                if (seat.name, seat.epoch) == (told.seat, told.epoch):
                    self._settle(seat, told.bid_id)

    def _settle(self, seat: Seat, name: str) -> None:
        seat.open.pop(name, None)
        for account_id, units in self.known[name].charges.items():
            seat.posted[account_id] = seat.posted.get(account_id, 0) + units

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Any notice may come again at any time."""
        if self.delivered:
            self._book([data.draw(st.sampled_from(self.delivered))])

    def _notice(self, kind: NoticeKind, bid: Bid) -> Notice:
        self.known[bid.id] = bid
        priced = kind in {NoticeKind.BILLING, NoticeKind.WIN}
        return notice(
            kind,
            bid.id,
            seat=bid.seat,
            epoch=bid.epoch,
            campaign_id=bid.campaign_id,
            line_item_id=bid.line_item_id,
            creative_id="b1",
            cap_nanos=bid.price,
            price_nanos=bid.price if priced else 0,
            at_ns=self.now_ns,
            bid_at_ns=bid.at_ns,
            liable_until_ns=bid.until_ns,
            impressions=bid.impressions,
        )

    @rule(
        seconds=st.sampled_from([1, 7, 20, 20, 29, 45, 61, 96, 200, 40_000, 86_400]),
        silent=st.sets(st.sampled_from(SEATS)),
    )
    def wait(self, seconds: int, silent: set[str]) -> None:
        """Time goes on; reservations end; seats that are not silent report."""
        self.now_ns += seconds * S
        self._note_limits()
        for seat in self.seats:
            seat.open = {name: bid for name, bid in seat.open.items() if bid.until_ns >= self.now_ns}
        self._keep(self.bank.tick(self.now_ns))
        self._report(silent)

    def _report(self, silent: set[str] | frozenset[str] = frozenset()) -> None:
        reports = [seat.report(self.now_ns) for seat in self.seats if seat.name not in silent]
        starts = [Start(each.seat, each.start_id, each.epoch == 0) for each in self.bank.new_starts(reports)]
        epochs = self.books.number(starts) if starts else {}
        self._keep(self.bank.apply(reports, self.now_ns, epochs=epochs))
        self._keep(self.bank.tick(self.now_ns))

    @rule(index=st.integers(0, 1))
    def replace_seat(self, index: int) -> None:
        """A worker dies and another takes its seat; it knows nothing of the old one's bids."""
        self.seats[index] = self._seat(SEATS[index])
        self._report()

    @rule()
    def crash_bank(self) -> None:
        """The bank dies after a write and is built again from its books."""
        before, items = _booked(self.bank), self.bank.line_items()
        self.bank = self._bank()
        assert _booked(self.bank) == before
        self._keep(self.bank.tick(self.now_ns))
        assert _booked(self.bank) == before
        assert self.bank.line_items() == items

    @rule(percent=st.sampled_from([30, 70, 100, 160]), who=st.sampled_from(["acme", "big", "x", "small"]))
    def change_budgets(self, percent: int, who: str) -> None:
        """Every limit that stands is raised or cut; none is added or taken away."""
        if who == "acme":
            self.advertiser = _scaled(self.advertiser, percent)
            self._note_limits()
            change = AdvertiserChange(version=1, advertiser_id="acme", advertiser=self.advertiser)
            self._keep(self.bank.adopt([change]))
            return
        old = self.campaigns["big" if who == "x" else who]
        if who == "x":
            items = tuple(_scaled(each, percent) if each.id == "x" else each for each in old.line_items)
            new = msgspec.structs.replace(old, line_items=items)
        else:
            budget = max(1, old.budget_nanos * percent // 100)
            new = _scaled(msgspec.structs.replace(old, budget_nanos=budget), percent)
        self._adopt(new)

    @rule(status=st.sampled_from(Status), line_item_id=st.sampled_from(["x", "y"]))
    def pause(self, status: Status, line_item_id: str) -> None:
        """A line item is paused, or goes on."""
        old = self.campaigns["big"]
        items = tuple(
            msgspec.structs.replace(each, status=status) if each.id == line_item_id else each
            for each in old.line_items
        )
        self._adopt(msgspec.structs.replace(old, line_items=items))

    def _adopt(self, new: Campaign) -> None:
        self.campaigns[new.id] = new
        self._note_limits()
        self._keep(self.bank.adopt([CampaignChange(version=1, campaign_id=new.id, campaign=new)]))

    @invariant()
    def every_account_has_what_was_paid(self) -> None:
        found = {name: (each.booked, each.late) for name, each in _booked(self.bank).items()}
        assert found == {name: (units, self.late.get(name, 0)) for name, units in self.booked.items()}

    @invariant()
    def in_time_spend_stays_within_the_highest_limit_of_every_account(self) -> None:
        for name, units in self.booked.items():
            assert units - self.late.get(name, 0) <= self.highest[name]

    @invariant()
    def what_is_promised_fits_every_limit_but_for_late_spend(self) -> None:
        for name, each in _by_id(self.bank).items():
            assert each.booked + each.leased <= self.highest[name] + each.uncovered
            assert each.uncovered <= each.late

    @invariant()
    def the_books_add_up(self) -> None:
        self.bank.check()
        self.books.verify()

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()


def _by_id(bank: Bank) -> dict[str, AccountReport]:
    return {each.id: each for each in bank.accounts()}


def _booked(bank: Bank) -> dict[str, AccountReport]:
    """Accounts on which something is booked, without what changes with time alone."""
    return {
        name: msgspec.structs.replace(
            each, leased=0, limit=0, begin_ns=0, end_ns=0, reserve=0, held=0, locked=0
        )
        for name, each in _by_id(bank).items()
        if each.booked
    }


def _scaled(stated: Any, percent: int) -> Any:
    """The same with every limit that there is so much larger or smaller."""
    names = Budgets.__struct_fields__
    limits = {name: getattr(stated.budgets, name) for name in names}
    scaled = {name: max(1, limit * percent // 100) if limit else 0 for name, limit in limits.items()}
    return msgspec.structs.replace(stated, budgets=Budgets(**scaled))


Shop.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestShop = Shop.TestCase


NO_LIMITS: dict[str, int] = {}


def begun(**shop: int) -> Shop:
    """A world where the advertiser has these budgets and nobody else has any."""
    world = Shop()
    world.begin(zone="UTC", shop=shop, big=NO_LIMITS, first=NO_LIMITS, second=NO_LIMITS, small=NO_LIMITS)
    return world


def check(world: Shop) -> None:
    """All that must hold, as after each step of a trial."""
    world.every_account_has_what_was_paid()
    world.in_time_spend_stays_within_the_highest_limit_of_every_account()
    world.what_is_promised_fits_every_limit_but_for_late_spend()
    world.the_books_add_up()


def spend_all(world: Shop) -> None:
    """Both seats bid all that they may on both campaigns, and all of it is paid in time."""
    for _ in range(60):
        for index in (0, 1):
            world.bid(index=index, who=("big", "x"), wanted=[(5, 1)] * 4)
            world.bid(index=index, who=("small", ""), wanted=[(5, 1)] * 4)
        bids, world.in_flight = world.in_flight, []
        for bid in bids:
            world._pay(bid)
        world._book([world._notice(NoticeKind.BILLING, bid) for bid in bids])
        world.wait(seconds=1, silent=set())


@pytest.mark.parametrize(
    ("budget", "account_id", "units"),
    [
        ("lifetime_nanos", "a/acme/money", 100),
        ("daily_nanos", "a/acme/money/d20779", 100),
        ("lifetime_impressions", "a/acme/imps", 20 * ONE_IMPRESSION),
        ("daily_impressions", "a/acme/imps/d20779", 20 * ONE_IMPRESSION),
    ],
)
def test_an_advertisers_budget_that_binds_is_spent_to_its_last_bid(
    budget: str, account_id: str, units: int
) -> None:
    world = begun(**{budget: 20 if "impressions" in budget else 100})
    spend_all(world)
    check(world)
    assert world.booked[account_id] == units
    world.teardown()


def test_on_the_next_day_all_of_a_daily_budget_is_spent_again() -> None:
    world = begun(daily_nanos=100)
    spend_all(world)
    world.wait(seconds=45, silent=set())
    spend_all(world)
    check(world)
    assert (world.booked["a/acme/money/d20779"], world.booked["a/acme/money/d20780"]) == (100, 100)
    world.teardown()


def test_a_seat_that_was_silent_until_it_was_forgotten_spends_what_is_left() -> None:
    """All but one bid is spent, most of it by a seat that the bank then hears nothing of for two days."""
    world = begun(lifetime_nanos=100)
    for index, price, bids in ((0, 5, 16), (1, 5, 3)):
        for _ in range(bids):
            world.bid(index=index, who=("big", "x"), wanted=[(price, 1)])
            paid, world.in_flight = world.in_flight, []
            for bid in paid:
                world._pay(bid)
            world._book([world._notice(NoticeKind.BILLING, bid) for bid in paid])
            world.wait(seconds=1, silent=set())
    for _ in range(5):
        world.wait(seconds=40_000, silent={"s1"})
    assert world.bank.new_starts([world.seats[0].report(world.now_ns)]), "its start is forgotten"
    for _ in range(20):
        world.wait(seconds=20, silent={"s2"})
    spend_all(world)
    check(world)
    assert world.booked["a/acme/money"] == 100
    assert world.seats[0].posted["a/acme/money"] > 80
    world.teardown()


def charges_the_flight_alone(chart: Chart, campaign_id: str, *_: object) -> tuple[Account, ...]:
    """Forgets the budgets beside that of the flight."""
    return (chart.flight(campaign_id),)


def charges_the_day_of_the_notice(
    chart: Chart, campaign_id: str, line_item_id: str, _: int, now_ns: int
) -> tuple[Account, ...]:
    """Takes the day on which the bank reads the notice for the bid's."""
    return CHARGED(chart, campaign_id, line_item_id, now_ns, now_ns)


def has_no_limit(account: Account) -> bool:
    """Forgets what its line items state."""
    account.limit = FOREVER_NS
    return True


CHARGED = Chart.charged


def all_bids_are_paid(world: Shop) -> None:
    """Two days, bids before and after midnight, all paid in time on the day after."""
    spend_all(world)
    world.bid(index=0, who=("small", ""), wanted=[(5, 1)])
    world.wait(seconds=29, silent=set())
    for _ in range(3):
        for index in (0, 1):  # whichever holds what is left of the day
            world.bid(index=index, who=("big", "y"), wanted=[(1, 1)] * 8)
        world.wait(seconds=20, silent=set())
    bids, world.in_flight = world.in_flight, []
    for bid in bids:
        world._pay(bid)
    world._book([world._notice(NoticeKind.BILLING, bid) for bid in bids])


def test_a_story_of_two_days_keeps_every_promise() -> None:
    world = begun(daily_nanos=104, lifetime_impressions=30)
    all_bids_are_paid(world)
    check(world)
    days = {name for name, units in world.booked.items() if units and "/d" in name}
    assert days == {"a/acme/money/d20779", "a/acme/money/d20780"}
    world.teardown()


@pytest.mark.parametrize(
    ("part", "name", "mutant"),
    [
        (Chart, "charged", charges_the_flight_alone),
        (Chart, "charged", charges_the_day_of_the_notice),
        (Account, "restate", has_no_limit),
    ],
)
def test_the_world_catches_a_bank_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, part: type, name: str, mutant: Any
) -> None:
    """Negative control: each of these mistakes breaks a promise, and is seen."""
    monkeypatch.setattr(part, name, mutant)
    world = begun(daily_nanos=104, lifetime_impressions=30)
    with pytest.raises((AssertionError, InvariantError)):
        _tell(world)
    world.teardown()


def _tell(world: Shop) -> None:
    all_bids_are_paid(world)
    check(world)
