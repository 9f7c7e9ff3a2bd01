"""Rows as bid requests: structure of OpenRTB 2.6, and back through the bidder's own decoder."""

import json

import pytest

from bidder.core.gate import Gate, Visitor
from bidder.core.settings import EngineSettings
from bidder.core.users import key_text
from bidder.openrtb.codec import decode
from simulator.logs.requests import RequestEncoder, message_key
from simulator.logs.synthetic import SyntheticMarket
from tests.support.data import recorded, row

BARE = row(
    user_id=None, ip=None, ua=None, os=None, browser=None, region=None, city=None, domain=None, page=None,
    tag_id=None, segments=(), floor_cpm_micros=0,
)  # fmt: skip


def request(of=None, **settings):
    return json.loads(RequestEncoder(**settings).encode(row() if of is None else of))


def test_request_of_the_plain_row():
    assert request(country="USA") == {
        "id": "row-1",
        "imp": [
            {
                "id": "1",
                "banner": {"w": 300, "h": 250, "pos": 1, "format": [{"w": 300, "h": 250}]},
                "bidfloor": 0.5,
                "bidfloorcur": "USD",
                "secure": 1,
                "exp": 300,
                "tagid": "top",
            }
        ],
        "site": {
            "domain": "news.example",
            "page": "https://news.example/p1",
            "publisher": {"id": "news.example"},
        },
        "device": {
            "ua": "Mozilla/5.0 (Windows NT 10.0) Chrome/126.0.0.0 Safari/537.36",
            "ip": "198.18.0.1",
            "os": "windows",
            "devicetype": 2,
            "geo": {"country": "USA", "region": "CA", "city": "CA-1"},
        },
        "user": {"id": "u1", "data": [{"id": "adx-one", "segment": [{"id": "autos"}, {"id": "travel"}]}]},
        "at": 2,
        "tmax": 120,
        "cur": ["USD"],
        "source": {"tid": "row-1"},
        "ext": {"exchange": "adx-one"},
    }


def test_what_the_row_does_not_know_is_left_out():
    assert set(request(BARE)) == {"id", "imp", "at", "tmax", "cur", "source", "ext"}


def test_exchange_of_first_price_says_so():
    assert request(first_price=frozenset({"adx-one"}))["at"] == 1


def test_test_traffic_is_marked():
    assert request(test=True)["test"] == 1


def test_external_score_goes_with_the_impression():
    imp = request(row(campaign="1458", pctr=0.25))["imp"][0]
    assert imp["ext"] == {"clearbid": {"campaign": "1458", "pctr": 0.25}}


def test_row_that_was_won_does_not_tell_the_bidder_so():
    won = row(campaign="7", clicked=True, converted=True, value_nanos=5)
    assert RequestEncoder().encode(won) == RequestEncoder().encode(row())


@pytest.mark.parametrize("micros", [1, 10_000, 100_000, 333_333, 2_950_001, 999_999_999_999])
def test_floor_is_exact_to_the_micro(micros):
    text = RequestEncoder().encode(row(floor_cpm_micros=micros))
    floor = json.loads(text, parse_float=str)["imp"][0]["bidfloor"]
    assert round(float(floor) * 1e6) == micros
    assert len(floor.partition(".")[2]) <= 6 or "e" in floor


def test_text_that_json_must_escape_is_escaped():
    odd = row(domain='a"b\\c\n', segments=("ü",))
    assert request(odd)["site"]["domain"] == 'a"b\\c\n'


def test_bidder_reads_back_what_the_row_said():
    decoded, repaired = decode(RequestEncoder(country="USA").encode(row()))
    assert repaired == 0
    assert (decoded.id, decoded.site.domain, decoded.device.geo.region) == ("row-1", "news.example", "CA")
    assert [segment.id for segment in decoded.user.data[0].segment] == ["autos", "travel"]
    assert (decoded.ext.exchange, decoded.imp[0].bidfloor) == ("adx-one", 0.5)


def test_every_field_is_of_the_specification():
    """Names and kinds of values of all objects, against the field lists of the published protocol."""
    messages = json.loads(recorded("openrtb/iab_openrtb_2.6-202606_fields.json").read_text())["messages"]
    encoder = RequestEncoder(country="USA", test=True)
    market = SyntheticMarket(1, 400)
    for each in [*market.opportunities(), BARE, row(campaign="7", pctr=0.1)]:
        check(messages, "BidRequest", json.loads(encoder.encode(each)))


KINDS = {"string": str, "integer": int, "number": (int, float), "flag 0/1": int, "object": dict}


def check(messages, name, value):
    """Asserts that an object has only fields of the specification, each of its kind, and the required ones."""
    fields = messages[name]
    assert {"BidRequest": {"id", "imp"}, "BidRequest.Imp": {"id"}}.get(name, set()) <= set(value)
    for key, item in value.items():
        field = fields[key]
        assert isinstance(item, list) == field.get("array", False), f"{name}.{key}"
        for single in item if isinstance(item, list) else [item]:
            if field["type"] in messages:
                check(messages, field["type"], single)
            else:
                assert isinstance(single, KINDS.get(field["type"], (int, str))), f"{name}.{key}"


def test_a_request_is_keyed_as_the_bidder_keys_exposures_of_its_user():
    one = row(user_id="u-17")
    gate = Gate(EngineSettings())
    found = gate.admit(decode(RequestEncoder().encode(one)).request, gate.exchange(one.exchange), 0, 0, False)
    assert isinstance(found, Visitor)
    assert message_key(one) == key_text(found.user).encode()
    assert message_key(BARE) == BARE.id.encode()
