"""Faults that mutated requests showed in the core, each as one plain case."""

import json
from typing import Any

import pytest

from bidder.core.campaigns import Media, Rule, Targeting
from bidder.core.engine import Engine
from bidder.core.settings import EngineSettings
from bidder.errors import RequestError
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import S

NOW_NS = 1_772_409_600 * S
"""2026-03-02 00:00 UTC."""
RATES = {"base": "USD", "rates": {"2026-03-02": {"EUR": "1.1"}}}
VIDEO: dict[str, Any] = {"mimes": ["video/mp4"], "protocols": [3]}


def film(seconds: int, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "media": Media.VIDEO,
        "image_url": "",
        "media_url": "https://cdn.shop.example/a.mp4",
    }
    return make.creative(f"v{seconds}", duration_s=seconds, mime="video/mp4", **fields | changes)


def engine_of(*creatives: Any, **changes: Any) -> Engine:
    table = [make.campaign(creatives=creatives or (make.creative(),), **{"value_nanos": 9 * S} | changes)]
    return make.engine(table, settings=EngineSettings(rates=RATES), model=make.model(1), now_ns=NOW_NS)


def outcome(engine: Engine, imp: dict[str, Any], **request: Any) -> tuple[list[Reason], list[dict[str, Any]]]:
    """How opportunities ended, and the bids."""
    body = json.dumps({"id": "r", "imp": [{"id": "1"} | imp]} | request).encode()
    (answer,) = engine.decide([body], [0], NOW_NS)
    answered = json.loads(answer.response) if answer.response else {}
    bids = [bid for seat in answered.get("seatbid", ()) for bid in seat["bid"]]
    return [Reason(row["reason"]) for row in make.decisions([answer])], bids


@pytest.mark.parametrize(
    ("imp", "request_"),
    [
        ({"pmp": "private"}, {}),
        ({"pmp": [{"private_auction": 1}]}, {}),
        ({"qty": [{"multiplier": 14.2}]}, {}),
        ({"qty": 20}, {}),
        ({}, {"regs": [{"coppa": 1}]}),
        ({}, {"regs": {"ext": "gdpr=1"}}),
    ],
)
def test_what_hides_a_rule_of_the_auction_the_law_or_the_price_refuses(
    imp: dict[str, Any], request_: dict[str, Any]
) -> None:
    reasons, bids = outcome(engine_of(), {"banner": {"w": 300, "h": 250}} | imp, **request_)
    assert (reasons, bids) == ([Reason.INVALID], [])


@pytest.mark.parametrize("name", ["mindur", "maxdur"])
def test_a_floor_of_a_range_that_cannot_be_read_refuses(name: str) -> None:
    floors = [{"bidfloor": 1, name: "long"}]
    assert outcome(engine_of(film(15)), {"video": VIDEO | {"durfloors": floors}})[0] == [Reason.INVALID]


@pytest.mark.parametrize("floor", [2.5, 1.234567, 0.1, 3.3])
def test_a_fixed_price_in_another_currency_is_not_rounded_below_its_floor(floor: float) -> None:
    engine = engine_of(targeting=Targeting(deal=Rule(("d",))), value_nanos=500 * S)
    deals = [{"id": "d", "at": 3, "bidfloor": floor, "bidfloorcur": "USD"}]
    reasons, (bid,) = outcome(engine, {"banner": {"w": 300, "h": 250}, "pmp": {"deals": deals}}, cur=["EUR"])
    assert reasons[-1] is Reason.BID
    micros = round(bid["price"] * 1e6)
    assert micros * 11 >= round(floor * 1e6) * 10
    assert (micros - 1) * 11 < round(floor * 1e6) * 10
    assert engine.wallet.agrees()


def test_a_price_that_only_its_rounding_takes_past_the_maximum_is_no_bid() -> None:
    deal = Targeting(deal=Rule(("d",)))
    engine = engine_of(targeting=deal, value_nanos=500 * S, max_bid_cpm_micros=2_500_000)
    deals = [{"id": "d", "at": 3, "bidfloor": 2.5, "bidfloorcur": "USD"}]
    reasons, bids = outcome(engine, {"banner": {"w": 300, "h": 250}, "pmp": {"deals": deals}}, cur=["EUR"])
    assert (reasons[-1], bids) == (Reason.NO_VALUE, [])


@pytest.mark.parametrize("pod", [{"poddur": 20, "maxduration": 60}, {"poddur": 20, "rqddurs": [15, 30]}])
def test_what_a_deal_buys_in_a_pod_is_no_longer_than_the_pod(pod: dict[str, Any]) -> None:
    engine = engine_of(film(30), targeting=Targeting(deal=Rule(("d",))))
    reasons, _ = outcome(engine, {"video": VIDEO | pod, "pmp": {"deals": [{"id": "d"}]}})
    assert reasons[-1] is Reason.CREATIVE_DURATION


def test_of_floors_whose_ranges_overlap_the_highest_holds() -> None:
    floors = [{"mindur": 1, "maxdur": 40, "bidfloor": 900}, {"mindur": 1, "bidfloor": 0}]
    assert outcome(engine_of(film(15)), {"video": VIDEO | {"durfloors": floors}})[0] == [Reason.BELOW_FLOOR]


def test_ways_of_delivery_that_nobody_knows_admit_none_of_ours() -> None:
    engine = engine_of(film(15))
    assert outcome(engine, {"video": VIDEO | {"delivery": [99]}})[0] == [Reason.CREATIVE_DELIVERY]
    assert outcome(engine, {"video": VIDEO | {"delivery": []}}, id="r2")[0] == [Reason.BID]


def test_a_deal_that_is_listed_twice_gets_one_bid_on_test_traffic_too() -> None:
    engine = engine_of(targeting=Targeting(deal=Rule(("d",))))
    deals = [{"id": "d", "bidfloor": 0.1}, {"id": "d", "bidfloor": 0.2}]
    reasons, bids = outcome(engine, {"banner": {"w": 300, "h": 250}, "pmp": {"deals": deals}}, test=1)
    assert reasons.count(Reason.BID) == len(bids) == 1


def test_a_lone_number_is_a_list_of_it() -> None:
    body = b'{"id":"r","imp":[{"id":"1","banner":{}}],"cur":"USD","bcat":["IAB1"],"wseat":7.0}'
    assert decode(body).request.wseat == ["7"]


# -- expressions read the body beside the typed reader -------------------------------------------------------


def expressed(text: str) -> Engine:
    return engine_of(targeting=Targeting(expression=Rule((), (text,))))


@pytest.mark.parametrize(
    "imps",
    [
        b'{"id":"1","banner":{"w":300,"h":250},"tagid":"x"}',
        b'[null,{"id":"1","banner":{"w":300,"h":250},"tagid":"x"}]',
        b'[{"id":1,"banner":{"w":300,"h":250},"tagid":"x"}]',
        b'[{"id":1.0,"banner":{"w":300,"h":250},"tagid":"x"}]',
    ],
)
def test_expressions_find_an_impression_that_had_to_be_mended(imps: bytes) -> None:
    (answer,) = expressed('imp.tagid == "x"').decide([b'{"id":"r","imp":' + imps + b"}"], [0], NOW_NS)
    assert [row["reason"] for row in make.decisions([answer])] == [Reason.EXPRESSION]


@pytest.mark.parametrize("zip_", [b'"l\x8aat"', b"1e999"])
def test_what_only_an_expression_reads_and_is_no_json_refuses_the_request(zip_: bytes) -> None:
    body = b'{"id":"r","imp":[{"id":"1","banner":{"w":300,"h":250}}],"device":{"geo":{"zip":' + zip_ + b"}}}"
    (answer,) = expressed('device.geo.zip == "1"').decide([body], [0], NOW_NS)
    assert not answer.bid
    assert [row["reason"] for row in make.decisions([answer])] == [Reason.MALFORMED]
    assert isinstance(decode(body), tuple)  # nothing else reads it


def test_a_body_that_cannot_be_read_at_all_names_its_place() -> None:
    with pytest.raises(RequestError) as raised:
        decode(b'{"id":"r","imp":[{"id":"1","banner":{}}],"regs":[]}{')
    assert raised.value.path == "$"
