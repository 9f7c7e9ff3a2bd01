"""Why a model says what it says: one row's account, the view of a table, and whether what counts matters."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

from models.artifact import ModelBundle
from models.calibration import sigmoid
from models.dataset import TrainingTable, table_from_arrow
from models.errors import ArtifactError, TableError
from models.explain.attribution import Attribution, Attributor, log_odds, probability_of
from models.explain.contributions import Contributor
from models.explain.groups import CLOCK, SEGMENTS, groups_of
from models.explain.overview import ModelOverview, Overview, overview
from models.explain.words import shuffled_words
from models.schema import Declaration, Feature, FeatureSpec
from models.scorer import Scorer
from models.train import TrainParams, train_bundle
from tests.support.training import DECLARATIONS as FEW
from tests.support.training import make_table

DECLARATIONS = tuple(
    Declaration(item.name, item.kind, top=6) if item.kind == "segments" else item for item in FEW
)
PARAMS = TrainParams(num_threads=1, max_rounds=40, fixed_rounds=20)


def load(arrow: pa.Table, declarations: tuple[Declaration, ...] = DECLARATIONS, **how: bool) -> TrainingTable:
    return table_from_arrow(arrow, declarations, source="rows.parquet", **how)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> ModelBundle:
    """A click model that learned; and conversions that campaigns decide."""
    out = tmp_path_factory.mktemp("models") / "m"
    return train_bundle(load(make_table(6000)), DECLARATIONS, out, params=PARAMS)


@pytest.fixture(scope="module")
def prior(tmp_path_factory) -> ModelBundle:
    """Both models of one leaf: too few positives to learn from."""
    out = tmp_path_factory.mktemp("models") / "prior"
    rows = make_table(300, click_rate=0.03, conversion_rate=0.5)
    return train_bundle(load(rows), DECLARATIONS, out, params=PARAMS)


@pytest.fixture(scope="module")
def view(bundle: ModelBundle) -> Overview:
    return overview(bundle, load(make_table(6000)), sample=1000)


def columns(**changes: object) -> dict[str, list[object]]:
    row = {
        "exchange": "x0",
        "domain": "d7.example",
        "floor_cpm": 1.25,
        "segments": ["s1", "s9"],
        "campaign": "c2",
    }
    return {name: [value] for name, value in (row | changes).items()}


def total(one: Attribution) -> float:
    return math.fsum([one.base, *(step.contribution for step in one.steps), one.rest, one.calibration])


# -- one row ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [1, 3, 99])
@pytest.mark.parametrize(
    "changes",
    [{}, {"domain": "new.example"}, {"floor_cpm": None, "campaign": None}, {"segments": None, "domain": ""}],
)
def test_an_account_adds_up_to_the_probability_that_the_scorer_gives(bundle, changes, top):
    given = columns(**changes)
    wanted = Scorer(bundle, check_rows=50).probabilities(bundle.spec.encode_table(given))[0]
    for one, probability in zip(Attributor(bundle).one(given, top), wanted.tolist(), strict=True):
        assert one.probability == probability
        assert abs(total(one) - log_odds(probability)) <= 4e-15 * abs(log_odds(probability))
        assert len(one.steps) <= top
        before = math.fsum([one.base, *(step.contribution for step in one.steps), one.rest])
        assert probability_of(before) == pytest.approx(one.raw_probability, rel=1e-12)


def test_steps_run_from_the_base_to_the_score(bundle):
    one = Attributor(bundle).one(columns(), 99)[0]
    assert [abs(step.contribution) for step in one.steps] == sorted(
        (abs(step.contribution) for step in one.steps), reverse=True
    )
    assert one.rest_groups == 0
    assert one.rest == 0.0
    at = one.base
    for step in one.steps:
        at += step.contribution
        assert step.probability == pytest.approx(float(sigmoid(np.array([at]))[0]), rel=1e-12)
        assert step.odds_factor == pytest.approx(math.exp(step.contribution))
        assert step.contribution == pytest.approx(math.fsum(part.contribution for part in step.parts))
    assert one.steps[-1].probability == pytest.approx(one.raw_probability, rel=1e-12)


def test_values_are_told_as_they_stand_in_the_table(bundle):
    one = Attributor(bundle).one(columns(), 99)[0]
    shown = {step.name: step.value for step in one.steps}
    assert shown["domain"] == "d7.example"
    assert shown["campaign"] == "c2"
    assert shown["floor_cpm"] == "1.25"
    assert shown[SEGMENTS] == "s1"
    parts = {part.feature: part.value for step in one.steps for part in step.parts}
    assert (parts["segment:s1"], parts["segment:s0"]) == ("yes", "no")


def test_what_the_model_does_not_know_is_said_to_be_so(bundle):
    changes = {"domain": "new.example", "floor_cpm": math.nan, "campaign": None, "segments": []}
    shown = {step.name: step for step in Attributor(bundle).one(columns(**changes), 99)[0].steps}
    assert shown["domain"].value == "new.example (unknown to the model)"
    assert not shown["domain"].parts[0].known
    assert shown["campaign"].value == "missing"
    assert shown["floor_cpm"].value == "missing"
    assert shown[SEGMENTS].value == "none that the model knows"


def test_a_prior_has_no_contributions(prior):
    for one in Attributor(prior).one(columns()):
        assert one.steps == ()
        assert (one.rest, one.rest_groups) == (0.0, 0)
        assert one.base == one.raw
        assert total(one) == pytest.approx(log_odds(one.probability), rel=1e-14)


def test_one_row_is_explained_at_a_time(bundle):
    with pytest.raises(TableError, match="must hold one row to explain, held 2"):
        Attributor(bundle).one({name: value * 2 for name, value in columns().items()})
    with pytest.raises(TableError, match="must have the column domain"):
        Attributor(bundle).one({name: value for name, value in columns().items() if name != "domain"})


@pytest.mark.parametrize("count", ["leaf_count", "internal_count"])
def test_a_text_without_counts_is_refused_with_what_to_do(bundle, count):
    bare = re.sub(rf"^(tree_sizes|{count})=.*\n", "", bundle.texts["ctr"], flags=re.MULTILINE)
    values = bundle.spec.encode_table(columns())
    with pytest.raises(ArtifactError, match=r"contributions of m must add up .* lacks right leaf_count"):
        Contributor(bare, "m")(values)


def test_a_text_that_is_no_model_is_refused():
    with pytest.raises(ArtifactError, match=r"^m must be a model that LightGBM reads"):
        Contributor("no model", "m")


def test_rows_are_told_as_they_are_done(bundle):
    values = np.repeat(bundle.spec.encode_table(columns()), 600, axis=0)
    told: list[int] = []
    found = Contributor(bundle.texts["ctr"], "m")(values, told.append)
    assert told == [256, 512, 600]
    assert found.features.shape == values.shape


# -- groups -------------------------------------------------------------------------------------------------


def spec_of(*names: str) -> FeatureSpec:
    return FeatureSpec([Feature(name, "numeric", "request") for name in names])


def test_segments_and_the_clock_are_told_as_one():
    spec = spec_of("hour", "segment:a", "floor_cpm", "segment_count", "weekday", "segment:b")
    assert {group.name: group.places for group in groups_of(spec)} == {
        CLOCK: (0, 4),
        SEGMENTS: (1, 3, 5),
        "floor_cpm": (2,),
    }
    assert [group.name for group in groups_of(spec_of("hour", "floor_cpm"))] == ["hour", "floor_cpm"]


def test_a_spec_names_the_columns_that_a_table_must_have(bundle):
    found = {item.name: item for item in bundle.spec.declarations()}
    assert found.keys() == {item.name for item in DECLARATIONS}
    assert not any(item.optional for item in found.values())
    assert {name: item.kind for name, item in found.items()} == {
        item.name: item.kind for item in DECLARATIONS
    }


# -- a table ------------------------------------------------------------------------------------------------


def clicks(view: Overview) -> ModelOverview:
    return next(one for one in view.models if one.model == "ctr")


def test_weights_are_the_mean_absolute_contributions(bundle, view):
    whole = overview(bundle, load(make_table(500)), sample=500)
    values = bundle.spec.encode_table(load(make_table(500)).columns)
    found = Contributor(bundle.texts["ctr"], "m")(values).features
    names = list(bundle.spec.names)
    by_feature = {weight.name: weight for weight in clicks(whole).features}
    assert by_feature["domain"].mean_absolute == pytest.approx(np.abs(found[:, names.index("domain")]).mean())
    assert by_feature["domain"].mean == pytest.approx(found[:, names.index("domain")].mean())
    places = [place for place, name in enumerate(names) if name.startswith("segment:")]
    by_group = {weight.name: weight for weight in clicks(whole).groups}
    assert by_group[SEGMENTS].mean_absolute == pytest.approx(np.abs(found[:, places].sum(axis=1)).mean())
    assert math.fsum(weight.share for weight in clicks(view).groups) == pytest.approx(1.0)


def test_what_makes_clicks_weighs_most(view):
    assert {weight.name for weight in clicks(view).groups[:3]} == {"domain", "campaign", SEGMENTS}


def test_contributions_run_with_the_value_as_the_truth_does(view):
    """Clicks rise with the number of the domain and of the campaign, and with segment s1."""
    runs = {one.feature: {part.label: part for part in one.bins} for one in clicks(view).dependence}
    domains = [runs["domain"][f"d{number}.example"].mean_contribution for number in range(8)]
    assert np.corrcoef(np.arange(8), domains)[0, 1] > 0.85
    campaigns = [runs["campaign"][f"c{number}"].mean_contribution for number in range(3)]
    assert campaigns == sorted(campaigns)
    inside, outside = (
        runs["segment:s1"][label].mean_contribution for label in ("in the segment", "not in it")
    )
    assert inside > 0.2 > outside
    assert sum(part.rows for part in runs["domain"].values()) == 1000


def test_numbers_are_binned_and_missing_ones_apart(view):
    floors = next(one for one in clicks(view).dependence if one.feature == "floor_cpm")
    assert floors.bins[-1].label == "missing"
    assert sum(part.rows for part in floors.bins) == 1000
    rows = [part.rows for part in floors.bins[:-1]]
    assert max(rows) - min(rows) <= 2


def test_values_that_are_rare_or_unknown_are_told_together(bundle):
    rows = make_table(400)
    domains = ["new.example"] * 7 + [None] * 5 + rows["domain"].to_pylist()[12:]
    rows = rows.set_column(rows.column_names.index("domain"), "domain", pa.array(domains))
    found = clicks(overview(bundle, load(rows)))
    bins = {part.label: part.rows for one in found.dependence if one.feature == "domain" for part in one.bins}
    assert (bins["unknown to the model"], bins["missing"]) == (7, 5)
    assert sum(bins.values()) == 400


def test_hours_stand_in_their_order_and_are_told_in_full(tmp_path):
    rows = make_table(3000)
    hours = [str(number * 7 % 24) for number in range(3000)]
    late = np.array([int(hour) >= 12 for hour in hours])
    clicks_late = np.where(late, np.random.default_rng(1).random(3000) < 0.4, 0)
    rows = rows.set_column(1, "click", pa.array(clicks_late.astype(int))).append_column(
        "hour", pa.array(hours)
    )
    rows = rows.set_column(rows.column_names.index("conversion"), "conversion", pa.nulls(3000, pa.int8()))
    declared = (Declaration("hour", "categorical"), Declaration("campaign", "categorical", "campaign"))
    keen = TrainParams(num_threads=1, max_rounds=40, cat_smooth=5.0, cat_l2=5.0, min_data_per_group=20)
    bundle = train_bundle(load(rows, declared), declared, tmp_path / "m", params=keen)
    found = clicks(overview(bundle, load(rows, declared), sample=2000))
    bins = next(one for one in found.dependence if one.feature == "hour").bins
    assert [part.label for part in bins] == [str(hour) for hour in range(24)]
    assert (
        max(part.mean_contribution for part in bins[:12])
        < 0
        < min(part.mean_contribution for part in bins[12:])
    )


def test_each_campaign_has_weights_of_its_own(view):
    found = clicks(view)
    assert found.owner == "campaign"
    assert {one.name for one in found.campaigns} == {"c0", "c1", "c2"}
    assert sum(one.rows for one in found.campaigns) == 1000
    by_name = {one.name: one for one in found.campaigns}
    assert by_name["c2"].mean_probability > by_name["c0"].mean_probability
    assert by_name["c1"].mean_absolute["campaign"] < by_name["c2"].mean_absolute["campaign"]


def test_rows_count_by_their_weight(bundle):
    rows = make_table(300)
    heavy = np.where(np.array(rows["campaign"].to_pylist()) == "c2", 50.0, 1.0)
    plain, weighted = (
        clicks(overview(bundle, load(table)))
        for table in (rows, rows.append_column("weight", pa.array(heavy)))
    )
    means = {one.name: one.mean_probability for one in plain.campaigns}
    assert plain.mean_probability < weighted.mean_probability
    assert abs(weighted.mean_probability - means["c2"]) < abs(plain.mean_probability - means["c2"])


def test_the_same_seed_gives_the_same_view(bundle, view):
    table = load(make_table(6000))
    assert overview(bundle, table, sample=1000) == view
    assert overview(bundle, table, sample=1000, seed=2) != view


def test_a_prior_has_no_weights(prior):
    found = overview(prior, load(make_table(300, click_rate=0.03, conversion_rate=0.5)))
    for one in found.models:
        assert one.groups == one.features == one.dependence == one.shuffled == ()
        assert "too few labels to tell" in one.shuffled_note


# -- shuffled -----------------------------------------------------------------------------------------------


def test_shuffling_tells_what_matters_from_what_does_not(view):
    matters = {one.name: one.matters for one in clicks(view).shuffled}
    assert matters == {
        "domain": True,
        "campaign": True,
        SEGMENTS: True,
        "floor_cpm": False,
        "exchange": False,
    }


def test_intervals_of_a_small_table_hold_what_a_large_one_shows(bundle):
    """Of the rise of the log loss, over fresh rows: 95 % intervals against the mean over many more rows."""
    small = clicks(overview(bundle, load(make_table(3000, seed=11)), sample=300))
    large = {
        one.name: one
        for one in clicks(overview(bundle, load(make_table(20000, seed=12)), sample=300)).shuffled
    }
    inside = [one.low <= large[one.name].loss_increase <= one.high for one in small.shuffled]
    assert sum(inside) >= len(inside) - 1
    assert len(inside) >= 4
    assert large["domain"].high - large["domain"].low < 0.6 * (small.shuffled[0].high - small.shuffled[0].low)


def test_only_rows_that_training_did_not_see_are_shuffled_where_there_are_any(bundle):
    rows = make_table(6000)
    own = clicks(overview(bundle, load(rows), sample=300))
    assert (own.unseen, own.shuffled_rows) == (True, bundle.manifest.rows["test"])
    other = clicks(overview(bundle, load(rows.slice(0, 2000)), sample=300))
    assert (other.unseen, other.shuffled_rows) == (False, 2000)
    later = rows.set_column(0, "at_ns", pa.array(np.asarray(rows["at_ns"]) + bundle.manifest.window_ns[1]))
    fresh = clicks(overview(bundle, load(later.slice(1, 2000)), sample=300))
    assert (fresh.unseen, fresh.shuffled_rows) == (True, 2000)


def test_rows_parted_by_users_may_have_been_learned_from(bundle):
    params = {**bundle.manifest.params, "split_by": "user"}
    parted = replace(bundle, manifest=structs.replace(bundle.manifest, params=params))
    own = clicks(overview(parted, load(make_table(6000)), sample=300))
    assert (own.unseen, own.shuffled_rows) == (False, 6000)
    assert "may have been learned from" in shuffled_words(own)


def test_lost_bids_are_asked_but_have_no_label_to_be_judged_by(bundle):
    rows = make_table(1000)
    won = np.arange(1000) % 2
    rows = rows.set_column(1, "click", pa.array(np.where(won, rows["click"], 0), pa.int64(), mask=won == 0))
    rows = rows.append_column("won", pa.array(won))
    found = overview(bundle, load(rows, lost=True))
    assert (found.rows, found.sampled) == (1000, 1000)
    assert clicks(found).shuffled_rows == 500


def test_progress_is_told_of_every_stage(bundle):
    told: dict[str, tuple[int, int]] = {}
    tell: Callable[[str, int, int], None] = lambda stage, done, whole: told.update({stage: (done, whole)})  # noqa: E731
    overview(bundle, load(make_table(6000)), sample=300, tell=tell)
    assert told["ctr"] == told["cvr"] == (300, 300)
    assert told["ctr shuffled"][0] == told["ctr shuffled"][1] > 0


def test_modules_of_one_row_load_neither_tables_nor_lightgbm(tmp_path: Path):
    import subprocess
    import sys

    heavy = ("pyarrow", "lightgbm", "scipy")
    code = f"import sys, models.explain.attribution; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
