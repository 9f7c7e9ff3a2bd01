"""The benchmark beside a rival: one that is not there is said to be missing, with what to do; figures are ratios."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import bench_simulators as bench


def test_an_interpreter_without_the_rival_is_named() -> None:
    with pytest.raises(bench.RivalError, match="No module named 'rtbgym'"):
        bench.rival(sys.executable, 10, 10)
    with pytest.raises(bench.RivalError, match="cannot be run"):
        bench.rival("/no/such/python", 10, 10)


def test_without_a_rival_our_figures_stand_alone_and_it_is_said_how_to_get_it() -> None:
    found, versions, why = bench.measured("", 3_000, 1)
    assert set(found) == {"sweep", "controller", "engine", "engine, read"}
    assert not versions
    out = io.StringIO()
    bench.show(found, versions, why, Console(file=out, width=200))
    assert "scope-rl==0.2.1" in out.getvalue()


def test_ratios_are_to_each_row_of_the_rival(tmp_path: Path) -> None:
    """A stand-in that says what a rival would."""
    stand_in = tmp_path / "python"
    said = '{"auctions": 5000, "cpu_s": 0.5, "volume": 0, "versions": {"scope-rl": "0.2.1"}}'
    stand_in.write_text(f"#!/bin/sh\necho '{said}'\n")
    stand_in.chmod(0o755)
    assert bench.rival(str(stand_in), 10, 10)["auctions"] == 5_000
    out = io.StringIO()
    bench.show({"sweep": [30_000.0], "rtbgym, 200 a step": [10_000.0]}, {}, "", Console(file=out, width=200))
    assert "3.00" in out.getvalue()
