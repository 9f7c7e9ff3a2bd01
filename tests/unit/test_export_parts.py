"""The parts of an export, each on inputs made by hand."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.call import Decision
from bidder.core.hindsight import Hindsight
from bidder.core.messages import (
    CAMPAIGNS,
    LEASES,
    PROFILES,
    SETTLEMENTS,
    AdvertiserChange,
    CampaignChange,
    NoticeKind,
    SettlementKind,
    encode,
    in_bulk,
)
from bidder.core.profiles import Profile
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.errors import InputError
from bidder.store.journal import Adopt, Control, Decide, Entry, Tick
from simulator.export import columns
from simulator.export.columns import TableFile
from simulator.export.decisions import read_bids
from simulator.export.inputs import Moment, journals_of, losses_told, moments
from simulator.export.join import DISORDER_NS, Join, Joined
from simulator.export.outcomes import LOST, OPEN, UNSHOWN, Event, Losses, Outcome, outcome_of
from simulator.export.rows import SCHEMA, Tally, table_rows
from tests.support import factories as make
from tests.support.factories import Offer, S

CAMPAIGN = make.campaign("c1")
AT_NS = 1_000_000 * S


# -- inputs -----------------------------------------------------------------------------------------------------


def change(campaign: Any, version: int = 1) -> tuple[str, bytes]:
    return CAMPAIGNS, encode(CampaignChange(version=version, campaign_id=campaign.id, campaign=campaign))


def test_a_campaign_counts_from_the_adoption_of_its_table() -> None:
    other = msgspec.structs.replace(CAMPAIGN, advertiser="bank")
    gone = CAMPAIGNS, encode(CampaignChange(version=3, campaign_id="c1", campaign=None))
    about = CAMPAIGNS, encode(AdvertiserChange(version=1, advertiser_id="shop", advertiser=None))
    entries: list[Entry] = [
        Decide(0, (b"a",), (0,)),
        Control(1, (change(CAMPAIGN), about, (CAMPAIGNS, b"broken"), (LEASES, b"{}"))),
        Decide(1, (b"b",), (0,)),
        Adopt(2, 1),
        Tick(2),
        Decide(2, (b"c",), (0,)),
        Control(3, (change(other, 2),)),
        Control(4, (gone,)),
        Decide(4, (b"d",), (0,)),
        Adopt(5, 2),
        Decide(5, (b"e",), (0,)),
        Adopt(6, 3),
        Decide(6, (b"f",), (0,)),
    ]
    found = [
        (moment.bodies[0], moment.campaigns["c1"].advertiser if "c1" in moment.campaigns else None)
        for moment in moments(entries)
    ]
    assert found == [
        (b"a", None), (b"b", None), (b"c", "shop"), (b"d", "shop"), (b"e", "bank"), (b"f", None),
    ]  # fmt: skip


def test_profiles_come_with_the_call_after_them() -> None:
    one, two = (
        Profile(user=f"{user:016x}", segments=("a",), at_ns=user, expires_ns=AT_NS) for user in (1, 2)
    )
    entries: list[Entry] = [
        Control(1, ((PROFILES, encode(one)), (PROFILES, b"broken"), change(CAMPAIGN))),
        Control(2, ((PROFILES, encode(two)),)),
        Decide(3, (b"a",), (0,)),
        Decide(4, (b"b",), (0,)),
    ]
    assert [moment.profiles for moment in moments(entries)] == [(one, two), ()]


def test_journals_come_in_the_order_of_their_starts(tmp_path: Path) -> None:
    assert journals_of(tmp_path) == []
    for name in ("journal", "journal.10", "journal.2", "journal.bak", "key"):
        (tmp_path / name).touch()
    assert [path.name for path in journals_of(tmp_path)] == ["journal.2", "journal.10", "journal"]


# -- decisions --------------------------------------------------------------------------------------------------


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "at_ns": AT_NS, "reason": 0, "request_id": "r1", "imp_id": "1", "exchange": "default", "campaign_id": "c1",
        "bid_id": "A" * 16, "bid_cpm_micros": 2_000_000, "pctr": 0.25, "multiplier": 0.5, "model": "m",
    }  # fmt: skip
    return Decision(**(fields | changes))


def test_bids_are_read_and_all_else_is_passed_over_or_counted() -> None:
    rows = [
        decision(),
        decision(reason=3, bid_id=""),
        decision(test=True),
        decision(request_id='"bid_id":"', bid_id="", reason=3),
        decision(at_ns=AT_NS - 1),
        decision(at_ns=AT_NS + 5),
    ]
    lines = [msgspec.json.encode(row) for row in rows]
    broken = [lines[0][:-4], b'{"bid_id":"x","at_ns":"y"}', b'\xff"bid_id":"', b"", b"no JSON"]
    left_out: Counter[str] = Counter()
    assert list(read_bids([*broken, *lines], left_out, AT_NS, AT_NS + 5)) == [rows[0]]
    assert left_out == {"test": 1, "unreadable": 3}


# -- join -------------------------------------------------------------------------------------------------------


def moment(at_ns: int, *offers: Offer) -> Moment:
    return Moment(at_ns, tuple(make.body(offer) for offer in offers), {"c1": CAMPAIGN})


def join(bids: Sequence[Decision], *of: Moment) -> tuple[list[Joined], dict[str, int]]:
    left_out: Counter[str] = Counter()
    joining = Join(bids, left_out)
    hindsight = Hindsight(EngineSettings())
    found = [joined for each in of for joined in joining.of(each, hindsight)]
    joining.end()
    return found, dict(+left_out)


def test_a_bid_is_joined_with_its_own_request() -> None:
    one, two = Offer(id="r1", region="CA"), Offer(id="r2", region="NY", exchange="x")
    bids = [decision(request_id="r2", exchange="x", bid_id="B" * 16), decision()]
    found, left_out = join(bids, moment(AT_NS, Offer(id="r0"), one, two), moment(AT_NS + 1, one))
    assert [(each.bid.bid_id[0], each.glimpse.features[:2]) for each in found] == [
        ("A", ("default", "CA")),
        ("B", ("x", "NY")),
    ]
    assert left_out == {}
    rules = EngineSettings().rules("default")
    assert found[0].reserved_until_ns == AT_NS + int((rules.result_seconds + rules.billing_seconds) * S)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"at_ns": AT_NS + 1}, "no_body"),
        ({"at_ns": AT_NS - 2 * DISORDER_NS}, "no_body"),
        ({"at_ns": AT_NS + 2 * DISORDER_NS}, "no_body"),
        ({"request_id": "r2"}, "no_body"),
        ({"exchange": "x"}, "no_body"),
        ({"imp_id": "2"}, "unlike"),
        ({"deal_id": "d"}, "unlike"),
        ({"floor_cpm_micros": 1}, "unlike"),
        ({"campaign_id": "c2"}, "no_campaign"),
    ],
)
def test_a_bid_that_does_not_fit_is_counted_and_never_guessed(changes: dict[str, Any], cause: str) -> None:
    found, left_out = join([decision(bid_id="B" * 16), decision(**changes)], moment(AT_NS, Offer()))
    assert [each.bid.bid_id[0] for each in found] == ["B"]
    assert left_out == {cause: 1}


def test_a_log_in_some_disorder_and_with_repeats_is_joined_whole() -> None:
    times = [AT_NS + number * S for number in range(40)]
    bids = [
        decision(at_ns=at_ns, request_id=f"r{number}", bid_id=f"{number:016}")
        for number, at_ns in enumerate(times)
    ]
    shuffled = [bids[place ^ 3] for place in range(40) for _ in range(2)]
    found, left_out = join(
        shuffled, *(moment(at_ns, Offer(id=f"r{number}")) for number, at_ns in enumerate(times))
    )
    assert [each.bid for each in found] == bids
    assert left_out == {}


def test_little_is_held_while_moments_go_by() -> None:
    """Rows of another seat have no body here: they must go as time goes, not at the end."""
    left_out: Counter[str] = Counter()
    bids = (decision(at_ns=AT_NS + number * S, request_id=f"x{number}") for number in range(1_000))
    joining, hindsight, most = Join(bids, left_out), Hindsight(EngineSettings()), 0
    for number in range(1_000):
        assert not list(joining.of(moment(AT_NS + number * S, Offer()), hindsight))
        most = max(most, len(joining._waiting))
    assert most <= 2 * DISORDER_NS // S + 1
    joining.end()
    assert left_out == {"no_body": 1_000}


def test_a_body_that_nobody_could_bid_on_gives_nothing() -> None:
    hindsight = Hindsight(EngineSettings(exchanges={"x": ExchangeRules(schain_required=True)}))
    assert hindsight.look(b"{", AT_NS) is None
    assert hindsight.look(make.body(Offer(exchange="x")), AT_NS) is None
    sight = hindsight.look(make.body(Offer(sizes=())), AT_NS)
    assert sight is not None
    assert sight.glimpse("2") is None
    assert sight.glimpse("1", "deal") is None


@pytest.mark.parametrize(
    ("more", "known"),
    [
        ({}, True),
        ({"device": {"lmt": 1}}, False),
        ({"regs": {"coppa": 1}}, False),
        ({"regs": {"us_privacy": "1YYN"}}, False),
        ({"regs": {"us_privacy": "1YNN"}}, True),
        ({"regs": {"gdpr": 1}}, False),
    ],
)
def test_a_user_is_named_only_where_a_profile_may_be_made(more: dict[str, Any], known: bool) -> None:
    user = {"id": "u1", "data": [{"segment": [{"id": "s1"}]}]}
    sight = Hindsight(EngineSettings()).look(make.body(Offer(more={"user": user} | more)), AT_NS)
    glimpse = sight.glimpse("1") if sight is not None else None
    assert glimpse is not None
    assert (glimpse.user != 0, glimpse.segments) == (known, ("s1",) if known else ())


# -- outcomes ---------------------------------------------------------------------------------------------------

END_NS, KEEP_NS = 1_000, 900


def event(kind: NoticeKind, at_ns: int = 50, **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "bid_id": "A" * 16, "kind": int(kind), "price_nanos": 0, "amount_nanos": 0, "value_nanos": 0, "at_ns": at_ns,
        "impressions": 1_000_000, "keep_until_ns": KEEP_NS,
    }  # fmt: skip
    return Event(**(fields | changes))


WIN = event(NoticeKind.WIN, price_nanos=70)
BILLING = event(NoticeKind.BILLING, price_nanos=60, amount_nanos=60)
CLICK = event(NoticeKind.CLICK, 200)
BUY, BUY_MORE = (event(NoticeKind.CONVERSION, at_ns, value_nanos=5) for at_ns in (400, 300))
PIXEL = event(NoticeKind.IMPRESSION)


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([], LOST),
        ([WIN], UNSHOWN),
        ([WIN, BILLING], Outcome("shown", 60.0, observed_until_ns=KEEP_NS)),
        ([WIN, PIXEL], Outcome("shown", 70.0, observed_until_ns=KEEP_NS)),
        ([PIXEL], Outcome("shown", None, observed_until_ns=KEEP_NS)),
        ([WIN._replace(amount_nanos=70)], Outcome("shown", 70.0, observed_until_ns=KEEP_NS)),
        ([BILLING, CLICK], Outcome("shown", 60.0, 200, observed_until_ns=KEEP_NS)),
        ([BUY, CLICK, BUY_MORE, BILLING], Outcome("shown", 60.0, 200, 2, 10, 300, KEEP_NS)),
        ([BILLING, BUY._replace(at_ns=199), CLICK], Outcome("shown", 60.0, 200, observed_until_ns=KEEP_NS)),
        ([BILLING, BUY], Outcome("shown", 60.0, observed_until_ns=KEEP_NS)),
        ([BILLING._replace(impressions=4_000_000)], Outcome("shown", 15.0, observed_until_ns=KEEP_NS)),
        ([BILLING._replace(impressions=0)], Outcome("shown", None, observed_until_ns=KEEP_NS)),
        ([BILLING._replace(keep_until_ns=2_000)], Outcome("shown", 60.0, observed_until_ns=END_NS)),
    ],
)
def test_what_became_of_a_bid(events: list[Event], wanted: Outcome) -> None:
    assert outcome_of(events, END_NS, over=True) == wanted
    assert outcome_of(events, END_NS, over=False) == (wanted if wanted.state == "shown" else OPEN)


@given(st.sets(st.text()), st.sets(st.text()))
def test_losses_are_a_set(own: set[str], other: set[str]) -> None:
    losses = Losses(own)
    assert all(one in losses for one in own)
    assert not any(one in losses for one in other - own)


def test_losses_are_those_that_the_bank_told() -> None:
    settled = [
        make.settlement(kind, letter * 16, amount)
        for kind, letter, amount in (
            (SettlementKind.VOIDED, "A", 0),
            (SettlementKind.POSTED, "B", 5),
            (SettlementKind.WON, "C", 0),
            (SettlementKind.VOIDED, "D", 0),
        )
    ]
    items = tuple((SETTLEMENTS, encode(one)) for one in in_bulk(settled, 2))
    entries: list[Entry] = [Tick(0), Control(0, ((SETTLEMENTS, b"broken"), change(CAMPAIGN), *items))]
    assert list(losses_told(entries)) == ["A" * 16, "D" * 16]


# -- rows -------------------------------------------------------------------------------------------------------


def rows(
    *, with_lost: bool, known_until_ns: int, losses: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], Tally]:
    """Three bids: shown and converted at 1 s, lost at 2 s, shown at 3 s."""
    bids = [
        decision(
            at_ns=AT_NS + number * S,
            request_id=f"r{number}",
            bid_id=f"{number:016}",
            pcvr=0.5 * (number == 1),
            conversion_value_nanos=5 * S // 2 * (number == 1),
        )
        for number in (1, 2, 3)
    ]
    joined, _ = join(bids, *(moment(one.at_ns, Offer(id=one.request_id, at=1)) for one in bids))
    events = {"1".zfill(16): [BILLING, CLICK, BUY], "3".zfill(16): [BILLING]}
    tally = Tally()
    found = table_rows(
        joined,
        lambda ids: {one: events[one] for one in ids if one in events},
        losses,
        known_until_ns,
        tally,
        with_lost=with_lost,
    )
    return [dict(zip(SCHEMA.names, row, strict=True)) for row in found], tally


def test_rows_hold_what_was_believed_and_what_became_of_it() -> None:
    (first, second), tally = rows(with_lost=False, known_until_ns=AT_NS + 10**6 * S)
    kept = {name: first[name] for name in SCHEMA.names[SCHEMA.names.index("campaign") :]}
    assert kept == {
        "campaign": "c1", "advertiser": "shop", "line_item": "c1", "at_ns": AT_NS + S, "click": 1, "conversion": 1,
        "bid_id": f"{1:016}", "user": None, "arm": None, "won": 1, "first_price": 1, "weight": 1.0,
        "bid_cpm_micros": 2_000_000, "price_cpm_micros": 60.0, "min_to_win_cpm_micros": None, "pctr": 0.25,
        "pcvr": 0.5, "conversion_value_nanos": 2_500_000_000, "multiplier": 0.5, "worth_cpm_micros": None,
        "explore_factor": None, "log_density": 0.0, "value_nanos": 5,
        "click_at_ns": 200, "conversion_at_ns": 400, "observed_until_ns": KEEP_NS,
    }  # fmt: skip
    assert [second[name] for name in ("click", "conversion", "pcvr", "value_nanos")] == [0, None, None, 0]
    assert second["conversion_value_nanos"] is None
    assert (tally.rows, tally.clicks, tally.conversions, dict(tally.left_out)) == (2, 1, 1, {"lost": 1})
    assert (tally.first_ns, tally.last_ns, tally.models) == (AT_NS + S, AT_NS + 3 * S, {"m": 2})


def test_lost_bids_have_no_labels_and_winners_wait_for_them() -> None:
    """A table that ends with winners alone would say that late bids always win."""
    reserved_ns = join([decision()], moment(AT_NS, Offer()))[0][0].reserved_until_ns - AT_NS
    found, tally = rows(with_lost=True, known_until_ns=AT_NS + reserved_ns + 3 * S)
    assert [row["won"] for row in found] == [1, 0]
    lost = found[1]
    empty = (
        "click",
        "conversion",
        "price_cpm_micros",
        "click_at_ns",
        "conversion_at_ns",
        "observed_until_ns",
    )
    assert {name: lost[name] for name in empty} == dict.fromkeys(empty)
    assert (tally.impressions, tally.lost, dict(tally.left_out)) == (1, 1, {"open": 1})


def test_where_losses_are_told_nobody_waits() -> None:
    found, tally = rows(with_lost=True, known_until_ns=AT_NS, losses=(f"{2:016}",))
    assert [row["won"] for row in found] == [1, 0, 1]
    assert not +tally.left_out
    found, tally = rows(with_lost=True, known_until_ns=AT_NS, losses=("X" * 16,))
    assert (found, +tally.left_out) == ([], {"open": 3})
    found, tally = rows(with_lost=False, known_until_ns=AT_NS)
    assert ([row["won"] for row in found], +tally.left_out) == ([1, 1], {"open": 1})


# -- the file ---------------------------------------------------------------------------------------------------

TINY = pa.schema([("n", pa.int64())])


def test_a_table_is_written_in_chunks_and_is_there_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "CHUNK", 3)
    path = tmp_path / "t.parquet"
    with TableFile(path, TINY) as table:
        for number in range(8):
            table.add((number,))
            assert not path.exists()
    assert table.rows == 8
    assert path.stat().st_mode & 0o777 == 0o600
    assert pq.read_table(path)["n"].to_pylist() == list(range(8))
    assert pq.ParquetFile(path).num_row_groups == 3
    assert [each.name for each in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    with TableFile(tmp_path / "t.parquet", TINY):
        pass
    assert pq.read_table(tmp_path / "t.parquet").schema.equals(TINY)


def test_an_error_leaves_the_table_of_before(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), TableFile(path, TINY) as table:  # noqa: PT012 - the block is what fails
        table.add((1,))
        raise ZeroDivisionError
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        TableFile(tmp_path / "no" / "t.parquet", TINY)
