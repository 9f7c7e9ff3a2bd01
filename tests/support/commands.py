"""The command as a stranger runs it: a process of its own, by this very interpreter."""

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.data import ROOT

_RUN = "from bidder.cli.main import main; main()"


class Ended(NamedTuple):
    """How a command ended; `seconds` of wall time."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line of what it printed."""
        return self.out.splitlines()[-1]


def command_line(*arguments: object) -> list[str]:
    """What to start for `clearbid ARGUMENTS`."""
    return [sys.executable, "-c", _RUN, *map(str, arguments)]


def clearbid(*arguments: object, timeout_s: float = 120, cwd: Path = ROOT) -> Ended:
    """Runs `clearbid ARGUMENTS` to its end."""
    began_s = time.monotonic()
    done = subprocess.run(
        command_line(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began_s)


def assert_one_line(ended: Ended, code: int, *words: str) -> None:
    """It failed with `code` and one line of ours on standard error, in which all of `words` stand."""
    assert ended.code == code, ended
    assert ended.err.startswith("clearbid: error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert word in ended.err
