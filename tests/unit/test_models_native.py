"""LightGBM itself in the place of the compiled form: the same bits, the same bids, and said loudly."""

import ctypes
import logging
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from bidder.core.scoring import NATIVE_MARK, Model
from bidder.store.model import load_model
from models import compile as compiling
from models import kernels
from models.errors import ArtifactError, MismatchError
from models.native import NativeModels
from models.scorer import Scorer, check_native
from tests.support import factories as make
from tests.support.bundles import random_bundle
from tests.support.lightgbm_models import lightgbm_raw, random_rows, random_text, same_bits

NOW_NS = 10**9


@pytest.fixture
def bundle(tmp_path):
    return random_bundle(tmp_path / "model")


@pytest.fixture
def broken(monkeypatch):
    """A compiler that swaps two leaves of the first tree."""
    old = compiling._leaf_values

    def swapped(trees, width):
        values = old(trees, width)
        values[0, [0, 1]] = values[0, [1, 0]]
        return values

    monkeypatch.setattr(compiling, "_leaf_values", swapped)


@pytest.mark.parametrize("seed", range(3))
def test_the_call_of_a_single_row_has_the_bits_of_predict(seed):
    random = np.random.default_rng(seed)
    kinds = [True, False, False]
    texts = [random_text(random, kinds, 5), random_text(random, kinds, 3)]
    values = random_rows(random, 200, kinds)
    found = NativeModels(texts, 3).score_rows(values)
    for m, text in enumerate(texts):
        assert same_bits(found[:, m], lightgbm_raw(text, values)).all()


def test_model_that_lightgbm_refuses_is_named_with_its_reason():
    with pytest.raises(ArtifactError, match="LightGBM must load the model, does not"):
        NativeModels(["no model"], 3)


def test_call_that_fails_scores_nothing():
    kind = ctypes.CFUNCTYPE(ctypes.c_int, *(ctypes.c_void_p,) * 4)
    fails = kind(lambda *_: -1)
    handles = np.array([ctypes.cast(fails, ctypes.c_void_p).value, 0, 0], dtype=np.int64)
    assert np.isnan(kernels.lightgbm_raw(handles, 0, np.zeros(3)))


def test_call_that_gives_no_score_scores_nothing():
    kind = ctypes.CFUNCTYPE(ctypes.c_int, *(ctypes.c_void_p,) * 4)
    silent = kind(lambda *_: 0)
    handles = np.array([ctypes.cast(silent, ctypes.c_void_p).value, 0, 0], dtype=np.int64)
    assert np.isnan(kernels.lightgbm_raw(handles, 0, np.ones(3)))


@pytest.mark.parametrize("seed", range(4))
def test_engine_bids_the_very_same_bytes_either_way(seed):
    compiled = make.model()
    native = Model.of(
        make.SPEC, compiled.table, compiled.hash, NativeModels(make.model_texts(1), len(make.SPEC))
    )
    random = Random(seed)
    campaigns = [make.random_campaign(random, name, NOW_NS) for name in make.CAMPAIGN_IDS]
    bodies = [
        make.body(make.random_offer(random, number, make.CAMPAIGN_IDS, scored=True)) for number in range(120)
    ]
    answers = []
    for model in (compiled, native):
        engine = make.engine(campaigns, model=model, now_ns=NOW_NS)
        answers.append(
            [(one.response, one.decisions) for one in engine.decide(bodies, [0] * len(bodies), NOW_NS)]
        )
        assert engine.fallback is model.fallback
    assert answers[0] == answers[1]
    assert any(response for response, _ in answers[0])


def test_compiled_form_that_differs_is_not_used_and_said_loudly(bundle, broken, caplog):
    with pytest.raises(MismatchError, match=r"must equal LightGBM .* at row"):
        Scorer(bundle)
    with caplog.at_level(logging.WARNING):
        model = load_model(bundle.path)
    assert model.fallback
    assert model.hash == bundle.hash + NATIVE_MARK
    assert "scored by LightGBM itself" in caplog.text
    assert "at row" in caplog.text
    assert str(bundle.path) in caplog.text


def test_compiled_form_that_is_equal_is_used(bundle, caplog):
    with caplog.at_level(logging.WARNING):
        model = load_model(bundle.path)
    assert not model.fallback
    assert model.hash == bundle.hash
    assert not caplog.text


def test_lightgbm_that_disagrees_with_itself_is_refused(monkeypatch):
    texts = make.model_texts(1)
    monkeypatch.setattr(NativeModels, "score_rows", lambda self, values: np.zeros((len(values), 2)))
    with pytest.raises(ArtifactError, match="one score by both calls"):
        check_native(make.model().table, texts, rows=50)


def test_codes_of_line_items_stand_in_the_type_of_the_masks():
    compiled = make.model()
    for kind in (np.uint32, np.uint64):
        table = replace(compiled.table, masks=compiled.table.masks.astype(kind))
        native = Model.of(make.SPEC, table, "x", NativeModels(make.model_texts(1), len(make.SPEC)))
        engine = make.engine([make.campaign("c2"), make.campaign("c5")], model=native)
        codes = native.line_masks(engine.table.lines)
        assert codes.dtype == kind
        assert codes[:, 0].tolist() == [2, 5]
