"""Train and serve are equal: whatever a request holds, its exported row is bit by bit what the engine scored."""

from collections import Counter
from dataclasses import replace
from functools import cache
from random import Random
from typing import NamedTuple

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bidder.core.call import Decision
from bidder.core.hindsight import Glimpse, Hindsight
from bidder.core.opportunity import RAW_FEATURES
from bidder.core.scoring import Model
from models import kernels
from models.compile import compile_boosters
from models.dataset import TrainingTable
from models.schema import FeatureSpec, fit_spec
from models.scorer import score_rows
from simulator.export.decisions import read_bids
from simulator.export.inputs import Moment
from simulator.export.join import Join, Joined
from simulator.export.rows import Tally, table_rows
from tests.support import factories as make
from tests.support import markets
from tests.support.exporting import DECLARATIONS, as_table, caught, differing
from tests.support.lightgbm_models import random_text
from tests.support.twins import NOW_NS, Market, market

SETTINGS = msgspec.structs.replace(markets.SETTINGS, external_scores=False)
LONG_AFTER_NS = NOW_NS + 10**16
CAMPAIGNS, REQUESTS = 4, 40


def _open(seed: int) -> tuple[Market, list[bytes]]:
    random = Random(seed)
    own = market(random, CAMPAIGNS, scored=True, settings=SETTINGS)
    return own, own.bodies(random, REQUESTS, scored=True)


def _hindsight(own: Market) -> Hindsight:
    """That has heard of the users what the engine heard."""
    hindsight = Hindsight(SETTINGS)
    hindsight.hear(own.profiles)
    return hindsight


def _glimpses(own: Market, bodies: list[bytes]) -> list[Glimpse]:
    """Every impression in the open auction that can be seen at all."""
    hindsight = _hindsight(own)
    found = []
    for body in bodies:
        sight = hindsight.look(body, NOW_NS)
        for imp in sight.request.imp if sight is not None else ():
            assert sight is not None
            glimpse = sight.glimpse(imp.id)
            found += [glimpse] if glimpse is not None else []
    return found


@cache
def _model(seed: int) -> Model:
    """Random trees over all features that there are; every third value is left unknown."""
    own, bodies = _open(seed)
    glimpses = _glimpses(own, bodies)
    columns: dict[str, list[object]] = {
        name: [one.features[place] for one in glimpses] for place, name in enumerate(RAW_FEATURES)
    }
    columns["segments"] = [one.segments for one in glimpses]
    lines = own.engine.table.lines
    names = {"campaign": [line.campaign.id for line in lines], "line_item": [line.id for line in lines]}
    names["advertiser"] = [line.campaign.advertiser for line in lines]
    request, campaign = (
        fit_spec(values, [item for item in DECLARATIONS if item.side == side], min_count=1)
        for side, values in (("request", columns), ("campaign", names))
    )
    features = [
        msgspec.structs.replace(one, vocabulary=tuple(v for n, v in enumerate(one.vocabulary) if n % 3 != 2))
        for one in (*campaign.features, *request.features)
    ]
    spec = FeatureSpec(features)
    random = np.random.default_rng(seed)
    texts = [random_text(random, [one.kind == "categorical" for one in features], 8) for _ in range(2)]
    count = len(make.KNOTS_RAW)
    table = replace(
        compile_boosters(texts, len(spec)),
        knots_start=np.array([0, count, 2 * count], dtype=np.int32),
        knots_raw=np.array(make.KNOTS_RAW * 2),
        knots_probability=np.array(make.KNOTS_PROBABILITY * 2),
    )
    return Model.of(spec, table, f"{seed:064x}")


def _probabilities(model: Model, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `models.scorer.Scorer.probabilities`, of a model without a bundle."""
    table = model.table
    raw = score_rows(table, values)
    out = np.empty_like(raw)
    kernels.calibrate_rows(raw, table.knots_start, table.knots_raw, table.knots_probability, out)
    return out


class Run(NamedTuple):
    """A market that was played, exported."""

    model: Model
    served: dict[str, bytes]
    bids: list[Decision]
    joined: list[Joined]
    table: TrainingTable | None
    left_out: Counter[str]


def _run(seed: int) -> Run:
    own, bodies = _open(seed)
    model = _model(seed)
    own.engine.adopt_model(model, NOW_NS)
    with caught() as served:
        answers = own.engine.decide(bodies, [0] * len(bodies), NOW_NS)
    tally = Tally()
    lines = b"".join(answer.decisions for answer in answers).splitlines()
    bids = list(read_bids(lines, tally.left_out))
    join = Join(bids, tally.left_out)
    moment = Moment(NOW_NS, tuple(bodies), {one.id: one for one in own.campaigns})
    joined = list(join.of(moment, _hindsight(own)))
    join.end()
    rows = list(table_rows(joined, lambda _: {}, (), LONG_AFTER_NS, tally, with_lost=True))
    return Run(model, served, bids, joined, as_table(rows) if rows else None, tally.left_out)


def _check(seed: int) -> Run:
    run = _run(seed)
    assert len(run.joined) == len(run.bids)
    assert set(+run.left_out) <= {"test"}
    if run.table is not None:
        spec = run.model.spec
        assert not differing(run.table, spec, run.model.encoder.indices, run.served)
        extras = run.table.extras
        scored = _probabilities(run.model, spec.encode_table(run.table.columns))
        assert extras["pctr"].tolist() == scored[:, 0].tolist()
        asked = ~np.isnan(extras["pcvr"])
        assert extras["pcvr"][asked].tolist() == scored[asked, 1].tolist()
    return run


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_exported_features_are_what_the_engine_scored(seed: int) -> None:
    _check(seed)


@pytest.mark.slow
def test_exported_features_are_what_the_engine_scored_at_length() -> None:
    assert sum(len(_check(seed).joined) for seed in range(1_000)) > 5_000


def test_the_markets_hold_all_that_could_differ() -> None:
    """Deals, apps, each media, floors in other currencies, what the law takes away, and what is unknown."""
    met: Counter[str] = Counter()
    for seed in range(48):
        _, bodies = _open(seed)
        by_id = {(request := orjson.loads(body))["id"]: request for body in bodies}
        run = _check(seed)
        assert run.table is None or len(run.table) == len(run.joined)
        for one in run.joined:
            request = by_id[one.bid.request_id]
            imp = next(imp for imp in request["imp"] if imp["id"] == one.bid.imp_id)
            sent = [s for data in request["user"].get("data", ()) for s in data["segment"]]
            met["deal"] += one.bid.deal_id != ""
            met["pcvr"] += one.bid.pcvr > 0
            met["app"] += "app" in request
            met.update(media for media in ("banner", "video", "audio", "native") if media in imp)
            met["several media"] += len({"banner", "video", "audio", "native"} & set(imp)) > 1
            met["foreign floor"] += (
                imp.get("bidfloorcur", "USD") != "USD" and one.glimpse.floor_cpm_micros > 0
            )
            met["segments"] += len(one.glimpse.segments) > 0
            met["our own segments"] += bool(set(one.glimpse.segments) - {s["id"] for s in sent})
            met["segments taken away"] += bool(sent) and not one.glimpse.segments
            met["city taken away"] += (
                "city" in request.get("device", {}).get("geo", {})
                and one.glimpse.features[RAW_FEATURES.index("city")] is None
            )
            met["user"] += one.glimpse.user != 0
            met["nobody"] += one.glimpse.user == 0
            met["first price"] += one.glimpse.first_price
            met["line item"] += one.bid.line_item_id != ""
        if run.table is not None:
            codes = run.model.spec.encode_table(run.table.columns)
            categorical = [one.kind == "categorical" for one in run.model.spec.features]
            met["unknown value"] += int((codes[:, categorical] == 0).sum())
            met["known value"] += int((codes[:, categorical] > 0).sum())
    wanted = (
        "deal", "pcvr", "app", "banner", "video", "audio", "native", "several media", "foreign floor", "segments",
        "segments taken away", "city taken away", "user", "nobody", "first price", "line item", "unknown value",
        "our own segments",
        "known value",
    )  # fmt: skip
    assert {name: met[name] for name in wanted if met[name] < 2} == {}


@pytest.mark.parametrize("name", RAW_FEATURES)
def test_a_table_with_one_feature_changed_is_noticed(name: str) -> None:
    """The control: what compares must see each feature, else that nothing differs would say nothing."""
    run = _run(8)
    assert run.table is not None
    feature = next(one for one in run.model.spec.features if one.name == name)
    other: object = 77.5 if feature.kind == "numeric" else "not seen"
    values = list(run.table.columns[name])
    known = [
        place
        for place, value in enumerate(values)
        if feature.kind == "numeric" or value in feature.vocabulary
    ]
    values[known[0]] = other
    run.table.columns[name] = np.array(values) if feature.kind == "numeric" else values
    bid_id = run.table.extras["bid_id"][known[0]]
    found = differing(run.table, run.model.spec, run.model.encoder.indices, run.served)
    assert found == [f"{bid_id}: {name}"]


def test_a_segment_left_out_is_noticed() -> None:
    run = _run(8)
    assert run.table is not None
    place = next(n for n, ids in enumerate(run.table.columns["segments"]) if ids)
    segments = list(run.table.columns["segments"])
    segments[place] = ()
    run.table.columns["segments"] = segments
    found = differing(run.table, run.model.spec, run.model.encoder.indices, run.served)
    assert found
    assert all(": segment:" in text for text in found)
