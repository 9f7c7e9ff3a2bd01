"""Steps of training beside the models: slices, checks of the table, parameters, the search for better ones."""

import re
import sys

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from models.artifact import load_bundle
from models.dataset import TrainingTable, table_from_arrow
from models.errors import ArtifactError, TableError
from models.keys import keys_listed, load_keys
from models.renewal.settings import RenewalSettings, load_settings
from models.schema import Declaration
from models.scorer import Scorer
from models.train import TrainParams, train_bundle
from models.training.params import check_params, load_params
from models.training.split import split_table
from tests.support.training import DECLARATIONS, make_table

PARAMS = TrainParams(num_threads=1, max_rounds=20, fixed_rounds=5)


def read(arrow: pa.Table, *declarations: Declaration, keep: tuple[str, ...] = ()) -> TrainingTable:
    return table_from_arrow(arrow, declarations or DECLARATIONS, source="t", keep=keep)


def with_groups(groups: list[str | None], rows: int = 1000) -> TrainingTable:
    arrow = make_table(rows).append_column("day", pa.array((groups * rows)[:rows], pa.string()))
    return read(arrow, keep=("day",))


def test_groups_stay_whole_and_shares_are_near():
    table = with_groups([f"d{k}" for k in range(50)])
    split = split_table(table, msgspec.structs.replace(PARAMS, split_by="day"), 1)
    parts = (split.train, split.calibration, split.test)
    days = [set(part.extras["day"]) for part in parts]
    assert not days[0] & days[1]
    assert not days[0] & days[2]
    assert not days[1] & days[2]
    assert sum(map(len, parts)) == 1000
    assert len(split.test) == pytest.approx(150, abs=40)
    assert all((np.diff(part.at_ns) >= 0).all() for part in parts)
    again = split_table(table, msgspec.structs.replace(PARAMS, split_by="day"), 1)
    assert again.test.at_ns.tolist() == split.test.at_ns.tolist()
    other = split_table(table, msgspec.structs.replace(PARAMS, split_by="day"), 2)
    assert set(other.test.extras["day"]) != days[2]


def test_three_groups_make_three_slices_whatever_their_size():
    table = with_groups(["a"] * 96 + ["b", "c", None, None])
    split = split_table(table, msgspec.structs.replace(PARAMS, split_by="day"), 1)
    assert min(len(split.train), len(split.calibration), len(split.test)) >= 10


def test_two_groups_cannot_be_cut():
    with pytest.raises(TableError, match="column day of t must have 3 or more values, had 2"):
        split_table(with_groups(["a", "b"]), msgspec.structs.replace(PARAMS, split_by="day"), 1)


def test_column_to_split_by_must_have_been_read():
    with pytest.raises(TableError, match=r"split_by must be 'time' or a column .* was 'day'"):
        split_table(read(make_table(100)), msgspec.structs.replace(PARAMS, split_by="day"), 1)


def empty(name: str, kind: pa.DataType) -> pa.Table:
    arrow = make_table(600)
    return arrow.set_column(arrow.column_names.index(name), name, pa.nulls(600, kind))


@pytest.mark.parametrize(
    ("name", "kind"), [("domain", pa.string()), ("floor_cpm", pa.float64()), ("domain", pa.null())]
)
def test_column_without_any_value_is_refused_or_left_out(name, kind, tmp_path):
    table = read(empty(name, kind))
    with pytest.raises(TableError, match=f"column {name} of t must hold values, all 600 are missing: mend"):
        train_bundle(table, DECLARATIONS, tmp_path / "m", params=PARAMS)
    assert not (tmp_path / "m").exists()
    bundle = train_bundle(
        table, DECLARATIONS, tmp_path / "m", params=msgspec.structs.replace(PARAMS, drop_missing=True)
    )
    assert bundle.manifest.training.left_out == (name,)
    assert name not in bundle.spec.names


def test_optional_column_without_any_value_is_left_out_and_named(tmp_path):
    optional = (Declaration("domain", "categorical", optional=True), Declaration("exchange", "categorical"))
    table = read(empty("domain", pa.string()), *optional)
    bundle = train_bundle(table, optional, tmp_path / "m", params=PARAMS)
    assert bundle.manifest.training.left_out == ("domain",)


def test_table_without_any_value_in_any_column_is_refused(tmp_path):
    only = (Declaration("domain", "categorical", optional=True),)
    with pytest.raises(TableError, match="must have a feature with values"):
        train_bundle(read(empty("domain", pa.string()), *only), only, tmp_path / "m", params=PARAMS)


@pytest.mark.parametrize(("label", "said"), [(0, "is no click"), (1, "are clicks only")])
def test_labels_of_one_class_are_refused(label, said, tmp_path):
    arrow = make_table(600)
    arrow = arrow.set_column(1, "click", pa.array([label] * 600))
    with pytest.raises(TableError, match=f"click must be 0 in some .* of t to learn from, there {said}"):
        train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=PARAMS)
    params = msgspec.structs.replace(PARAMS, allow_prior=True)
    bundle = train_bundle(read(arrow), DECLARATIONS, tmp_path / "m", params=params)
    assert bundle.manifest.models["ctr"].kind == "prior"
    Scorer(load_bundle(bundle.path))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"negative_rate": 0.0}, "negative_rate must be above 0 and at most 1, was 0.0"),
        ({"negative_rate": 1.5}, "negative_rate must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"max_rounds": 0}, "max_rounds must be 1 or more, was 0"),
    ],
)
def test_parameters_out_of_range_are_named(params, said):
    with pytest.raises(TableError, match=said):
        check_params(TrainParams(**params))


def test_parameters_of_a_file(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('num_leaves = 16\ndelay = "none"\n')
    assert load_params(path) == TrainParams(num_leaves=16, delay="none")
    for text, said in (
        (
            "rounds = 3",
            r"unknown key rounds in .*p\.toml; nearest: max_rounds, .*; allowed: num_leaves, learn",
        ),
        ("colour = 3", r"unknown key colour in .*p\.toml; allowed: num_leaves, "),
        ('delay = "later"', "delay"),
        ("num_leaves = ", "TOML"),
    ):
        path.write_text(text)
        with pytest.raises(TableError, match=said):
            load_params(path)
    with pytest.raises(TableError, match=r"none\.toml must be a file, is not there"):
        load_params(tmp_path / "none.toml")


@pytest.mark.parametrize("kind", [TrainParams, RenewalSettings])
def test_the_list_of_keys_is_a_file_of_all_of_them_at_their_defaults_each_with_its_words(kind, tmp_path):
    text = keys_listed(kind)
    path = tmp_path / "p.toml"
    path.write_text(text)
    assert load_keys(path, kind, "these", "this") == kind()
    for name in (field.name for field in msgspec.structs.fields(kind)):
        assert re.search(rf"^(# )?{name} =|^\[{name}\]$", text, re.M), name
    assert all(len(line) > 6 for line in text.splitlines() if line.startswith("# "))
    assert "# most trees.\nmax_rounds = 400\n" in text or kind is not TrainParams


def test_a_key_of_renewal_that_stands_in_no_table_or_the_wrong_one_is_told_where_it_belongs(tmp_path):
    path = tmp_path / "p.toml"
    for text, said in (
        (
            "num_leaves = 8",
            r"unknown key num_leaves in renewal settings .*; it is a key of its table \[train\]",
        ),
        ("[train]\nnumleaves = 8", r"unknown key numleaves in \[train\] of .*; nearest: num_leaves, "),
        (
            "[drift]\npsy = 8",
            r"unknown key psy in \[drift\] of .*; nearest: psi; allowed: psi, ks, calibration",
        ),
        ("train = 8", "Expected `object`, got `int` at `train`"),
    ):
        path.write_text(text)
        with pytest.raises(TableError, match=said):
            load_settings(path)


def test_search_begins_with_the_defaults_and_finds_the_same_again(tmp_path):
    pytest.importorskip("optuna")
    told = []
    table = read(make_table(3000))
    one, two = (
        train_bundle(
            table,
            DECLARATIONS,
            tmp_path / name,
            params=PARAMS,
            tune=4,
            progress=lambda *said: told.append(said),
        )
        for name in "ab"
    )
    assert one.hash == two.hash
    tuning = one.manifest.training.tuning
    assert (tuning.trials, tuning.model) == (4, "ctr")
    assert tuning.log_loss_best <= tuning.log_loss_default
    for name, value in tuning.found.items():
        assert one.manifest.params[name] == value != getattr(PARAMS, name)
    assert ("tune", 4, 4) in told


def test_search_never_looks_at_the_test_rows(tmp_path):
    """The negative control: other labels in the test change what is reported, not what is found."""
    pytest.importorskip("optuna")
    arrow = make_table(3000)
    click = np.asarray(arrow["click"]).copy()
    click[-450:] = 1 - click[-450:]
    found = [
        train_bundle(read(one), DECLARATIONS, tmp_path / name, params=PARAMS, tune=3).manifest
        for name, one in (("a", arrow), ("b", arrow.set_column(1, "click", pa.array(click))))
    ]
    assert found[0].training.tuning == found[1].training.tuning
    assert found[0].models["ctr"].after != found[1].models["ctr"].after


def test_search_needs_clicks_to_tell_parameters_apart(tmp_path):
    pytest.importorskip("optuna")
    with pytest.raises(
        TableError, match=r"tuning needs 20 rows with and 20 without a click .* without --tune"
    ):
        train_bundle(read(make_table(300)), DECLARATIONS, tmp_path, params=PARAMS, tune=2)


def test_search_without_optuna_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TableError, match=r"pip install 'clearbid\[offline\]'"):
        train_bundle(read(make_table(600)), DECLARATIONS, tmp_path, params=PARAMS, tune=2)


@pytest.mark.parametrize("name", ["spec.json", "ctr.txt", "cvr.txt", "calibration.json", "manifest.json"])
def test_truncated_file_is_named(name, tmp_path):
    bundle = train_bundle(read(make_table(600)), DECLARATIONS, tmp_path / "m", params=PARAMS)
    path = bundle.path / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArtifactError, match=f"{name} must"):
        load_bundle(bundle.path)
