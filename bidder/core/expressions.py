"""Any field of a request by a small typed expression, for targeting what has no dimension of its own.

    device.make == "Apple" and imp.instl == 1
    site.page contains "sport" or app.ver in ["1.0", "1.1"]
    device.w >= 1080 and not exists(device.ext.emulator)

    expression  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" expression ")" | "exists" "(" path ")" | path comparison
    comparison  = ("==" | "!=") (string | number | boolean)
                | ("<" | "<=" | ">" | ">=") number
                | ("contains" | "startswith") string
                | "in" "[" literal { "," literal } "]"      literals of one type

A path is the names of attributes with dots between, from the request or, after `imp`, from the impression. Strings
are written as in JSON, numbers too; booleans are `true` and `false`; upper and lower case differ everywhere.

A comparison is between values of one type. A value of another type, an absent one and null make it false, `!=`
too; only a number that came as text is read as a number where the literal is one. Where there are lists on the
way or at its end, a comparison is true if it is for any element, and `exists` if there is one that is not null.
"""

import difflib
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from bidder.errors import InputError

MOST_CHARACTERS = 4_096
MOST_DEPTH = 32
"""Of parentheses and `not` within each other."""
ATTRIBUTES = frozenset(
    {
        *("id", "imp", "site", "app", "dooh", "device", "user", "test", "at", "tmax", "wseat", "bseat"),
        *("allimps", "cur", "wlang", "wlangb", "acat", "bcat", "cattax", "badv", "bapp", "source", "regs"),
        "ext",
    }
)
"""Of a BidRequest, OpenRTB 2.6 section 3.2.1; a path begins with one of them."""
PERSONAL = (
    *("user", "device.ifa", "device.ip", "device.ipv6", "device.didsha1", "device.didmd5", "device.dpidsha1"),
    *("device.dpidmd5", "device.macsha1", "device.macmd5", "device.ext"),
    *("device.geo.lat", "device.geo.lon", "device.geo.zip", "device.geo.city", "device.geo.ext"),
)
"""What reads as absent, with all below it, where personal data may not be used."""

Literal = str | int | float | bool
_Roots = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The request and the impression."""
_Test = Callable[[Any], bool]
_Matcher = Callable[[_Roots], bool]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ALLOWED = {
    **dict.fromkeys(("==", "!="), ("string", "number", "boolean")),
    **dict.fromkeys(("<", "<=", ">", ">="), ("number",)),
    **dict.fromkeys(("contains", "startswith"), ("string",)),
    "in": ("list",),
}
"""Operators of a comparison, and the literals that each takes."""
_WORDS = frozenset({"and", "or", "not", "in", "contains", "startswith", "exists", "true", "false"})
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_TOKEN = re.compile(
    rf'(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>{_NUMBER})(?![\w.])'
    r"|(?P<path>[A-Za-z_][\w-]*(?:\.[\w-]+)*)|(?P<sign>[=!<>]=|[<>()\[\],])",
    re.ASCII | re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_IS_NUMBER = re.compile(rf"{_NUMBER}\Z", re.ASCII)
_MOST_NUMBER_CHARACTERS = 40
_MOST_EXACT = 2.0**53


class Expression:
    """A compiled expression. Two are equal if they differ in space and needless parentheses only.

    Attributes:
        canonical: its text in one form; compiles to an equal expression.
        paths: the paths that it reads, each once, in the order of the text.
    """

    __slots__ = ("_blind", "_whole", "canonical", "paths")

    def __init__(self, node: "_Node") -> None:
        self.canonical = _canonical(node)
        self.paths = tuple(dict.fromkeys(_paths(node)))
        self._whole = _matcher(node, personal=True)
        self._blind = _matcher(node, personal=False)

    def matches(self, request: Mapping[str, Any], imp: Mapping[str, Any], personal: bool) -> bool:
        """Whether an opportunity is as the expression says; never raises, whatever the request holds.

        Args:
            request: a BidRequest as orjson decodes it, of plain dicts and lists below the top.
            imp: the impression, one of its `imp`.
            personal: whether personal data may be used; if not, the paths of `PERSONAL` read as absent.
        """
        return (self._whole if personal else self._blind)((request, imp))

    def __eq__(self, other: object) -> bool:
        """Whether both have one canonical text."""
        return isinstance(other, Expression) and self.canonical == other.canonical

    def __hash__(self) -> int:
        """Of the canonical text."""
        return hash(self.canonical)

    def __repr__(self) -> str:
        """With the canonical text."""
        return f"Expression({self.canonical!r})"


def compile_expression(text: str) -> Expression:
    """Reads an expression; its form stands at the head of this module.

    Raises:
        InputError: with the place of the first fault, what is allowed there and what was found; or if the text is
            longer than 4096 characters, or parentheses and `not` stand more than 32 deep.
    """
    _check_length(text)
    expression = Expression(_Parser(text).parse())
    # The canonical text may be the longer one, and is what is kept and read again.
    _check_length(expression.canonical)
    return expression


def is_personal(path: str) -> bool:
    """Whether a path is one of `PERSONAL` or below one."""
    return path in PERSONAL or path.startswith(_BELOW_PERSONAL)


_BELOW_PERSONAL = tuple(f"{path}." for path in PERSONAL)


class _Comparison(NamedTuple):
    path: str
    operator: str
    literal: Literal | tuple[Literal, ...]


class _Exists(NamedTuple):
    path: str


class _Not(NamedTuple):
    inner: "_Node"


class _Junction(NamedTuple):
    word: str
    parts: tuple["_Node", ...]


_Node = _Comparison | _Exists | _Not | _Junction


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent over the tokens of one text; a function for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._next = 0
        self._depth = 0

    def parse(self) -> _Node:
        node = self._expression()
        if self._peek().kind != "end":
            self._fail("and, or, or its end")
        return node

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while True:
            match = _SPACE.match(self._text, position)
            position = match.end() if match else position
            if position == len(self._text):
                return [*tokens, _Token("end", "", position)]
            match = _TOKEN.match(self._text, position)
            if match is None:
                # A place that no token fits is told before any rule is asked.
                self._tokens, self._next = [_Token("character", self._text[position], position)], 0
                self._fail('a path, a string in ", a number, a parenthesis or one of ' + " ".join(_ALLOWED))
            kind = "word" if match[0] in _WORDS else str(match.lastgroup)
            tokens.append(_Token(kind, match[0], position))
            position = match.end()

    def _expression(self) -> _Node:
        return self._junction("or", lambda: self._junction("and", self._negation))

    def _junction(self, word: str, part: Callable[[], _Node]) -> _Node:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        flat: list[_Node] = []
        for each in parts:
            flat.extend(each.parts if isinstance(each, _Junction) and each.word == word else (each,))
        return flat[0] if len(flat) == 1 else _Junction(word, tuple(flat))

    def _negation(self) -> _Node:
        if self._took("not"):
            return _Not(self._deeper(self._negation))
        if self._took("("):
            node = self._deeper(self._expression)
            self._expect(")", "and, or, or the ) of the parenthesis")
            return node
        if self._took("exists"):
            self._expect("(", "a path in parentheses after exists")
            node = _Exists(self._path("a path after exists("))
            self._expect(")", "the ) after the path of exists")
            return node
        return self._comparison()

    def _deeper(self, rule: Callable[[], _Node]) -> _Node:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            self._fail(f"at most {MOST_DEPTH} parentheses and not within each other")
        node = rule()
        self._depth -= 1
        return node

    def _comparison(self) -> _Node:
        path = self._path("a path such as device.make, not, exists or a parenthesis")
        sign = self._peek()
        if sign.text not in _ALLOWED:
            self._fail(f"one of {' '.join(_ALLOWED)} after {path}")
        self._next += 1
        if sign.text == "in":
            return _Comparison(path, sign.text, self._list())
        return _Comparison(path, sign.text, self._literal(_ALLOWED[sign.text], f"after {sign.text}"))

    def _path(self, allowed: str) -> str:
        token = self._peek()
        head, dot, _ = token.text.partition(".")
        if token.kind != "path":
            self._fail(allowed)
        if head not in ATTRIBUTES:
            near = difflib.get_close_matches(head, sorted(ATTRIBUTES), n=1)
            self._fail(
                "a path that begins with an attribute of the request"
                + (f", nearest {near[0]}" if near else "")
            )
        if head == "imp" and not dot:
            self._fail("an attribute of the impression such as imp.instl")
        self._next += 1
        return token.text

    def _list(self) -> tuple[Literal, ...]:
        self._expect("[", "a list such as [1, 2] after in")
        values = [self._literal(_ALLOWED["=="], "in the list")]
        kind = _kind(values[0])
        while self._took(","):
            values.append(self._literal((kind,), f"in a list that begins with a {kind}"))
        self._expect("]", "a comma or the ] of the list")
        return tuple(values)

    def _literal(self, kinds: tuple[str, ...], where: str) -> Literal:
        token = self._peek()
        value: Literal | None = None
        if token.kind == "word" and token.text in {"true", "false"}:
            value = token.text == "true"
        elif token.kind == "number":
            value = _number(token.text)
        elif token.kind == "string":
            value = _string(token.text)
        if value is None or _kind(value) not in kinds:
            self._fail(f"a {' or '.join(kinds)} {where}")
        self._next += 1
        return value

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _took(self, text: str) -> bool:
        is_it = self._peek().text == text
        self._next += is_it
        return is_it

    def _expect(self, text: str, allowed: str) -> None:
        if not self._took(text):
            self._fail(allowed)

    def _fail(self, allowed: str) -> NoReturn:
        token = self._peek()
        found = repr(token.text[:40]) if token.text else "its end"
        around = self._text[max(token.position - 30, 0) : token.position + 30]
        raise InputError(
            f"expression must have {allowed} at character {token.position + 1}, was {found} (near {around!r})"
        )


def _check_length(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"expression must have at most {MOST_CHARACTERS} characters, had {len(text)}")


def _kind(literal: Literal) -> str:
    if isinstance(literal, bool):
        return "boolean"
    return "string" if isinstance(literal, str) else "number"


def _number(text: str) -> int | float | None:
    """A number as written; whole ones as int, so that `2` and `2.0` are one literal; None above all doubles."""
    if text.lstrip("-").isdigit():
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _MOST_EXACT else value


def _string(text: str) -> str | None:
    """A string as JSON writes it; None if it is not, or has half a surrogate pair."""
    try:
        value: str = json.loads(text)
        value.encode()
    except ValueError:
        return None
    return value


def _paths(node: _Node) -> list[str]:
    if isinstance(node, _Junction):
        return [path for part in node.parts for path in _paths(part)]
    return _paths(node.inner) if isinstance(node, _Not) else [node.path]


def _canonical(node: _Node) -> str:
    """One space between words and no needless parentheses."""
    if isinstance(node, _Junction):
        return f" {node.word} ".join(_enclosed(part, ("or",)) for part in node.parts)
    if isinstance(node, _Not):
        return f"not {_enclosed(node.inner, ('and', 'or'))}"
    if isinstance(node, _Exists):
        return f"exists({node.path})"
    literal = node.literal
    if isinstance(literal, tuple):
        return f"{node.path} in [{', '.join(map(_written, literal))}]"
    return f"{node.path} {node.operator} {_written(literal)}"


def _enclosed(node: _Node, words: tuple[str, ...]) -> str:
    """In parentheses if it is joined by one of these words."""
    text = _canonical(node)
    return f"({text})" if isinstance(node, _Junction) and node.word in words else text


def _written(literal: Literal) -> str:
    return json.dumps(literal, ensure_ascii=False)


def _matcher(node: _Node, *, personal: bool) -> _Matcher:
    """A node as a function of the two roots; without `personal`, its personal paths as absent."""
    if isinstance(node, _Junction):
        parts = tuple(_matcher(part, personal=personal) for part in node.parts)
        return _all_of(parts) if node.word == "and" else _any_of(parts)
    if isinstance(node, _Not):
        inner = _matcher(node.inner, personal=personal)
        return lambda roots: not inner(roots)
    if not personal and is_personal(node.path):
        return _never
    return _reader(node.path, _test(node) if isinstance(node, _Comparison) else _always)


def _all_of(parts: tuple[_Matcher, ...]) -> _Matcher:
    def match(roots: _Roots) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs more than what it asks
            if not part(roots):
                return False
        return True

    return match


def _any_of(parts: tuple[_Matcher, ...]) -> _Matcher:
    def match(roots: _Roots) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(roots):
                return True
        return False

    return match


def _never(_: object) -> bool:
    return False


def _always(_: object) -> bool:
    return True


def _reader(path: str, test: _Test) -> _Matcher:
    """Whether `test` holds for what stands at a path."""
    keys = path.split(".")
    is_imp = keys[0] == "imp"
    head, *rest = keys[1:] if is_imp else keys
    root, tail = int(is_imp), tuple(rest)

    def match(roots: _Roots) -> bool:
        value = start = roots[root].get(head)
        for key in tail:
            if type(value) is not dict:
                return type(value) is list and _any_element(start, tail, test)
            value = value.get(key)
        if type(value) is list:
            return _any_element(start, tail, test)
        return value is not None and test(value)

    return match


def _any_element(start: object, tail: tuple[str, ...], test: _Test) -> bool:
    """As a reader does, through lists. Not recursive: a request may nest them as deep as it likes."""
    stack: list[tuple[Any, int]] = [(start, 0)]
    while stack:
        value, depth = stack.pop()
        if type(value) is list:
            stack.extend((element, depth) for element in value)
        elif depth < len(tail):
            if type(value) is dict:
                stack.append((value.get(tail[depth]), depth + 1))
        elif value is not None and test(value):
            return True
    return False


def _test(node: _Comparison) -> _Test:
    """The comparison with the literal, false for a value of another type."""
    literal = node.literal
    if isinstance(literal, tuple):
        return _membership(literal)
    if _kind(literal) == "number":
        return _as_number(_ORDERS[node.operator], literal)
    if node.operator in {"==", "!="}:
        wanted, compare = type(literal), _ORDERS[node.operator]
        return lambda value: type(value) is wanted and compare(value, literal)
    text = str(literal)
    if node.operator == "contains":
        return lambda value: type(value) is str and text in value
    return lambda value: type(value) is str and value.startswith(text)


def _membership(literals: tuple[Literal, ...]) -> _Test:
    members = frozenset(literals)
    if _kind(literals[0]) == "number":
        return _as_number(lambda value, _: value in members, 0)
    wanted = type(literals[0])
    return lambda value: type(value) is wanted and value in members


def _as_number(compare: Callable[[Any, Any], bool], literal: Literal) -> _Test:
    def test(value: Any) -> bool:
        kind = type(value)
        if kind is int or kind is float:
            return compare(value, literal)
        if kind is not str or len(value) > _MOST_NUMBER_CHARACTERS or not _IS_NUMBER.match(value):
            return False
        number = _number(value)
        return number is not None and compare(number, literal)

    return test
