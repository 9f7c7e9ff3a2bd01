"""Training tables: what is read, what is refused and how, and the cut by time."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from models.dataset import read_table, split_by_time, table_from_arrow
from models.errors import TableError
from models.schema import Declaration
from tests.support.training import DECLARATIONS, make_table, write_parquet

PLAIN = (Declaration("region", "categorical"), Declaration("floor_cpm", "numeric"))


def small(**changes: object) -> pa.Table:
    columns = {
        "at_ns": [30, 10, 20],
        "click": [1, 0, 1],
        "conversion": [0, None, 1],
        "region": ["007", "3", None],
        "floor_cpm": [0.5, None, 2.0],
    }
    return pa.table({name: value for name, value in (columns | changes).items() if value is not None})


def test_rows_come_in_the_order_of_time():
    table = table_from_arrow(small(), PLAIN, source="t")
    assert table.at_ns.tolist() == [10, 20, 30]
    assert table.click.tolist() == [0.0, 1.0, 1.0]
    np.testing.assert_array_equal(table.conversion, [np.nan, 1.0, 0.0])
    assert table.columns["region"] == ["3", None, "007"]
    np.testing.assert_array_equal(table.columns["floor_cpm"], [np.nan, 2.0, 0.5])


def test_csv_and_parquet_read_the_same(tmp_path):
    arrow = small()
    write_parquet(tmp_path / "t.parquet", arrow)
    pyarrow.csv.write_csv(arrow, tmp_path / "t.csv")
    one, two = (read_table(tmp_path / name, PLAIN) for name in ("t.parquet", "t.csv"))
    assert one.columns["region"] == two.columns["region"] == ["3", None, "007"]
    np.testing.assert_array_equal(one.columns["floor_cpm"], two.columns["floor_cpm"])
    np.testing.assert_array_equal(one.conversion, two.conversion)
    assert len(one.sha256) == 64
    assert one.sha256 != two.sha256


def test_numbers_in_a_categorical_column_become_plain_texts():
    table = table_from_arrow(small(region=[220.0, float("nan"), 3.0]), PLAIN, source="t")
    assert table.columns["region"] == [None, "3", "220"]


def test_lost_bids_are_left_out_unless_they_are_asked_for():
    arrow = small(click=[1, None, 1], won=[1, 0, 1], bid_cpm_micros=[5, 4, None], bid_id=["a", "b", None])
    won = table_from_arrow(arrow, PLAIN, source="t")
    assert won.at_ns.tolist() == [20, 30]
    assert won.extras["bid_id"] == [None, "a"]
    np.testing.assert_array_equal(won.extras["bid_cpm_micros"], [np.nan, 5.0])
    everything = table_from_arrow(arrow, PLAIN, source="t", lost=True)
    assert everything.at_ns.tolist() == [10, 20, 30]
    assert np.isnan(everything.click[0])
    assert everything.slice(0, 1).extras["bid_id"] == ["b"]


def test_times_beside_the_row_keep_every_nanosecond():
    arrow = small(click_at_ns=[1_772_409_600_000_000_001, None, 23])
    found = table_from_arrow(arrow, PLAIN, source="t").extras["click_at_ns"]
    assert found.tolist() == [-1, 23, 1_772_409_600_000_000_001]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"won": [1, 1, 1], "click": [1, None, 0]}, "null on an impression"),
        ({"won": [0, 1, 1]}, "1 on a lost bid"),
        ({"won": [0, 0, 0], "click": [None, None, 0]}, "must have impressions"),
        ({"won": [2, 0, 0]}, "won must be 0 or 1"),
        ({"weight": [1.0, 0.0, 1.0]}, r"weight must be > 0: .* was 0\.0 \(row 2, t\)"),
        ({"weight": [1.0, None, 1.0]}, r"weight must be > 0: .* was nan \(row 2, t\)"),
        ({"click_at_ns": ["x", "1", "2"]}, "click_at_ns must be whole nanoseconds"),
    ],
)
def test_extras_that_cannot_be_are_refused(changes, said):
    with pytest.raises(TableError, match=said):
        table_from_arrow(small(**changes), PLAIN, source="t")


def test_content_names_a_table_that_has_no_file():
    digests = {
        table_from_arrow(small(click=click), PLAIN, source="t").sha256 for click in ([1, 0, 1], [1, 1, 1])
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"click": [1, 2, 0]}, r"click must be 0 or 1, was 2 \(row 2, t\)"),
        ({"click": [1, 0, None]}, r"click must be 0 or 1, was null \(row 3, t\)"),
        ({"click": ["1", "0", "yes"]}, r"click must be 0 or 1, was 'yes' \(row 3, t\)"),
        ({"conversion": [0, None, 7]}, r"conversion must be 0 or 1, or null .*, was 7 \(row 3, t\)"),
        ({"at_ns": [1, None, 2]}, r"at_ns must be whole nanoseconds.*, was null \(row 2, t\)"),
        ({"at_ns": ["1", "2", "noon"]}, r"at_ns must be whole nanoseconds.*, was 'noon' \(row 3, t\)"),
        ({"floor_cpm": ["1", "free", ""]}, r"floor_cpm must be a finite number.*, was 'free' \(row 2, t\)"),
        (
            {"floor_cpm": [1.0, float("inf"), 0.0]},
            r"floor_cpm must be a finite number.*, was inf \(row 2, t\)",
        ),
        ({"region": [["a"], ["b"], ["c"]]}, r"column region of t must hold texts"),
    ],
)
def test_bad_value_is_named_with_column_row_and_what_is_allowed(changes, message):
    with pytest.raises(TableError, match=message):
        table_from_arrow(small(**changes), PLAIN, source="t")


@pytest.mark.parametrize("column", ["at_ns", "click", "conversion", "region"])
def test_missing_column_is_named(column):
    with pytest.raises(TableError, match=f"must have the column {column}, has"):
        table_from_arrow(small().drop_columns([column]), PLAIN, source="t")


def test_table_without_rows_is_refused():
    with pytest.raises(TableError, match="must have rows"):
        table_from_arrow(small().slice(0, 0), PLAIN, source="t")


def test_absent_file_is_named(tmp_path):
    with pytest.raises(TableError, match=r"none\.parquet must be a file"):
        read_table(tmp_path / "none.parquet", PLAIN)


def test_unknown_kind_of_file_is_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(TableError, match=r"\.parquet or \.csv, was '\.xlsx'"):
        read_table(tmp_path / "t.xlsx", PLAIN)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_broken_file_is_one_clear_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"a,b\n1\n\xff\xfe")
    with pytest.raises(TableError, match=f"{name} must be readable") as caught:
        read_table(tmp_path / name, PLAIN)
    assert "\n" not in str(caught.value)


def test_slices_follow_each_other_in_time():
    split = split_by_time(table_from_arrow(make_table(1000), DECLARATIONS, source="t"))
    assert split.train.at_ns[-1] < split.calibration.at_ns[0]
    assert split.calibration.at_ns[-1] < split.test.at_ns[0]
    assert len(split.train) + len(split.calibration) + len(split.test) == 1000
    assert len(split.test.columns["domain"]) == len(split.test)


def test_rows_of_one_time_stay_in_one_slice():
    arrow = make_table(1000).set_column(0, "at_ns", pa.array(np.arange(1000) // 100))
    split = split_by_time(table_from_arrow(arrow, DECLARATIONS, source="t"))
    times = [set(part.at_ns.tolist()) for part in (split.train, split.calibration, split.test)]
    assert not times[0] & times[1]
    assert not times[1] & times[2]


def test_table_of_one_moment_cannot_be_cut():
    arrow = make_table(100).set_column(0, "at_ns", pa.array([7] * 100))
    with pytest.raises(TableError, match="100 rows at 1 different at_ns"):
        split_by_time(table_from_arrow(arrow, DECLARATIONS, source="t"))
