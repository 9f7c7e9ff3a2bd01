"""Bytes to `BidRequest`: fast for a well-formed body, patient with a sloppy one, clear about a bad one.

Real senders put integers in strings and nulls in lists. The typed decoder takes the well-formed body in one pass.
When it refuses a value, the body is read again untyped and that value is mended if it can be read, or
dropped if the field is *soft*; both are counted. A *hard* field, on which the rules of the auction or its money
rest, refuses the request when it cannot be read.
"""

import math
import re
from typing import Any, NamedTuple

import msgspec

from bidder.errors import RequestError
from bidder.openrtb.request import BidRequest

MAX_BODY_BYTES = 256 * 1024
"""Bodies above this are refused: real requests are 1 to 4 kB (2.6 gives no limit)."""
MAX_DEPTH = 100
"""Arrays and objects inside each other. Decoders recurse, and how deep they can depends on who calls them; this
bound does not, so that a replay refuses what the live bidder refused."""
MAX_IMPS = 128
MAX_ID_LENGTH = 256
"""Bounds on what an answer repeats: without them a small body makes records that no broker takes."""
_MAX_REPAIRS = 32
_HARD = frozenset(
    ("imp", "bidfloor", "bidfloorcur", "at", "cur", "wseat", "bseat", "bcat", "badv", "battr", "secure",
     "test", "tmax", "coppa", "gdpr", "us_privacy", "gpp", "lmt", "dnt", "private_auction")
)  # fmt: skip
_HARD_IDS = (("id",), ("imp", "id"))
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*\Z", re.ASCII)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_ERROR = re.compile(r"(?P<what>.*) - at `(?P<path>\$.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")

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
    if _may_nest_deep(body) and _depth(body) > MAX_DEPTH:
        raise RequestError(f"body must nest at most {MAX_DEPTH} deep")
    repaired = 0
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError:
        request, repaired = _repair(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"body must be JSON: {error}") from None
    _check(request)
    return Decoded(request, repaired)


def _may_nest_deep(body: bytes) -> bool:
    """Whether there are enough brackets for it; a cheap look that spares nearly every body the exact one."""
    return body.count(b"[") + body.count(b"{") > MAX_DEPTH


def _depth(body: bytes) -> int:
    """How deep arrays and objects nest, up to where the body stops being JSON."""
    # Without escaped marks, every other piece between quotation marks lies outside of the strings.
    outside = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    depth = deepest = 0
    for bracket in b"".join(outside).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check(request: BidRequest) -> None:
    """Structure rules of sections 3.2.1 and 3.2.4."""
    _check_id(request.id, "$.id")
    if request.ext is not None and request.ext.exchange:
        _check_id(request.ext.exchange, "$.ext.exchange")
    if not 1 <= len(request.imp) <= MAX_IMPS:
        raise RequestError(f"must hold 1 to {MAX_IMPS} impressions, was {len(request.imp)}", "$.imp")
    places = [name for name in ("site", "app", "dooh") if getattr(request, name) is not None]
    if len(places) > 1:
        raise RequestError("at most one of site, app and dooh may be there", f"$.{places[1]}")
    if len(request.imp) > 1 and len({imp.id for imp in request.imp}) != len(request.imp):
        raise RequestError("ids must be unique in the request", "$.imp[*].id")
    for index, imp in enumerate(request.imp):
        _check_id(imp.id, f"$.imp[{index}].id")
        if imp.banner is None and imp.video is None and imp.audio is None and imp.native is None:
            raise RequestError("must have a banner, video, audio or native", f"$.imp[{index}]")


def _check_id(text: str, path: str) -> None:
    if not 1 <= len(text) <= MAX_ID_LENGTH:
        raise RequestError(f"must have 1 to {MAX_ID_LENGTH} characters, was {len(text)}", path)


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
    missing = _MISSING.match(what)
    if missing is not None:
        raise RequestError("must be there", f"{path}.{missing[1]}")
    steps: list[str | int] = [name or int(index) for name, index in _STEP.findall(path)]
    if not steps:
        raise RequestError(what, path)
    parent: Any = tree
    for step in steps[:-1]:
        parent = parent[step]
    last = steps[-1]
    value = parent[last]
    mended = _readable(value, what, cut=last == "tmax")
    if mended is not None:
        parent[last] = mended
    elif value is None or not _is_hard(steps):
        _drop(parent, last)
    else:
        raise RequestError(what, path)


def _is_hard(steps: list[str | int]) -> bool:
    names = tuple(step for step in steps if isinstance(step, str))
    return names[-1] in _HARD or names in _HARD_IDS


def _drop(parent: Any, last: str | int) -> None:
    """Removes a value: an absent attribute is unknown (section 2.3), and null means absent."""
    del parent[last]


def _readable(value: object, what: str, *, cut: bool) -> int | float | str | list[object] | None:
    """The value in the wanted type where nothing is guessed; None where it cannot be read.

    `cut` lets a fraction go: a time limit is not made longer by that.
    """
    if "Expected `int" in what and isinstance(value, str | float | bool):
        number = _as_number(value)
        return int(number) if number is not None and (cut or number.is_integer()) else None
    if "Expected `float" in what and isinstance(value, str):
        return _as_number(value)
    if "Expected `str" in what and isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if value == int(value) else repr(value)
    if "Expected `array" in what and isinstance(value, str | int | dict):
        return [value]
    return None


def _as_number(value: str | float) -> float | None:
    if isinstance(value, str) and _NUMBER.match(value) is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
