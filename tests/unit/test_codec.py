"""Bytes to a request: what is taken, what is mended, what is refused and where."""

import json
from typing import Any

import pytest

from bidder.errors import RequestError
from bidder.openrtb.codec import MAX_BODY_BYTES, MAX_DEPTH, MAX_ID_LENGTH, MAX_IMPS, decode
from bidder.openrtb.parts import REGS
from tests.support.whole import Whole

BANNER = {"id": "1", "banner": {"w": 300, "h": 250}}


def request(**changes: Any) -> bytes:
    return json.dumps({"id": "r", "imp": [BANNER], **changes}).encode()


def imp(**changes: Any) -> bytes:
    return request(imp=[{**BANNER, **changes}])


def refusal(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as raised:
        Whole(body)
    return raised.value


def test_defaults_are_those_of_the_specification() -> None:
    got, repaired = decode(request())
    assert (got.at, got.test, got.cur, got.tmax, repaired) == (2, 0, None, None, 0)
    assert (got.imp[0].bidfloor, got.imp[0].bidfloorcur, got.imp[0].secure) == (0.0, "USD", 0)


def test_unknown_fields_are_skipped() -> None:
    assert decode(request(new={"deep": [1, {"x": None}]})).repaired == 0


@pytest.mark.parametrize(
    ("body", "path", "value"),
    [
        (request(at="1"), "at", 1),
        (request(at=True), "at", 1),
        (request(tmax="120"), "tmax", 120),
        (request(tmax=120.9), "tmax", 120),
        (request(tmax="120.9"), "tmax", 120),
        (request(bcat="IAB1"), "bcat", ["IAB1"]),
        (request(badv=[5]), "badv", ["5"]),
        (request(badv=[None, "a.example"]), "badv", ["a.example"]),
        (request(id=1234567890123), "id", "1234567890123"),
        (request(id=1234567890123.0), "id", "1234567890123"),
        (request(id=0.1234567890123), "id", "0.1234567890123"),
        (request(imp=BANNER), "imp.0.id", "1"),
        (imp(bidfloor="0.25"), "imp.0.bidfloor", 0.25),
        (imp(bidfloor=None), "imp.0.bidfloor", 0.0),
        (imp(secure="1"), "imp.0.secure", 1),
        (imp(banner={"w": "300", "h": 250}), "imp.0.banner.w", 300),
        (imp(banner={"w": 300.5, "h": 250}), "imp.0.banner.w", None),
        (imp(banner={"w": "wide", "h": 250}), "imp.0.banner.w", None),
        (imp(banner={"format": [None, {"w": 1, "h": 2}]}), "imp.0.banner.format.0.w", 1),
        (imp(tagid=["x"]), "imp.0.tagid", None),
        (imp(ext=[]), "imp.0.ext", None),
        (request(user={"data": [{"segment": [{"id": {}}]}]}), "user.data.0.segment.0.id", None),
        (request(user={"data": [{"segment": [{"id": 7}]}]}), "user.data.0.segment.0.id", "7"),
        (request(device={"ua": 5}), "device.ua", "5"),
    ],
)
def test_sloppy_value_is_mended_or_dropped_and_counted(body: bytes, path: str, value: object) -> None:
    whole = Whole(body)
    assert (whole.repaired, whole.at(path)) == (1, value)


def test_integral_float_counts_as_sloppy_in_no_integer_field() -> None:
    assert decode(request(tmax=120.0)).request.tmax == 120


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (request(id=None), "$.id"),
        (request(id=""), "$.id"),
        (request(id=True), "$.id"),
        (request(id=["r"]), "$.id"),
        (request(id="i" * (MAX_ID_LENGTH + 1)), "$.id"),
        (request(imp=None), "$.imp"),
        (request(imp=[]), "$.imp"),
        (request(imp=[None]), "$.imp"),
        (request(imp="x"), "$.imp[0]"),
        (request(imp=[{**BANNER, "id": str(n)} for n in range(MAX_IMPS + 1)]), "$.imp"),
        (request(imp=[BANNER, {"banner": {}}]), "$.imp[1].id"),
        (request(imp=[BANNER, {"id": "", "banner": {}}]), "$.imp[1].id"),
        (request(imp=[BANNER, BANNER]), "$.imp[*].id"),
        (imp(id="i" * (MAX_ID_LENGTH + 1)), "$.imp[0].id"),
        (imp(id={}), "$.imp[0].id"),
        (request(imp=[{"id": "1"}]), "$.imp[0]"),
        (imp(bidfloor="cheap"), "$.imp[0].bidfloor"),
        (imp(bidfloor="nan"), "$.imp[0].bidfloor"),
        (imp(bidfloor="inf"), "$.imp[0].bidfloor"),
        (imp(bidfloor="1e999"), "$.imp[0].bidfloor"),
        (imp(bidfloor="1_0"), "$.imp[0].bidfloor"),
        (imp(bidfloor={}), "$.imp[0].bidfloor"),
        (imp(secure="yes"), "$.imp[0].secure"),
        (imp(banner={"battr": ["x"]}), "$.imp[0].banner.battr[0]"),
        (imp(pmp={"private_auction": "x"}), "$.imp[0].pmp.private_auction"),
        (imp(ext={"clearbid": {"campaign": "c"}}), "$.imp[0].ext.clearbid.pctr"),
        (imp(ext={"clearbid": {"campaign": "c", "pctr": "nan"}}), "$.imp[0].ext.clearbid.pctr"),
        (request(at="first"), "$.at"),
        (request(at=1.5), "$.at"),
        (request(test="maybe"), "$.test"),
        (request(tmax="soon"), "$.tmax"),
        (request(cur=[{}]), "$.cur[0]"),
        (request(badv=["a.example", {}]), "$.badv[1]"),
        (request(wseat=[[]]), "$.wseat[0]"),
        (request(regs={"coppa": "x"}), "$.regs.coppa"),
        (request(regs={"ext": {"us_privacy": {}}}), "$.regs.ext.us_privacy"),
        (request(device={"lmt": "x"}), "$.device.lmt"),
        (request(site={}, app={}), "$.app"),
        (request(app={}, dooh={}), "$.dooh"),
        (request(ext={"exchange": "x" * (MAX_ID_LENGTH + 1)}), "$.ext.exchange"),
        (b"{}", "$.id"),
        (b'{"id":"r"}', "$.imp"),
    ],
)
def test_refusal_names_the_path(body: bytes, path: str) -> None:
    assert refusal(body).path == path


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"5",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"id":"\xff","imp":[]}',
        b'{"id":"\\ud800","imp":[]}',
        request(tmax=1).replace(b"1}", b"NaN}"),
        imp(bidfloor=1).replace(b'"bidfloor": 1', b'"bidfloor": 1e999'),
        request() + b"x",
        b" " * (MAX_BODY_BYTES + 1),
    ],
)
def test_what_is_no_json_object_is_refused_as_a_whole(body: bytes) -> None:
    assert refusal(body).path == "$"


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return b'{"id":"r","imp":[{"id":"1","banner":{}}],"x":' + opening * depth + closing * depth + b"}"


def test_nesting_is_bounded_whatever_the_stack() -> None:
    assert decode(nested(MAX_DEPTH - 1)).request.id == "r"
    assert "deep" in str(refusal(nested(MAX_DEPTH)))


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"x":' * 40_000, nested(90_000), b'"[' * 50_000, b'\\"[' * 50_000]
)
def test_a_body_of_brackets_is_refused(body: bytes) -> None:
    assert refusal(body).path == "$"


def test_brackets_in_strings_do_not_nest() -> None:
    text = '[{"' * 500 + "\\"
    assert decode(request(x=text, y=[text])).request.id == "r"


def test_many_shallow_objects_do_not_nest() -> None:
    assert decode(request(x=[{"a": []}] * 500)).request.id == "r"


def test_a_sloppy_deep_body_is_refused_before_it_is_read_again() -> None:
    assert "deep" in str(refusal(nested(MAX_DEPTH).replace(b'"imp"', b'"at":"1","imp"')))


def test_too_many_wrong_values_are_refused() -> None:
    body = imp(banner={"format": [{"w": "x", "h": "y"}] * 40})
    assert "32" in str(refusal(body))


def test_a_huge_integer_is_taken_as_it_is() -> None:
    assert decode(request(tmax=10**30)).request.tmax == 10**30


def test_decoding_twice_gives_the_same() -> None:
    one, two = Whole(request(at="1")), Whole(request(at="1"))
    assert (one.repaired, one.request.at) == (two.repaired, two.request.at) == (1, 1)
    assert one.at("imp.0.banner") == two.at("imp.0.banner")


def test_parts_are_read_when_they_are_asked_for() -> None:
    """A banner on which nobody bids refuses nothing."""
    assert decode(imp(banner={"battr": ["x"]})).repaired == 0


@pytest.mark.parametrize("part", ["device", "user"])
@pytest.mark.parametrize("value", ["phone", [{"lmt": 1}], "", 5, 0, False])
def test_who_is_asked_for_refuses_where_it_cannot_be_read(part: str, value: Any) -> None:
    with pytest.raises(RequestError) as raised:
        decode(request(**{part: value}))
    assert raised.value.path == f"$.{part}"


@pytest.mark.parametrize("part", ["device", "user"])
def test_an_empty_list_in_the_place_of_an_object_is_absent(part: str) -> None:
    found = decode(request(**{part: []}))
    assert (getattr(found.request, part), found.repaired) == (None, 1)


def test_an_empty_list_in_the_place_of_the_law_refuses() -> None:
    found = decode(request(regs=[]))
    with pytest.raises(RequestError):
        REGS.read(bytes(found.request.regs))
