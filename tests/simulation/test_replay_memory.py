"""A replay of a longer history takes no more memory."""

from pathlib import Path

import pytest

from benchmarks.bench_replay import make_history, peak_mb


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_history(tmp_path: Path, times: int) -> None:
    """A million rows would be some 270 MB as columns of the engine; each history is read a row group at a time."""
    peaks = []
    for rows in (200_000, times * 200_000):
        path = tmp_path / f"{rows}.parquet"
        make_history(path, rows, 20)
        peaks.append(peak_mb(path, rows, 20))
    assert peaks[1] < 1.1 * peaks[0]
