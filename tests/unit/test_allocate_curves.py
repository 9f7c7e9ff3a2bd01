"""The file of response curves: what it takes, and what it says of what it does not take."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bidder.core.responses import points_of
from bidder.errors import InputError
from simulator.allocate.curves import MEASURES, SCHEMA, read_curves, write_curves
from tests.support.response_curves import BOOKS, GRID, SHOES, rows_of


@pytest.mark.parametrize("name", ["curves.parquet", "curves.json"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    rows = rows_of((SHOES, BOOKS), draws=2)
    write_curves(tmp_path / name, rows)
    found = read_curves(tmp_path / name)
    assert found.names == ("books", "shoes")
    assert (found.draws, found.current) == (3, {"shoes": 100 * 10**9, "books": 100 * 10**9})
    assert found.budgets[1].tolist() == [round(share * 100e9) for share in GRID]
    values = np.array(rows["value_nanos"]).reshape(2, 3, len(GRID))[0]
    assert found.columns["value_nanos"][1].tolist() == values.tolist()
    drawn = found.responses(MEASURES["value"], 2)[1]
    assert drawn.points.values[1:] == tuple(values[2].tolist())
    assert found.extrapolated(0, 100 * 10**9) == pytest.approx(0.1)


def test_rows_may_come_in_any_order_and_other_columns_are_left_alone(tmp_path: Path) -> None:
    rows = rows_of((SHOES, BOOKS), draws=1, current=False)
    write_curves(tmp_path / "a.parquet", rows)
    turned = pa.table({name: cells[::-1] for name, cells in rows.items()}, schema=SCHEMA)
    pq.write_table(turned.append_column("note", pa.array(["x"] * turned.num_rows)), tmp_path / "b.parquet")
    first, second = read_curves(tmp_path / "a.parquet"), read_curves(tmp_path / "b.parquet")
    assert [each.tolist() for each in first.columns["clicks"]] == [
        each.tolist() for each in second.columns["clicks"]
    ]
    assert (second.current, second.names) == ({}, first.names)


def changed(name: str, row: int, cell: object) -> list[dict[str, Any]]:
    """JSON rows with one cell, counted from 1, changed."""
    rows = rows_of((SHOES,), draws=1)
    listed = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
    listed[row - 1][name] = cell
    return listed


@pytest.mark.parametrize(
    ("name", "row", "cell", "said"),
    [
        (
            "budget_nanos",
            3,
            -1,
            "budget_nanos of row 3 of c.json must be from 0 to 9000000000000000000, was -1",
        ),
        ("budget_nanos", 3, None, "budget_nanos of row 3 of c.json must be a number, was null"),
        ("budget_nanos", 3, True, "budget_nanos of row 3 of c.json must be a number, was true"),
        ("budget_nanos", 3, 1.5, "budget_nanos of c.json must be int64, was double"),
        ("campaign", 2, 7, "campaign of row 2 of c.json must be text, was 7"),
        ("campaign", 2, "", "campaign of row 2 of c.json must not be empty"),
        ("extrapolated", 4, 1.5, "extrapolated of row 4 of c.json must be from 0 to 1, was 1.5"),
        ("value_nanos", 5, -0.5, "value_nanos of row 5 of c.json must be from 0"),
        ("clicks", 1, "many", 'clicks of row 1 of c.json must be a number, was "many"'),
        ("current_nanos", 1, 0, "current_nanos of row 1 of c.json must be from 1 to"),
        ("current_nanos", 1, 5, "current_nanos of campaign shoes in c.json must be one amount"),
        ("draw", 1, 5, "campaign shoes in c.json must have draws 0 to 5 with the same budgets each"),
        (
            "budget_nanos",
            28,
            31 * 10**9,
            "budget_nanos of row 28 of c.json must be 30000000000, as draw 0 of campaign",
        ),
        (
            "budget_nanos",
            2,
            10**10,
            "must stand once for draw 0 of campaign shoes, was 10000000000 again",
        ),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, name: str, row: int, cell: object, said: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(changed(name, row, cell)))
    with pytest.raises(InputError) as error:
        read_curves(tmp_path / "c.json")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.csv", "x", "c.csv must end in .parquet or .json"),
        ("c.json", "{", "c.json must be a readable file of response curves"),
        ("c.json", "{}", "c.json must be a JSON array of objects"),
        ("c.json", "[]", "c.json must have rows, has none"),
        ("c.json", '[{"campaign": "a"}]', "row 1 of c.json must have draw, has none"),
        ("c.parquet", "no", "c.parquet must be a readable file"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_curves(tmp_path / name)


def test_parquet_without_a_column_or_with_nulls_is_named(tmp_path: Path) -> None:
    rows = rows_of((SHOES,), current=False)
    table = pa.table(rows, schema=SCHEMA)
    pq.write_table(table.drop_columns(["clicks", "draw"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has no draw, clicks"):
        read_curves(tmp_path / "a.parquet")
    place = table.column_names.index("clicks")
    nulls = pa.array([*rows["clicks"][:-1], None], pa.float64())
    pq.write_table(table.set_column(place, "clicks", nulls), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=f"clicks of row {len(GRID)} of b.parquet must be there, was null"):
        read_curves(tmp_path / "b.parquet")


def test_a_share_that_rounding_put_above_one_is_one(tmp_path: Path) -> None:
    rows = rows_of((SHOES,))
    rows["extrapolated"] = [1.0 + 2e-16 * 4] * len(rows["draw"])
    write_curves(tmp_path / "a.parquet", rows)
    assert read_curves(tmp_path / "a.parquet").extrapolated(0, 10**10) == 1.0


def test_only_the_columns_of_the_format_are_written(tmp_path: Path) -> None:
    rows = rows_of((SHOES,))
    with pytest.raises(InputError, match="columns of curves must be"):
        write_curves(tmp_path / "a.parquet", {**rows, "extra": rows["clicks"]})
    with pytest.raises(InputError, match=r"a\.txt must end in"):
        write_curves(tmp_path / "a.txt", rows)


def test_points_never_fall_begin_at_nothing_and_take_no_nonsense() -> None:
    points = points_of("one", [30, 10, 20], [4.0, 3.0, 2.0])
    assert points.budgets == (0, 10, 20, 30)
    assert points.values == (0.0, 3.0, 3.0, 4.0)
    assert points.spend(15) == 15.0
    for budgets, values in (
        ([10, 10], [1.0, 2.0]),
        ([0], [0.0]),
        ([], []),
        ([10], [float("nan")]),
        ([10], [-1.0]),
    ):
        with pytest.raises(InputError, match="one"):
            points_of("one", budgets, values)
