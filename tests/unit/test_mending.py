"""Reading with patience: what is mended, what is dropped, and what refuses the whole."""

from typing import Any

import msgspec
import pytest

from bidder.errors import RequestError
from bidder.openrtb.mending import path_of, read_typed


class Inner(msgspec.Struct):
    """Of soft fields and hard ones: `battr` and `mimes` are hard by their names."""

    w: int | None = None
    price: float = 0.0
    text: str | None = None
    texts: list[str] | None = None
    battr: list[int] | None = None
    tmax: int | None = None


class Outer(msgspec.Struct):
    """An object with a list of objects."""

    name: str
    inner: list[Inner] | None = None


INNER: msgspec.json.Decoder[Inner] = msgspec.json.Decoder(Inner)
OUTER: msgspec.json.Decoder[Outer] = msgspec.json.Decoder(Outer)


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        (b'{"w":"300"}', "w", 300),
        (b'{"w":" 300 "}', "w", 300),
        (b'{"w":true}', "w", 1),
        (b'{"w":300.5}', "w", None),
        (b'{"w":"3e2"}', "w", 300),
        (b'{"w":"0x10"}', "w", None),
        (b'{"w":"1_0"}', "w", None),
        (b'{"w":[]}', "w", None),
        (b'{"tmax":99.9}', "tmax", 99),
        (b'{"price":"0.25"}', "price", 0.25),
        (b'{"price":"nan"}', "price", 0.0),
        (b'{"price":"1e999"}', "price", 0.0),
        (b'{"price":null}', "price", 0.0),
        (b'{"text":5}', "text", "5"),
        (b'{"text":5.0}', "text", "5"),
        (b'{"text":0.5}', "text", "0.5"),
        (b'{"text":true}', "text", None),
        (b'{"text":{}}', "text", None),
        (b'{"texts":"a"}', "texts", ["a"]),
        (b'{"texts":["a",null,"b"]}', "texts", ["a", "b"]),
        (b'{"battr":null}', "battr", None),
    ],
)
def test_a_value_of_a_wrong_type_is_mended_or_dropped(raw: bytes, field: str, value: Any) -> None:
    found = read_typed(INNER, raw)
    assert getattr(found.value, field) == value
    assert found.repaired == (0 if raw == b'{"battr":null}' else 1)


def test_what_is_right_is_read_in_one_go() -> None:
    assert read_typed(INNER, b'{"w":1,"new":{"deep":[null]}}').repaired == 0


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"battr":["x"]}', "$.imp[1].banner.battr[0]"),
        (b'{"battr":{}}', "$.imp[1].banner.battr[0]"),
        (b'{"tmax":"soon"}', "$.imp[1].banner.tmax"),
    ],
)
def test_a_hard_field_refuses_with_its_path_in_the_request(raw: bytes, path: str) -> None:
    with pytest.raises(RequestError) as raised:
        read_typed(INNER, raw, ("imp", 1, "banner"))
    assert raised.value.path == path


def test_several_faults_are_counted_and_the_rest_stands() -> None:
    found = read_typed(OUTER, b'{"name":7,"inner":[{"w":"1"},null,{"w":"x","text":"t"}]}')
    assert found.repaired == 4
    assert found.value == Outer("7", [Inner(w=1), Inner(text="t")])


def test_more_faults_than_anybody_makes_refuse() -> None:
    raw = b'{"texts":[' + b",".join([b"{}"] * 40) + b"]}"
    with pytest.raises(RequestError, match="more than 32"):
        read_typed(INNER, raw)


@pytest.mark.parametrize("raw", [b"", b"{", b'{"w":1', b'{"w":NaN}', b"\xff"])
def test_what_is_no_json_refuses_as_a_whole(raw: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        read_typed(INNER, raw, ("imp", 0))
    assert raised.value.path == "$"


def test_a_field_that_must_be_there_is_named() -> None:
    with pytest.raises(RequestError) as raised:
        read_typed(OUTER, b"{}", ("imp", 0))
    assert raised.value.path == "$.imp[0].name"


def test_paths_are_written_as_in_json() -> None:
    assert path_of(("imp", 0, "banner", "format", 2)) == "$.imp[0].banner.format[2]"
