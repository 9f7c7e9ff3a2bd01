"""Expressions over request fields: what they say, what they match, and what a broken one is told."""

from typing import Any

import orjson
import pytest

from bidder.core.expressions import MOST_CHARACTERS, MOST_DEPTH, PERSONAL, compile_expression, is_personal
from bidder.errors import InputError

REQUEST: dict[str, Any] = orjson.loads(
    b"""{
    "id": "r1", "tmax": 120, "at": 1, "test": 0, "bcat": ["IAB25", "IAB26"],
    "site": {"page": "https://news.example/sport/1", "cat": ["IAB1-2", "IAB17"], "privacypolicy": null},
    "app": {"ver": "1.1", "paid": true, "empty": "", "none": [], "nothing": {}},
    "device": {
        "make": "Apple", "model": "iPhone \\"9\\"", "w": 1080, "h": "2340", "pxratio": 2.625, "js": 1,
        "ifa": "f00d", "ip": "198.18.0.1", "geo": {"country": "DEU", "lat": 52.5, "zip": "10115", "city": "Berlin"},
        "ext": {"battery": 80}
    },
    "user": {"id": "u1", "yob": 1990, "data": [
        {"id": "d1", "segment": [{"id": "s1", "value": "5"}, {"id": "s2"}]},
        {"id": "d2", "segment": [{"id": "s3", "value": 7}]}
    ]},
    "ext": {"nested": [[1, [2, null]], "3"], "odd-key": 1, "0": "zero", "flags": [false, true],
        "nulls": [null, [null]], "some": [null, {}]}
}"""
)
IMP: dict[str, Any] = orjson.loads(
    b'{"id": "1", "instl": 1, "tagid": "top", "banner": {"pos": 3, "format": [{"w": 300}, {"w": 728}]}}'
)


def matches(text: str, personal: bool = True) -> bool:
    return compile_expression(text).matches(REQUEST, IMP, personal)


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ('device.make == "Apple" and imp.instl == 1', True),
        ('device.make == "Apple" and imp.instl == 0', False),
        ('site.page contains "sport"', True),
        ('site.page contains "Sport"', False),
        ('app.ver in ["1.0", "1.1"]', True),
        ('app.ver in ["1.0"]', False),
        ("device.w >= 1080", True),
        ("device.w > 1080", False),
        ("device.w <= 1080", True),
        ("device.w < 1080", False),
        ("device.w != 1080", False),
        ("device.w != 1081", True),
        ("device.pxratio > 2.6", True),
        ("device.pxratio < 26e-1", False),
        ("tmax in [100, 120.0]", True),
        ("tmax == 120", True),
        ("tmax == 1.2e2", True),
        ('site.page startswith "https://news."', True),
        ('site.page startswith "news."', False),
        ('device.model == "iPhone \\"9\\""', True),
        ('device.model == "iPhone \\u00229\\u0022"', True),
        ("app.paid == true", True),
        ("app.paid != true", False),
        ("app.paid != false", True),
        ("app.paid in [true]", True),
        ('imp.tagid == "top"', True),
        ('id == "r1"', True),
        ('imp.id == "1"', True),
        ('ext.0 == "zero" and ext.odd-key == 1', True),
    ],
)
def test_a_comparison_says_what_stands_in_the_request(text: str, is_match: bool) -> None:
    assert matches(text) is is_match


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ("not exists(user.ext.x)", True),
        ("exists(user.id)", True),
        ("exists(app.empty)", True),
        ("exists(app.nothing)", True),
        ("exists(site)", True),
        ("exists(dooh)", False),
        ("exists(site.privacypolicy)", False),
        ("exists(app.none)", False),
        ("exists(ext.nulls)", False),
        ("exists(ext.some)", True),
        ("exists(device.make.x)", False),
        ("exists(imp.banner)", True),
        ("exists(imp.video)", False),
        ("exists(user.data.segment.value)", True),
    ],
)
def test_exists_says_whether_there_is_anything_that_is_not_null(text: str, is_match: bool) -> None:
    assert matches(text) is is_match


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ('site.cat == "IAB17"', True),
        ('site.cat == "IAB1"', False),
        ('site.cat startswith "IAB1-"', True),
        ('bcat in ["IAB26"]', True),
        ('user.data.segment.id == "s3"', True),
        ('user.data.segment.id == "s4"', False),
        ("user.data.segment.value == 5", True),
        ("user.data.segment.value > 6", True),
        ("user.data.segment.value > 7", False),
        ("imp.banner.format.w == 728", True),
        ("ext.nested == 2", True),
        ("ext.nested == 3", True),
        ("ext.nested == 4", False),
        ("ext.flags == true", True),
        ('site.cat != "IAB17"', True),
        ("imp.banner.pos != 3", False),
    ],
)
def test_a_list_matches_where_any_element_does(text: str, is_match: bool) -> None:
    assert matches(text) is is_match


@pytest.mark.parametrize(
    "comparison",
    [
        'device.w == "1080"',
        'device.w != "1080"',
        'device.w contains "108"',
        'device.w startswith "1"',
        'device.w in ["1080"]',
        "device.make == 1",
        "device.make != 1",
        "device.make < 1",
        "device.make in [1]",
        "device.js == true",
        "device.js != true",
        "device.js in [true]",
        "app.paid == 1",
        "app.paid != 0",
        "app.paid >= 0",
        "app.paid in [1]",
        'app.paid == "true"',
        "device.geo == 1",
        'device.geo != "x"',
        'device.geo contains "lat"',
        'device.make.x == "Apple"',
        'site.privacypolicy != "x"',
        "device.ppi != 1",
        "dooh.id != 1",
        'app.none != "x"',
    ],
)
def test_a_value_of_another_type_or_none_makes_a_comparison_false(comparison: str) -> None:
    assert not matches(comparison)
    assert matches(f"not {comparison}")


@pytest.mark.parametrize(
    ("text", "value", "is_match"),
    [
        ("device.w == 1080", "1080", True),
        ("device.w > 1000", "1080.5", True),
        ("device.w == 1080", "01080", True),
        ("device.w == -1", "-1.0", True),
        ("device.w == 1000", "1e3", True),
        ("device.w in [1, 2]", "2", True),
        ("device.w != 2", "3", True),
        ("device.w > 9007199254740992", "9007199254740993", True),
        ("device.w != 0", "", False),
        ("device.w != 0", " 1", False),
        ("device.w != 0", "1\n", False),
        ("device.w != 0", "1_0", False),
        ("device.w != 0", "0x1", False),
        ("device.w != 0", "\u0661", False),
        ("device.w != 0", "nan", False),
        ("device.w > 0", "inf", False),
        ("device.w > 0", "1e999", False),
        ("device.w > 0", "9" * 41, False),
        ("device.w > 0", "9" * 100_000, False),
    ],
)
def test_a_number_given_as_text_is_read_as_one(text: str, value: str, is_match: bool) -> None:
    assert compile_expression(text).matches({"device": {"w": value}}, {}, True) is is_match


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        ("at == 1 or at == 2 and at == 3", True),
        ("(at == 1 or at == 2) and at == 3", False),
        ("not at == 2 and at == 1", True),
        ("not (at == 2 or at == 1)", False),
        ("not not at == 1", True),
        ("at == 2 or at == 3 or at == 1", True),
        ("at == 1 and test == 0 and tmax == 1", False),
    ],
)
def test_not_binds_before_and_and_and_before_or(text: str, is_match: bool) -> None:
    assert matches(text) is is_match


@pytest.mark.parametrize(
    "text",
    [
        'user.id == "u1"',
        "user.yob == 1990",
        'user.data.segment.id == "s1"',
        "exists(user)",
        'device.ifa == "f00d"',
        'device.ip startswith "198."',
        "device.geo.lat > 50",
        'device.geo.zip == "10115"',
        'device.geo.city == "Berlin"',
        "device.ext.battery > 50",
    ],
)
def test_personal_paths_read_as_absent_where_they_may_not_be_used(text: str) -> None:
    assert matches(text)
    assert not matches(text, personal=False)
    assert matches(f"not {text}", personal=False)


@pytest.mark.parametrize(
    "text",
    ['device.make == "Apple"', 'device.geo.country == "DEU"', "exists(device.geo)", "ext.odd-key == 1"],
)
def test_other_paths_are_read_without_personal_data_too(text: str) -> None:
    assert matches(text, personal=False)


def test_only_what_matters_is_taken_from_an_expression_without_personal_data() -> None:
    text = 'user.yob > 1980 or device.make == "Apple" and not exists(device.ifa)'
    assert matches(text, personal=False)
    assert not matches(text.removeprefix("user.yob > 1980 or "))


def test_every_personal_path_and_all_below_it_is_personal() -> None:
    assert all(is_personal(path) and is_personal(f"{path}.x") for path in PERSONAL)
    assert not any(
        map(is_personal, ("device", "device.geo", "device.ipx", "users", "imp.ext", "device.geo.country"))
    )


def test_the_impression_is_not_the_requests_list_of_them() -> None:
    request = {"imp": [{"instl": 1}, {"instl": 0}]}
    assert compile_expression("imp.instl == 0").matches(request, request["imp"][1], True)
    assert not compile_expression("imp.instl == 1").matches(request, request["imp"][1], True)


def test_lists_within_lists_do_not_exhaust_the_stack() -> None:
    request = {"ext": orjson.loads(b"[" * 900 + b'{"a": 5}' + b"]" * 900)}
    assert compile_expression("ext.a == 5").matches(request, {}, True)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('  device.make=="Apple"\n and\timp.instl==1 ', 'device.make == "Apple" and imp.instl == 1'),
        ('app.ver in["1.0","1.1"]', 'app.ver in ["1.0", "1.1"]'),
        ("((at == 1))", "at == 1"),
        ("(at == 1 and test == 1) or tmax < 5", "at == 1 and test == 1 or tmax < 5"),
        ("at == 1 and (test == 1 and (tmax < 5))", "at == 1 and test == 1 and tmax < 5"),
        ("(at == 1 or test == 1) and tmax < 5", "(at == 1 or test == 1) and tmax < 5"),
        ("not(at == 1 and test == 1)", "not (at == 1 and test == 1)"),
        ("not(exists( user.id ))", "not exists(user.id)"),
        ("tmax == 100.0", "tmax == 100"),
        ("tmax == -0.0", "tmax == 0"),
        ("tmax == 1.50", "tmax == 1.5"),
        ("tmax < 1e300", "tmax < 1e+300"),
        ('device.make == "\\u0041\\u00e9"', 'device.make == "A\u00e9"'),
        ("app.paid in [true,false]", "app.paid in [true, false]"),
    ],
)
def test_expressions_that_differ_in_space_are_one(text: str, canonical: str) -> None:
    expression = compile_expression(text)
    assert expression.canonical == canonical
    again = compile_expression(canonical)
    assert (again, hash(again), again.canonical) == (expression, hash(expression), canonical)


def test_expressions_that_differ_otherwise_are_two() -> None:
    assert compile_expression("at == 1") != compile_expression("at == 2")
    assert compile_expression("at == 1") != "at == 1"
    assert repr(compile_expression("at==1")) == "Expression('at == 1')"


def test_paths_are_told_once_each_in_their_order() -> None:
    expression = compile_expression(
        "device.w > 1 and not (exists(user.id) or device.w < 9) and imp.instl == 1"
    )
    assert expression.paths == ("device.w", "user.id", "imp.instl")


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "a path such as device.make, not, exists or a parenthesis at character 1, was its end"),
        ('device.make = "x"', 13, "one of == != < <= > >= contains startswith in at character 13, was '='"),
        ('device.make "Apple"', 13, "one of == != < <= > >= contains startswith in after device.make"),
        ("device.w", 9, "was its end"),
        ('devcie.make == "x"', 1, "begins with an attribute of the request, nearest device"),
        ("make == 1", 1, "begins with an attribute of the request"),
        ("imp == 1", 1, "an attribute of the impression such as imp.instl"),
        ("exists(imp)", 8, "an attribute of the impression such as imp.instl"),
        ("at == 1 AND at == 2", 9, "and, or, or its end at character 9, was 'AND'"),
        ("at == 1 and", 12, "a path such as device.make"),
        ("not", 4, "a path such as device.make"),
        ("(at == 1", 9, "the ) of the parenthesis"),
        ("at == 1)", 8, "and, or, or its end"),
        ("exists device.w", 8, "a path in parentheses after exists"),
        ("exists()", 8, "a path after exists("),
        ("exists(device.w", 16, "the ) after the path of exists"),
        ('device.w > "3"', 12, "a number after >"),
        ("device.w > true", 12, "a number after >"),
        ("site.page contains 3", 20, "a string after contains"),
        ("site.page startswith [1]", 22, "a string after startswith"),
        ("device.w == [1]", 13, "a string or number or boolean after =="),
        ("device.w == null", 13, "a string or number or boolean after =="),
        ("device.w == device.h", 13, "a string or number or boolean after =="),
        ("device.w in 3", 13, "a list such as [1, 2] after in"),
        ("device.w in []", 14, "a string or number or boolean in the list"),
        ('device.w in [1, "a"]', 17, "a number in a list that begins with a number"),
        ("device.w in [true, 1]", 20, "a boolean in a list that begins with a boolean"),
        ("device.w in [1 2]", 16, "a comma or the ] of the list"),
        ("device.w == 1e999", 13, "was '1e999'"),
        ("device.w == 1and at == 1", 13, "was '1'"),
        ('device.make == "abc', 16, "was '\"'"),
        ('device.make == "a\nb"', 16, "a string or number or boolean"),
        ('device.make == "\\x"', 16, "a string or number or boolean"),
        ('device.make == "\\ud800"', 16, "a string or number or boolean"),
        ("device.make == 'x'", 16, 'was "\'"'),
        ("device..make == 1", 7, "was '.'"),
        ("d\u00e9vice.make == 1", 2, "was '\u00e9'"),
        ("in == 1", 1, "a path such as device.make"),
        ("__import__ == 1", 1, "begins with an attribute of the request"),
    ],
)
def test_a_broken_expression_is_told_where_and_what_is_allowed(text: str, position: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        compile_expression(text)
    assert f"at character {position}, was" in str(caught.value)
    assert words in str(caught.value)


def test_the_depth_is_bounded() -> None:
    assert compile_expression("(" * MOST_DEPTH + "at == 1" + ")" * MOST_DEPTH).canonical == "at == 1"
    assert compile_expression("not " * MOST_DEPTH + "at == 1").matches({"at": 1}, {}, True)
    for deeper in ("(" * MOST_DEPTH + "not at == 1" + ")" * MOST_DEPTH, "not " * 33 + "at == 1", "(" * 4_000):
        with pytest.raises(InputError, match="at most 32 parentheses and not within each other"):
            compile_expression(deeper)


def test_parentheses_beside_each_other_are_not_deep() -> None:
    assert compile_expression(" and ".join(["(at == 1)"] * 100)).matches({"at": 1}, {}, True)


def test_the_length_is_bounded() -> None:
    fits = 'id == "' + "x" * (MOST_CHARACTERS - 8) + '"'
    assert compile_expression(fits).canonical == fits
    with pytest.raises(InputError, match="at most 4096 characters, had 4097"):
        compile_expression(fits + " ")


def test_the_canonical_text_is_bounded_too_so_that_it_can_be_read_again() -> None:
    tight = "at in[" + ",".join(["1"] * 2_000) + "]"
    assert len(tight) <= MOST_CHARACTERS
    with pytest.raises(InputError, match="at most 4096 characters, had 6"):
        compile_expression(tight)
