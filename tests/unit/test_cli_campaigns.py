"""`clearbid campaigns`: from a sheet to the store and back."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.core.campaigns import Campaign, Status
from bidder.errors import InputError, SheetError
from bidder.store.campaigns import AuditRow, CampaignStore
from bidder.store.database import Database

SHEET = """id,name,advertiser,adomain,budget,start,end,value,max_bid_cpm,creatives
spring,Spring sale,acme,acme.example,500.00,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,2.00,8.50,\
b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/
summer,Summer sale,acme,acme.example,20.00,2026-06-01T00:00:00Z,2026-07-01T00:00:00Z,2.00,8.50,\
b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/
"""


class Desk:
    """A folder with a database and sheets, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "a.db"

    def run(self, *arguments: str) -> str:
        """Standard output of a command that succeeds; its error is raised."""
        result = CliRunner().invoke(build_app(), ["campaigns", *arguments, "--db", str(self.db)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    def sheet(self, text: str = SHEET, name: str = "sheet.csv") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def campaigns(self) -> dict[str, Campaign]:
        with Database(self.db) as database:
            return CampaignStore(database).all()

    def audit(self) -> list[AuditRow]:
        with Database(self.db) as database:
            return CampaignStore(database).audit()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("COLUMNS", "200")
    return Desk(tmp_path)


def test_import_says_what_became_of_each_campaign(desk: Desk) -> None:
    assert desk.run("import", desk.sheet()) == "sheet.csv: 2 added, 0 changed, 0 as they were\n"
    changed = desk.sheet(SHEET.replace("500.00", "600.00"))
    assert desk.run("import", changed) == "sheet.csv: 0 added, 1 changed, 1 as they were\n"
    assert desk.campaigns()["spring"].budget_nanos == 600 * 10**9


def test_a_sheet_with_an_error_changes_nothing(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    bad = desk.sheet(SHEET.replace("500.00", "600.00").replace("20.00", "-5"))
    with pytest.raises(SheetError, match=r"^budget must be > 0, was -5 \(row 3, sheet.csv\)"):
        desk.run("import", bad)
    assert desk.campaigns()["spring"].budget_nanos == 500 * 10**9


def test_a_check_writes_nothing(desk: Desk) -> None:
    assert desk.run("import", desk.sheet(), "--check") == "sheet.csv: 2 campaigns, all right\n"
    assert not desk.db.exists()


def test_a_campaign_in_another_currency_than_the_account_is_refused(desk: Desk) -> None:
    header, *rows = SHEET.splitlines()
    sheet = desk.sheet("\n".join([f"{header},currency", f"{rows[0]},EUR"]))
    with pytest.raises(InputError, match="currency of campaign spring must be the account's USD, was EUR"):
        desk.run("import", sheet)


@pytest.mark.parametrize(("option", "name"), [("--csv", "export.csv"), ("--json", "export.json")])
def test_an_export_imported_again_is_the_same(desk: Desk, option: str, name: str) -> None:
    desk.run("import", desk.sheet())
    before = desk.campaigns()
    export = desk.sheet(desk.run("list", option), name)
    assert desk.run("import", export) == f"{name}: 0 added, 0 changed, 2 as they were\n"
    desk.db.unlink()
    desk.run("import", export)
    assert desk.campaigns() == before


def test_list_is_a_table_for_people(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    table = desk.run("list")
    for shown in ("spring", "Spring", "500", "USD", "2026-05-01"):
        assert shown in table


def test_json_and_csv_at_once_are_refused(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    with pytest.raises(InputError, match="--json and --csv must not be given together"):
        desk.run("list", "--json", "--csv")


def test_set_budget_is_exact_and_audited(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    assert desk.run("set-budget", "spring", "750.000000001") == "spring: budget 750.000000001 USD\n"
    assert desk.campaigns()["spring"].budget_nanos == 750_000_000_001
    last = desk.audit()[-1]
    assert (last.actor, last.what, last.old, last.new) == ("cli", "budget", "500000000000", "750000000001")


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("0", "budget of campaign spring must be > 0, was 0"),
        ("1e3", "budget of campaign spring must be a decimal number such as 12.50, was '1e3'"),
        ("0.0000000001", "budget of campaign spring must have at most 9 decimals"),
    ],
)
def test_a_wrong_amount_is_named(desk: Desk, amount: str, words: str) -> None:
    desk.run("import", desk.sheet())
    with pytest.raises(InputError, match=words):
        desk.run("set-budget", "spring", amount)


def test_pause_and_resume(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    assert desk.run("pause", "spring") == "spring: paused\n"
    assert desk.campaigns()["spring"].status is Status.PAUSED
    assert desk.run("resume", "spring") == "spring: active\n"
    assert desk.campaigns()["spring"].status is Status.ACTIVE


@pytest.mark.parametrize("command", [["pause", "sprin"], ["set-budget", "sprin", "5"]])
def test_an_unknown_campaign_is_named_with_its_nearest(desk: Desk, command: list[str]) -> None:
    desk.run("import", desk.sheet())
    with pytest.raises(InputError, match="was 'sprin'; nearest: spring"):
        desk.run(*command)


@pytest.mark.parametrize("command", [["list"], ["pause", "x"], ["history"]])
def test_a_database_that_is_not_there_is_not_made(desk: Desk, command: list[str]) -> None:
    with pytest.raises(InputError, match="must be there, was not: import a sheet first"):
        desk.run(*command)
    assert not desk.db.exists()


def test_history_shows_who_changed_what(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    desk.run("pause", "spring")
    lines = desk.run("history", "spring").splitlines()
    assert any("create" in line for line in lines)
    assert any("status" in line and "paused" in line and "cli" in line for line in lines)


def test_the_database_of_the_configuration_is_used(tmp_path: Path) -> None:
    config = tmp_path / "clearbid.toml"
    config.write_text(f"[store]\npath = '{tmp_path / 'own.db'}'\n[account]\ncurrency = 'EUR'\n")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(SHEET)
    arguments: list[Any] = ["campaigns", "import", str(sheet), "--config", str(config)]
    assert CliRunner().invoke(build_app(), arguments).exit_code == 0
    with Database(tmp_path / "own.db") as database:
        assert CampaignStore(database).all()["spring"].currency == "EUR"
