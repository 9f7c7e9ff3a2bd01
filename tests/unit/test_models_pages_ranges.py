"""Rows of numbers with intervals: where the marks lie."""

import re
import xml.etree.ElementTree as ET

import pytest

from models.pages.charts import Axis, ChartIds
from models.pages.ranges import Mark, RangeRow, range_chart

AXIS = Axis("ratio", -1.0, 1.0, ((-1.0, "0.5"), (0.0, "1"), (1.0, "2")))


def drawing(*rows):
    return ET.fromstring(range_chart(ChartIds(), "Title", "What it shows", rows, AXIS, 0.0))


def row(*marks, label="a", value="1.00"):
    return RangeRow(label, value, tuple(marks))


def ends(path):
    return [float(number) for number in re.findall(r"[ML]([\d.]+) ", path.get("d"))]


def test_the_reference_is_in_the_middle_and_marks_lie_at_their_values():
    root = drawing(row(Mark(0.0, -0.5, 0.5, "spend")), row(Mark(1.0, 0.5, 9.0, "fault")))
    reference, first, second = root.findall("path")
    assert ends(reference) == [200.0, 200.0]
    assert ends(first) == [103.0, 297.0]
    assert ends(second) == [297.0, 394.0]  # what lies outside is drawn at the edge
    assert [float(dot.get("cx")) for dot in root.findall("circle")] == [200.0, 394.0]


def test_a_number_without_an_interval_is_a_dot_and_none_is_nothing():
    root = drawing(row(Mark(0.2, None, None, "spend"), Mark(None, None, None, "value")))
    assert len(root.findall("circle")) == 1
    assert len(root.findall("path")) == 1


@pytest.mark.parametrize("label", ["short", "x" * 200])
def test_labels_leave_room_for_the_number(label):
    root = drawing(row(Mark(0.0, None, None, "spend"), label=label))
    shown = next(each.text for each in root.findall("text") if each.get("class") == "row")
    assert len(shown) <= 46
    assert shown.startswith(label[:5])


def test_it_is_named_and_described_and_rows_do_not_overlap():
    root = drawing(
        row(Mark(0.0, None, None, "spend")), row(Mark(0.0, None, None, "spend"), Mark(0.1, 0.0, 0.2, "value"))
    )
    assert root.get("role") == "img"
    assert [root.find("title").text, root.find("desc").text] == ["Title", "What it shows"]
    places = [float(each.get("cy")) for each in root.findall("circle")]
    assert places == sorted(places)
    assert len(set(places)) == 3
