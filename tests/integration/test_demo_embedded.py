"""`clearbid demo` on the embedded defaults: the main job, end to end, as a stranger runs it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import orjson
import pytest
from typer.testing import CliRunner

from bidder.cli.main import build_app
from bidder.openrtb.reasons import Reason
from bidder.store.database import Database
from simulator.demo.books import exchange_books, read_reports
from simulator.exchange.books import Books
from simulator.report import ExchangeBook, RunResult
from simulator.report.summary import books_verdict, sum_checks
from tests.support.commands import Ended, clearbid
from tests.support.data import recorded

ROWS = 3_000
FIXED = [
    "requests",
    "opportunities",
    "bids",
    "wins",
    "requests_per_second",
    "decision_latency_ms",
    "late_wins",
    "campaigns",
]
FIXED_CAMPAIGN = ["id", "budget_nanos", "spend_nanos", "impressions", "clicks", "conversions", "value_nanos"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def ended(out: Path) -> Ended:
    return clearbid("demo", "--rows", ROWS, "--training-rows", 8_000, "--out", out, "--json")


@pytest.fixture(scope="module")
def result(ended: Ended) -> RunResult:
    assert ended.code == 0, ended.err
    return msgspec.json.decode(ended.last_line, type=RunResult)


@pytest.fixture(scope="module")
def folder(out: Path, result: RunResult) -> Path:
    """The one run's."""
    (found,) = out.iterdir()
    return found


def test_it_ends_with_0_and_prints_one_json_object_last(ended: Ended) -> None:
    assert ended.code == 0, ended.err
    assert isinstance(orjson.loads(ended.last_line), dict)
    assert "Traceback" not in ended.err


def test_the_object_begins_with_the_fields_that_scripts_rely_on(ended: Ended) -> None:
    found = orjson.loads(ended.last_line)
    assert list(found)[: len(FIXED)] == FIXED
    assert list(found["decision_latency_ms"]) == ["p50", "p99"]
    assert found["campaigns"]
    for campaign in found["campaigns"]:
        assert list(campaign)[: len(FIXED_CAMPAIGN)] == FIXED_CAMPAIGN


def test_every_row_was_asked_for_and_answered(result: RunResult) -> None:
    assert result.requests == result.opportunities == ROWS
    assert result.exchange["offered"] == ROWS
    assert result.bids > ROWS // 2
    assert result.wins > ROWS // 4


def test_all_sums_hold(result: RunResult) -> None:
    wrong = [check for check in sum_checks(result) if not check.holds]
    assert not wrong


def test_the_books_are_the_exchanges(result: RunResult) -> None:
    assert result.books_agree
    assert books_verdict(result)
    assert sum(book.spend_nanos for book in result.exchange_books.values()) > 0


def test_no_campaign_spends_more_than_its_budget(result: RunResult) -> None:
    for campaign in result.campaigns:
        assert 0 < campaign.spend_nanos <= campaign.budget_nanos, campaign.id
    assert result.late_wins == 0


def test_a_budget_binds(result: RunResult) -> None:
    """Else that spend stayed within it would be no merit."""
    assert max(campaign.spend_nanos / campaign.budget_nanos for campaign in result.campaigns) > 0.8


def test_the_database_has_what_was_printed(folder: Path, result: RunResult) -> None:
    reports = read_reports(folder / "clearbid.db", 0)
    for campaign in result.campaigns:
        report = reports[campaign.id]
        for name in FIXED_CAMPAIGN[1:]:
            assert getattr(report, name) == getattr(campaign, name)


def test_the_bookings_of_the_database_sum_to_the_spend(folder: Path, result: RunResult) -> None:
    with Database(folder / "clearbid.db") as database, database.reading() as connection:
        rows = connection.execute("SELECT campaign_id, sum(amount_nanos) FROM bookings GROUP BY 1").fetchall()
    assert dict(rows) == {campaign.id: campaign.spend_nanos for campaign in result.campaigns}


def test_the_decision_log_has_every_opportunity_once(folder: Path, result: RunResult) -> None:
    rows = [orjson.loads(line) for line in (folder / "decisions.jsonl").read_bytes().splitlines()]
    assert len({row["request_id"] for row in rows}) == len(rows) == result.opportunities
    bids = [row for row in rows if row["reason"] == Reason.BID]
    assert len(bids) == result.bids
    assert {row["campaign_id"] for row in bids} <= {campaign.id for campaign in result.campaigns}


class _Loads(HTMLParser):
    """Every address that a page would fetch by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            f"{tag} {name}={value}"
            for name, value in attrs
            if (name in {"src", "srcset", "poster", "data"} or (name == "href" and tag != "a"))
            and not (value or "").startswith(("data:", "#"))
        ]


def test_the_report_is_one_page_that_fetches_nothing(ended: Ended, folder: Path) -> None:
    path = folder / "report.html"
    assert str(path) in ended.err.replace("\n", "")
    page = path.read_text()
    assert _Loads(page).found == []
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", page)
    assert page.count("<svg") >= 1


def test_a_page_that_fetches_is_told_from_one_that_does_not() -> None:
    page = '<a href="https://a.example/">x</a><img src="data:,"><link href="s.css"><script src="//a/x.js">'
    assert _Loads(page).found == ["link href=s.css", "script src=//a/x.js"]


def test_its_journal_replays_byte_for_byte(folder: Path) -> None:
    done = clearbid("replay", folder, "--json")
    assert done.code == 0, done.err
    found = orjson.loads(done.last_line)
    assert found["identical"]
    assert found["requests"] == ROWS


@pytest.mark.parametrize(
    ("name", "trained"), [("ipinyou/features.parquet", True), ("ipinyou/auctions.parquet", False)]
)
def test_a_real_log_runs_the_same(name: str, trained: bool, tmp_path: Path) -> None:
    done = clearbid("demo", "--log", recorded(name), "--rows", 600, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    result = msgspec.json.decode(done.last_line, type=RunResult)
    assert result.requests == 600
    assert books_verdict(result)
    assert all(check.holds for check in sum_checks(result))
    assert all(campaign.spend_nanos <= campaign.budget_nanos for campaign in result.campaigns)
    assert sum(campaign.impressions for campaign in result.campaigns) > 10
    assert bool(result.models) is trained


def test_a_short_day_runs_and_replays(tmp_path: Path) -> None:
    """Its clock would run faster than the longest times allow for."""
    done = clearbid("demo", "--rows", 100, "--training-rows", 1_000, "--out", tmp_path)
    assert done.code == 0, done.err
    assert clearbid("replay", next(tmp_path.iterdir())).code == 0


def test_books_that_differ_end_with_1_and_say_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def one_nano_more(books: Books) -> dict[str, ExchangeBook]:
        theirs = exchange_books(books)
        name = max(theirs, key=lambda each: theirs[each].spend_nanos)
        more = msgspec.structs.replace(theirs[name], spend_nanos=theirs[name].spend_nanos + 1)
        return theirs | {name: more}

    monkeypatch.setattr("simulator.demo.result.exchange_books", one_nano_more)
    done = CliRunner().invoke(
        build_app(), ["demo", "--rows", "100", "--training-rows", "1000", "--out", str(tmp_path), "--json"]
    )
    assert done.exit_code == 1
    found = msgspec.json.decode(done.stdout.splitlines()[-1], type=RunResult)
    assert not found.books_agree
    (line,) = found.mismatches
    assert re.fullmatch(r"spend_nanos of campaign \S+ must be the exchange's \d+, was \d+", line)
    assert line in " ".join(done.stderr.split())
