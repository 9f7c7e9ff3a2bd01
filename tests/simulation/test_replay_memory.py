"""A replay of a history that is ten times as long takes no more memory."""

from pathlib import Path

import pytest

from benchmarks.bench_replay import make_history, peak_mb


@pytest.mark.slow
def test_memory_does_not_grow_with_the_history(tmp_path: Path) -> None:
    """All of the longer history would be some 400 MB as columns of the engine; both hold a row group at a time."""
    peaks = {}
    for rows in (150_000, 1_500_000):
        path = tmp_path / f"{rows}.parquet"
        make_history(path, rows, 20)
        peaks[rows] = peak_mb(path, rows, 20)
    assert peaks[1_500_000] < 1.15 * peaks[150_000]
