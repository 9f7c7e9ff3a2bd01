"""The recorded JSON Schema of OpenRTB 2.6, without its formats: macros are no URIs."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft7Validator

from tests.support.data import recorded


@cache
def _validator(kind: str) -> Any:
    whole = json.loads(recorded("openrtb/openrtb-2.6-klaussilveira.schema.json").read_bytes())
    return Draft7Validator({"$ref": f"#/$defs/{kind}", "$defs": whole["$defs"]})


_BY_SHAPE = {
    "$ref",
    "default",
    "description",
    "format",
    "items",
    "minItems",
    "properties",
    "required",
    "type",
}
_shapes: dict[object, list[str]] = {}


def response_faults(response: bytes) -> list[str]:
    """What the schema has against a response.

    It asks for types and for what must be there, and nothing else: responses of one shape are looked at once.
    """
    answer = orjson.loads(response)
    shape = _shape(answer)
    found = _shapes.get(shape)
    if found is None:
        found = _shapes[shape] = [error.message for error in _validator("BidResponse").iter_errors(answer)]
    return found


def response_keywords() -> set[str]:
    """Keywords of the schema of a response, but for those that its answer by shape allows for."""
    whole = json.loads(recorded("openrtb/openrtb-2.6-klaussilveira.schema.json").read_bytes())
    return {
        word for name in ("BidResponse", "SeatBid", "Bid") for word in _keywords(whole["$defs"][name])
    } - _BY_SHAPE


def _keywords(schema: dict[str, Any]) -> Iterator[str]:
    for word, value in schema.items():
        yield word
        if word == "properties":
            for inner in value.values():
                yield from _keywords(inner)
        elif word == "items":
            yield from _keywords(value)


def _shape(value: Any) -> object:
    if isinstance(value, dict):
        return frozenset((name, _shape(one)) for name, one in value.items())
    if isinstance(value, list):
        return (bool(value), frozenset(map(_shape, value)))
    return type(value)


def request_faults(request: dict[str, Any]) -> list[str]:
    """What the schema has against a request."""
    return [error.message for error in _validator("BidRequest").iter_errors(request)]
