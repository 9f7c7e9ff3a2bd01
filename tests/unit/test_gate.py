"""What is asked of a request before its impressions: the auction, money, time, law, traffic and who sells it."""

from typing import Any

import orjson
import pytest

from bidder.core.engine import Engine
from bidder.core.gate import Gate, Visitor
from bidder.core.profiles import Profile
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.core.traffic import TrafficRules
from bidder.core.users import key_text, user_key
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from bidder.privacy.permissions import ALL, IDENTIFY, MEASURE, PRECISE_GEO, PROFILE
from tests.support import factories as make
from tests.support.factories import Offer, S

NOW_NS = 1_772_409_600 * S
RATES = {"base": "EUR", "rates": {"2026-03-01": {"USD": "0.5", "JPY": "0.01"}, "2026-03-03": {"USD": "0.8"}}}


def admit(
    settings: EngineSettings | None = None, *, age_ns: int = 0, now_ns: int = NOW_NS, **request: Any
) -> Any:
    gate = Gate(settings or EngineSettings())
    return ask(gate, age_ns=age_ns, now_ns=now_ns, **request)


def ask(gate: Gate, *, age_ns: int = 0, now_ns: int = NOW_NS, test: bool = False, **request: Any) -> Any:
    body = orjson.dumps({"id": "r", "imp": [{"id": "1", "banner": {}}], **request})
    name = request.get("ext", {}).get("exchange", "default")
    return gate.admit(decode(body).request, gate.exchange(name), age_ns, now_ns, test)


def permitted(**request: Any) -> int:
    found: Visitor = admit(**request)
    return found.permitted


# -- auction and money ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"at": 3}, Reason.AUCTION_TYPE),
        ({"at": 500}, Reason.AUCTION_TYPE),
        ({"cur": ["EUR"]}, Reason.CURRENCY),
        ({"wseat": ["rival"]}, Reason.SEAT),
        ({"bseat": ["clearbid"]}, Reason.SEAT),
        ({"tmax": 20}, Reason.EXPIRED),
    ],
)
def test_a_request_that_is_not_ours_to_answer(request_: dict[str, Any], reason: Reason) -> None:
    assert admit(**request_) is reason


@pytest.mark.parametrize(
    "request_", [{"at": 1}, {"wseat": ["clearbid", "x"]}, {"bseat": ["rival"]}, {"wseat": []}]
)
def test_a_request_that_is_ours_to_answer(request_: dict[str, Any]) -> None:
    assert isinstance(admit(**request_), Visitor)


def test_time_runs_out_on_the_nanosecond() -> None:
    left_ns = (100 - 20) * 1_000_000
    assert isinstance(admit(age_ns=left_ns - 1, tmax=100), Visitor)
    assert admit(age_ns=left_ns, tmax=100) is Reason.EXPIRED


@pytest.mark.parametrize(
    ("cur", "money"),
    [
        (["EUR", "USD"], ("USD", S)),
        (["EUR", "JPY"], ("EUR", 2 * S)),
        (["CHF", "JPY"], ("JPY", S // 50)),
        (["CHF"], None),
        (None, ("EUR", 2 * S)),
    ],
)
def test_the_currency_is_ours_if_it_is_listed_else_the_first_that_has_a_rate(
    cur: list[str] | None, money: tuple[str, int] | None
) -> None:
    settings = EngineSettings(rates=RATES, exchanges={"*": ExchangeRules(currency="EUR")})
    found = admit(settings, **({} if cur is None else {"cur": cur}))
    assert found is Reason.CURRENCY if money is None else (found.currency, found.rate_nanos) == money


def test_a_new_days_rate_counts_from_its_first_hour() -> None:
    gate = Gate(EngineSettings(rates=RATES))
    day_ns = NOW_NS + 86_400 * S
    assert [gate.rate("EUR", at_ns) for at_ns in (NOW_NS, day_ns - 1, day_ns)] == [2 * S, 2 * S, S * 5 // 4]


def test_without_rates_only_the_accounts_currency_has_one() -> None:
    gate = Gate(EngineSettings(currency="CHF"))
    assert (gate.rate("CHF", NOW_NS), gate.rate("USD", NOW_NS)) == (S, None)


def test_an_exchange_without_rules_of_its_own_goes_by_the_general_ones() -> None:
    rules = {"*": ExchangeRules(first_price_shade=0.25), "one": ExchangeRules(first_price_shade=0.5)}
    gate = Gate(EngineSettings(exchanges=rules))
    assert [gate.shades[gate.exchange(name).index] for name in ("one", "nine")] == [0.5, 0.25]


# -- law ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        ({}, ALL),
        ({"regs": None}, ALL),
        ({"regs": {"coppa": 1}}, MEASURE),
        ({"device": {"lmt": 1}}, MEASURE),
        ({"device": {"dnt": 1}}, MEASURE),
        ({"regs": {"gdpr": 1}}, 0),
        ({"regs": {"ext": {"gdpr": 1}}}, 0),
        ({"regs": {"gdpr": 0, "ext": {"gdpr": 1}}}, 0),
        ({"regs": {"gdpr": 0}, "user": {"consent": "x"}}, ALL),
        ({"user": {"consent": "x"}}, 0),
        ({"user": {"ext": {"consent": "x"}}}, 0),
        ({"regs": {"us_privacy": "1YYN"}}, MEASURE),
        ({"regs": {"ext": {"us_privacy": "1YYN"}}}, MEASURE),
        ({"regs": {"us_privacy": "1YNN", "ext": {"us_privacy": "1YYN"}}}, MEASURE),
        ({"regs": {"us_privacy": "1YNN"}}, ALL),
        ({"regs": {"gpp": "broken", "gpp_sid": [7]}}, 0),
    ],
)
def test_what_may_be_used_is_what_every_signal_of_both_places_allows(
    request_: dict[str, Any], allowed: int
) -> None:
    assert permitted(**request_) == allowed


def test_marks_of_a_device_are_not_those_of_the_next() -> None:
    gate = Gate(EngineSettings())
    marked = [ask(gate, device={"lmt": mark}, regs={"coppa": 0}).permitted for mark in (0, 1, 0)]
    assert marked == [ALL, MEASURE, ALL]


def test_the_user_is_known_only_where_identity_may_be_used() -> None:
    who = {"user": {"id": "u"}, "device": {"ifa": "AAAA-1"}}
    assert admit(**who).user == user_key(None, (), "aaaa-1", "u", "default") != 0
    assert admit(**who, regs={"coppa": 1}).user == 0


@pytest.mark.parametrize(
    "user",
    [
        {"eids": [{"source": "a.example", "uids": [{"id": "x", "atype": 1}]}]},
        {"ext": {"eids": [{"source": "a.example", "uids": [{"id": "x", "atype": 1}]}]}},
        {"eids": None, "ext": {"eids": [{"source": "a.example", "uids": [{"id": "x", "atype": 1}]}]}},
    ],
)
def test_extended_ids_count_in_either_place(user: dict[str, Any]) -> None:
    assert admit(user=user).user == user_key(None, [("a.example", [("x", 1)])], None, None, "default")


@pytest.mark.parametrize(("law", "known"), [({}, ("s9",)), ({"us_privacy": "1YYN"}, ()), ({"coppa": 1}, ())])
def test_our_own_segments_are_asked_only_where_profiles_may_be_used(
    law: dict[str, Any], known: tuple[str, ...]
) -> None:
    gate = Gate(EngineSettings())
    user = key_text(user_key(None, (), None, "u", "default"))
    gate.profiles.take(Profile(user=user, segments=("s9",), at_ns=0, expires_ns=NOW_NS + 1))
    assert ask(gate, user={"id": "u"}, regs=law).segments == known


def test_a_profile_ends() -> None:
    gate = Gate(EngineSettings())
    user = key_text(user_key(None, (), None, "u", "default"))
    gate.profiles.take(Profile(user=user, segments=("s9",), at_ns=0, expires_ns=NOW_NS))
    assert ask(gate, user={"id": "u"}).segments == ()


def test_who_may_not_be_measured_has_no_key_that_a_cap_counts_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "_permitted", lambda *_: ALL & ~MEASURE)
    gate = Gate(EngineSettings())
    user = key_text(user_key(None, (), None, "u", "default"))
    gate.profiles.take(Profile(user=user, segments=("s9",), at_ns=0, expires_ns=NOW_NS + 1))
    found = ask(gate, user={"id": "u"})
    assert (found.user, found.segments) == (0, ("s9",))


def test_permissions_are_told_apart() -> None:
    assert len({IDENTIFY, PROFILE, MEASURE, PRECISE_GEO}) == 4


# -- traffic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ({"ua": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, Reason.CRAWLER),
        ({"ip": "198.51.100.7"}, Reason.DATA_CENTRE),
        ({"ipv6": "2001:db8::1"}, Reason.DATA_CENTRE),
        (
            {"ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)", "os": "Windows"},
            Reason.IMPOSSIBLE_DEVICE,
        ),
    ],
)
def test_traffic_that_nobody_stands_behind(device: dict[str, Any], reason: Reason) -> None:
    settings = EngineSettings(data_centres=("198.51.100.0/24", "2001:db8::/32"))
    assert admit(settings, device=device) is reason


@pytest.mark.parametrize(
    ("rules", "who", "reason"),
    [
        (TrafficRules(user_per_minute=2), {"user": {"id": "u"}, "device": {}}, Reason.USER_RATE),
        (TrafficRules(address_per_minute=2), {"device": {"ip": "203.0.113.9"}}, Reason.ADDRESS_RATE),
    ],
)
def test_rates_are_held_and_test_requests_do_not_count(
    rules: TrafficRules, who: dict[str, Any], reason: Reason
) -> None:
    gate = Gate(EngineSettings(traffic=rules))
    assert all(isinstance(ask(gate, test=True, **who), Visitor) for _ in range(9))
    found = [ask(gate, **who) for _ in range(3)]
    assert isinstance(found[1], Visitor)
    assert found[2] is reason
    assert isinstance(ask(gate, test=True, **who), Visitor)


# -- who sells it ---------------------------------------------------------------------------------------------


def chain(*, complete: int = 1, asi: str = "good.example") -> dict[str, Any]:
    return {"complete": complete, "ver": "1.0", "nodes": [{"asi": asi, "sid": "1", "hp": 1}]}


NEEDED = EngineSettings(exchanges={"*": ExchangeRules(schain_required=True, schain_complete=True)})
BARRED = EngineSettings(exchanges={"*": ExchangeRules(schain_blocked=("bad.example",))})
PLACES: list[Any] = [
    lambda one: {"source": {"schain": one}},
    lambda one: {"source": {"ext": {"schain": one}}},
    lambda one: {"ext": {"schain": one}},
]


@pytest.mark.parametrize("place", PLACES)
def test_a_supply_chain_is_read_in_all_its_places(place: Any) -> None:
    assert isinstance(admit(NEEDED, **place(chain())), Visitor)
    assert admit(NEEDED, **place(chain(complete=0))) is Reason.SCHAIN_INCOMPLETE
    assert admit(BARRED, **place(chain(asi="BAD.example"))) is Reason.SCHAIN_BLOCKED


@pytest.mark.parametrize("request_", [{}, {"source": {"schain": None}}, {"source": {}}])
def test_a_chain_that_is_not_there_refuses_where_one_is_needed(request_: dict[str, Any]) -> None:
    assert admit(NEEDED, **request_) is Reason.SCHAIN_INCOMPLETE
    assert isinstance(admit(BARRED, **request_), Visitor)


def test_null_in_one_place_does_not_hide_the_other() -> None:
    source = {"schain": None, "ext": {"schain": chain()}}
    assert isinstance(admit(NEEDED, source=source), Visitor)


# -- the same page view twice ---------------------------------------------------------------------------------


def offered(engine: Engine, name: str, now_ns: int = 0, **more: Any) -> int:
    offer = Offer(id=name, more={"source": {"tid": "t1"}, **more})
    (row,) = make.decide(engine, make.body(offer), now_ns=now_ns)
    return int(row["reason"])


def test_a_page_view_is_bid_on_once_whoever_offers_it() -> None:
    engine = make.engine()
    assert offered(engine, "r1") == Reason.BID
    assert offered(engine, "r2", ext={"exchange": "two"}) == Reason.SAME_OPPORTUNITY
    assert offered(engine, "r1") == Reason.DUPLICATE


def test_a_page_view_is_forgotten_after_its_time() -> None:
    engine = make.engine()
    assert offered(engine, "r1") == Reason.BID
    assert offered(engine, "r2", now_ns=10 * S - 1) == Reason.SAME_OPPORTUNITY
    assert offered(engine, "r3", now_ns=10 * S) == Reason.BID


def test_a_test_request_takes_no_page_view_and_is_refused_none() -> None:
    engine = make.engine()
    assert offered(engine, "r1", test=1) == Reason.BID
    assert offered(engine, "r2") == Reason.BID
    assert offered(engine, "r3", test=1) == Reason.BID


def test_a_transaction_id_that_is_too_long_to_remember_is_none() -> None:
    engine = make.engine()
    source = {"tid": "t" * 257}
    assert [offered(engine, name, source=source) for name in ("r1", "r2")] == [Reason.BID] * 2


def test_currencies_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.core.gate._KNOWN_CURRENCIES", 8)
    gate = Gate(EngineSettings(rates=RATES, currency="EUR"))
    for number in range(100):
        assert ask(gate, cur=[f"X{number}"]) is Reason.CURRENCY
        assert max(len(gate._rates), len(gate._currencies)) <= 8


def test_offers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.core.gate._KNOWN_OFFERS", 8)
    gate = Gate(EngineSettings())
    for number in range(100):
        assert not gate.seen(f"t{number}", "r", 0, 10)
        assert len(gate._offers) <= 8
    assert gate.seen("t99", "other", 0, 10)
