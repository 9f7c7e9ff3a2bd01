"""Real processes over an Apache Kafka, killed at random moments: the books must be the exchange's, to the nano."""

from pathlib import Path

import msgspec
import pytest

from simulator.demo.kills import KillReport
from tests.support.commands import clearbid

pytestmark = pytest.mark.kafka


def test_killed_processes_lose_double_and_overspend_nothing(apache_bootstrap: str, tmp_path: Path) -> None:
    done = clearbid(
        *("kills", "--kafka", apache_bootstrap, "--kills", 5, "--seed", 3, "--rows", 6_000),
        *("--out", tmp_path, "--json"),
        timeout_s=300,
    )
    assert done.code == 0, done.err
    report = msgspec.json.decode(done.last_line, type=KillReport)
    assert sum(report.kills.values()) == 5
    assert report.mismatches == report.own_exits == []
    assert report.overspent == {}
    assert report.wins > 100
    assert 0 < report.spend_nanos <= report.budget_nanos + report.uncovered_nanos
