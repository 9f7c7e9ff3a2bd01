"""Real processes over an Apache Kafka, killed at random moments: the books must be the exchange's, to the nano."""

from pathlib import Path

import msgspec
import pytest

from simulator.demo.kills import KillReport
from tests.support.commands import clearbid

pytestmark = pytest.mark.kafka


def run(kafka: str, out: Path, kills: int, *more: object) -> KillReport:
    done = clearbid(
        *("kills", "--kafka", kafka, "--kills", kills, "--seed", 3, "--rows", 4_000, "--out", out, "--json"),
        *more,
        timeout_s=300,
    )
    assert done.code == 0, done.err
    report = msgspec.json.decode(done.last_line, type=KillReport)
    assert sum(report.kills.values()) == kills
    assert report.mismatches == report.own_exits == []
    assert report.overspent == {}
    assert report.unanswered == 0
    assert report.wins > 50
    assert 0 < report.spend_nanos <= report.budget_nanos + report.uncovered_nanos
    return report


def test_killed_processes_lose_double_and_overspend_nothing(apache_bootstrap: str, tmp_path: Path) -> None:
    run(apache_bootstrap, tmp_path, 3)


@pytest.mark.postgres
def test_two_banks_on_one_postgresql_that_are_killed_lose_nothing_either(
    apache_bootstrap: str, postgres_place: str, tmp_path: Path
) -> None:
    parts = ("--banks", 2, "--trackers", 2, "--bidders", 2)
    report = run(apache_bootstrap, tmp_path, 5, "--store", postgres_place, *parts)
    folder = next(tmp_path.iterdir())
    assert {path.stem for path in folder.glob("*.log")} >= {"bank-1", "bank-2", "track-2", "bid-2"}
    assert {path.name for path in folder.glob("*.spool")} == {"track-1.spool", "track-2.spool"}
    assert report.kills.keys() & {"bank-1", "bank-2"}, "the seed is one that kills a bank"
