"""Bodies that exchanges and their software put on the wire, where they are there: see `tests.support.data`."""

import json
import re
from collections import Counter
from functools import cache
from typing import Any

import orjson
import pytest

from bidder.core.engine import Engine
from bidder.errors import RequestError
from bidder.openrtb import mending
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from tests.support import catalog
from tests.support import factories as make
from tests.support.crosscheck import bids_of, faults
from tests.support.data import recorded
from tests.support.openrtb_schema import request_faults, response_faults, response_keywords

VALID, SLOPPY, NEGATIVE = 838, 62, 39
NAMES = ("requests_valid", "requests_sloppy")
LEAST_BIDS = {"requests_valid": 747, "requests_sloppy": 42}
"""Requests of each file that get a bid of the catalog, as counted when this was written."""
LEAST_MEDIA = {1: 501, 2: 256, 3: 18, 4: 66}
"""Bids on the valid ones by `mtype`, counted likewise."""
SLOPPY_REPAIRS = {"$.imp[*].ext": 17, "$.source.ext": 4, "$.user.ext": 2}
"""What of the sloppy ones has to be dropped: extensions that are no objects. All of it is soft: an impression's
extension says nothing to us, a supply chain or consent that cannot be read is one that is not there."""


def lines(name: str) -> list[bytes]:
    return recorded(f"openrtb/{name}.jsonl").read_bytes().splitlines()


def negative() -> list[bytes]:
    cases = [json.loads(line) for line in lines("negative")]
    return [orjson.dumps(case["body"]) for case in cases if case["kind"] == "request"]


@cache
def with_own_ids(name: str) -> tuple[bytes, ...]:
    """The requests as if each were another auction: many were recorded under one id."""
    found = []
    for number, line in enumerate(lines(name)):
        request = json.loads(line)
        request["id"] = f"{name}-{number}"
        if isinstance(request.get("source"), dict):
            request["source"].pop("tid", None)
        found.append(orjson.dumps(request))
    return tuple(found)


def answered(body: bytes, engine: Engine) -> list[dict[str, Any]]:
    """The bids on a body, after its answer was held to everything that an answer must be."""
    (answer,) = engine.decide([body], [0], catalog.NOW_NS)
    rows = make.decisions([answer])
    reasons = [Reason(row["reason"]) for row in rows]
    found = faults(body, answer.response, engine.table.campaigns, catalog.terms())
    found += response_faults(answer.response) if answer.bid else []
    assert not found, f"{found}: {body!r}"
    assert answer.bid == (Reason.BID in reasons)
    bids = bids_of(answer.response)
    assert [bid["impid"] for bid in bids] == [row["imp_id"] for row in rows if row["reason"] == Reason.BID]
    if not answer.response:
        assert reasons in ([Reason.MALFORMED], [Reason.INVALID])
        assert "at $" in rows[0]["error"]
    return bids


@pytest.mark.parametrize(("name", "count"), [("requests_valid", VALID), ("requests_sloppy", SLOPPY)])
def test_every_recorded_request_decodes(name: str, count: int) -> None:
    requests = [decode(line).request for line in lines(name)]
    assert len(requests) == count
    assert all(request.id and request.imp for request in requests)


def test_the_schema_finds_the_valid_requests_valid() -> None:
    assert [found for line in lines("requests_valid") if (found := request_faults(json.loads(line)))] == []


def test_the_schema_of_a_response_asks_for_no_more_than_its_shape() -> None:
    assert response_keywords() == set()


def test_nothing_of_a_valid_request_is_repaired() -> None:
    """Neither what is read at once nor the parts that are read where somebody may bid on them."""
    engine = catalog.engine()
    make.decide(engine, *with_own_ids("requests_valid"), now_ns=catalog.NOW_NS)
    assert engine.repaired == 0


def test_of_sloppy_requests_only_extensions_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    mend = mending._mend

    def spy(tree: dict[str, Any], message: str, at: tuple[Any, ...]) -> None:
        path = message.rpartition(" - at ")[2].strip("`")
        seen[mending.path_of(at) + re.sub(r"\[\d+\]", "[*]", path).removeprefix("$")] += 1
        mend(tree, message, at)

    monkeypatch.setattr(mending, "_mend", spy)
    engine = catalog.engine()
    make.decide(engine, *with_own_ids("requests_sloppy"), now_ns=catalog.NOW_NS)
    assert seen == SLOPPY_REPAIRS
    assert engine.repaired == sum(SLOPPY_REPAIRS.values())


def test_every_negative_request_is_refused_with_a_path() -> None:
    bodies = negative()
    assert len(bodies) == NEGATIVE
    for body in bodies:
        with pytest.raises(RequestError) as raised:
            decode(body)
        assert raised.value.path.startswith(("$.imp", "$.app", "$.dooh"))


def test_every_negative_request_is_answered_with_nothing() -> None:
    engine = catalog.engine()
    assert [answered(body, engine) for body in negative()] == [[]] * NEGATIVE
    assert engine.reasons == {Reason.INVALID: NEGATIVE}


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_request_is_answered_by_the_rules_as_it_came(name: str) -> None:
    engine = catalog.engine()
    assert sum(bool(answered(line, engine)) for line in lines(name)) > 0
    assert Reason.MALFORMED not in engine.reasons


@pytest.mark.parametrize("name", NAMES)
def test_recorded_requests_get_as_many_bids_as_they_used_to(name: str) -> None:
    engine = catalog.engine()
    bids = [answered(body, engine) for body in with_own_ids(name)]
    assert sum(map(bool, bids)) >= 0.9 * LEAST_BIDS[name]
    if name == "requests_valid":
        media = Counter(bid["mtype"] for own in bids for bid in own)
        assert all(media[mtype] >= 0.9 * count for mtype, count in LEAST_MEDIA.items())
        assert {bid.get("dealid") for own in bids for bid in own} > {None}


@pytest.mark.parametrize("seed", range(3))
def test_recorded_requests_are_answered_by_the_rules_by_parts_of_the_catalog(seed: int) -> None:
    engine = catalog.engine(catalog.some(seed))
    assert sum(bool(answered(body, engine)) for body in with_own_ids("requests_valid")) > 100


def test_recorded_requests_are_decided_in_one_call_as_one_by_one() -> None:
    bodies = [
        *lines("requests_valid"),
        *with_own_ids("requests_valid"),
        *lines("requests_sloppy"),
        *negative(),
    ]
    alone, together = catalog.engine(), catalog.engine()
    whole = together.decide(bodies, [0] * len(bodies), catalog.NOW_NS)
    assert whole == [answer for body in bodies for answer in alone.decide([body], [0], catalog.NOW_NS)]
    assert together.status(catalog.NOW_NS) == alone.status(catalog.NOW_NS)
