"""Whatever bytes come in, decoding ends in a request or a `RequestError` with a path."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.errors import RequestError
from bidder.openrtb.codec import decode
from bidder.openrtb.reasons import Reason
from bidder.openrtb.request import BidRequest
from tests.support import factories as make
from tests.support.whole import Whole

ENGINE = make.engine([make.campaign("c1", cat=("IAB1",)), make.campaign("c2")], model=make.model(1))

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["1", "0.5", "-1", "1e300", "nan", "300", "USD", "r"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

WHOLE: dict[str, Any] = {
    "id": "r",
    "at": 1,
    "test": 0,
    "tmax": 100,
    "cur": ["USD"],
    "bcat": ["IAB1"],
    "badv": ["a.example"],
    "wseat": ["clearbid"],
    "bseat": [],
    "imp": [
        {
            "id": "1",
            "bidfloor": 0.5,
            "bidfloorcur": "USD",
            "secure": 1,
            "tagid": "t",
            "pmp": {"private_auction": 0},
            "banner": {"w": 300, "h": 250, "pos": 1, "battr": [1], "format": [{"w": 300, "h": 250}]},
            "ext": {"clearbid": {"campaign": "c1", "pctr": 0.01}},
        }
    ],
    "site": {"domain": "a.example"},
    "device": {"ua": "x", "os": "y", "lmt": 0, "dnt": 0, "devicetype": 2, "geo": {"country": "USA"}},
    "user": {"data": [{"segment": [{"id": "s"}]}]},
    "regs": {"coppa": 0, "gdpr": 0, "us_privacy": "1YNN", "ext": {"gdpr": 0}},
    "ext": {"exchange": "one"},
}


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    steps: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [place for step, inner in steps for place in [(*path, step), *_places(inner, (*path, step))]]


PLACES = _places(WHOLE)


def _replaced(changes: list[tuple[tuple[str | int, ...], Any]]) -> bytes:
    tree = json.loads(json.dumps(WHOLE))
    for path, value in changes:
        parent: Any = tree
        try:
            for step in path[:-1]:
                parent = parent[step]
            parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    return json.dumps(tree).encode()


def _ends(body: bytes) -> BidRequest | None:
    try:
        return Whole(body).request
    except RequestError as error:
        path = error.path
    assert path.startswith("$")
    return None


@given(st.binary(max_size=60))
def test_any_bytes_end_in_a_refusal_or_a_request(body: bytes) -> None:
    _ends(body)


@given(st.lists(st.tuples(st.sampled_from(PLACES), json_values), min_size=1, max_size=4))
@settings(max_examples=600)
def test_any_value_in_any_place_ends_in_a_refusal_or_a_request(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    _ends(_replaced(changes))


@given(st.lists(st.tuples(st.sampled_from(PLACES), json_values), min_size=1, max_size=4))
@settings(max_examples=400)
def test_any_value_in_any_place_is_decided_and_answered_in_valid_json(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    body = _replaced(changes)
    (answer,) = ENGINE.decide([body], [0], 0)
    rows = make.decisions([answer])
    request = _ends(body)
    if request is None and rows[0]["reason"] not in (Reason.MALFORMED, Reason.INVALID):
        # What cannot be read is of a part that nobody had to look at, as behind a supply chain or a law.
        request = decode(body).request
    assert request is None or len(rows) == len(request.imp) or rows[0]["reason"] == Reason.INVALID
    if request is not None:
        assert json.loads(answer.response)["id"] == request.id
    else:
        assert [row["reason"] for row in rows] in ([Reason.MALFORMED], [Reason.INVALID])


@given(st.sampled_from(PLACES))
def test_null_means_absent_in_every_place(path: tuple[str | int, ...]) -> None:
    """A hard field may be asked for where it is required; else the request stands as if it were not there."""
    request = _ends(_replaced([(path, None)]))
    required = {("id",), ("imp",), ("imp", 0), ("imp", 0, "id")}
    external = {("imp", 0, "ext", "clearbid", name) for name in ("campaign", "pctr")}
    assert (request is None) == (path in required | external)


@given(st.integers(0, 400), st.integers(1, 40))
def test_cut_and_garbled_bodies_end_in_a_refusal_or_a_request(begin: int, length: int) -> None:
    body = _replaced([])
    _ends(body[:begin])
    _ends(body[:begin] + body[begin + length :])
    _ends(body[:begin] + body[begin : begin + length] * 2 + body[begin + length :])


def test_the_whole_request_of_these_tests_is_well_formed() -> None:
    assert Whole(_replaced([])).repaired == 0
