"""Labels from the future: refused with the columns, the row and the gap, before anything is learned."""

import pyarrow as pa
import pytest

from models.dataset import table_from_arrow
from models.errors import TableError
from models.schema import Declaration

PLAIN = (Declaration("region", "categorical"),)
S = 10**9


def rows(**changes: object) -> pa.Table:
    columns = {
        "at_ns": [10 * S, 20 * S, 30 * S],
        "click": [1, 0, 1],
        "conversion": [1, None, 0],
        "click_at_ns": [11 * S, None, 33 * S],
        "conversion_at_ns": [15 * S, None, None],
        "observed_until_ns": [90 * S, 90 * S, 90 * S],
        "region": ["a", "b", "c"],
    }
    return pa.table({name: value for name, value in (columns | changes).items() if value is not None})


def test_times_in_order_are_read():
    table = table_from_arrow(rows(), PLAIN, source="t")
    assert table.extras["conversion_at_ns"].tolist() == [15 * S, -1, -1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"click_at_ns": [9 * S, None, 33 * S]},
            r"click_at_ns must not be before at_ns, was 1.0 s before it \(row 1, t\)",
        ),
        (
            {"conversion_at_ns": [10 * S + 1, None, None]},
            r"conversion_at_ns must not be before click_at_ns, .* \(row 1",
        ),
        ({"click_at_ns": None, "conversion_at_ns": [5 * S, None, None]}, r"before at_ns, was 5.0 s before"),
        (
            {"observed_until_ns": [90 * S, 19 * S, 90 * S]},
            r"observed_until_ns must not be before at_ns, .* \(row 2",
        ),
        (
            {"observed_until_ns": [90 * S, 90 * S, 31 * S]},
            r"observed_until_ns must not be before click_at_ns.* \(row 3",
        ),
        (
            {"observed_until_ns": [14 * S, 90 * S, 90 * S]},
            r"before conversion_at_ns, was 1.0 s .*a label from the future",
        ),
        (
            {"conversion_at_ns": [15 * S, None, 40 * S]},
            r"conversion must be 1 where its time is told, was 0 \(row 3",
        ),
    ],
)
def test_what_cannot_have_happened_is_named(changes, said):
    with pytest.raises(TableError, match=said):
        table_from_arrow(rows(**changes), PLAIN, source="t")


def test_rows_are_counted_as_the_file_has_them_and_not_as_time_does():
    arrow = rows(at_ns=[30 * S, 20 * S, 10 * S], click_at_ns=[31 * S, None, 9 * S], conversion_at_ns=None)
    with pytest.raises(TableError, match=r"row 3, t"):
        table_from_arrow(arrow, PLAIN, source="t")


def test_time_of_another_goal_is_its_own_column():
    arrow = rows(churn=[0, None, 1], churn_at_ns=[None, None, 50 * S])
    table = table_from_arrow(arrow, PLAIN, source="t", goal="churn")
    assert table.extras["conversion_at_ns"].tolist() == [-1, -1, 50 * S]
    without = table_from_arrow(arrow.drop_columns(["churn_at_ns"]), PLAIN, source="t", goal="churn")
    assert "conversion_at_ns" not in without.extras
