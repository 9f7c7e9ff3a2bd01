"""Each JSON file beside this one is one auction and how it ends; `tests.scenarios.auction` says how to read it."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from bidder.openrtb.reasons import Reason
from tests.scenarios.auction import Play, holds

NEVER_MET = {"CREATIVE_SIZE"}
"""A line item without a creative of the slot's sizes ends at SIZE, before its creatives are looked at."""
FILES = sorted(Path(__file__).parent.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    Play(orjson.loads(path.read_bytes())).check()


def test_every_reason_has_a_scenario() -> None:
    reasons = {row["reason"] for path in FILES for row in orjson.loads(path.read_bytes())["decisions"]}
    assert reasons == {reason.name for reason in Reason} - NEVER_MET


def test_scenarios_say_what_they_are_about_and_nothing_twice() -> None:
    sentences = [orjson.loads(path.read_bytes())["says"] for path in FILES]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_part_that_is_not_there_is_not_held() -> None:
    """Guards the comparison of scenarios, as the next one does."""
    assert holds({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3})
    others: list[Any] = [{"a": []}, {"a": [{"b": 2}]}, {"a": [{}]}, {}, None, {"a": [{"b": 1}, {"b": 1}]}]
    for wrong in others:
        assert not holds({"a": [{"b": 1}]}, wrong)


@pytest.mark.parametrize(
    ("part", "right", "wrong"),
    [
        ({"a": None}, {"b": 1}, {"a": 1}),
        ({"$only": ["a", "b"], "a": 1}, {"a": 1}, {"a": 1, "c": 2}),
        ({"$has": ["x", "y"]}, "yx", "x"),
        ({"$lacks": ["x"]}, "y", "yx"),
        ({"$matches": "[0-9]+"}, "42", "42 "),
        ({"$json": {"a": [1]}}, '{"a":[1],"b":2}', "{"),
        ({"$json": {"a": [1]}}, '{"a":[1]}', '{"a":[2]}'),
    ],
)
def test_marks_hold_of_what_they_say(part: Any, right: Any, wrong: Any) -> None:
    assert holds(part, right)
    assert not holds(part, wrong)
    assert not holds(part, None)
