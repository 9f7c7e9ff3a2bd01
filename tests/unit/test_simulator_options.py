"""One word has one meaning over the commands that ask a history: the same option is in the same unit everywhere."""

from collections import defaultdict

import typer

from bidder.cli.main import build_app

COMMANDS = ("estimate", "forecast", "whatif", "sweep", "allocate", "replay")
_ROOT = typer.main.get_command(build_app())


def options() -> dict[str, dict[str, str]]:
    """By option, what each command that has it calls its unit."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in COMMANDS:
        for each in getattr(_ROOT, "commands")[name].params:  # noqa: B009, not of every command
            for option in each.opts:
                found[option][name] = str(each.metavar)
    return found


def test_an_option_is_in_the_same_unit_in_every_command() -> None:
    assert {name: units for name, units in options().items() if len(set(units.values())) > 1} == {}


def test_money_shares_and_bids_have_names_of_their_own() -> None:
    found = options()
    assert found["--budgets"] == {"forecast": "AMOUNTS"}
    assert found["--budget-shares"] == {"estimate": "SHARES"}
    assert set(found["--budget"].values()) == {"AMOUNT"}
    assert set(found["--max-bid"]) == {"estimate", "whatif"}
    assert set(found["--where"]) == {"estimate", "whatif"}
    assert set(found["--workers"]) == {"estimate", "sweep", "replay"}
    for gone in ("--cap", "--only", "--scales", "--groups", "--processes", "--value", "--price"):
        assert gone not in found
    assert set(found["--by"]) == {"forecast"}


def test_every_option_that_takes_something_says_what_and_helps() -> None:
    for name in COMMANDS:
        for each in getattr(_ROOT, "commands")[name].params:  # noqa: B009, as above
            assert getattr(each, "help", None) or each.name == "help", (name, each.name)
