"""Reading JSON into typed structs with patience: a value of a wrong type is mended, dropped, or refuses the whole.

Real senders put integers in strings and nulls in lists. The typed decoder takes well-formed JSON in one pass.
When it refuses a value, the JSON is read again untyped and that value is mended if it can be read, or dropped if
the field is *soft*; both are counted. A *hard* field, on which the rules of the auction or its money rest,
refuses the request when it cannot be read.
"""

import math
import re
from typing import Any, NamedTuple

import msgspec

from bidder.errors import RequestError

_MAX_REPAIRS = 32
_HARD = frozenset(
    ("imp", "bidfloor", "bidfloorcur", "at", "cur", "wseat", "bseat", "acat", "bcat", "cattax", "badv", "bapp",
     "battr", "btype", "secure", "test", "tmax", "coppa", "gdpr", "us_privacy", "gpp", "gpp_sid", "lmt", "dnt",
     "private_auction", "deals", "wadomain", "wlang", "wlangb", "mincpmpersec", "durfloors", "multiplier", "consent",
     "minduration", "maxduration", "rqddurs", "poddur", "maxseq", "mimes", "protocols", "guar", "mindur", "maxdur",
     "regs", "pmp", "qty")
)  # fmt: skip
_HARD_PATHS = (
    ("id",), ("imp", "id"), ("imp", "pmp", "deals", "id"), ("regs", "ext"), ("device",), ("user",), ("user", "ext"),
)  # fmt: skip
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*\Z", re.ASCII)
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_ERROR = re.compile(r"(?P<what>.*) - at `(?P<path>\$.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")

_OFTEN_EMPTY = (("device",), ("user",), ("user", "ext"))

Step = str | int
"""One step of a JSON path: the name of an attribute or a place in a list."""


class Mended(NamedTuple):
    """What was read, and how many values of it had to be mended or dropped."""

    value: Any
    repaired: int


def read_typed(decoder: msgspec.json.Decoder[Any], body: bytes, at: tuple[Step, ...] = ()) -> Mended:
    """Reads JSON with patience.

    Args:
        decoder: of the wanted type.
        body: JSON, UTF-8.
        at: where it stands in the request.

    Raises:
        RequestError: not JSON, or a hard field that cannot be read; with the JSON path in the request.
    """
    try:
        return Mended(decoder.decode(body), 0)
    except msgspec.ValidationError:
        return _repair(decoder, body, at)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"body must be JSON: {error}") from None


def path_of(steps: tuple[Step, ...]) -> str:
    """`$.imp[0].banner` of its steps."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _repair(decoder: msgspec.json.Decoder[Any], body: bytes, at: tuple[Step, ...]) -> Mended:
    """Mends or drops one refused value after another until the typed decoder accepts the rest."""
    try:
        tree = {"": msgspec.json.decode(body)}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"body must be JSON: {error}") from None
    for repaired in range(_MAX_REPAIRS):
        if "" not in tree:
            return Mended(None, repaired)
        try:
            return Mended(decoder.decode(msgspec.json.encode(tree[""])), repaired)
        except msgspec.ValidationError as error:
            _mend(tree, str(error), at)
    raise RequestError(f"more than {_MAX_REPAIRS} values are of a wrong type", path_of(at))


def _mend(tree: dict[str, Any], message: str, at: tuple[Step, ...]) -> None:
    """Replaces or removes the value that `message`, an error of the typed decoder, speaks of."""
    match = _ERROR.match(message)
    what, path = (match["what"], match["path"]) if match else (message, "$")
    inner: tuple[Step, ...] = tuple(name or int(index) for name, index in _STEP.findall(path))
    where = (*at, *inner)
    missing = _MISSING.match(what)
    if missing is not None:
        raise RequestError("must be there", path_of((*where, missing[1])))
    if not where:
        raise RequestError(what, "$")
    parent: Any = tree
    last: Step = ""
    for step in inner:
        parent, last = parent[last], step
    value = parent[last]
    mended = _readable(value, what, cut=where[-1] == "tmax")
    if mended is not None:
        parent[last] = mended
    elif value is None or not _is_hard(where) or ("Expected `object" in what and _is_nothing(value, where)):
        del parent[last]  # an absent attribute is unknown (section 2.3), and null means absent
    else:
        raise RequestError(what, path_of(where))


def _is_nothing(value: object, steps: tuple[Step, ...]) -> bool:
    """Whether a value in the place of an object holds nothing: some senders write `[]` for `{}`.

    A number is no consent, nor is an empty text: in `user.ext` they are nothing, elsewhere they may mean something.
    """
    if steps == ("user", "ext") and (value == "" or isinstance(value, int | float)):
        return True
    return value == [] and steps in _OFTEN_EMPTY


def _is_hard(steps: tuple[Step, ...]) -> bool:
    names = tuple(step for step in steps if isinstance(step, str))
    return names[-1] in _HARD or names in _HARD_PATHS


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
    if "Expected `array" in what and isinstance(value, str | int | float | dict):
        return [value]
    return None


def _as_number(value: str | float) -> float | None:
    if isinstance(value, str) and _NUMBER.match(value) is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
