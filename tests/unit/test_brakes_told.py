"""From `stop` to the last bid: store, bank, worker and journal on virtual time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.core.bankrules import BankRules
from bidder.core.campaigns import Campaign, Pacing
from bidder.core.engine import Engine
from bidder.core.messages import (
    BID_REQUESTS,
    CAMPAIGNS,
    LEASES,
    NOTICES,
    SLICES,
    Brake,
    CampaignChange,
    Lease,
    Notice,
    NoticeKind,
    SliceReport,
    Trip,
    encode,
)
from bidder.core.settings import BrakeSettings, PacingSettings
from bidder.errors import InputError
from bidder.openrtb.reasons import Reason
from bidder.runtime.bank import BankService
from bidder.runtime.transport import Message, Outbound
from bidder.runtime.worker import Worker
from bidder.runtime.worker_shell import brakes_first
from bidder.store.brakes import BrakeStore
from bidder.store.campaigns import CampaignStore
from bidder.store.database import Database
from bidder.store.journal import JournalWriter
from simulator.replay import replay_journal
from tests.support import factories as make
from tests.support.banking import ask, bid_id, notice, used
from tests.support.factories import Offer, S

STEP_NS = S // 20
SETTINGS = msgspec.structs.replace(
    make.SETTINGS, pacing=PacingSettings(start=1.0, eta=1e-9, first_eta=1e-9, target="fixed")
)
"""With a multiplier that stands still, so that nothing but a brake ends bids."""
RULES = BankRules(lease_ns=30 * S, longest_reservation_ns=60 * S, margin_ns=5 * S)
_BRAKES: msgspec.json.Decoder[Brake | CampaignChange] = msgspec.json.Decoder(Brake | CampaignChange)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "a.db", durable=False) as database:
        CampaignStore(database).put([make.campaign()], at_ns=0)
        yield database


class World:
    """A bank that ticks each tenth of a second and a worker that decides a request each twentieth."""

    def __init__(self, database: Database, rules: BankRules = RULES, settings: Any = SETTINGS) -> None:
        self.store = BrakeStore(database)
        self.bank = BankService.open(database, rules, 0)
        self.worker = Worker(Engine(settings, make.KEY, None, make.START))
        self.now_ns = 0
        self.reasons: list[tuple[int, int]] = []
        self._number = 0
        self._tell(self.bank.restate(0))

    def _tell(self, out: list[Outbound]) -> None:
        kept = [one for one in out if one.topic in {CAMPAIGNS, LEASES}]
        messages = [Message(one.topic, 0, 0, one.key, one.value, 0) for one in kept]
        if messages:
            self.worker.on_control(brakes_first(messages), self.now_ns)

    def run(self, seconds: int) -> None:
        for _ in range(seconds * S // STEP_NS):
            self.now_ns += STEP_NS
            self._number += 1
            out = self.worker.on_requests([self._request()], self.now_ns, 0)
            rows = [
                orjson.loads(line) for one in out for line in one.value.splitlines() if b'"reason"' in line
            ]
            self.reasons.append((self.now_ns, rows[0]["reason"]))
            reports = [one for one in self.worker.on_tick(self.now_ns) if one.topic == SLICES]
            messages = [Message(SLICES, 0, self._number, one.key, one.value, 0) for one in reports]
            self._tell(self.bank.on_messages(messages, self.now_ns))
            if self._number % 2 == 0:
                self._tell(self.bank.on_tick(self.now_ns))

    def _request(self) -> Message:
        return Message(BID_REQUESTS, 0, self._number, None, make.body(Offer(id=f"r{self._number}")), 0)

    @property
    def last_bid_ns(self) -> int:
        return max(at_ns for at_ns, reason in self.reasons if reason == Reason.BID)


@pytest.mark.parametrize("name", ["all", "a/shop", "c/c1"])
def test_the_last_bid_is_within_a_second_of_the_stop(database: Database, name: str) -> None:
    world = World(database)
    world.run(5)
    assert world.last_bid_ns == 5 * S
    world.store.stop(name, at_ns=5 * S)
    world.run(5)
    # The bank's next tick, and the step in which it falls.
    assert world.last_bid_ns - 5 * S <= 2 * STEP_NS
    assert {reason for at_ns, reason in world.reasons if at_ns > world.last_bid_ns} == {Reason.STOPPED}
    world.store.go(name, at_ns=10 * S)
    world.run(1)
    assert world.last_bid_ns == 11 * S


def test_a_worker_that_starts_later_knows_of_the_stop(database: Database) -> None:
    BrakeStore(database).stop("a/shop", at_ns=0)
    world = World(database)
    world.run(2)
    assert {reason for _, reason in world.reasons} == {Reason.STOPPED}


def test_leases_of_the_stopped_end_and_those_of_others_do_not(database: Database) -> None:
    CampaignStore(database).put([make.campaign("c2", advertiser="bank")], at_ns=0)
    world, store = World(database), BrakeStore(database)
    world.run(2)
    store.stop("a/shop", at_ns=2 * S)
    world.run(60)
    leases = world.worker.engine.wallet.leases
    assert leases["c1"].bid_until_ns <= 2 * S + RULES.lease_ns + S
    assert leases["c2"].bid_until_ns > 62 * S
    store.go("a/shop", at_ns=62 * S)
    world.run(1)
    assert leases["c1"].bid_until_ns > 63 * S


def fast_settings() -> tuple[BankRules, Any]:
    brakes = BrakeSettings(factor=1, floor_bids=1, reserved_ppm=1_000_000, reset_seconds=20)
    return (
        msgspec.structs.replace(RULES, brakes=brakes),
        msgspec.structs.replace(SETTINGS, brakes=brakes),
    )


def unpaced() -> Campaign:
    """A campaign that pacing does not hold back, with the limit that the breaker makes of its budget."""
    return make.campaign(pacing=Pacing.ASAP, max_nanos_per_minute=9_000_000)


def test_what_a_seats_breaker_finds_is_written_and_told_to_all(database: Database) -> None:
    """Each bid sets 2 thousandths of a unit aside, of which 9 are allowed in a minute."""
    rules, settings = fast_settings()
    CampaignStore(database).put([unpaced()], at_ns=0)
    world = World(database, rules, settings)
    world.run(2)
    assert world.reasons[-1][1] == Reason.TRIPPED
    (row,) = world.store.history()
    assert (row.name, row.stopped, row.actor, row.tripped) == ("c/c1", 1, "breaker", 1)
    assert row.until_ns == row.at_ns + 20 * S
    assert "in a minute, allowed are 9000000" in row.reason
    other = Worker(Engine(SETTINGS, make.KEY, None, "start-2"))
    told = [each for each in world.bank.restate(world.now_ns) if each.topic == CAMPAIGNS]
    other.on_control([Message(CAMPAIGNS, 0, 0, each.key, each.value, 0) for each in told], world.now_ns)
    assert other.engine.brakes.reasons.tolist() == [Reason.TRIPPED]


def test_a_trip_resets_itself_and_a_go_ends_it_at_once(database: Database) -> None:
    rules, settings = fast_settings()
    CampaignStore(database).put([unpaced()], at_ns=0)
    world = World(database, rules, settings)
    world.run(2)
    tripped_ns = world.last_bid_ns
    world.store.go("c/c1", at_ns=2 * S)
    world.run(1)
    assert tripped_ns < 2 * S < world.last_bid_ns
    world.run(120)
    assert len(world.store.history()) > 3
    assert world.last_bid_ns > 60 * S


# -- the bank's own ----------------------------------------------------------------------------------------------


def wire(*records: Notice | SliceReport, topic: str = NOTICES, first: int = 0) -> list[Message]:
    return [Message(topic, 0, first + n, None, encode(each), 0) for n, each in enumerate(records)]


def paid(number: int, at_ns: int) -> Notice:
    return notice(
        NoticeKind.BILLING, bid_id(f"b{number}")[:16], at_ns=at_ns, bid_at_ns=at_ns, advertiser_id="shop"
    )


def test_the_bank_stops_what_is_booked_too_fast_over_all_seats(database: Database) -> None:
    rules, _ = fast_settings()
    service = BankService.open(database, rules, 0)
    store = BrakeStore(database)
    service.on_messages(wire(*(paid(number, 10 * S) for number in range(4))), 10 * S)
    service.on_tick(10 * S)
    assert store.all() == {}  # 8 thousandths of a unit, 9 are allowed
    service.on_messages(wire(paid(5, 11 * S), first=10), 11 * S)
    out = service.on_tick(11 * S)
    brakes = [_BRAKES.decode(each.value) for each in out if each.topic == CAMPAIGNS]
    assert [(type(one), getattr(one, "name", "")) for one in brakes] == [(Brake, "c/c1")]
    assert [each.key for each in out if each.topic == CAMPAIGNS] == [b"brake/c/c1"]
    service.on_tick(12 * S)
    assert len(store.history()) == 1


def test_what_seats_set_aside_counts_at_the_bank_too(database: Database) -> None:
    rules, _ = fast_settings()
    service = BankService.open(database, rules, 0)
    service.on_messages(wire(ask(), topic=SLICES), 1 * S)
    for seq, reserved in enumerate((50_000_000, 55_000_000, 59_000_000), 1):
        report = used(0, reserved, seq=seq, at_ns=seq * S)
        service.on_messages(wire(report, topic=SLICES, first=seq), seq * S)
    service.on_tick(4 * S)
    assert BrakeStore(database).all() == {}  # what is first heard of may be old; then 9 were added
    service.on_messages(wire(used(0, 59_000_001, seq=4, at_ns=5 * S), topic=SLICES, first=9), 5 * S)
    service.on_tick(5 * S)
    assert list(BrakeStore(database).all()) == ["c/c1"]


def test_notices_that_waited_are_no_rush(database: Database) -> None:
    """An hour of spend that is read at once after an outage."""
    rules, _ = fast_settings()
    service = BankService.open(database, rules, 0)
    late = [paid(number, number * 60 * S) for number in range(60)]
    service.on_messages(wire(*late), 3_600 * S)
    service.on_tick(3_600 * S)
    assert BrakeStore(database).all() == {}


def test_a_trip_from_before_a_go_is_of_the_past(database: Database) -> None:
    service = BankService.open(database, RULES, 0)
    store = BrakeStore(database)
    trip = Trip("c/c1", 5 * S, 500 * S, 2, 1)
    store.go("c/c1", at_ns=6 * S)
    service.on_tick(6 * S)
    service.on_tick(7 * S)
    for at_ns, known in ((5 * S, False), (8 * S, True)):
        report = SliceReport(
            seat="s1",
            epoch=0,
            seq=0,
            start_id="a",
            at_ns=at_ns,
            rows=(),
            trips=(msgspec.structs.replace(trip, at_ns=at_ns),),
        )
        service.on_messages(wire(report, topic=SLICES, first=at_ns // S), 9 * S)
        service.on_tick(9 * S)
        assert store.all()["c/c1"].stopped is known


# -- store, journal, shell, command -------------------------------------------------------------------------------


def test_nobody_can_be_stopped_who_is_not_there(database: Database) -> None:
    store = BrakeStore(database)
    for name, called in (("a/shap", "advertiser"), ("c/c9", "campaign"), ("l/x", "line item")):
        with pytest.raises(InputError, match=f"^{called} must be one of the store's"):
            store.stop(name, at_ns=0)
    assert store.history() == []


def test_a_journal_with_brakes_and_trips_replays(tmp_path: Path) -> None:
    brakes = BrakeSettings(factor=1, floor_bids=1, reserved_ppm=1_000_000, reset_seconds=20)
    settings = msgspec.structs.replace(SETTINGS, brakes=brakes)
    stop = Brake(version=2, name="all", stopped=True, at_ns=0)
    change = CampaignChange(version=1, campaign_id="c1", campaign=unpaced())
    ends = []
    with JournalWriter(tmp_path / "j", _meta(settings)) as journal:
        made = Worker(Engine(settings, make.KEY, None, make.START), journal)
        made.on_control(_control(CAMPAIGNS, change) + _control(LEASES, make.lease()), 0)
        for number in range(200):
            if number == 150:
                made.on_control(_control(CAMPAIGNS, stop), number * S)
            message = Message(BID_REQUESTS, 0, number, None, make.body(Offer(id=f"r{number}")), 0)
            out = made.on_requests([message], number * S, 0)
            ends += [orjson.loads(one.value)["reason"] for one in out if b'"reason"' in one.value]
            made.on_tick(number * S)
    assert {Reason.BID, Reason.TRIPPED, Reason.STOPPED} == set(ends)
    assert replay_journal(tmp_path / "j", [], make.KEY).identical


def _control(topic: str, record: Brake | CampaignChange | Lease) -> list[Message]:
    return [Message(topic, 0, 0, None, encode(record), 0)]


def _meta(settings: Any) -> dict[str, Any]:
    from bidder.store.seat import EXTERNAL_MODEL, versions

    return {
        "settings": msgspec.to_builtins(settings),
        "start_id": make.START,
        "model": EXTERNAL_MODEL,
        "versions": versions(),
    }


def test_brakes_go_before_all_that_came_with_them() -> None:
    messages = [
        Message(CAMPAIGNS, 0, number, key, b"", 0)
        for number, key in enumerate((b"c1", b"advertiser/shop", b"brake/all", b"c2", b"brake/c/c1"))
    ]
    assert [message.offset for message in brakes_first(messages)] == [2, 4, 0, 1, 3]
    assert [message.offset for message in brakes_first(messages[:2])] == [0, 1]


def clearbid(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), [str(each) for each in arguments])


def test_the_commands_write_who_when_and_why(place: str) -> None:
    path = place
    with Database(path, durable=False) as database:
        CampaignStore(database).put([make.campaign()], at_ns=0)
    done = clearbid("stop", "--advertiser", "shop", "--reason", "wrong price", "--by", "ann", "--db", path)
    assert (done.exit_code, done.output) == (0, "advertiser shop: stopped\n")
    assert clearbid("go", "--advertiser", "shop", "--by", "bob", "--db", path).output.endswith(
        "may bid again\n"
    )
    assert clearbid("stop", "--all", "--db", path).output == "all: stopped\n"
    rows = orjson.loads(clearbid("brakes", "--json", "--db", path).output)
    assert [(row["name"], row["stopped"], row["actor"], row["reason"]) for row in rows[:2]] == [
        ("a/shop", 1, "ann", "wrong price"),
        ("a/shop", 0, "bob", ""),
    ]
    assert rows[2]["actor"] != ""
    assert rows[0]["at_ns"] > 10**18
    shown = clearbid("brakes", "--db", path).output
    assert shown.count("stopped") == 3  # twice done, once holding


@pytest.mark.parametrize("named", [[], ["--all", "--campaign", "c1"]])
def test_one_must_be_named(tmp_path: Path, database: Database, named: list[str]) -> None:
    done = clearbid("stop", *named, "--db", tmp_path / "a.db")
    assert isinstance(done.exception, InputError)
    assert "one of --all" in str(done.exception)
