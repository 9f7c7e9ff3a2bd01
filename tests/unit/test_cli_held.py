"""Campaigns on the command line as brakes, people and the books say of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.errors import InputError
from tests.unit.test_cli_campaigns import TREE, Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("COLUMNS", "200")
    return Desk(tmp_path)


def _brake(desk: Desk, *arguments: str) -> str:
    result = CliRunner().invoke(build_app(), [*arguments, "--db", str(desk.db)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("option", "own_id"), [("--campaign", "spring"), ("--advertiser", "acme"), ("--all", "")]
)
def test_a_campaign_that_a_brake_holds_is_not_shown_as_live(desk: Desk, option: str, own_id: str) -> None:
    desk.run("import", desk.sheet())
    whom = (option, own_id) if own_id else (option,)
    _brake(desk, "stop", *whom)
    lines = {line.split()[0]: line for line in desk.run("list").splitlines() if line.strip()}
    assert "active, stopped by a brake" in lines["spring"]
    told = json.loads(desk.run("list", "--json"))["brake"]
    assert told == [{"level": option.removeprefix("--"), "id": own_id}]
    said = desk.run("resume", "spring")
    assert "spring: active, but it does not bid" in said
    assert f"clearbid go {' '.join(whom)}" in said
    _brake(desk, "go", *whom)
    assert "brake" not in desk.run("list")
    assert desk.run("resume", "spring") == "spring: active\n"


def test_a_line_item_is_held_by_its_own_brake_and_by_its_campaigns(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "sheet.toml"))
    _brake(desk, "stop", "--line-item", "spring-phone")
    rows = {line.split()[0]: line for line in desk.run("list").splitlines() if line.strip()}
    assert "stopped by a brake" in rows["spring-phone"]
    assert not any("brake" in rows[name] for name in ("spring", "spring-rest", "acme"))
    said = desk.run("resume", "spring", "--line-item", "spring-phone")
    assert "clearbid go --line-item spring-phone" in said


def test_a_json_list_with_brakes_can_be_imported_again(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    _brake(desk, "stop", "--all")
    again = desk.run("import", desk.sheet(desk.run("list", "--json"), "again.json"))
    assert again == "again.json: 0 added, 0 changed, 2 as they were\n"


def test_a_value_that_the_model_gives_is_marked_in_the_list(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE.replace('value = "2"', 'value = "2"\ngoal = "conversion"'), "s.toml"))
    assert "by the model" not in desk.run("list")
    modelled = 'value = "2"\ngoal = "conversion"\nvalue_source = "model"'
    desk.run("import", desk.sheet(TREE.replace('value = "2"', modelled), "s.toml"))
    assert "value by the model" in desk.run("list")


def test_the_history_names_who_changed_what(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    desk.run("import", desk.sheet())
    desk.run("pause", "spring", "--by", "night shift")
    desk.run("resume", "spring")
    desk.run("set-budget", "spring", "600", "--by", "ben")
    own = [row.actor for row in desk.audit() if row.campaign_id == "spring"]
    assert own == ["ana", "night shift", "ana", "ben"]
    with pytest.raises(InputError, match="--by must have at most 500 characters"):
        desk.run("pause", "spring", "--by", "x" * 501)


def test_letting_go_what_was_not_stopped_says_so_and_leaves_no_row(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    assert "campaign spring: nothing was stopped" in _brake(desk, "go", "--campaign", "spring")
    assert json.loads(_brake(desk, "brakes", "--json")) == []
    wrong = CliRunner().invoke(build_app(), ["go", "--campaign", "sprin", "--db", str(desk.db)])
    assert "nearest: spring" in str(wrong.exception)


def test_settling_a_campaign_that_is_not_there_names_the_nearest(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    wrong = CliRunner().invoke(build_app(), ["settle", "--campaign", "sprin", "--db", str(desk.db)])
    assert "nearest: spring" in str(wrong.exception)
    assert "total: 0 billed, cost 0 USD, 0 USD of it fees" in _brake(desk, "settle", "--campaign", "spring")
    day = CliRunner().invoke(build_app(), ["settle", "--day", "2026-13-01", "--db", str(desk.db)])
    assert str(day.exception) == "day must be a date such as 2026-05-01, was '2026-13-01'"
