"""The 66 rules of a correct bidder (OpenRTB 2.6): each has scenarios, and each scenario fails without its rule."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.scenarios.auction import Mismatch, Play
from tests.scenarios.switches import SWITCHES, switched

RULES = range(1, 67)
OF_THE_EDGE = {
    1: "POST, connections kept alive",
    2: "200 with content, 204 without",
    3: "400 for a corrupt request",
    4: "the format of the request",
    5: "compressed requests",
    6: "compressed answers",
    7: "x-openrtb-version",
    66: "cookie sync",
}
"""Rules of the HTTP server that exchanges call, which scenarios of the decision core cannot show."""
_NAME = re.compile(r"r(\d\d)_[a-z0-9_]+\Z")
FILES = {path: int(match[1]) for path in sorted(Path(__file__).parent.glob("r[0-9]*.json"))
         if (match := _NAME.match(path.stem)) is not None}  # fmt: skip
PLAIN: dict[str, Any] = {
    "says": "A banner for whoever is there is bid on.",
    "campaigns": [{}],
    "request": {},
    "decisions": [{"imp": "1", "reason": "BID", "campaign": "c1"}],
    "response": {"seatbid": [{"bid": [{}]}]},
}


def fails(scenario: dict[str, Any]) -> bool:
    """Whether what comes of it is not what it states; an error of any other kind is one of the switch."""
    try:
        Play(scenario).check()
    except Mismatch:
        return True
    return False


def test_every_rule_has_a_scenario() -> None:
    assert set(FILES.values()) == set(RULES) - set(OF_THE_EDGE)
    assert set(SWITCHES) == set(FILES.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_scenario_fails_without_its_rule(path: Path) -> None:
    scenario = orjson.loads(path.read_bytes())
    for switch in SWITCHES[FILES[path]]:
        with switched(switch):
            if fails(scenario):
                return
    pytest.fail(f"{path.stem} must fail under a switch of rule {FILES[path]}, passed under all")


@pytest.mark.parametrize("rule", SWITCHES)
def test_no_switch_of_a_rule_is_idle(rule: int) -> None:
    scenarios = [orjson.loads(path.read_bytes()) for path, own in FILES.items() if own == rule]
    for number, switch in enumerate(SWITCHES[rule]):
        with switched(switch):
            assert any(fails(scenario) for scenario in scenarios), (
                f"switch {number} of rule {rule} changes nothing"
            )


@pytest.mark.parametrize("rule", SWITCHES)
def test_a_switch_leaves_what_its_rule_does_not_concern(rule: int) -> None:
    """A switch that broke everything would prove nothing."""
    for number, switch in enumerate(SWITCHES[rule]):
        with switched(switch):
            assert not fails(PLAIN), f"switch {number} of rule {rule} changes a plain auction"
