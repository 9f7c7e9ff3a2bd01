"""`clearbid demo --kafka`: exchange, bidder, bank and tracker as processes of their own over an Apache Kafka."""

import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from simulator.report import RunResult
from simulator.report.summary import books_verdict, sum_checks
from tests.support.commands import clearbid, command_line

pytestmark = pytest.mark.kafka
ROWS = 2_000
PARTS = {"bank", "bid", "exchange", "track"}


def running(folder: Path) -> dict[int, str]:
    """Processes that were given a path in `folder`, by pid: what they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, NotADirectoryError):
            continue  # no process, or one that has just ended
        if entry.name.isdecimal() and any(str(folder).encode() in word for word in words):
            found[int(entry.name)] = next((w.decode() for w in words if w.decode() in PARTS), "demo")
    return found


def wait_until(folder: Path, parts: set[str], seconds: float) -> set[str]:
    """What runs when that is exactly `parts`, or when patience ends."""
    ends_s = time.monotonic() + seconds
    while (now := set(running(folder).values())) != parts and time.monotonic() < ends_s:
        time.sleep(0.1)
    return now


def arguments(bootstrap: str, out: Path) -> list[object]:
    return ["demo", "--kafka", bootstrap, "--rows", ROWS, "--training-rows", 4_000, "--out", out, "--json"]


def test_four_processes_end_with_books_that_agree(apache_bootstrap: str, tmp_path: Path) -> None:
    done = clearbid(*arguments(apache_bootstrap, tmp_path), timeout_s=240)
    assert done.code == 0, done.err
    result = msgspec.json.decode(done.last_line, type=RunResult)
    assert books_verdict(result)
    assert all(check.holds for check in sum_checks(result))
    assert result.requests == ROWS
    assert result.wins > ROWS // 20
    assert all(campaign.spend_nanos <= campaign.budget_nanos for campaign in result.campaigns)
    (folder,) = tmp_path.iterdir()
    assert (folder / "report.html").exists()
    assert running(tmp_path) == {}
    replayed = clearbid("replay", folder)
    assert replayed.code == 0, replayed.err + replayed.out


def test_a_demo_that_is_told_to_stop_leaves_no_process_behind(apache_bootstrap: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        command_line(*arguments(apache_bootstrap, tmp_path)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as demo:
        try:
            assert wait_until(tmp_path, {"demo", *PARTS}, 60) == {"demo", *PARTS}
            demo.send_signal(signal.SIGTERM)
            _, said = demo.communicate(timeout=30)
            left = running(tmp_path)
        finally:
            demo.kill()
            for pid in running(tmp_path):
                os.kill(pid, signal.SIGKILL)
    assert demo.returncode == 130
    assert b"Traceback" not in said
    assert left == {}
