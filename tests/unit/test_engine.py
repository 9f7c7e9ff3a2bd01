"""The engine: what one call of each kind does."""

import math
import time
from typing import Any

import orjson
import pytest

from bidder.core.campaigns import Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.messages import SettlementKind, Settlements
from bidder.core.settings import EngineSettings, ExchangeRules, PacingSettings
from bidder.core.token import Scope, bid_id_text, read
from bidder.errors import InputError
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import SEAT, Offer, S, body, campaign, creative, lease, settlement

VALUE_BID = 1_000_000
"""What the plain campaign bids on the plain offer: 2 units x 0.001 x multiplier 0.5, in nanos."""


@pytest.fixture
def engine() -> Engine:
    return make.engine()


def bid(engine: Engine, name: str = "r1", now_ns: int = 0) -> dict[str, Any]:
    (row,) = make.decide(engine, body(Offer(id=name)), now_ns=now_ns)
    return row


def response(engine: Engine, *offers: Offer) -> dict[str, Any]:
    (answer,) = engine.decide([body(*offers)], [0], 0)
    decoded: dict[str, Any] = orjson.loads(answer.response)
    return decoded


# -- decide ---------------------------------------------------------------------------------------------------


def test_reserved_is_what_was_bid(engine: Engine) -> None:
    rows = [bid(engine, f"r{number}") for number in range(5)]
    assert engine.status(0)["c1"].reserved_nanos == sum(row["bid_cpm_micros"] for row in rows) > 0


def test_the_first_bid_is_value_times_multiplier(engine: Engine) -> None:
    row = bid(engine)
    assert (row["bid_cpm_micros"], row["multiplier"], row["pctr"]) == (VALUE_BID, 0.5, 0.001)


def test_tokens_say_what_was_reserved(engine: Engine) -> None:
    settings = EngineSettings(
        exchanges={"one": ExchangeRules(result_seconds=2.5, billing_seconds=40.0)}, external_scores=True
    )
    engine = make.engine(settings=settings)
    made = response(engine, Offer(exchange="one"))["seatbid"][0]["bid"][0]
    token = made["burl"].split("t=")[1].split("&")[0]
    fields = read(token, [make.KEY])
    assert (fields.cap_nanos, fields.campaign_id, fields.seat, fields.epoch) == (VALUE_BID, "c1", "seat-1", 1)
    assert (fields.result_until_ns, fields.liable_until_ns) == (5 * S // 2, 85 * S // 2)
    assert bid_id_text(fields.bid_id) == made["id"]


def test_markup_holds_no_token_that_books_spend(engine: Engine) -> None:
    made = response(engine, Offer())["seatbid"][0]["bid"][0]
    token = made["adm"].split("/i?t=")[1].split('"')[0]
    assert read(token, [make.KEY], Scope.BROWSER).campaign_id == "c1"
    with pytest.raises(InputError, match="scope"):
        read(token, [make.KEY], Scope.EXCHANGE)


@pytest.mark.parametrize(
    "text", ['"', "\\", "\0\x1f", "é\u2028\U0001f600", "${AUCTION_PRICE}", "x" * 256, "</script>"]
)
def test_awkward_ids_come_back_as_they_were(text: str) -> None:
    engine = make.engine([campaign(), campaign("c2")])
    offers = Offer(id=text, imp_id=text), Offer(id=text, imp_id="2", external=("nobody", 0.1))
    for order in (offers, offers[::-1]):
        engine = make.engine()
        got = response(engine, *order)
        (made,) = got["seatbid"][0]["bid"]
        assert (got["id"], made["impid"], got["bidid"]) == (text, text, made["id"])
    refused = response(make.engine(), Offer(id=text, imp_id=text, external=("nobody", 0.1)))
    assert refused["id"] == text


def test_impressions_are_decided_in_the_order_of_the_request() -> None:
    engine = make.engine(leases=[lease(granted_nanos=VALUE_BID)])
    offers = [Offer(imp_id=name) for name in ("b", "a")]
    rows = make.decide(engine, body(*offers))
    assert [(row["imp_id"], row["reason"]) for row in rows] == [("b", Reason.BID), ("a", Reason.BUDGET)]


def test_impressions_of_one_request_share_a_tight_budget() -> None:
    engine = make.engine(leases=[lease(granted_nanos=3 * VALUE_BID)], settings=flat())
    rows = make.decide(engine, body(*[Offer(imp_id=str(number)) for number in range(5)]))
    assert [row["reason"] for row in rows] == [Reason.BID] * 3 + [Reason.BUDGET] * 2
    assert engine.status(0)["c1"].reserved_nanos == 3 * VALUE_BID


def flat() -> EngineSettings:
    """Settings in which multipliers hardly move."""
    return EngineSettings(external_scores=True, pacing=PacingSettings(eta=1e-12, target="fixed"))


def test_a_redelivered_request_makes_no_second_debt(engine: Engine) -> None:
    first = bid(engine)
    reserved = engine.status(0)["c1"].reserved_nanos
    assert bid(engine)["reason"] == Reason.DUPLICATE
    assert (engine.status(0)["c1"].reserved_nanos, reserved) == (first["bid_cpm_micros"],) * 2


def test_a_repeat_is_known_until_its_money_cannot_move_any_more(engine: Engine) -> None:
    bid(engine)
    engine.tick(60 * S)
    engine.tick(60 * S + engine.settings.longest_wait_ns - 1)
    assert bid(engine, now_ns=60 * S + engine.settings.longest_wait_ns - 1)["reason"] == Reason.DUPLICATE
    engine.tick(60 * S + engine.settings.longest_wait_ns)
    assert bid(engine, now_ns=60 * S + engine.settings.longest_wait_ns)["reason"] == Reason.BID


def test_the_same_ids_from_another_exchange_are_another_request(engine: Engine) -> None:
    rows = make.decide(engine, body(Offer(exchange="one")), body(Offer(exchange="two")))
    assert [row["reason"] for row in rows] == [Reason.BID, Reason.BID]


def test_a_request_without_a_bid_is_decided_again(engine: Engine) -> None:
    offer = body(Offer(floor_cpm_micros=9_000_000))
    rows = make.decide(engine, offer, offer)
    assert [row["reason"] for row in rows] == [Reason.BELOW_FLOOR] * 2


def test_outside_scores_count_only_where_settings_say_so() -> None:
    engine = make.engine(settings=EngineSettings())
    assert bid(engine)["reason"] == Reason.UNSCORED


def test_where_nothing_can_be_answered_the_response_is_empty(engine: Engine) -> None:
    (answer,) = engine.decide([b"{"], [0], 0)
    (row,) = make.decisions([answer])
    assert (answer.response, answer.bid, row["reason"]) == (b"", False, Reason.MALFORMED)
    assert row["error"]


def test_error_rows_name_the_path(engine: Engine) -> None:
    (row,) = make.decide(engine, b'{"id":"r","imp":[{"id":"1"}]}')
    assert row["reason"] == Reason.INVALID
    assert row["error"].endswith("at $.imp[0]")


def test_answers_come_in_the_order_of_the_bodies(engine: Engine) -> None:
    bodies = [body(Offer(id="r1")), b"{", body(Offer(id="r2", external=None)), body(Offer(id="r3"))]
    answers = engine.decide(bodies, [0] * 4, 0)
    assert [orjson.loads(answer.response)["id"] for answer in answers if answer.response] == [
        "r1",
        "r2",
        "r3",
    ]
    assert [answer.bid for answer in answers] == [True, False, False, True]


def test_reasons_are_counted_without_test_requests(engine: Engine) -> None:
    make.decide(
        engine, body(Offer(id="a")), body(Offer(id="b", test=True)), b"{", body(Offer(id="c", external=None))
    )
    assert engine.reasons == {Reason.BID: 1, Reason.MALFORMED: 1, Reason.UNSCORED: 1}
    assert engine.opportunities == 3


def test_a_test_bid_is_answered_but_reserves_nothing(engine: Engine) -> None:
    before = engine.status(0)
    (row,) = make.decide(engine, body(Offer(test=True)))
    assert (row["reason"], row["test"], row["bid_cpm_micros"]) == (Reason.BID, True, VALUE_BID)
    assert engine.status(0) == before
    assert bid(engine)["reason"] == Reason.BID


def test_a_failed_call_leaves_nothing_for_the_next(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = engine._batch.add, iter(range(9))

    def poisoned(*args: Any) -> None:
        real(*args)
        if next(calls) == 1:
            engine._batch._parts.append(b"\0" * 4)
            raise OverflowError("poison")

    monkeypatch.setattr(engine._batch, "add", poisoned)
    with pytest.raises(OverflowError):
        engine.decide([body(Offer(id="r1")), body(Offer(id="r2"))], [0, 0], 0)
    rows = make.decide(engine, body(Offer(id="r3")))
    assert [(row["request_id"], row["reason"]) for row in rows] == [("r3", Reason.BID)]
    assert engine.status(0)["c1"].reserved_nanos == VALUE_BID


def test_as_many_ages_as_bodies_are_asked_for(engine: Engine) -> None:
    with pytest.raises(ValueError, match="zip"):
        engine.decide([body(Offer())], [], 0)


@pytest.mark.parametrize("now_ns", [-(10**18), -1, 0, 8 * 10**18])
def test_any_time_is_decided(now_ns: int) -> None:
    engine = make.engine(now_ns=now_ns)
    wanted = Reason.BID if 0 <= now_ns < make.FOREVER_NS else Reason.FLIGHT
    assert bid(engine, now_ns=now_ns)["reason"] == wanted


def test_no_campaigns_is_a_reason() -> None:
    engine = Engine(make.SETTINGS, make.KEY, None, make.START)
    assert bid(engine)["reason"] == Reason.NO_CAMPAIGNS


@pytest.mark.parametrize("pctr", [-1.0, 0.0, 1e-300, 5.0, 1e300])
def test_any_finite_outside_score_is_decided(engine: Engine, pctr: float) -> None:
    (row,) = make.decide(engine, body(Offer(external=("c1", pctr))))
    assert row["reason"] == (Reason.BID if pctr > 1 else Reason.NO_VALUE)
    assert row.get("bid_cpm_micros", 0) == (9_000_000 if pctr > 1 else 0)


# -- settle ---------------------------------------------------------------------------------------------------


def places(engine: Engine) -> tuple[int, int]:
    status = engine.status(0)["c1"]
    return status.reserved_nanos, status.posted_nanos


def test_a_posted_bid_is_spent_at_its_price(engine: Engine) -> None:
    row = bid(engine)
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000)], 1)
    assert places(engine) == (0, 700_000)


def test_spend_lowers_the_multiplier(engine: Engine) -> None:
    before = engine.status(0)["c1"].multiplier
    row = bid(engine)
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000)], 1)
    assert engine.status(0)["c1"].multiplier < before


def test_a_bid_under_way_lowers_the_multiplier_until_it_has_lost(engine: Engine) -> None:
    before = engine.status(0)["c1"].multiplier
    row = bid(engine)
    assert engine.status(0)["c1"].multiplier < before
    engine.settle([settlement(SettlementKind.VOIDED, row["bid_id"], 0)], 1)
    assert engine.status(0)["c1"].multiplier >= before


def test_a_bid_that_nobody_answers_lowers_the_multiplier_no_longer_than_it_holds_money(
    engine: Engine,
) -> None:
    bid(engine)
    lowered = engine.status(0)["c1"].multiplier
    engine.tick(S)
    engine.tick(S + engine.settings.longest_wait_ns)
    assert engine.status(0)["c1"].reserved_nanos == 0
    assert engine.status(0)["c1"].multiplier > lowered


def test_a_repeated_settlement_changes_nothing(engine: Engine) -> None:
    posted = settlement(SettlementKind.POSTED, bid(engine)["bid_id"], 700_000)
    engine.settle([posted], 1)
    before = engine.status(0)
    engine.settle([posted, posted], 2)
    assert engine.status(0) == before


def test_a_loss_frees_the_money(engine: Engine) -> None:
    row = bid(engine)
    engine.settle([settlement(SettlementKind.VOIDED, row["bid_id"])], 1)
    assert places(engine) == (0, 0)


def test_a_win_keeps_the_money_until_billing(engine: Engine) -> None:
    row = bid(engine)
    engine.settle([settlement(SettlementKind.WON, row["bid_id"])], 1)
    engine.tick(659 * S)
    assert places(engine) == (VALUE_BID, 0)
    engine.tick(660 * S)
    assert places(engine) == (0, 0)


def test_silence_frees_the_money(engine: Engine) -> None:
    bid(engine)
    engine.tick(60 * S - 1)
    assert places(engine) == (VALUE_BID, 0)
    engine.tick(60 * S)
    assert places(engine) == (0, 0)


def test_money_is_not_freed_before_the_bank_has_heard_of_all_its_time(engine: Engine) -> None:
    """A billing that came in time may still be under way."""
    held = lease(held=True)
    engine.adopt_leases([held], 0)
    row = bid(engine)
    engine.tick(700 * S)
    assert places(engine) == (VALUE_BID, 0)
    engine.settle_records([heard(60 * S - 1)], 700 * S)
    engine.tick(700 * S)
    assert places(engine) == (VALUE_BID, 0)
    engine.settle([settlement(SettlementKind.WON, row["bid_id"])], 700 * S)
    engine.settle_records([heard(60 * S)], 700 * S)
    engine.tick(700 * S)
    assert places(engine) == (VALUE_BID, 0)
    engine.settle_records([heard(660 * S)], 700 * S)
    engine.tick(700 * S)
    assert places(engine) == (0, 0)


def test_money_is_not_freed_by_the_word_about_another_epoch(engine: Engine) -> None:
    engine.adopt_leases([lease(held=True)], 0)
    bid(engine)
    engine.settle_records([heard(90 * S, epoch=2), heard(90 * S, seat="seat-2")], 0)
    engine.tick(700 * S)
    assert places(engine) == (VALUE_BID, 0)


def heard(until_ns: int, *, seat: str = SEAT, epoch: int = 1) -> Settlements:
    return Settlements(seat=seat, epoch=epoch, rows=(), heard_until_ns=until_ns)


def test_late_win_is_booked_and_flagged(engine: Engine) -> None:
    row = bid(engine)
    engine.tick(60 * S)
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000, late=True)], 61 * S)
    assert (places(engine), engine.late_wins, engine.status(0)["c1"].late_nanos) == ((0, 700_000), 1, 700_000)


@pytest.mark.parametrize("other", [{"seat": "seat-2"}, {"epoch": 2}])
def test_settlements_of_another_seat_or_epoch_are_not_ours(engine: Engine, other: dict[str, Any]) -> None:
    row = bid(engine)
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000, **other)], 1)
    assert places(engine) == (VALUE_BID, 0)


def test_a_settlement_of_a_removed_campaign_is_booked(engine: Engine) -> None:
    row = bid(engine)
    engine.adopt_campaigns({"c2": campaign("c2")}, 2, 1)
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000)], 2)
    (reported,) = engine.tick(3).rows
    assert (reported.account_id, reported.reserved_nanos, reported.posted_nanos) == ("c1", 0, 700_000)


# -- tick -----------------------------------------------------------------------------------------------------


def test_a_tick_reports_absolute_counters() -> None:
    engine = make.engine(settings=flat())
    bid(engine, "r1")
    row = bid(engine, "r2")
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000)], 1)
    report = engine.tick(2)
    (slice_row,) = report.rows
    assert (report.seat, report.epoch, report.start_id, report.at_ns) == ("seat-1", 1, make.START, 2)
    assert (slice_row.granted_nanos, slice_row.reserved_nanos, slice_row.posted_nanos) == (
        5 * S,
        VALUE_BID,
        700_000,
    )


def test_reports_are_counted_from_the_first_of_an_epoch() -> None:
    engine = Engine(make.SETTINGS, make.KEY, None, make.START)
    asking = engine.tick(0), engine.tick(1)
    assert [(report.epoch, report.seq) for report in asking] == [(0, 0), (0, 0)]
    engine.adopt_leases([lease()], 2)
    first, second = engine.tick(3), engine.tick(4)
    assert 0 < first.seq < second.seq
    assert first.epoch == second.epoch == 1


# -- adopt ----------------------------------------------------------------------------------------------------


def test_leases_of_another_start_or_seat_are_ignored() -> None:
    engine = make.engine(leases=[lease(start_id="start-0"), lease(seat="seat-2")])
    assert engine.epoch == 0
    assert bid(engine)["reason"] == Reason.NO_LEASE


def test_a_lease_that_ended_is_not_bid_on() -> None:
    engine = make.engine(leases=[lease(bid_until_ns=10 * S)])
    assert bid(engine, "r1", now_ns=10 * S - 1)["reason"] == Reason.BID
    assert bid(engine, "r2", now_ns=10 * S)["reason"] == Reason.NO_LEASE


def test_a_renewed_lease_is_bid_on_again() -> None:
    engine = make.engine(leases=[lease(bid_until_ns=10 * S)])
    engine.adopt_leases([lease(bid_until_ns=20 * S)], 11 * S)
    assert bid(engine, now_ns=12 * S)["reason"] == Reason.BID


def test_a_repeated_lease_grants_nothing_twice(engine: Engine) -> None:
    engine.adopt_leases([lease(), lease()], 1)
    assert engine.status(0)["c1"].granted_nanos == 5 * S


def test_the_last_nano_of_a_lease_can_be_bid_and_not_one_more() -> None:
    assert bid(make.engine(leases=[lease(granted_nanos=VALUE_BID)]))["reason"] == Reason.BID
    assert bid(make.engine(leases=[lease(granted_nanos=VALUE_BID - 1)]))["reason"] == Reason.BUDGET


@pytest.mark.parametrize("version", [0, 2])
def test_campaigns_adopted_anew_keep_money_multiplier_and_funnel(engine: Engine, version: int) -> None:
    row = bid(engine)
    engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000)], 1)
    bid(engine, "r2")
    engine.tick(2)
    before = engine.status(0)["c1"]
    assert before.multiplier != 0.5
    changed = {"a0": campaign("a0"), "c1": campaign("c1", value_nanos=3 * S)}
    engine.adopt_campaigns(changed, version, 2)
    assert engine.status(0)["c1"] == before
    assert engine.status(0)["a0"].multiplier == 0.5
    assert bid(engine, "r3")["bid_cpm_micros"] == int(0.001 * 3 * S * before.multiplier)


def test_a_campaign_that_comes_back_has_its_lease(engine: Engine) -> None:
    engine.adopt_campaigns({}, 2, 1)
    assert bid(engine, "r1")["reason"] == Reason.NO_CAMPAIGNS
    engine.adopt_campaigns({"c1": campaign()}, 3, 2)
    assert bid(engine, "r2")["reason"] == Reason.BID


@pytest.mark.parametrize(
    "changes", [{"currency": "EUR"}, {"creatives": (creative(landing_url="ftp://a.example"),)}]
)
def test_campaigns_with_one_that_cannot_be_served_change_nothing(
    engine: Engine, changes: dict[str, Any]
) -> None:
    table = engine.table
    with pytest.raises(InputError):
        engine.adopt_campaigns({"c1": campaign(), "c2": campaign("c2", **changes)}, 2, 1)
    assert engine.table is table


def test_a_seat_paces_against_its_share() -> None:
    """Of two seats each owes half: the same spend weighs twice as much."""
    slow = EngineSettings(external_scores=True, pacing=PacingSettings(eta=1e-6, first_eta=0.0))
    steps = []
    for seats in (1, 2):
        engine = make.engine([campaign(end_ns=7 * 86_400 * S)], [lease(seats=seats)], settings=slow)
        before = engine.status(0)["c1"].multiplier
        row = bid(engine)
        engine.settle([settlement(SettlementKind.POSTED, row["bid_id"], 700_000)], 1)
        steps.append(math.log(before / engine.status(0)["c1"].multiplier))
    assert steps[1] == pytest.approx(2 * steps[0], rel=0.05)


def test_candidates_of_a_row_are_told_apart_beyond_64_campaigns() -> None:
    table = [campaign(f"c{number:03d}") for number in range(130)]
    engine = make.engine(table)
    for name in ("c000", "c063", "c064", "c127", "c128", "c129"):
        (row,) = make.decide(engine, body(Offer(id=name, external=(name, 0.001))))
        assert (row["reason"], row["campaign_id"]) == (Reason.BID, name)


@pytest.mark.parametrize(
    ("rule", "host", "reason"),
    [
        (Rule(exclude=("site.example",)), "www.site.example", Reason.DOMAIN),
        (Rule(exclude=("site.example",)), "site.example", Reason.DOMAIN),
        (Rule(exclude=("site.example",)), "mysite.example", Reason.BID),
        (Rule(exclude=("a.site.example",)), "site.example", Reason.BID),
        (Rule(include=("site.example",)), "Deep.WWW.Site.Example", Reason.BID),
        (Rule(include=("example",)), "site.example", Reason.DOMAIN),
    ],
)
def test_a_rule_of_a_domain_covers_the_hosts_below_it(rule: Rule, host: str, reason: Reason) -> None:
    engine = make.engine([campaign(targeting=Targeting(domain=rule))])
    (row,) = make.decide(engine, body(Offer(domain=host)))
    assert row["reason"] == reason


def test_a_domain_of_dots_costs_no_more_than_another() -> None:
    engine = make.engine([campaign(targeting=Targeting(domain=Rule(exclude=("site.example",))))])
    began = time.process_time()
    make.decide(engine, body(Offer(domain="a." * 100_000 + "site.example")))
    assert time.process_time() - began < 1.0


def test_a_bundle_is_matched_whole() -> None:
    engine = make.engine([campaign(targeting=Targeting(domain=Rule(include=("game.example",))))])
    offer = Offer(more={"app": {"bundle": "com.game.example"}})
    assert make.decide(engine, body(offer))[0]["reason"] == Reason.DOMAIN


@pytest.mark.parametrize(
    ("changes", "superseded"),
    [
        ({"epoch": 2}, True),
        ({"epoch": 1}, False),
        ({"epoch": 2, "seat": "seat-9"}, False),
        ({"epoch": 2, "bid_until_ns": 5}, False),
    ],
)
def test_only_a_live_lease_of_a_later_start_takes_the_seat(changes: dict[str, Any], superseded: bool) -> None:
    engine = make.engine()
    engine.adopt_leases([lease(**({"start_id": "another"} | changes))], 5)
    assert engine.superseded is superseded


def test_a_start_without_an_epoch_is_not_superseded_until_it_has_one() -> None:
    engine = make.engine(leases=[])
    engine.adopt_leases([lease("c2", start_id="another", epoch=2)], 5)
    assert not engine.superseded
    engine.adopt_leases([lease(epoch=1)], 6)
    assert engine.superseded


def test_a_renewed_lease_may_take_free_money_back() -> None:
    engine = make.engine(leases=[lease(bid_until_ns=20 * S)])
    engine.adopt_leases([lease(bid_until_ns=90 * S, granted_nanos=2 * S)], 60 * S)
    assert engine.status(60 * S)["c1"].granted_nanos == 2 * S


def test_a_lease_of_the_past_gives_nothing_back() -> None:
    engine = make.engine(leases=[lease(bid_until_ns=20 * S)])
    old = lease(bid_until_ns=20 * S)
    engine.adopt_leases([lease(bid_until_ns=90 * S, granted_nanos=2 * S), old, old], 60 * S)
    assert engine.status(60 * S)["c1"].granted_nanos == 2 * S


def test_within_a_lease_the_total_only_grows() -> None:
    engine = make.engine(leases=[lease(bid_until_ns=20 * S)])
    engine.adopt_leases([lease(bid_until_ns=20 * S, granted_nanos=2 * S)], 10 * S)
    assert engine.status(10 * S)["c1"].granted_nanos == 5 * S


def test_money_that_is_reserved_is_not_taken_back() -> None:
    engine = make.engine(leases=[lease(bid_until_ns=20 * S)])
    assert make.decide(engine, body(Offer()))[0]["reason"] == Reason.BID
    engine.adopt_leases([lease(bid_until_ns=90 * S, granted_nanos=0)], 1 * S)
    after = engine.status(1 * S)["c1"]
    assert after.granted_nanos == after.reserved_nanos > 0
