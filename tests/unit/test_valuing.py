"""The value of a conversion by the model: served as it was measured, held by bounds, counted, told."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from bidder.cli.price_story import _VALUED, price_table
from bidder.core.campaigns import Campaign, Goal, LineItem
from bidder.core.decision_columns import A_BASE, A_KIND, A_NANOS, AIM_CONVERSION, AIM_VALUE
from bidder.core.engine import Engine
from bidder.core.explain import explain
from bidder.core.scoring import NATIVE_MARK, Model
from bidder.core.value_kernels import V_LOWERED, V_MODEL, V_RAISED, V_STATED, bounded_value
from bidder.core.valuing import OUTCOMES, ValueForest
from bidder.money import MAX_NANOS
from bidder.store.model import load_model
from bidder.store.model_apart import load_model_apart
from models.artifact import ModelBundle
from models.compile import compile_value
from models.native import NativeModels
from models.value import ValueModel
from tests.support import factories as make
from tests.support.bundles import random_bundle
from tests.support.factories import Offer, S

NOW_NS = 10**9
PLAIN = Offer(external=None)


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return random_bundle(tmp_path / "model", make.value_model(1))


def valued(campaign_id: str = "c1", **changes: Any) -> Campaign:
    """A campaign whose conversions are worth what the model says, around 3 units."""
    fields: dict[str, Any] = {
        "goal": Goal.CONVERSION,
        "value_nanos": 3 * S,
        "value_source": "model",
    }
    return make.campaign(campaign_id, **(fields | changes))


def offers(count: int) -> list[Offer]:
    """Plain offers that differ in what the models look at."""
    random = Random(5)
    return [
        Offer(
            id=f"r{number}", external=None, region=random.choice((None, *make.REGIONS)),
            os=random.choice((None, *make.SYSTEMS)), segments=random.choice(((), ("s1",), ("s2",))),
            sizes=(random.choice(make.SIZES),), floor_cpm_micros=random.choice((0, 0, 1, 4, 400_000)),
        )
        for number in range(count)
    ]  # fmt: skip


def campaigns() -> list[Campaign]:
    creatives = tuple(make.creative(f"k{place}", w=w, h=h) for place, (w, h) in enumerate(make.SIZES))
    return [valued(name, creatives=creatives) for name in make.CAMPAIGN_IDS]


def rows_of(asked: Sequence[Offer], campaign_ids: Sequence[str]) -> np.ndarray:
    """What a training table would have of offers that were bid on, encoded by the spec."""
    return make.SPEC.encode_table(
        {
            "region": [one.region for one in asked],
            "campaign": list(campaign_ids),
            "floor_cpm": [one.floor_cpm_micros / 1e6 for one in asked],
            "size": ["{}x{}".format(*one.sizes[0]) for one in asked],
            "os": [one.os for one in asked],
            "segments": [one.segments for one in asked],
            "hour": ["0"] * len(asked),
            "advertiser": ["shop"] * len(asked),
        }
    )


def scaled(scale_nanos: float) -> Model:
    """The random models with a value that is times this."""
    value = make.value_model(1)
    forest = ValueForest(compile_value(value, len(make.SPEC)), scale_nanos)
    return Model.of(make.SPEC, make.model().table, make.model().hash, None, forest)


def ended(made: Engine) -> dict[str, int]:
    """Counts of predictions, those that are not 0."""
    return {name: count for name, count in made.values.totals()._asdict().items() if count}


# -- served as measured -----------------------------------------------------------------------------------------


def test_a_served_value_has_the_bits_of_the_bundle(bundle: ModelBundle) -> None:
    assert bundle.value is not None
    asked = offers(400)
    made = make.engine(campaigns(), model=load_model(bundle.path), now_ns=NOW_NS)
    rows = make.decide(made, *map(make.body, asked), now_ns=NOW_NS)
    bids = [(offer, row) for offer, row in zip(asked, rows, strict=True) if not row["reason"]]
    expected = bundle.value.nanos(rows_of([one for one, _ in bids], [row["campaign_id"] for _, row in bids]))
    bounded = np.clip(expected, 0.3 * S, 30 * S).astype(np.int64)
    assert [row["conversion_value_nanos"] for _, row in bids] == bounded.tolist()
    assert len(set(bounded.tolist())) > 20
    assert len(bids) > 100


def test_a_bid_rests_on_the_value(bundle: ModelBundle) -> None:
    made = make.engine([valued()], model=load_model(bundle.path), now_ns=NOW_NS)
    rows = make.decide(made, *map(make.body, offers(40)), now_ns=NOW_NS)
    bids = [row for row in rows if not row["reason"]]
    for row in bids:
        worth = row["pctr"] * row["conversion_value_nanos"] * row["pcvr"]
        assert row["bid_cpm_micros"] == min(int(worth * row["multiplier"]), 9_000_000)
    assert bids


@pytest.mark.parametrize("positive", [True, False])
def test_lightgbm_and_the_compiled_form_bid_the_same_bytes(positive: bool) -> None:
    value = make.value_model(1)
    value = value if positive else replace(value, positive_text=None)
    forest = ValueForest(compile_value(value, len(make.SPEC)), value.table.scale_nanos)
    compiled = Model.of(make.SPEC, make.model().table, make.model().hash, None, forest)
    texts = [*make.model_texts(1), *value.texts]
    native = Model.of(
        make.SPEC, compiled.table, compiled.hash, NativeModels(texts, len(make.SPEC)), compiled.value
    )
    answers = []
    for model in (compiled, native):
        made = make.engine(campaigns(), model=model, now_ns=NOW_NS)
        bodies = list(map(make.body, offers(200)))
        found = made.decide(bodies, [0] * len(bodies), NOW_NS)
        answers.append(([(one.response, one.decisions) for one in found], ended(made)))
    assert answers[0] == answers[1]
    assert b'"conversion_value_nanos"' in b"".join(decisions for _, decisions in answers[0][0])


def test_a_value_that_compiles_wrong_is_scored_by_lightgbm(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(value: ValueModel, n_features: int) -> Any:
        table = compile_value(value, n_features)
        return replace(table, leaf_values=table.leaf_values + 1.0)

    right = load_model(bundle.path)
    monkeypatch.setattr("models.compile.compile_value", wrong)
    model = load_model(bundle.path)
    assert model.hash == bundle.hash + NATIVE_MARK
    bodies = list(map(make.body, offers(60)))
    first, second = (
        [
            row.get("conversion_value_nanos")
            for row in make.decide(make.engine(campaigns(), model=one), *bodies)
        ]
        for one in (right, model)
    )
    assert first == second
    assert any(first)


def test_a_model_from_another_process_brings_its_value(bundle: ModelBundle) -> None:
    here, there = load_model(bundle.path), load_model_apart(bundle.path)
    assert here.value is not None
    assert there.value is not None
    assert there.value.scale_nanos == here.value.scale_nanos
    np.testing.assert_array_equal(there.value.table.masks, here.value.table.masks)


def test_the_hash_covers_the_value(bundle: ModelBundle, tmp_path: Path) -> None:
    value = make.value_model(1)
    table = msgspec.structs.replace(value.table, scale_nanos=4e9)
    other = random_bundle(tmp_path / "other", replace(value, table=table))
    none = random_bundle(tmp_path / "none", None)
    assert len({load_model(one.path).hash for one in (bundle, other, none)}) == 3


# -- who does not ask -------------------------------------------------------------------------------------------


def test_requests_without_such_line_items_are_not_looked_at() -> None:
    made = make.engine([make.campaign(goal=Goal.CONVERSION)], model=make.valued_model(), now_ns=NOW_NS)
    made.values._mask[:] = 12_345
    (row,) = make.decide(made, make.body(PLAIN), now_ns=NOW_NS)
    assert row["pcvr"] > 0.0
    assert "conversion_value_nanos" not in row
    assert set(made.values._mask.tolist()) == {12_345}
    assert not ended(made)


def test_a_line_item_may_keep_to_what_it_states() -> None:
    items = (LineItem(id="a", value_source="stated"), LineItem(id="b"))
    made = make.engine([valued(line_items=items)], [], model=make.valued_model())
    assert [line.most_value_nanos for line in made.table.lines] == [0, 30 * S]
    assert [line.least_value_nanos for line in made.table.lines] == [0, S * 3 // 10]


def test_scores_from_outside_leave_the_value_alone() -> None:
    made = make.engine([valued()], model=make.valued_model(), now_ns=NOW_NS)
    make.decide(made, make.body(Offer()), now_ns=NOW_NS)
    assert not ended(made)


# -- bounds and what is not known -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "found"),
    [
        (7.9, (7, V_MODEL)),
        (2.0, (2, V_MODEL)),
        (20.0, (20, V_MODEL)),
        (1.9, (2, V_RAISED)),
        (0.0, (2, V_RAISED)),
        (20.1, (20, V_LOWERED)),
        (1e300, (20, V_LOWERED)),
        (np.inf, (5, V_STATED)),
        (-np.inf, (5, V_STATED)),
        (-1e-9, (5, V_STATED)),
        (np.nan, (5, V_STATED)),
    ],
)
def test_a_prediction_is_held_by_its_bounds(predicted: float, found: tuple[int, int]) -> None:
    assert bounded_value(predicted, 5, 2, 20) == found


def test_the_largest_amounts_stay_amounts() -> None:
    (line,) = make.engine([valued(value_nanos=MAX_NANOS)]).table.lines
    assert (line.least_value_nanos, line.most_value_nanos) == (MAX_NANOS // 10, MAX_NANOS)
    assert bounded_value(1e30, MAX_NANOS, MAX_NANOS // 10, MAX_NANOS) == (MAX_NANOS, V_LOWERED)
    (line,) = make.engine([valued(value_nanos=1)]).table.lines
    assert (line.least_value_nanos, line.most_value_nanos) == (1, 10)


@pytest.mark.parametrize("scale_nanos", [np.nan, np.inf, -3e9])
def test_no_number_is_worth_what_is_stated(scale_nanos: float) -> None:
    made = make.engine([valued()], model=scaled(scale_nanos), now_ns=NOW_NS)
    (row,) = make.decide(made, make.body(PLAIN), now_ns=NOW_NS)
    assert row["conversion_value_nanos"] == 3 * S
    assert ended(made) == {"stated": 1}


def test_a_bundle_without_a_value_is_worth_what_is_stated(tmp_path: Path) -> None:
    model = load_model(random_bundle(tmp_path / "none", None).path)
    rows = []
    for source in ("model", "stated"):
        made = make.engine([valued(value_source=source)], model=model, now_ns=NOW_NS)
        rows.append(make.decide(made, make.body(PLAIN), now_ns=NOW_NS)[0])
        assert ended(made) == ({"stated": 1} if source == "model" else {})
    assert rows[0].pop("conversion_value_nanos") == 3 * S
    assert rows[0] == rows[1]


def test_test_traffic_is_not_counted() -> None:
    made = make.engine([valued()], model=make.valued_model(), now_ns=NOW_NS)
    (row,) = make.decide(made, make.body(PLAIN.with_(test=True)), now_ns=NOW_NS)
    assert row["conversion_value_nanos"]
    assert not ended(made)


def test_counts_go_on_under_another_table_and_model() -> None:
    made = make.engine([valued(), valued("c2")], model=make.valued_model(), now_ns=NOW_NS)
    ask = make.body(PLAIN)
    make.decide(made, ask, now_ns=NOW_NS)
    before = made.values.totals()
    assert sum(before) == 2
    made.adopt_campaigns({"c2": valued("c2")}, 2, NOW_NS)
    assert made.values.totals() == before
    made.adopt_model(scaled(np.nan), NOW_NS)
    make.decide(made, make.body(PLAIN.with_(id="r2")), now_ns=NOW_NS)
    assert made.values.totals() == before._replace(stated=1)
    made.adopt_campaigns({"c1": valued(), "c2": valued("c2")}, 3, NOW_NS)
    assert made.values.totals() == before._replace(stated=1)
    assert made.values.counts.sum(axis=1).tolist() == [1, 2]


# -- what may be stated -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [Goal.CLICK, Goal.VIEW, Goal.COMPLETE])
def test_a_value_by_the_model_is_of_conversions(goal: Goal) -> None:
    with pytest.raises(
        ValueError, match="goal of campaign c1 with value_source model must be conversion or value"
    ):
        valued(goal=goal)
    with pytest.raises(
        ValueError, match="goal of line item a with value_source model must be conversion or value"
    ):
        valued(line_items=(LineItem(id="a", goal=goal),))
    assert valued(line_items=(LineItem(id="a", goal=goal, value_source="stated"),))


def test_a_value_by_the_model_needs_one_to_stay_near_to() -> None:
    with pytest.raises(ValueError, match="value_nanos of campaign c1 must be > 0 with value_source model"):
        valued(value_nanos=0)


# -- targets ----------------------------------------------------------------------------------------------------


def test_a_return_counts_what_the_model_says() -> None:
    made = make.engine([valued(target_roas_ppm=2_000_000)], model=make.valued_model(), now_ns=NOW_NS)
    (aim,) = made.table.aims
    assert (aim[A_KIND], aim[A_BASE]) == (AIM_VALUE, 0.0)
    assert aim[A_NANOS] == 0.5
    rows = make.decide(made, *map(make.body, offers(60)), now_ns=NOW_NS)
    bids = [row for row in rows if not row["reason"]]
    room = 1.0 + made.settings.targets.start
    for row in bids:
        spendable = row["pctr"] * row["pcvr"] * row["conversion_value_nanos"] * 0.5
        worth = row["pctr"] * row["pcvr"] * row["conversion_value_nanos"]
        # The smaller of what target and budget allow; the room was moved by the bids before.
        assert row["bid_cpm_micros"] <= min(worth, spendable * room * 1.5, 9_000_000) + 1
    (status,) = made.targets.status(0)
    share = made.targets._bids[next(iter(made.targets._bids))].shares[0]
    first = next(row for row in bids)
    assert share.worth == pytest.approx(
        first["pctr"] * first["pcvr"] * first["conversion_value_nanos"] * 0.5, rel=1e-12
    )
    assert share.outcomes == pytest.approx(first["pctr"] * first["pcvr"], rel=1e-12)
    assert status.aim == "roas"


def test_a_cost_of_conversions_leaves_room_by_what_they_are_worth() -> None:
    made = make.engine([valued(target_cpa_nanos=S)], model=make.valued_model())
    (aim,) = made.table.aims
    assert (aim[A_KIND], aim[A_NANOS], aim[A_BASE]) == (AIM_CONVERSION, S, pytest.approx(1 / 3))
    made = make.engine([valued(target_cpa_nanos=S, value_source="stated")], model=make.valued_model())
    assert made.table.aims[0, A_BASE] == 0.0


# -- explained --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("target", [{}, {"target_roas_ppm": 2_000_000}])
def test_an_explanation_has_the_value_as_a_factor(
    bundle: ModelBundle, target: dict[str, int], native: bool
) -> None:
    words = set()
    for value_nanos in (S // 100, 3 * S, 2_000 * S):
        own = valued(value_nanos=value_nanos, **target)
        made = make.engine([own], model=load_model(bundle.path, native=native), now_ns=NOW_NS)
        for offer in offers(15):
            (found,) = explain(made, make.body(offer), "c1", NOW_NS).opportunities
            counted = ended(made)
            (row,) = make.decide(made, make.body(offer), now_ns=NOW_NS)
            price = found.price
            if row["reason"] or price is None:
                continue
            assert counted != ended(made)
            assert price.goal_value_nanos == row["conversion_value_nanos"]
            assert price.offer_nanos == row["bid_cpm_micros"]
            assert row["bid_cpm_micros"] == min(int(price.worth_nanos), 9_000_000)
            words.add(price.valued)
            cells = list(price_table(price).columns[0].cells)
            assert any("x value of a conversion, by the model" in str(cell) for cell in cells)
    assert words == {"model", "raised", "lowered"}


def test_an_explanation_says_that_the_model_does_not_know() -> None:
    made = make.engine([valued()], model=make.model(), now_ns=NOW_NS)
    (found,) = explain(made, make.body(PLAIN), "c1", NOW_NS).opportunities
    assert found.price is not None
    assert (found.price.valued, found.price.goal_value_nanos) == ("stated", 3 * S)
    cells = [str(cell) for cell in price_table(found.price).columns[0].cells]
    assert "x value of a conversion as stated, unknown to the model" in cells


def test_everything_that_may_become_of_a_prediction_is_told_in_words() -> None:
    assert tuple(_VALUED) == OUTCOMES
