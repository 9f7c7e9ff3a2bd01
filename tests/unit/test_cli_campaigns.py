"""`clearbid campaigns`: from a sheet to the store and back."""

import getpass
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.core.campaigns import Advertiser, Campaign, Status
from bidder.errors import InputError, SheetError
from bidder.store.campaigns import AuditRow, CampaignStore
from bidder.store.database import Database

SHEET = """id,name,advertiser,adomain,budget,start,end,value,max_bid_cpm,creatives
spring,Spring sale,acme,acme.example,500.00,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,2.00,8.50,\
b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/
summer,Summer sale,acme,acme.example,20.00,2026-06-01T00:00:00Z,2026-07-01T00:00:00Z,2.00,8.50,\
b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/
"""


TREE = """
[[advertiser]]
id = "acme"
name = "Acme [bold]"
time_zone = "Europe/Berlin"
daily_budget = "90"

[[campaign]]
id = "spring"
name = "Spring sale"
advertiser = "acme"
adomain = ["acme.example"]
budget = "500"
start = 2026-05-01T00:00:00Z
end = 2026-06-01T00:00:00Z
value = "2"
max_bid_cpm = "8.50"
caps = ["3/day"]
[[campaign.creatives]]
id = "b1"
w = 300
h = 250
image_url = "https://cdn.acme.example/b1.png"
landing_url = "https://acme.example/"
[[campaign.creatives]]
id = "v1"
media = "video"
media_url = "https://cdn.acme.example/v1.mp4"
mime = "video/mp4"
duration_s = 15
landing_url = "https://acme.example/"
[[campaign.line_item]]
id = "spring-phone"
budget = "100"
device = ["phone"]
creatives = ["b1"]
[[campaign.line_item]]
id = "spring-rest"
exclude_device = ["phone"]
"""


class Desk:
    """A folder with a database and sheets, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db: Path | str = folder / "a.db"

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

    def advertisers(self) -> dict[str, Advertiser]:
        with Database(self.db) as database:
            return CampaignStore(database).advertisers()

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


def test_campaigns_go_into_the_store_that_is_named_and_come_out_of_it(desk: Desk, place: str) -> None:
    desk.db = place
    assert desk.run("import", desk.sheet()) == "sheet.csv: 2 added, 0 changed, 0 as they were\n"
    assert all(name in desk.run("list") for name in desk.campaigns())
    assert desk.run("set-budget", "spring", "600")
    assert "600" in desk.run("history", "spring")


def test_a_sheet_with_an_error_changes_nothing(desk: Desk) -> None:
    desk.run("import", desk.sheet())
    bad = desk.sheet(SHEET.replace("500.00", "600.00").replace("20.00", "-5"))
    with pytest.raises(SheetError, match=r"^budget must be > 0, was -5 \(row 3, sheet.csv\)"):
        desk.run("import", bad)
    assert desk.campaigns()["spring"].budget_nanos == 500 * 10**9


def test_a_check_writes_nothing(desk: Desk) -> None:
    assert desk.run("import", desk.sheet(), "--check") == "sheet.csv: 2 campaigns, no errors\n"
    assert not desk.db.exists()


@pytest.mark.parametrize("command", [["check"], ["import"], ["import", "--check"]])
def test_what_is_likely_not_meant_is_told_and_is_no_error(desk: Desk, command: list[str]) -> None:
    sheet = desk.sheet(SHEET.replace("2026-0", "2006-0"))
    result = CliRunner().invoke(build_app(), ["campaigns", *command, sheet, "--db", str(desk.db)])
    assert result.exit_code == 0
    assert result.stderr.count("warning: campaign") == 2
    assert "warning: campaign spring: its flight is over since 2006-06-01" in result.stderr


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
    assert (last.actor, last.what, last.old, last.new) == (
        getpass.getuser(),
        "budget",
        "500000000000",
        "750000000001",
    )


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
    assert any("status" in line and "paused" in line and getpass.getuser() in line for line in lines)


def test_the_database_of_the_configuration_is_used(tmp_path: Path) -> None:
    config = tmp_path / "clearbid.toml"
    config.write_text(f"[store]\npath = '{tmp_path / 'own.db'}'\n[account]\ncurrency = 'EUR'\n")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(SHEET)
    arguments: list[Any] = ["campaigns", "import", str(sheet), "--config", str(config)]
    assert CliRunner().invoke(build_app(), arguments).exit_code == 0
    with Database(tmp_path / "own.db") as database:
        assert CampaignStore(database).all()["spring"].currency == "EUR"


def test_a_tree_is_imported_with_its_advertisers(desk: Desk) -> None:
    assert desk.run("import", desk.sheet(TREE, "tree.toml")) == (
        "tree.toml: 1 added, 0 changed, 0 as they were\n"
        "tree.toml, advertisers: 1 added, 0 changed, 0 as they were\n"
    )
    assert [item.id for item in desk.campaigns()["spring"].line_items] == ["spring-phone", "spring-rest"]
    assert desk.advertisers()["acme"].time_zone == "Europe/Berlin"


@pytest.mark.parametrize("kind", ["csv", "json", "toml"])
def test_an_export_of_a_tree_imported_again_is_the_same(desk: Desk, kind: str) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    before = desk.campaigns(), desk.advertisers()
    export = desk.sheet(desk.run("list", f"--{kind}"), f"export.{kind}")
    assert "0 added, 0 changed, 1 as they were" in desk.run("import", export)
    desk.db.unlink()
    desk.run("import", export)
    assert (desk.campaigns(), desk.advertisers()) == before


def test_list_indents_line_items_below_campaigns_below_advertisers(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    lines = [line for line in desk.run("list").splitlines() if line.strip()]
    ids = [line.split(" active")[0].rstrip() for line in lines if " active " in line]
    margin = ids[0].index("acme")
    assert [(line[margin:].split()[0], line.index(line.split()[0]) - margin) for line in ids] == [
        ("acme", 0),
        ("spring", 2),
        ("spring-phone", 4),
        ("spring-rest", 4),
    ]
    assert "Acme [bold]" in ids[0]
    assert any("90 a day" in line for line in lines)


def test_check_says_what_would_change_and_writes_nothing(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    before = desk.db.read_bytes(), len(desk.audit())
    changed = TREE.replace('budget = "100"', 'budget = "120"').replace('caps = ["3/day"]', 'caps = ["4/day"]')
    shown = desk.run("check", desk.sheet(changed + SUMMER, "next.toml"))
    rows = [line.split() for line in shown.splitlines()]
    assert ["spring", "caps", "3/day", "4/day"] in rows
    assert ["spring", "/", "spring-phone", "budget", "100", "120"] in rows
    assert ["summer", "added"] in rows
    assert shown.endswith(
        "next.toml: 2 campaigns, 2 line items, 1 advertiser, no errors; nothing was written\n"
    )
    assert (desk.db.read_bytes(), len(desk.audit())) == before


SUMMER = TREE[TREE.index("[[campaign]]") : TREE.index("[[campaign.line_item]]")].replace("spring", "summer")


def test_check_of_what_is_there_already_shows_no_change(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    assert desk.run("check", desk.sheet(TREE, "tree.toml")) == (
        "tree.toml: 1 campaign, 2 line items, 1 advertiser, no errors; nothing was written\n"
    )


def test_check_needs_no_database_and_makes_none(desk: Desk) -> None:
    rows = [line.split() for line in desk.run("check", desk.sheet(TREE, "tree.toml")).splitlines()]
    assert ["advertiser", "acme", "added"] in rows
    assert ["spring", "added", "with", "2", "line", "items"] in rows
    assert not desk.db.exists()


def test_check_sees_a_clash_with_a_line_item_of_the_store(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    other = SHEET.replace("summer,Summer", "spring-rest,Summer").replace("spring,Spring", "other,Spring")
    with pytest.raises(InputError, match="was 'spring-rest' in campaigns spring and spring-rest"):
        desk.run("check", desk.sheet(other))


def test_check_tells_the_errors_of_a_sheet(desk: Desk) -> None:
    with pytest.raises(SheetError, match=r"device must be desktop, .*nearest is phone"):
        desk.run("check", desk.sheet(TREE.replace('["phone"]', '["phones"]', 1), "tree.toml"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["spring", "20", "--daily"], "spring: daily budget 20 USD"),
        (["spring", "none", "--daily"], "spring: daily budget none"),
        (["spring", "70.5", "--line-item", "spring-rest"], "spring, line item spring-rest: budget 70.5 USD"),
        (["spring", "none", "--line-item", "spring-phone"], "spring, line item spring-phone: budget none"),
        (
            ["spring", "5", "--daily", "--line-item", "spring-rest"],
            "spring, line item spring-rest: daily budget 5 USD",
        ),
    ],
)
def test_set_budget_reaches_days_and_line_items(desk: Desk, arguments: list[str], said: str) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    assert desk.run("set-budget", *arguments) == f"{said}\n"
    campaign = desk.campaigns()["spring"]
    holder = next((item for item in campaign.line_items if item.id in arguments), campaign)
    amount = 0 if arguments[1] == "none" else round(float(arguments[1]) * 10**9)
    budgets = holder.budgets
    assert (budgets.daily_nanos if "--daily" in arguments else budgets.lifetime_nanos) == amount
    assert campaign.budget_nanos == 500 * 10**9


@pytest.mark.parametrize(
    ("arguments", "said", "of_flight", "of_day"),
    [
        (["450"], "budget 450", 450, 90),
        (["30.5", "--daily"], "daily budget 30.5", 0, 30.5),
        (["none", "--daily"], "daily budget none", 0, 0),
    ],
)
def test_set_budget_reaches_advertisers(
    desk: Desk, arguments: list[str], said: str, of_flight: float, of_day: float
) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    assert desk.run("set-budget", "--advertiser", "acme", *arguments) == f"advertiser acme: {said}\n"
    budgets = desk.advertisers()["acme"].budgets
    assert (budgets.lifetime_nanos, budgets.daily_nanos) == (of_flight * 10**9, of_day * 10**9)
    assert (desk.audit()[-1].advertiser_id, desk.audit()[-1].what) == (
        "acme",
        said.rsplit(" ", 1)[0].replace(" ", "_"),
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["450"], "either a campaign or --advertiser must be named, was neither"),
        (["spring", "450", "--advertiser", "acme"], "was both"),
        (["spring", "450", "500"], "a campaign and an amount must be given, was spring 450 500"),
        (["0", "--advertiser", "acme"], "budget of advertiser acme must be > 0, or `none`"),
        (["5", "--advertiser", "nobody"], "advertiser must be one of the store's, was 'nobody'"),
    ],
)
def test_whose_budget_to_set_must_be_clear(desk: Desk, arguments: list[str], words: str) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    with pytest.raises(InputError, match=words):
        desk.run("set-budget", *arguments)


@pytest.mark.parametrize(
    ("own_id", "words"),
    [
        ("acme", "was 'acme', an advertiser: name it by --advertiser"),
        ("spring-rest", "was 'spring-rest', a line item: name it as spring --line-item spring-rest"),
    ],
)
@pytest.mark.parametrize("command", [["pause"], ["set-budget"]])
def test_an_advertiser_or_line_item_in_place_of_a_campaign_is_known(
    desk: Desk, command: list[str], own_id: str, words: str
) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    with pytest.raises(InputError, match=words):
        desk.run(*command, own_id, *["5"] * (command == ["set-budget"]))


def test_the_budget_of_a_flight_cannot_be_taken_away(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    with pytest.raises(
        InputError, match="budget of campaign spring must be an amount > 0, was none: pause it"
    ):
        desk.run("set-budget", "spring", "none")
    with pytest.raises(InputError, match="budget of line item spring-rest must be > 0, or `none`"):
        desk.run("set-budget", "spring", "0", "--line-item", "spring-rest")


def test_pause_and_resume_reach_line_items_and_advertisers(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    assert (
        desk.run("pause", "spring", "--line-item", "spring-rest") == "spring, line item spring-rest: paused\n"
    )
    assert desk.campaigns()["spring"].line_items[1].status is Status.PAUSED
    assert desk.run("pause", "--advertiser", "acme") == "advertiser acme: paused\n"
    assert desk.advertisers()["acme"].status is Status.PAUSED
    assert desk.run("resume", "--advertiser", "acme") == "advertiser acme: active\n"
    assert desk.advertisers()["acme"].status is Status.ACTIVE
    assert desk.campaigns()["spring"].status is Status.ACTIVE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either a campaign or --advertiser must be named, was neither"),
        (["spring", "--advertiser", "acme"], "either a campaign or --advertiser must be named, was both"),
        (["--advertiser", "acme", "--line-item", "spring-rest"], "--line-item must stand with its campaign"),
    ],
)
def test_what_to_pause_must_be_clear(desk: Desk, arguments: list[str], words: str) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    with pytest.raises(InputError, match=words):
        desk.run("pause", *arguments)


def test_history_shows_a_replaced_campaign_by_what_changed(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    desk.run("import", desk.sheet(TREE.replace('budget = "100"', 'budget = "120"'), "tree.toml"))
    desk.run("set-budget", "spring", "7", "--daily", "--line-item", "spring-rest")
    assert changes_of(desk, "spring") == [
        ["spring", "create"],
        ["spring / spring-phone", "budget", "100", "120"],
        ["spring / spring-rest", "daily_budget", "none", "7"],
    ]


def test_history_of_a_line_item_is_its_own_and_when_its_campaign_was_made(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    desk.run("import", desk.sheet(TREE.replace('budget = "100"', 'budget = "120"'), "tree.toml"))
    desk.run("pause", "spring")
    desk.run("pause", "spring", "--line-item", "spring-phone")
    desk.run("pause", "spring", "--line-item", "spring-rest")
    assert changes_of(desk, "spring", "--line-item", "spring-phone") == [
        ["spring", "create"],
        ["spring / spring-phone", "budget", "100", "120"],
        ["spring / spring-phone", "status", "active", "paused"],
    ]


def test_history_of_a_line_item_needs_its_campaign(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    with pytest.raises(InputError, match="--line-item must stand with its campaign, was without"):
        desk.run("history", "--line-item", "spring-phone")


def test_history_breaks_no_word_at_80_columns(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    desk.run("set-budget", "spring", "7", "--daily", "--line-item", "spring-phone")
    shown = desk.run("history")
    assert "│" not in shown
    for word in ("create", "daily_budget", "spring / spring-phone", "none"):
        assert word in shown


def changes_of(desk: Desk, *arguments: str) -> list[list[str]]:
    """Cells of `history` but for version, time and who, row by row."""
    lines = [line.strip() for line in desk.run("history", *arguments).splitlines()]
    return [re.split(r"\s{2,}", line)[3:] for line in lines if line[:1].isdigit()]


def test_history_of_an_advertiser_is_its_own(desk: Desk) -> None:
    desk.run("import", desk.sheet(TREE, "tree.toml"))
    desk.run("pause", "--advertiser", "acme")
    rows = changes_of(desk, "--advertiser", "acme")
    assert [row[0] for row in rows] == ["advertiser acme"] * 2
    assert "paused" in rows[1]
