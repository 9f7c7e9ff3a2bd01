"""Bytes to `BidRequest`: fast for a well-formed body, patient with a sloppy one, clear about a bad one.

Real senders put integers in strings and nulls in lists. The typed decoder takes the well-formed body in one pass.
When it refuses a value, the body is read again untyped and that value is mended if it can be read, or
dropped if the field is *soft*; both are counted. A *hard* field, on which the rules of the auction or its money
rest, refuses the request when it cannot be read.
"""

import re
from typing import Any, NamedTuple

import msgspec

from bidder.errors import RequestError
from bidder.openrtb.request import BidRequest

MAX_BODY_BYTES = 256 * 1024
"""Bodies above this are refused: real requests are 1 to 4 kB (2.6 gives no limit)."""
_MAX_REPAIRS = 32
_HARD = frozenset(
    ("id", "imp", "bidfloor", "bidfloorcur", "at", "cur", "wseat", "bseat", "bcat", "badv", "battr", "secure",
     "test", "tmax", "coppa", "gdpr", "us_privacy", "gpp", "lmt", "dnt", "private_auction")
)  # fmt: skip
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_ERROR = re.compile(r"(?P<what>.*) - at `(?P<path>\$.*)`\Z", re.DOTALL)

_decoder = msgspec.json.Decoder(BidRequest)


class Decoded(NamedTuple):
    """A request, and how many values of it had to be mended or dropped."""

    request: BidRequest
    repaired: int


def decode(body: bytes) -> Decoded:
    """Reads one BidRequest and checks its structure.

    Args:
        body: JSON, UTF-8.

    Returns:
        The request, with the number of values that were mended or dropped.

    Raises:
        RequestError: not JSON, too large, a hard field that cannot be read, or a structure that section 3.2
            forbids; with the JSON path.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(f"body must be at most {MAX_BODY_BYTES} bytes, was {len(body)}")
    repaired = 0
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError:
        request, repaired = _repair(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"body must be JSON: {error}") from None
    _check(request)
    return Decoded(request, repaired)


def _check(request: BidRequest) -> None:
    """Structure rules of sections 3.2.1 and 3.2.4."""
    if not request.id:
        raise RequestError("must not be empty", "$.id")
    if not request.imp:
        raise RequestError("must hold at least one impression, was empty", "$.imp")
    if (request.site is not None) + (request.app is not None) + (request.dooh is not None) > 1:
        raise RequestError("at most one of site, app and dooh may be there", "$")
    if len(request.imp) > 1 and len({imp.id for imp in request.imp}) != len(request.imp):
        raise RequestError("ids must be unique in the request", "$.imp[*].id")
    for index, imp in enumerate(request.imp):
        if not imp.id:
            raise RequestError("must not be empty", f"$.imp[{index}].id")
        if imp.banner is None and imp.video is None and imp.audio is None and imp.native is None:
            raise RequestError("must have a banner, video, audio or native", f"$.imp[{index}]")


def _repair(body: bytes) -> tuple[BidRequest, int]:
    """Mends or drops one refused value after another until the typed decoder accepts the rest."""
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"body must be JSON: {error}") from None
    for repaired in range(_MAX_REPAIRS):
        try:
            return _decoder.decode(msgspec.json.encode(tree)), repaired
        except msgspec.ValidationError as error:
            _mend(tree, str(error))
    raise RequestError(f"more than {_MAX_REPAIRS} values are of a wrong type")


def _mend(tree: object, message: str) -> None:
    """Replaces or removes the value that `message`, an error of the typed decoder, speaks of."""
    match = _ERROR.match(message)
    what, path = (match["what"], match["path"]) if match else (message, "$")
    steps: list[str | int] = [name or int(index) for name, index in _STEP.findall(path)]
    if not steps or "missing required" in what:
        raise RequestError(what, path)
    parent: Any = tree
    for step in steps[:-1]:
        parent = parent[step]
    last = steps[-1]
    value = parent[last]
    mended = _readable(value, what)
    if mended is not None:
        parent[last] = mended
    elif value is None or not _is_hard(steps):
        _drop(parent, last)
    else:
        raise RequestError(what, path)


def _is_hard(steps: list[str | int]) -> bool:
    names = [step for step in steps if isinstance(step, str)]
    return names[-1] in _HARD


def _drop(parent: Any, last: str | int) -> None:
    """Removes a value: an absent attribute is unknown (section 2.3), and null means absent."""
    del parent[last]


def _readable(value: object, what: str) -> int | float | str | list[object] | None:
    """The value in the wanted type where nothing is guessed; None where it cannot be read."""
    if "Expected `int" in what and isinstance(value, str | float | bool):
        return _as_int(value)
    if "Expected `float" in what and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    if "Expected `str" in what and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if "Expected `array" in what and isinstance(value, str | int | dict):
        return [value]
    return None


def _as_int(value: str | float) -> int | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
