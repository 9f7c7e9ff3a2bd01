"""Where a forecast begins by default."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simulator.forecast.asked import hour_after

HOUR_NS = 3_600 * 10**9


@pytest.mark.parametrize(
    ("times", "hours"),
    [([5, 23 * HOUR_NS + HOUR_NS - 1, 22 * HOUR_NS], 24), ([0], 1), ([HOUR_NS], 2), ([HOUR_NS - 1], 1)],
)
def test_a_flight_begins_with_the_first_whole_hour_after_the_history(
    tmp_path: Path, times: list[int], hours: int
) -> None:
    pq.write_table(pa.table({"offered_ns": times}), tmp_path / "h.parquet")
    assert hour_after(tmp_path / "h.parquet") == hours * HOUR_NS
