"""A model for late conversions is judged by clicks that were watched as long as it looks ahead."""

import re
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from models.commands.calibration import _warn_of_learned
from models.dataset import TrainingTable, table_from_arrow
from models.evaluation.report import _why_unjudged
from models.reliability.report import samples_of
from models.renewal.drift import labels_of
from models.ripe import horizon_of, settled
from models.train import train_bundle
from tests.support.training import DECLARATIONS, make_table

HOUR_NS = 3_600 * 10**9
HORIZON_NS = 24 * HOUR_NS


def table(watched_h: list[float | None], click: list[float], conversion: list[float]) -> TrainingTable:
    rows = len(click)
    at_ns = np.arange(rows, dtype=np.int64) + 10**18
    until = [
        -1 if hours is None else int(at + hours * HOUR_NS) for at, hours in zip(at_ns, watched_h, strict=True)
    ]
    extras = {
        "click_at_ns": np.where(np.array(click) > 0, at_ns, -1),
        "observed_until_ns": np.array(until, dtype=np.int64),
    }
    return TrainingTable({}, at_ns, np.array(click), np.array(conversion), "t", "", extras)


ROWS = table([30, 30, 2, 2, 24, None, 2], [1, 1, 1, 1, 1, 1, 0], [1, 0, 1, 0, 0, 0, np.nan])


def test_a_young_click_counts_neither_as_converted_nor_as_not():
    assert settled(ROWS, HORIZON_NS).tolist() == [True, True, False, False, True, True, True]
    places, labels = labels_of(ROWS, "cvr", HORIZON_NS)
    assert (places.tolist(), labels.tolist()) == ([0, 1, 4, 5], [1.0, 0.0, 0.0, 0.0])
    assert samples_of(ROWS, HORIZON_NS)["cvr"].rows.tolist() == [0, 1, 4, 5]


def test_clicks_themselves_are_judged_on_all_rows():
    assert labels_of(ROWS, "ctr", HORIZON_NS)[0].tolist() == list(range(7))
    assert samples_of(ROWS, HORIZON_NS)["ctr"].rows.tolist() == list(range(7))


def test_without_a_horizon_or_without_times_all_rows_count():
    assert settled(ROWS, 0).all()
    bare = TrainingTable({}, ROWS.at_ns, ROWS.click, ROWS.conversion, "t", "")
    assert settled(bare, HORIZON_NS).all()


def test_what_clicks_of_all_ages_would_say_is_wrong():
    """Half of the conversions take more than a day; clicks are up to two days old."""
    random = np.random.default_rng(4)
    ages, waits = random.uniform(0, 48, 20_000), random.uniform(0, 48, 20_000)
    converts = random.random(20_000) < 0.4
    seen = converts & (waits <= ages)
    rows = table(ages.tolist(), [1.0] * 20_000, seen.astype(float).tolist())
    _, young = labels_of(rows, "cvr")
    _, old = labels_of(rows, "cvr", int(47 * HOUR_NS))
    assert young.mean() < 0.25
    assert old.mean() == pytest.approx(0.4, abs=0.04)


def test_the_horizon_is_the_longest_of_the_models(tmp_path):
    plain = train_bundle(
        table_from_arrow(make_table(1500), DECLARATIONS, source="t"), DECLARATIONS, tmp_path / "m"
    )
    assert horizon_of(plain, None) == 0
    report = plain.manifest.training
    late = msgspec.structs.replace(report.delay, method="elapsed", horizon_ns=HORIZON_NS)
    manifest = msgspec.structs.replace(plain.manifest, training=msgspec.structs.replace(report, delay=late))
    assert horizon_of(plain, replace(plain, manifest=manifest)) == HORIZON_NS


@pytest.mark.parametrize(
    ("click", "conversion", "said"),
    [
        ([0, 0, 0], [None, None, None], "no row was clicked"),
        ([1, 1, 0], [None, None, None], "no clicked row has a known conversion"),
        (
            [1, 1, 1],
            [1, 0, None],
            "none of 2 clicks was watched for as long as .* 1 conversion of them came so far",
        ),
    ],
)
def test_a_conversion_model_without_a_judge_says_why(click, conversion, said):
    table = SimpleNamespace(
        click=np.array(click), conversion=np.array([np.nan if one is None else one for one in conversion])
    )
    assert re.search(said, _why_unjudged(SimpleNamespace(shown=np.ones(3, dtype=np.bool_), table=table)))


@pytest.mark.parametrize(("window", "said"), [((0, 9), "5 of 20 rows (25%) lie in"), ((30, 40), "")])
def test_calibration_warns_of_rows_that_the_model_may_have_learned_from(window, said, capsys):
    bundle = SimpleNamespace(manifest=SimpleNamespace(window_ns=window))

    class Rows:
        at_ns = np.arange(5, 25, dtype=np.int64)

        def __len__(self):
            return 20

    _warn_of_learned(bundle, Rows())
    told = capsys.readouterr()
    assert told.out == ""
    assert (said in told.err) if said else told.err == ""
