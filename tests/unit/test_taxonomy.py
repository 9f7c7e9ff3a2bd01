"""Categories and the categories that cover them."""

import json
from importlib.resources import files

import pytest

from bidder.errors import InputError
from bidder.openrtb import taxonomy
from bidder.openrtb.taxonomy import ancestors, covers, qualified
from tests.support.data import recorded


@pytest.mark.parametrize(
    ("cattax", "category", "line"),
    [
        (1, "IAB1-2", ("IAB1-2", "IAB1")),
        (1, "IAB1", ("IAB1",)),
        (1, "IAB25-3", ("IAB25-3", "IAB25")),
        (1, "a-b", ("a-b",)),
        (1, "", ("",)),
        (6, "4", ("4", "2", "1")),
        (9, "150", ("150",)),
        (9, "181", ("181", "150")),
        (8, "1003", ("1003", "1002")),
        (9, "no such", ("no such",)),
        (9, "IAB1-2", ("IAB1-2",)),
        (2, "4", ("4",)),
        (500, "a-b", ("a-b",)),
    ],
)
def test_a_category_is_told_with_all_that_cover_it(cattax: int, category: str, line: tuple[str, ...]) -> None:
    assert ancestors(cattax, category) == line


def test_no_id_is_met_twice_even_where_its_source_names_itself_as_parent() -> None:
    assert ancestors(8, "1000") == ("1000",)
    assert ancestors(8, "1038") == ("1038", "1037")


def test_parents_in_a_circle_end() -> None:
    circle = {"a": "b", "b": "c", "c": "a", "d": "d", "e": "a"}
    assert taxonomy._line(circle, "a") == ("a", "b", "c")
    assert taxonomy._line(circle, "d") == ("d",)
    assert taxonomy._line(circle, "e") == ("e", "a", "b", "c")


@pytest.mark.parametrize(
    ("cattax", "parent", "child", "is_covered"),
    [
        (1, "IAB1", "IAB1-2", True),
        (1, "IAB1", "IAB1", True),
        (1, "IAB1-2", "IAB1", False),
        (1, "IAB1", "IAB10-2", False),
        (1, "IAB1-1", "IAB1-11", False),
        (6, "1", "4", True),
        (6, "4", "1", False),
        (9, "1", "4", True),
        (9, "150", "4", False),
        (8, "IAB1", "IAB1-2", False),
        (77, "x", "x", True),
    ],
)
def test_parents_cover_their_children_in_their_own_taxonomy(
    cattax: int, parent: str, child: str, is_covered: bool
) -> None:
    assert covers(cattax, parent, child) is is_covered


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("IAB1-2", (1, "IAB1-2")),
        ("150", (1, "150")),
        ("9:150", (9, "150")),
        ("9:v9i3On", (9, "v9i3On")),
        ("1:IAB1-2", (1, "IAB1-2")),
        ("500:a:b", (500, "a:b")),
    ],
)
def test_a_category_is_read_with_its_taxonomy(text: str, pair: tuple[int, str]) -> None:
    assert qualified(text) == pair


@pytest.mark.parametrize(
    "text", ["", ":", "9:", ":150", "x:150", "0:150", "-1:150", "\u0669:150", "1234567:1"]
)
def test_what_is_no_category_is_told(text: str) -> None:
    with pytest.raises(InputError, match="category must be an id such as IAB1-2, or 9:150 with its cattax"):
        qualified(text)


def test_the_file_holds_a_parent_for_each_id_that_has_one() -> None:
    parents = json.loads((files("bidder.openrtb") / "taxonomies.json").read_bytes())
    assert {cattax: len(of) for cattax, of in parents.items()} == {"6": 1159, "8": 537, "9": 667}


def test_every_line_is_that_of_the_published_tables() -> None:
    tables = json.loads(recorded("openrtb/taxonomies.json").read_bytes())
    checked = 0
    for title, table in tables.items():
        if not title.startswith("cattax"):
            continue
        cattax = int(title.removeprefix("cattax ").split(":")[0])
        for category, entry in table.items():
            line = ancestors(cattax, category)
            parent = entry["parent"] if entry["parent"] != category else None
            assert line == (category, *(ancestors(cattax, parent) if parent else ()))
            checked += 1
    assert checked == 2_875
