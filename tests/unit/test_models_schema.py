"""Features: declarations, vocabularies, codes, the encoded matrix and its hash."""

import numpy as np
import pytest

from models.errors import ArtifactError, TableError
from models.schema import (
    DEFAULT_DECLARATIONS,
    Declaration,
    Feature,
    FeatureSpec,
    fit_spec,
    load_declarations,
    segments_of,
)

SPEC = FeatureSpec(
    [
        Feature("exchange", "categorical", "request", ("north", "south")),
        Feature("floor_cpm", "numeric", "request"),
        Feature("segment:42", "numeric", "request"),
        Feature("campaign", "categorical", "campaign", ("c1",)),
    ]
)


def test_sides_are_places_of_features():
    assert SPEC.request.tolist() == [0, 1, 2]
    assert SPEC.campaign.tolist() == [3]


def test_encoders_give_place_plus_one_and_nothing_for_numbers():
    assert SPEC.encoders() == [{"north": 1.0, "south": 2.0}, {}, {}, {"c1": 1.0}]


def test_table_is_encoded_with_zero_for_unknown_and_nan_for_missing():
    matrix = SPEC.encode_table(
        {
            "exchange": ["south", "west", None],
            "floor_cpm": [1.5, None, 0.0],
            "segments": [["42", "7"], None, "7;42"],
            "campaign": ["c1", "c1", "c9"],
        }
    )
    expected = [[2.0, 1.5, 1.0, 1.0], [0.0, np.nan, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    np.testing.assert_array_equal(matrix, expected)


def test_missing_column_is_named():
    with pytest.raises(TableError, match=r"column floor_cpm, has exchange"):
        SPEC.encode_table({"exchange": ["north"]})


def test_columns_of_two_lengths_are_refused():
    with pytest.raises(TableError, match="one length"):
        SPEC.encode_table({"exchange": ["north"], "floor_cpm": [], "segments": [None], "campaign": ["c1"]})


def test_json_returns_the_same_spec_and_hash():
    again = FeatureSpec.from_json(SPEC.to_json())
    assert again.features == SPEC.features
    assert again.hash == SPEC.hash


def test_hash_changes_with_the_order_of_a_vocabulary():
    turned = FeatureSpec(
        [Feature("exchange", "categorical", "request", ("south", "north")), *SPEC.features[1:]]
    )
    assert turned.hash != SPEC.hash


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "at least one"),
        ([Feature("a", "numeric", "request"), Feature("a", "numeric", "campaign")], "feature a .* once"),
        ([Feature("a", "numeric", "request", ("x",))], "no vocabulary"),
        ([Feature("a", "categorical", "request", ("x", "x"))], "not repeat"),
    ],
)
def test_contradicting_features_are_refused(features, message):
    with pytest.raises(ArtifactError, match=message):
        FeatureSpec(features)


def test_broken_json_is_an_artifact_error():
    with pytest.raises(ArtifactError, match="feature spec"):
        FeatureSpec.from_json(b'{"features": [{"name": 3}]}')


def test_vocabulary_goes_by_count_then_by_text():
    columns = {"os": ["b", "a", "b", "a", "c", None, "d", "d", "d"]}
    declarations = [Declaration("os", "categorical")]
    spec = fit_spec(columns, declarations, max_categories=3, min_count=2)
    assert spec.features[0].vocabulary == ("d", "a", "b")
    assert fit_spec(columns, declarations, max_categories=2, min_count=1).features[0].vocabulary == ("d", "a")


def test_frequent_segments_become_features():
    columns = {"segments": [["7", "7", "9"], "9;8", None, ["9"]]}
    spec = fit_spec(columns, [Declaration("segments", "segments", top=2)], min_count=1)
    assert spec.names == ("segment:9", "segment:7")


def test_segments_of_lists_texts_and_nothing():
    assert segments_of(["1", 2]) == ("1", "2")
    assert segments_of("1;;2") == ("1", "2")
    assert segments_of(None) == ()


def test_optional_column_may_be_absent_and_a_declared_one_not():
    columns = {"os": ["a"]}
    spec = fit_spec(
        columns, [Declaration("os", "categorical"), Declaration("segments", "segments", optional=True)]
    )
    assert spec.names == ("os",)
    with pytest.raises(TableError, match="declared column browser"):
        fit_spec(columns, [Declaration("browser", "categorical")])


def test_default_declarations_have_both_sides():
    assert {item.name for item in DEFAULT_DECLARATIONS if item.side == "campaign"} == {
        "campaign",
        "advertiser",
    }
    assert len(DEFAULT_DECLARATIONS) == 17


def test_declarations_are_read_from_toml(tmp_path):
    path = tmp_path / "features.toml"
    path.write_text(
        '[[feature]]\nname = "os"\nkind = "categorical"\n[[feature]]\nname = "c"\nkind = "numeric"\n'
    )
    assert load_declarations(path) == (Declaration("os", "categorical"), Declaration("c", "numeric"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[feature]]\nname = "os"\nkind = "text"\n', "kind"),
        ('[[feature]]\nname = "os"\nkind = "numeric"\nsort = 1\n', "sort"),
        ("[[feature", "TOML"),
        ('[[feature]]\nname = "os"\nkind = "numeric"\n[[feature]]\nname = "os"\nkind = "numeric"\n', "once"),
        ('[[feature]]\nname = "tags"\nkind = "segments"\n', "'segments'"),
        ('[[feature]]\nname = "segment:3"\nkind = "numeric"\n', "begin with"),
        ("feature = []\n", "at least one"),
    ],
)
def test_bad_declarations_are_refused_with_the_reason(tmp_path, text, message):
    path = tmp_path / "features.toml"
    path.write_text(text)
    with pytest.raises(TableError, match=message):
        load_declarations(path)


def test_absent_declarations_file_is_named(tmp_path):
    with pytest.raises(TableError, match=r"none\.toml"):
        load_declarations(tmp_path / "none.toml")
