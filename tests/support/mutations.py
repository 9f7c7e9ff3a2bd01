"""Bodies as nobody should send them: well-formed requests with fields changed, doubled, cut, and bytes broken.

Every mutation is made from its number alone, so that any of them can be made again.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Any

from tests.support.bodies import USUAL

Place = tuple[Any, Any]
"""A dict or list and a key of it."""


class Raw(str):
    """JSON text that stands as it is, whether it is any or not."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object in which keys may be there twice."""


_JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 0.5, -0.0, 1e308, 5e-324, 2**31, 2**32 + 15, 2**53 + 1, 2**63 - 1, 2**63),
    *(2**64, 10**30, -(2**63) - 1, 1e18, 255.0, 300.0, "", " ", "0", "1", " 15 ", "0.5", "1e3", "-1", "+2", "1e999"),
    *("NaN", "Infinity", "0x10", "1,5", "\u0661\u0665", "null", "true", "USD", "x", "\u0000", "\u2028", "é", "👾"),
    "a\x7fb",
    *("x" * 300, "9" * 400, "." * 400, "a." * 200, "<&\"'>", "${AUCTION_PRICE}", "]]>", "\\", "\ud800"),
    *([], {}, [None], [[]], [{}], {"": None}, [1, "2", None, 3.0], ["1", 2], {"id": 1}, {"w": 1, "h": 1}),
)  # fmt: skip
_NO_JSON: tuple[Any, ...] = (
    *(Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("1E400"), Raw("-0"), Raw("01")),
    *(Raw("1."), Raw("+1"), Raw("nul"), Raw("")),
    *(Raw('"\\ud800"'), Raw('"\\udc00\\ud800"'), Raw('"\\u0000"'), Raw('"\\x"'), Raw("'1'"), Raw("9" * 5_000)),
    *(Raw("0." + "3" * 400), Raw('"\n"'), Raw("[" * 90 + "]" * 90), Raw("[" * 3_000)),
    Raw('{"a":' * 95 + "1" + "}" * 95),
)  # fmt: skip


def mutated(number: int, corpus: Sequence[bytes]) -> bytes:
    """The mutation of this number of one of the corpus.

    Args:
        number: names it. corpus: well-formed bodies.
    """
    random = Random(f"{number}-mutation")
    tree = json.loads(random.choice(corpus))
    if random.random() < 0.93:
        tree["id"] = f"m{number}"
        if isinstance(tree.get("source"), dict) and "tid" in tree["source"]:
            tree["source"]["tid"] = f"t{number}"
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 5))):
        _change(random, tree)
    body = _text(tree).encode("utf-8", "surrogatepass")
    if random.random() < 0.12:
        body = _broken(random, body)
    return body


def _junk(random: Random) -> Any:
    return _copy(random.choice(_JUNK if random.random() < 0.85 else _NO_JSON))


def _change(random: Random, tree: dict[str, Any]) -> None:
    places = _places(tree)
    if not places:
        return
    choice = random.random()
    if choice < 0.3:
        _usual(random, tree)
        return
    parent, key = random.choice(places)
    value = parent[key]
    if choice < 0.4:
        del parent[key]
    elif choice < 0.5:
        _double(random, parent, key)
    elif choice < 0.7:
        parent[key] = _retyped(random, value)
    elif choice < 0.76:
        _inside(random, parent, key)
    elif choice < 0.84:
        other, name = random.choice(places)
        parent[key] = _copy(other[name])
    else:
        parent[key] = _junk(random)


def _usual(random: Random, tree: dict[str, Any]) -> None:
    """Gives an object an attribute that means something there, mostly as it should be."""
    homes = {
        "imp": ("bidfloor", "bidfloorcur", "secure", "instl", "qty"),
        "banner": ("battr", "btype", "api", "mimes"),
        "video": (*tuple(USUAL)[:18], "mimes"),
        "audio": (*tuple(USUAL)[:18], "mimes"),
        "native": ("battr", "api"),
        "pmp": ("private_auction",),
        "deals": ("bidfloor", "bidfloorcur", "wadomain", "guar", "wseat", "at", "mincpmpersec", "durfloors"),
        "device": ("lmt",),
        "regs": ("gdpr", "coppa"),
        "ext": ("exchange",),
        "": ("cur", "badv", "bcat", "acat", "bapp", "cattax", "wlang", "wlangb", "wseat", "bseat", "at", "tmax",
             "test"),
    }  # fmt: skip
    found = [(home, one) for home, one in _objects(tree) if home in homes]
    home, target = random.choice(found)
    name = random.choice(homes[home])
    value: Any = _copy(random.choice(USUAL[name]))
    target[name] = _retyped(random, value) if random.random() < 0.25 else value


def _objects(value: Any, name: str = "") -> list[tuple[str, dict[str, Any]]]:
    if isinstance(value, Pairs):
        return []
    if isinstance(value, dict):
        return [(name, value), *(one for key, inner in value.items() for one in _objects(inner, key))]
    return [one for inner in value for one in _objects(inner, name)] if isinstance(value, list) else []


def _double(random: Random, parent: Any, key: Any) -> None:
    """An element twice in its list, or an attribute twice in its object, once perhaps with another value."""
    value = parent[key]
    if isinstance(parent, list):
        parent.insert(random.randrange(len(parent) + 1), _copy(value))
        return
    other = _retyped(random, value) if random.random() < 0.5 else _junk(random)
    if isinstance(value, dict) and random.random() < 0.5:
        parent[key] = Pairs([*value.items(), *((name, _junk(random)) for name in list(value)[:2])])
    else:
        parent["\0" + key] = other


def _retyped(random: Random, value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    ways: tuple[Any, ...] = (
        *(text, [value], {"value": value}, None, f" {text} ", [value, value], Raw(text)),
        *(len(text), float(len(text)), bool(value), text.upper(), text + "\ud83d"),
    )
    if isinstance(value, bool | int | float):
        ways += (
            str(value),
            float(value),
            value + 0.5,
            -value,
            f"{value}.0",
            f"{value}e0",
            Raw(f"{value}.0"),
            Raw(f"{value}e0"),
        )
    if isinstance(value, list) and value:
        ways += (
            value[0],
            [str(one) for one in value],
            [*value, None],
            {"0": value[0]},
            ",".join(map(str, value)),
        )
    return _copy(random.choice(ways))


def _inside(random: Random, parent: Any, key: Any) -> None:
    """A string that holds JSON, changed inside; another value becomes a text of itself."""
    value = parent[key]
    try:
        inner = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        parent[key] = str(value)
        return
    if isinstance(inner, dict) and inner:
        _change(random, inner)
        parent[key] = _text(inner)


def _places(value: Any) -> list[Place]:
    if isinstance(value, Pairs):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _copy(value: Any) -> Any:
    if isinstance(value, Pairs):
        return Pairs((key, _copy(one)) for key, one in value)
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    """JSON text; a key that begins with NUL is that key once more."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs | dict):
        pairs = value if isinstance(value, Pairs) else value.items()
        return (
            "{" + ",".join(f"{_word(str(key).removeprefix(chr(0)))}:{_text(one)}" for key, one in pairs) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return _word(value) if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=4_096)
def _word(text: str) -> str:
    return json.dumps(text, ensure_ascii=len(text) % 2 == 0)


def _broken(random: Random, body: bytes) -> bytes:
    """Bytes cut off, flipped, put in, repeated or taken out."""
    if not body:
        return body
    for _ in range(random.choice((1, 1, 2, 4))):
        begin = random.randrange(len(body) + 1)
        end = min(len(body), begin + random.choice((1, 1, 2, 8, 40)))
        way = random.randrange(6)
        if way == 0:
            body = body[:begin]
        elif way == 1 and begin < len(body):
            body = body[:begin] + bytes((body[begin] ^ 1 << random.randrange(8),)) + body[begin + 1 :]
        elif way == 2:
            body = body[:begin] + random.randbytes(random.choice((1, 2, 5))) + body[begin:]
        elif way == 3:
            body = body[:begin] + body[begin:end] * 2 + body[end:]
        elif way == 4:
            body = body[:begin] + body[end:]
        else:
            body = (
                body[:begin]
                + random.choice((b"\xff", b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf", b" ", b"\\u"))
                + body[begin:]
            )
    return body
