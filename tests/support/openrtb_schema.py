"""The recorded JSON Schema of OpenRTB 2.6, without its formats: macros are no URIs."""

import json
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft7Validator

from tests.support.data import recorded


@cache
def _validator(kind: str) -> Any:
    whole = json.loads(recorded("openrtb/openrtb-2.6-klaussilveira.schema.json").read_bytes())
    return Draft7Validator({"$ref": f"#/$defs/{kind}", "$defs": whole["$defs"]})


def response_faults(response: bytes) -> list[str]:
    """What the schema has against a response."""
    return [error.message for error in _validator("BidResponse").iter_errors(orjson.loads(response))]


def request_faults(request: dict[str, Any]) -> list[str]:
    """What the schema has against a request."""
    return [error.message for error in _validator("BidRequest").iter_errors(request)]
