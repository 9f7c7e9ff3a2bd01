"""Bodies that exchanges and their software put on the wire, where they are there: see `tests.support.data`."""

import json
from functools import cache
from typing import Any

import orjson
import pytest

from bidder.core.engine import Engine
from bidder.core.settings import EngineSettings
from bidder.errors import RequestError
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.data import recorded

VALID, SLOPPY, NEGATIVE = 838, 62, 39
SIZES = ((300, 250), (728, 90), (320, 50), (300, 600), (160, 600), (970, 250), (320, 480), (300, 300))


def lines(name: str) -> list[bytes]:
    return recorded(f"openrtb/{name}.jsonl").read_bytes().splitlines()


def negative() -> list[bytes]:
    cases = [json.loads(line) for line in lines("negative")]
    return [orjson.dumps(case["body"]) for case in cases if case["kind"] == "request"]


@cache
def bidding_engine() -> Engine:
    """An engine with a model and a campaign for the usual sizes, in plain and in secure."""
    creatives = tuple(make.creative(f"k{number}", w=w, h=h) for number, (w, h) in enumerate(SIZES))
    table = [
        make.campaign("c1", creatives=creatives),
        make.campaign("c2", creatives=creatives, cat=("IAB3-1",)),
    ]
    return make.engine(table, settings=EngineSettings(), model=make.model(1))


def check(body: bytes, engine: Engine) -> list[Reason]:
    """Decides a body, and holds the answer to what every answer must be."""
    (answer,) = engine.decide([body], [0], 0)
    rows = make.decisions([answer])
    reasons = [Reason(row["reason"]) for row in rows]
    assert answer.bid == (Reason.BID in reasons)
    if not answer.response:
        assert reasons in ([Reason.MALFORMED], [Reason.INVALID])
        assert "at $" in rows[0]["error"]
        return reasons
    _check_response(orjson.loads(body), orjson.loads(answer.response), rows)
    return reasons


def _check_response(request: dict[str, Any], response: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    imps = {str(imp["id"]): imp for imp in request["imp"]}
    assert response["id"] == str(request["id"])
    assert [row["imp_id"] for row in rows] == list(imps)
    bids = [bid for seat in response["seatbid"] for bid in seat["bid"]]
    assert [bid["impid"] for bid in bids] == [row["imp_id"] for row in rows if row["reason"] == Reason.BID]
    assert bool(bids) != ("nbr" in response)
    for bid in bids:
        imp = imps[bid["impid"]]
        banner = imp["banner"]
        formats = banner.get("format") or [banner]
        assert [float(bid["w"]), float(bid["h"])] in [
            [float(f.get("w", 0)), float(f.get("h", 0))] for f in formats
        ]
        assert bid["price"] >= float(imp.get("bidfloor") or 0)
        assert not set(bid["adomain"]) & set(request.get("badv") or [])


@pytest.mark.parametrize(("name", "count"), [("requests_valid", VALID), ("requests_sloppy", SLOPPY)])
def test_every_recorded_request_decodes(name: str, count: int) -> None:
    requests = [decode(line).request for line in lines(name)]
    assert len(requests) == count
    assert all(request.id and request.imp for request in requests)


def test_nothing_of_a_valid_request_is_repaired() -> None:
    assert sum(decode(line).repaired for line in lines("requests_valid")) == 0


def test_repairs_of_sloppy_requests_are_counted() -> None:
    assert sum(decode(line).repaired > 0 for line in lines("requests_sloppy")) > 10


def test_every_negative_request_is_refused_with_a_path() -> None:
    bodies = negative()
    assert len(bodies) == NEGATIVE
    for body in bodies:
        with pytest.raises(RequestError) as raised:
            decode(body)
        assert raised.value.path.startswith(("$.imp", "$.app", "$.dooh"))


def test_every_negative_request_ends_as_invalid() -> None:
    assert {reason for body in negative() for reason in check(body, make.engine())} == {Reason.INVALID}


@pytest.mark.parametrize("name", ["requests_valid", "requests_sloppy"])
def test_every_recorded_request_ends_in_a_bid_or_a_reason(name: str) -> None:
    engine = bidding_engine()
    reasons = [reason for line in lines(name) for reason in check(line, engine)]
    assert Reason.BID in reasons
    assert {Reason.MALFORMED, Reason.INVALID}.isdisjoint(reasons)


def test_recorded_requests_are_decided_in_one_call_as_one_by_one() -> None:
    bodies = [*lines("requests_valid"), *lines("requests_sloppy"), *negative()]
    creatives = tuple(make.creative(f"k{number}", w=w, h=h) for number, (w, h) in enumerate(SIZES))
    engines = [
        make.engine([make.campaign(creatives=creatives)], settings=EngineSettings(), model=make.model(1))
        for _ in range(2)
    ]
    whole = engines[0].decide(bodies, [0] * len(bodies), 0)
    assert whole == [answer for body in bodies for answer in engines[1].decide([body], [0], 0)]
