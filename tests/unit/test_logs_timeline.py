"""Placing rows on a time axis and sorting logs larger than memory."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from simulator.logs.timeline import Spread, in_time_order


def tables(times, size):
    numbered = list(enumerate(times))
    for begin in range(0, len(numbered), size):
        part = numbered[begin : begin + size]
        yield pa.table(
            {
                "at_ns": pa.array([time for _, time in part], pa.int64()),
                "place": pa.array([place for place, _ in part], pa.int64()),
                "text": [f"row {place}" for place, _ in part],
            }
        )


@pytest.mark.parametrize("run_rows", [1, 10, 64, 1_000])
def test_rows_are_sorted_by_time_then_place(run_rows):
    times = np.random.default_rng(3).integers(0, 50, 300).tolist()
    rows = list(in_time_order(tables(times, 17), run_rows))
    assert rows == [
        (time, place, f"row {place}") for time, place in sorted((t, p) for p, t in enumerate(times))
    ]


def test_no_tables_give_no_rows():
    assert list(in_time_order([])) == []


def test_temporary_files_are_gone_when_reading_stops_early(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = in_time_order(tables(range(100), 10), run_rows=10)
    next(rows)
    assert list(tmp_path.iterdir())
    rows.close()
    assert list(tmp_path.iterdir()) == []


def test_times_divide_a_span_evenly_however_it_is_read():
    spread = Spread()
    parts = [np.array([7, 7]), np.array([7, 8, 7])]
    for part in parts:
        spread.count(part)
    times = [spread.times(part, np.zeros(len(part), int), np.full(len(part), 80)).tolist() for part in parts]
    assert times == [[10, 30], [50, 40, 70]]


def test_every_row_of_a_span_has_a_place_of_its_own():
    spans = np.random.default_rng(4).integers(0, 5, 1_000)
    spread = Spread()
    spread.count(spans)
    before, total = spread.places(spans)
    counts = Counter(spans.tolist())
    assert Counter(zip(spans.tolist(), before.tolist(), strict=True)) == Counter(
        (span, place) for span, count in counts.items() for place in range(count)
    )
    assert total.tolist() == [counts[span] for span in spans.tolist()]
