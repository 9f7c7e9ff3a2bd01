"""The demo's decision log: its owner's alone."""

import asyncio
import os
from pathlib import Path

from bidder.core.messages import DECISIONS
from bidder.runtime.bus import Bus, BusSource
from simulator.demo.embedded import _write_log


def test_a_decision_log_is_its_owners_alone(tmp_path: Path) -> None:
    async def write() -> None:
        stop = asyncio.Event()
        stop.set()
        await _write_log(
            BusSource(Bus({DECISIONS: 1}), (DECISIONS,), None, True), tmp_path / "decisions.jsonl", stop
        )

    umask = os.umask(0o022)
    try:
        asyncio.run(write())
    finally:
        os.umask(umask)
    assert (tmp_path / "decisions.jsonl").stat().st_mode & 0o777 == 0o600
