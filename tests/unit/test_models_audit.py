"""The audit: every check finds its fault, and only that; a sound table is ready; the page says the same."""

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from models.audit.audit import audit_table
from models.audit.columns import auc_alone
from models.audit.drift import drift_of
from models.audit.findings import Audit
from models.audit.labels import wilson
from models.audit.page import render
from models.commands import register
from models.errors import TableError
from models.renewal.drift import Bounds, _Judge
from models.schema import Declaration
from tests.support.training import write_parquet

DAY_NS, HOUR_NS = 86_400 * 10**9, 3_600 * 10**9
ROWS = 8_000
DECLARATIONS = (
    Declaration("domain", "categorical"),
    Declaration("floor_cpm", "numeric"),
    Declaration("campaign", "categorical", "campaign"),
)


def sound(seed: int = 3, **changes: Any) -> pa.Table:
    """Ten days with a fifth of clicks, nearly all of which come to something; `None` leaves a column out."""
    random = np.random.default_rng(seed)
    domain, campaign = random.integers(0, 8, ROWS), random.integers(0, 3, ROWS)
    click = (random.random(ROWS) < 0.22 + 0.04 * domain).astype(int)
    at = np.sort(random.integers(0, 10 * DAY_NS, ROWS)) + 20_000 * DAY_NS
    columns: dict[str, Any] = {
        "at_ns": at,
        "click": click,
        "conversion": [int(random.random() < 0.6) if one else None for one in click],
        "domain": [f"d{one}" for one in domain],
        "floor_cpm": random.exponential(1.0, ROWS),
        "campaign": [f"c{one}" for one in campaign],
    } | changes
    return pa.table({name: values for name, values in columns.items() if values is not None})


def audited(tmp_path: Any, table: pa.Table, *more: Declaration, **options: Any) -> Audit:
    return audit_table(write_parquet(tmp_path / "t.parquet", table), (*DECLARATIONS, *more), **options)


def faults(found: Audit) -> set[tuple[str, str, str]]:
    return {(one.severity, one.check, one.column) for one in found.findings}


def clicks() -> np.ndarray:
    return np.asarray(sound()["click"])


def test_a_sound_table_is_ready(tmp_path):
    found = audited(tmp_path, sound())
    assert faults(found) == set()
    assert found.verdict == "ready"
    assert found.rows == ROWS == sum(day.rows for day in found.days)
    assert found.labels[0].events == clicks().sum() == sum(day.clicks for day in found.days)


def _times(click_after: int, convert_after: int, until: int) -> dict[str, Any]:
    """Times of clicks and conversions, relative to the row's own; everybody who clicked converted."""
    at, click = np.asarray(sound()["at_ns"]), clicks()
    return {
        "conversion": [1 if one else None for one in click],
        "click_at_ns": [int(t + click_after) if one else None for t, one in zip(at, click, strict=True)],
        "conversion_at_ns": [
            int(t + click_after + convert_after) if one else None for t, one in zip(at, click, strict=True)
        ],
        "observed_until_ns": at + until,
    }


def _no_event_after(day: int) -> list[int]:
    at, click = np.asarray(sound()["at_ns"]), clicks()
    return np.where(at - at[0] > day * DAY_NS, 0, click).tolist()


def test_a_label_from_the_future_is_told_with_its_row_its_time_and_how_much_too_early(tmp_path):
    table = sound()
    at = np.asarray(table["at_ns"])
    early = [None] * ROWS
    early[40] = int(at[40]) - 3 * DAY_NS - 5 * HOUR_NS
    table = table.append_column("click_at_ns", pa.array(early, pa.int64()))
    backwards = table.take(pa.array(np.arange(ROWS)[::-1]))  # the row is that of the file, whatever its order
    (fault,) = [one for one in audited(tmp_path, backwards).findings if one.check == "time order"]
    when = datetime.fromtimestamp(int(at[40]) // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert fault.said == (
        f"1 row has click_at_ns before at_ns, the first by 3 d 5 h: row {ROWS - 40} of t.parquet, shown at {when}"
    )


RANDOM = np.random.default_rng(9)
LEAK = clicks() + RANDOM.normal(0, 0.2, ROWS)
HINT = clicks() + RANDOM.normal(0, 0.8, ROWS)
FAULTS: dict[str, tuple[dict[str, Any], tuple[Declaration, ...], tuple[str, str, str]]] = {
    "few clicks": (
        {"click": [int(place < 19) for place in range(ROWS)], "conversion": [None] * ROWS},
        (),
        ("block", "volume", "click"),
    ),
    "one class": ({"click": [1] * ROWS}, (), ("block", "volume", "click")),
    "some clicks": (
        {"click": (RANDOM.random(ROWS) < 0.05).astype(int), "conversion": [None] * ROWS},
        (),
        ("care", "volume", "click"),
    ),
    "no conversions": ({"conversion": [None] * ROWS}, (), ("care", "volume", "conversion")),
    "a campaign with few": (
        {"campaign": ["new" if place < 40 else "old" for place in range(ROWS)]},
        (),
        ("note", "volume", "campaign"),
    ),
    "two days": (
        {"at_ns": np.sort(RANDOM.integers(0, 2 * DAY_NS, ROWS)), "click": clicks()},
        (),
        ("care", "time span", ""),
    ),
    "a hole": (
        {"at_ns": np.where(np.arange(ROWS) < 4_000, np.arange(ROWS), np.arange(ROWS) + 864) * 10**11},
        (),
        ("care", "time span", ""),
    ),
    "one moment": ({"at_ns": [5] * ROWS}, (), ("block", "time span", "at_ns")),
    "tracking broke": ({"click": _no_event_after(8), "conversion": None}, (), ("care", "label rate", "click")),
    "click before its row": (_times(-1, 5, DAY_NS), (), ("block", "time order", "click_at_ns")),
    "conversion before click": (_times(5, -1, DAY_NS), (), ("block", "time order", "conversion_at_ns")),
    "conversion after the look": (_times(5, DAY_NS, DAY_NS), (), ("block", "time order", "observed_until_ns")),
    "young clicks": (_times(5, 20 * HOUR_NS, 20 * HOUR_NS + 5), (), ("note", "delay", "conversion")),
    "late, unwatched": (
        _times(5, 20 * HOUR_NS, DAY_NS) | {"observed_until_ns": None},
        (),
        ("care", "delay", "conversion"),
    ),
    "repeated bids": ({"bid_id": ["b"] * ROWS}, (), ("block", "repeats", "bid_id")),
    "uneven weights": (
        {"weight": [1_000.0 if place % 100 == 0 else 1.0 for place in range(ROWS)]},
        (),
        ("care", "weights", "weight"),
    ),
    "all missing": (
        {"os": pa.nulls(ROWS, pa.string())},
        (Declaration("os", "categorical"),),
        ("block", "missing", "os"),
    ),
    "much missing": (
        {"os": ["ios" if RANDOM.random() < 0.3 else None for _ in range(ROWS)]},
        (Declaration("os", "categorical"),),
        ("care", "missing", "os"),
    ),
    "constant": ({"os": ["ios"] * ROWS}, (Declaration("os", "categorical"),), ("note", "constant", "os")),
    "an id": (
        {"page": [f"p{place}" for place in range(ROWS)]},
        (Declaration("page", "categorical"),),
        ("care", "cardinality", "page"),
    ),
    "rare values": (
        {"page": [f"p{int(one)}" for one in RANDOM.integers(0, 1_500, ROWS)]},
        (Declaration("page", "categorical"),),
        ("care", "cardinality", "page"),
    ),
    "the label": ({"seen": clicks() * 3.0}, (Declaration("seen", "numeric"),), ("block", "leak", "seen")),
    "the label, or missing": (
        {"seen": ["x" if one else None for one in clicks()]},
        (Declaration("seen", "categorical"),),
        ("block", "leak", "seen"),
    ),
    "nearly the label": ({"dwell": LEAK}, (Declaration("dwell", "numeric"),), ("block", "leak", "dwell")),
    "turned round": ({"dwell": -LEAK}, (Declaration("dwell", "numeric"),), ("block", "leak", "dwell")),
    "a text that tells": (
        {"way": ["thanks" if one and RANDOM.random() < 0.95 else "shop" for one in clicks()]},
        (Declaration("way", "categorical"),),
        ("block", "leak", "way"),
    ),
    "a strong hint": (
        {"dwell": clicks() + RANDOM.normal(0, 0.6, ROWS)},
        (Declaration("dwell", "numeric"),),
        ("care", "leak", "dwell"),
    ),
    "missing tells": (
        {"way": ["x" if RANDOM.random() < 0.2 + 0.7 * one else None for one in clicks()]},
        (Declaration("way", "categorical"),),
        ("care", "leak", "way"),
    ),
    "a name of later": (
        {"price_paid": RANDOM.random(ROWS)},
        (Declaration("price_paid", "numeric"),),
        ("care", "leak", "price_paid"),
    ),
    "a shift within": (
        {"domain": ["new" if place > ROWS * 0.8 else "old" for place in range(ROWS)]},
        (),
        ("care", "serving", "domain"),
    ),
    "a shifted number": (
        {"floor_cpm": [1.0 + (place > ROWS * 0.85) + RANDOM.random() for place in range(ROWS)]},
        (),
        ("care", "serving", "floor_cpm"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_check_finds_its_fault(tmp_path, name):
    changes, declarations, wanted = FAULTS[name]
    if "conversion" in changes and changes["conversion"] is None:
        changes = changes | {"conversion": [None] * ROWS}
    found = audited(tmp_path, sound(**changes), *declarations)
    assert wanted in faults(found)
    assert all(one.said and (one.do or one.severity == "note") for one in found.findings)


def test_a_weak_feature_is_no_leak(tmp_path):
    found = audited(tmp_path, sound(dwell=HINT), Declaration("dwell", "numeric"))
    assert found.columns[-1].auc == pytest.approx(0.81, abs=0.02)
    assert faults(found) == set()


def test_clicks_that_were_watched_long_enough_need_no_correction(tmp_path):
    found = audited(tmp_path, sound(**_times(5, 20 * HOUR_NS, 20 * HOUR_NS + 5)))
    (delay,) = (one for one in found.findings if one.check == "delay")
    assert (delay.severity, delay.do) == ("note", "")


def test_clicks_that_were_watched_too_shortly_need_a_correction(tmp_path):
    """Conversions take up to 20 hours; every other click was watched for five."""
    times = _times(5, 0, 0)
    waits = np.random.default_rng(2).integers(0, 20 * HOUR_NS, ROWS)
    watched = np.where(np.arange(ROWS) % 2 == 0, 48 * HOUR_NS, 5 * HOUR_NS)
    clicked = times["click_at_ns"]
    times["conversion_at_ns"] = [
        None if at is None or wait > long else int(at + wait)
        for at, wait, long in zip(clicked, waits, watched, strict=True)
    ]
    times["observed_until_ns"] = np.asarray(sound()["at_ns"]) + 5 + watched
    (delay,) = (one for one in audited(tmp_path, sound(**times)).findings if one.check == "delay")
    assert delay.severity == "care"
    assert "51% of the clicks were watched for less than that" in delay.said
    assert "correction" in delay.do


def test_rows_that_are_there_twice_are_found(tmp_path):
    table = sound()
    twice = pa.concat_tables([table, table.slice(0, 400)])
    assert ("care", "repeats", "") in faults(audited(tmp_path, twice))
    few = pa.concat_tables([table, table.slice(0, 40)])
    assert ("care", "repeats", "") not in faults(audited(tmp_path, few))


def test_another_table_stands_for_what_is_served(tmp_path):
    other = write_parquet(tmp_path / "s.parquet", sound(seed=4, domain=["elsewhere"] * ROWS))
    found = audited(tmp_path, sound(), serve=other)
    assert found.other == "s.parquet"
    assert ("care", "serving", "domain") in faults(found)
    domain = found.columns[0]
    assert domain.unseen == 1.0
    assert domain.psi is not None
    assert domain.psi > 1
    same = write_parquet(tmp_path / "s.parquet", sound(seed=4))
    assert faults(audited(tmp_path, sound(), serve=same)) == set()


def test_a_served_table_without_a_feature_is_refused(tmp_path):
    other = write_parquet(tmp_path / "s.parquet", sound().drop_columns(["floor_cpm"]))
    with pytest.raises(TableError, match="must have the feature floor_cpm"):
        audited(tmp_path, sound(), serve=other)


def test_lost_bids_are_not_audited(tmp_path):
    table = sound(won=[int(place % 2 == 0) for place in range(ROWS)], click=None)
    click = [int(one) if place % 2 == 0 else None for place, one in enumerate(clicks())]
    assert audited(tmp_path, table.append_column("click", pa.array(click))).rows == ROWS // 2


def test_a_csv_says_the_same(tmp_path):
    import pyarrow.csv

    table = sound(dwell=LEAK)
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    declarations = (*DECLARATIONS, Declaration("dwell", "numeric"))
    one = audit_table(tmp_path / "t.csv", declarations)
    two = audited(tmp_path, table, Declaration("dwell", "numeric"))
    assert faults(one) == faults(two)
    assert [column.auc for column in one.columns] == pytest.approx([column.auc for column in two.columns])


def test_a_number_alone_is_judged_as_scikit_learn_does():
    click = clicks().astype(float)
    half = ROWS // 2
    codes = np.arange(ROWS)
    assert auc_alone(LEAK, codes, click) == pytest.approx(roc_auc_score(click[half:], LEAK[half:]))


def test_an_id_knows_nothing_of_rows_that_it_did_not_see():
    assert auc_alone(None, np.arange(ROWS), clicks().astype(float)) == 0.5


def test_audit_and_drift_say_the_same_of_a_column():
    random = np.random.default_rng(6)
    numbers = [np.where(random.random(900) < 0.1, np.nan, random.normal(at, 1, 900)) for at in (0, 1)]
    texts = [[f"d{one}" if one else None for one in random.poisson(mean, 900)] for mean in (2, 9)]
    judge = _Judge(Bounds(), 1)
    index, unseen, _ = drift_of("x", "numeric", *(pa.array(each) for each in numbers))
    assert (index, unseen) == (judge.numbers("x", *numbers).psi, None)
    index, unseen, _ = drift_of("x", "categorical", *(pa.array(each) for each in texts))
    assert index == judge.categories("x", *texts).psi > 0.25
    known = set(texts[0])
    assert unseen == sum(one is not None and one not in known for one in texts[1]) / 900


def test_wilson_by_the_published_example():
    # Newcombe 1998, table I: 15 of 148, method 3.
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


# -- page and command ---------------------------------------------------------------------------------------------


def test_the_page_says_what_was_found_and_escapes_it(tmp_path):
    bad = sound(price_paid=RANDOM.random(ROWS), domain=["<b>&"] * ROWS)
    found = audited(
        tmp_path, bad, Declaration("price_paid", "numeric"), Declaration("os", "categorical", optional=True)
    )
    page = render(found)
    said = "".join(ET.fromstring(page).itertext())
    assert "one thing should be looked at" in said
    assert all(one.said[1:] in said and one.do in said for one in found.findings)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def run(*arguments: object) -> Any:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["models", "audit", *map(str, arguments)])


SPEC = """
[[feature]]
name = "domain"
kind = "categorical"
[[feature]]
name = "floor_cpm"
kind = "numeric"
"""


def test_the_command_prints_a_verdict_and_ends_by_it(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    good = write_parquet(tmp_path / "good.parquet", sound())
    bad = write_parquet(tmp_path / "bad.parquet", sound(bid_id=["b"] * ROWS))
    options = ("--features", tmp_path / "spec.toml")
    ended = run(good, *options, "--json")
    assert ended.exit_code == 0
    assert json.loads(ended.stdout)["verdict"] == "ready"
    ended = run(bad, *options, "--page", tmp_path / "page.html")
    assert ended.exit_code == 1
    assert "not ready" in ended.stdout
    page = ET.fromstring((tmp_path / "page.html").read_text())
    assert "rows repeat a bid_id" in "".join(page.itertext())


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    ended = run(tmp_path / "none.parquet")
    assert isinstance(ended.exception, TableError)
    assert "none.parquet must be a file" in str(ended.exception)
