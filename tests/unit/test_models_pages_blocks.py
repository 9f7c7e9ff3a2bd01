"""Tables of pages on a phone: what decides is in view, and a block is still heard as a table."""

import re
import xml.etree.ElementTree as ET

import pytest

from models.evaluation.page_parts import PART_COLUMNS
from models.pages.blocks import Column, document, table
from models.renewal.drift import DriftReport, Shift
from models.renewal.page import drift_page


def test_a_row_that_stacks_names_each_of_its_cells():
    html = table(
        "Found", [Column("Severity"), Column("Where"), Column("Do")], [("Blocks", "os", "mend")], stacks=True
    )
    root = ET.fromstring(html)
    cells = root.findall(".//tbody/tr/td")
    assert [(cell.get("data-label"), "".join(cell.itertext())) for cell in cells] == [
        ("Where", "os"),
        ("Do", "mend"),
    ]
    roles = [
        root.find(path).get("role") for path in ("table", "table/tbody/tr", "table/tbody/tr/th", ".//td")
    ]
    assert roles == ["table", "row", "rowheader", "cell"]
    assert "data-label" not in table("Plain", [Column("A"), Column("B")], [("a", "b")])
    style = re.search(r"@media \(max-width: 500px\) \{.*", document("t"), re.S)[0]
    assert re.search(r"\.stacks td::before \{ content: attr\(data-label\)", style)


def test_a_stacked_row_must_have_a_cell_for_each_head():
    with pytest.raises(ValueError, match="zip"):
        table("Found", [Column("Severity"), Column("Where")], [("Blocks", "os", "mend")], stacks=True)


def test_what_decides_stands_next_to_the_name():
    assert [column.header for column in PART_COLUMNS[:2]] == ["Part", "Off"]
    shift = Shift(
        name="segment:" + "long" * 9, kind="categorical", judged=True, psi=0.3, psi_limit=0.2, ks=None, ks_limit=None,
        missing=(0.0, 0.0), level="alarm", words="PSI 0.300, alarm above 0.200",
    )  # fmt: skip
    report = DriftReport(
        rows=(9, 9), windows_ns=((0, 1), (2, 3)), features=(shift,), predictions=(), calibration=()
    )
    html = drift_page(report, "m")
    row = re.search(r'<th scope="row">segment:(?:long)+</th><td>(\w+)</td>', html)
    assert row[1] == "alarm"
    # A long name breaks rather than run into the numbers beside it.
    assert re.search(r"th:first-child \{[^}]*overflow-wrap: anywhere", html)
