"""What targeting is made of, each against a slow twin: local clocks, foreign money, circles, expressions."""

import json
import math
import operator
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from bidder import zones
from bidder.core.circles import EARTH_RADIUS_KM, Circle, CircleIndex, parse_circle
from bidder.core.currency import NS_PER_DAY, RateTable, from_base_floor, to_base_ceil
from bidder.core.expressions import PERSONAL, compile_expression
from bidder.errors import InputError
from bidder.zones import day_end_ns, local_day, local_hour_of_week, next_local_hour_ns, zone_offsets

NS = 10**9
FIRST_S, LAST_S = -(10**9), 4 * 10**9
ZONES = st.sampled_from(sorted(zones._names()))


@cache
def library_zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data)


def shown(name: str, at_ns: int) -> datetime:
    """The local clock as the standard library has it."""
    return datetime.fromtimestamp(at_ns // NS, UTC).astimezone(library_zone(name))


@st.composite
def instants(draw: st.DrawFn) -> tuple[str, int, int, int]:
    """A zone, an instant, and a time of up to two years that holds it; half of them near a change."""
    name = draw(ZONES)
    now_s = draw(st.integers(FIRST_S, LAST_S))
    first_s = now_s - draw(st.integers(0, 30_000_000))
    last_s = now_s + draw(st.integers(0, 30_000_000))
    changes = zone_offsets(name, first_s * NS, last_s * NS)[0].tolist()[1:]
    if changes and draw(st.booleans()):
        near_s = draw(st.sampled_from(changes)) // NS + draw(st.integers(-90_000, 90_000))
        now_s = min(max(near_s, first_s), last_s)
    return name, first_s * NS, now_s * NS + draw(st.integers(0, NS - 1)), (last_s + 1) * NS


@given(instants())
def test_local_hour_and_day_are_what_the_library_shows(case: tuple[str, int, int, int]) -> None:
    name, first_ns, now_ns, last_ns = case
    arrays, local = zone_offsets(name, first_ns, last_ns), shown(name, now_ns)
    assert local_hour_of_week(arrays, now_ns) == local.weekday() * 24 + local.hour
    assert local_day(arrays, now_ns) == (local.date() - date(1970, 1, 1)).days


@given(instants())
def test_a_day_ends_where_the_library_first_shows_another_date(case: tuple[str, int, int, int]) -> None:
    name, first_ns, now_ns, last_ns = case
    end_ns = day_end_ns(zone_offsets(name, first_ns, last_ns), now_ns)
    today = shown(name, now_ns).date()
    quarters = range(now_ns, end_ns, 900 * NS)
    assert len(quarters) <= 4 * 49
    assert {shown(name, at).date() for at in [*quarters, end_ns - 1]} == {today}
    assert shown(name, end_ns).date() != today


@given(instants())
def test_an_hour_ends_where_the_library_first_shows_another(case: tuple[str, int, int, int]) -> None:
    name, first_ns, now_ns, last_ns = case
    end_ns = next_local_hour_ns(zone_offsets(name, first_ns, last_ns), now_ns)
    assert end_ns - now_ns <= timedelta(hours=2) // timedelta(microseconds=1) * 1_000
    assert shown(name, end_ns - 1).hour == shown(name, now_ns).hour
    assert shown(name, end_ns).replace(minute=0, second=0) != shown(name, now_ns).replace(minute=0, second=0)


AMOUNTS = st.integers(0, 10**13)
RATES = st.one_of(st.integers(1, 10**13), st.integers(10**6, 2 * 10**9))


@given(AMOUNTS, RATES, st.integers(0, 10**6))
def test_a_bid_at_the_floor_in_base_is_at_the_floor_abroad(floor: int, rate: int, above: int) -> None:
    assert from_base_floor(to_base_ceil(floor, rate) + above, rate) >= floor


@given(AMOUNTS, RATES)
def test_the_floor_in_base_is_the_least_that_is_worth_the_floor(floor: int, rate: int) -> None:
    least = to_base_ceil(floor, rate)
    assert least - 1 < floor * Fraction(rate, NS) <= least


@given(AMOUNTS, RATES)
def test_a_bid_abroad_is_never_worth_more_than_in_base(bid: int, rate: int) -> None:
    abroad = from_base_floor(bid, rate)
    assert to_base_ceil(abroad, rate) <= bid
    assert abroad * Fraction(rate, NS) <= bid < (abroad + 1) * Fraction(rate, NS)


@given(
    st.dictionaries(st.integers(0, 60), st.integers(1, 10**10), max_size=8),
    st.integers(0, 80 * NS_PER_DAY),
    st.integers(0, 20),
)
def test_the_rate_is_the_newest_that_is_old_enough(by_day: dict[int, int], at_ns: int, age: int) -> None:
    first = date(2026, 1, 30)
    table = RateTable(
        "USD", {"EUR": {first.toordinal() - 719_163 + n: rate for n, rate in by_day.items()}}, age
    )
    named = {str(first + timedelta(days=n)): {"EUR": f"{rate / NS:.9f}"} for n, rate in by_day.items()}
    today = at_ns // NS_PER_DAY
    usable = [day for day in by_day if day <= today <= day + age]
    wanted = by_day[max(usable)] if usable else None
    at_ns += (first - date(1970, 1, 1)).days * NS_PER_DAY
    assert table.rate_nanos("EUR", at_ns) == wanted
    assert RateTable.parse({"base": "USD", "rates": named}, age).rate_nanos("EUR", at_ns) == wanted


EDGES = (-180.0, -179.999, -90.0, -1.0, -0.0, 0.0, 1e-9, 1.0, 89.0, 90.0, 179.999, 180.0)
LATS = st.one_of(
    st.floats(-90, 90), st.sampled_from([edge for edge in EDGES if abs(edge) <= 90]), st.floats(88, 90)
)
LONS = st.one_of(st.floats(-180, 180), st.sampled_from(EDGES), st.floats(179, 180), st.floats(-180, -179))
RADII = st.one_of(
    st.floats(0, 1000, exclude_min=True), st.floats(0.001, 5), st.sampled_from([1.0, 111.2, 1000.0])
)
CIRCLES = st.builds(Circle, LATS, LONS, RADII)


def distance_km(circle: Circle, lat: float, lon: float) -> float:
    phi, phi_i = math.radians(lat), math.radians(circle.lat)
    across = math.sin((math.radians(lon) - math.radians(circle.lon)) / 2)
    h = math.sin((phi - phi_i) / 2) ** 2 + math.cos(phi) * math.cos(phi_i) * across**2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def reached(circle: Circle, bearing: float, km: float) -> tuple[float, float]:
    """The point at a distance and bearing from a circle's middle."""
    phi, lam, angle = math.radians(circle.lat), math.radians(circle.lon), km / EARTH_RADIUS_KM
    sin_phi = math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(angle) * math.cos(bearing)
    there = math.asin(max(-1.0, min(1.0, sin_phi)))
    east = math.sin(bearing) * math.sin(angle) * math.cos(phi)
    lon = math.degrees(lam + math.atan2(east, math.cos(angle) - math.sin(phi) * math.sin(there)))
    return math.degrees(there), (lon + 180.0) % 360.0 - 180.0


@settings(max_examples=300)
@given(
    st.lists(CIRCLES, min_size=1, max_size=6), LATS, LONS, st.floats(0, 7), st.floats(0.9, 1.1), st.booleans()
)
def test_circles_hold_what_a_loop_over_all_of_them_measures(
    circles: list[Circle], lat: float, lon: float, bearing: float, share: float, near: bool
) -> None:
    if near:
        lat, lon = reached(circles[0], bearing, circles[0].km * share)
    distances = [distance_km(circle, lat, lon) for circle in circles]
    found = CircleIndex(circles).containing(lat, lon)
    assert list(found) == sorted(found)
    for place, (circle, km) in enumerate(zip(circles, distances, strict=True)):
        # On the rim itself the last bits of two ways to compute decide; a micrometre off it nothing does.
        if abs(km - circle.km) > 1e-9:
            assert (place in found) == (km < circle.km)


@given(CIRCLES)
def test_a_circle_comes_back_from_its_text(circle: Circle) -> None:
    assert parse_circle(str(circle)) == circle


ORDERS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TEXTS = (
    "",
    "a",
    "ab",
    '\u00e9"\\',
    "7",
    "1",
    "-1.5",
    "07",
    "1e3",
    "nan",
    "1e999",
    " 7",
    "7\n",
    "1_0",
    "\u0667",
)
STRINGS = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=3)
NUMBERS = st.sampled_from([0, 1, 7, -1.5, 0.5, 7.0, 1000.0, 1e300, 2**60 + 1]) | st.integers()
SCALARS = st.one_of(STRINGS, NUMBERS, st.booleans(), st.none())
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.lists(st.lists(SCALARS, max_size=2), max_size=2)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these fields, or a list of them, or what has no business there."""
    one = st.fixed_dictionaries({}, optional=fields)
    return st.one_of(one, one, st.lists(one | VALUES, max_size=3), VALUES)


GEO = objects(lat=VALUES, country=VALUES)
IMPS = st.fixed_dictionaries({}, optional={"w": VALUES, "banner": objects(w=VALUES)})
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "at": VALUES,
        "user": objects(id=VALUES),
        "device": objects(w=VALUES, ifa=VALUES, geo=GEO, ext=objects(w=VALUES)),
    },
)
PATHS = st.sampled_from(
    [
        *(
            "at",
            "user",
            "user.id",
            "device",
            "device.w",
            "device.ifa",
            "device.geo",
            "device.geo.lat",
            "imp.w",
        ),
        *(
            "device.geo.country",
            "device.ext",
            "device.ext.w",
            "imp.banner",
            "imp.banner.w",
            "site.page",
            "at.w",
        ),
    ]
)
ONE_TYPE = st.one_of(*(st.lists(each, min_size=1, max_size=3) for each in (STRINGS, NUMBERS, st.booleans())))
ENDS = st.one_of(
    st.tuples(st.sampled_from(["==", "!="]), st.one_of(STRINGS, NUMBERS, st.booleans())),
    st.tuples(st.sampled_from(["<", "<=", ">", ">="]), NUMBERS),
    st.tuples(st.sampled_from(["contains", "startswith"]), STRINGS),
    st.tuples(st.just("in"), ONE_TYPE),
    st.tuples(st.just("exists"), st.none()),
)
LEAVES = st.builds(lambda path, end: (path, *end), PATHS, ENDS | st.just(("exists", None)))
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=5,
)


def rendered(tree: Any, space: str) -> str:
    """A tree as text, every inner node in parentheses."""
    if tree[0] == "not":
        return f"not{space}({rendered(tree[1], space)})"
    if tree[0] in {"and", "or"}:
        return f"{space}{tree[0]}{space}".join(f"({rendered(part, space)})" for part in tree[1])
    path, sign, literal = tree
    if sign == "exists":
        return f"exists({space}{path}{space})"
    return f"{path}{space or ' '}{sign}{space or ' '}{json.dumps(literal, ensure_ascii=len(space) > 1)}"


def found(value: Any, keys: list[str]) -> Iterator[Any]:
    """Everything at a path, through lists; nulls are nothing."""
    if isinstance(value, list):
        for element in value:
            yield from found(element, keys)
    elif not keys:
        if value is not None:
            yield value
    elif isinstance(value, dict):
        yield from found(value.get(keys[0]), keys[1:])


def kind(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "other")


def holds(value: Any, sign: str, literal: Any) -> bool:
    if sign == "exists":
        return True
    if sign == "in":
        return any(holds(value, "==", each) for each in literal)
    if kind(literal) == "number" and isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value) or len(value) > 40:
            return False
        value = int(value) if re.fullmatch("-?[0-9]+", value) else float(value)
        if math.isinf(value):
            return False
    if kind(value) != kind(literal):
        return False
    if sign == "contains":
        return value.find(literal) >= 0
    if sign == "startswith":
        return value[: len(literal)] == literal
    return bool(ORDERS[sign](value, literal))


def evaluated(tree: Any, request: Any, imp: Any, personal: bool) -> bool:
    if tree[0] == "not":
        return not evaluated(tree[1], request, imp, personal)
    if tree[0] in {"and", "or"}:
        parts = [evaluated(part, request, imp, personal) for part in tree[1]]
        return all(parts) if tree[0] == "and" else any(parts)
    path, sign, literal = tree
    keys = path.split(".")
    if not personal and any(keys[: len(own)] == own for own in (each.split(".") for each in PERSONAL)):
        return False
    values = found(imp, keys[1:]) if keys[0] == "imp" else found(request, keys)
    return any(holds(value, sign, literal) for value in values)


@settings(max_examples=300)
@given(ENDS, st.lists(VALUES, min_size=1, max_size=6))
def test_a_comparison_says_of_a_value_what_its_rule_says(end: tuple[str, Any], values: list[Any]) -> None:
    tree = ("imp.w", *end)
    expression = compile_expression(rendered(tree, " "))
    for value in values:
        imp = {"w": value}
        assert expression.matches({}, imp, True) is evaluated(tree, {}, imp, True)


@settings(max_examples=200)
@given(
    TREES,
    st.lists(st.tuples(REQUESTS, IMPS), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([" ", "\n  "]),
)
def test_expressions_say_what_a_walk_over_their_tree_says(
    tree: Any, cases: list[tuple[Any, Any]], personal: bool, space: str
) -> None:
    expression = compile_expression(rendered(tree, space))
    again = compile_expression(expression.canonical)
    assert again == expression == compile_expression(rendered(tree, " "))
    assert again.canonical == expression.canonical
    for request, imp in cases:
        wanted = evaluated(tree, request, imp, personal)
        assert expression.matches(request, imp, personal) is wanted
        assert again.matches(request, imp, personal) is wanted


WORDS = st.sampled_from(
    [
        *(
            "device.w",
            "imp.x",
            "imp",
            "at",
            "nosuch",
            "==",
            "in",
            "<",
            "contains",
            "exists",
            "not",
            "and",
            "or",
        ),
        *(
            "(",
            ")",
            "[",
            "]",
            ",",
            "1",
            "-2.5",
            '"a"',
            '"',
            "true",
            "'",
            "\\",
            "\u00e9",
            "\ud800",
            "\n",
            ".",
            "=",
        ),
    ]
)


@given(st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_compiles_or_is_told_why_not(text: str) -> None:
    message = canonical = ""
    try:
        canonical = compile_expression(text).canonical
    except InputError as error:
        message = str(error)
    assert message.startswith("expression must have") or compile_expression(canonical).canonical == canonical
