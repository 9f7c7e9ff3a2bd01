"""Drift against closed forms and SciPy, the gate, and the rounds of a renewal."""

import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from models.artifact import ModelBundle
from models.dataset import TrainingTable, table_from_arrow
from models.errors import ArtifactError, TableError
from models.evaluation.compare import Comparison
from models.evaluation.intervals import Interval
from models.registry import ModelRegistry
from models.renewal.drift import DriftReport, calibration_of, drift_of
from models.renewal.gate import Rivals
from models.renewal.gauges import gauges_text
from models.renewal.rounds import Renewal, Round
from models.renewal.settings import RenewalSettings, load_settings
from models.renewal.tables import between, read_tables
from models.scorer import Scorer
from models.shift import ks, ks_limit, psi, psi_limit
from models.spans import span_ns
from models.train import TrainParams, train_bundle
from tests.support.training import DECLARATIONS, make_table, write_parquet

PARAMS = TrainParams(num_threads=1, max_rounds=40, fixed_rounds=10)
SETTINGS = RenewalSettings(window="30d", min_positives=40, draws=400, shadow_rows=400, train=PARAMS)
TIMES = 10**15
"""`make_table` spreads its rows over so many nanoseconds."""


def rows_of(arrow: pa.Table, source: str = "rows.parquet") -> TrainingTable:
    return table_from_arrow(arrow, DECLARATIONS, source=source)


def changed(arrow: pa.Table, **columns: object) -> pa.Table:
    for name, values in columns.items():
        arrow = arrow.set_column(arrow.column_names.index(name), name, pa.array(values))
    return arrow


def later(arrow: pa.Table, by_ns: int = TIMES) -> pa.Table:
    return changed(arrow, at_ns=[at + by_ns for at in arrow["at_ns"].to_pylist()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Learned on 6,000 rows of the law."""
    out = tmp_path_factory.mktemp("models") / "good"
    return train_bundle(rows_of(make_table(6_000, seed=1)), DECLARATIONS, out, params=PARAMS)


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Learned on the same rows with their clicks dealt out anew: it knows the mean only."""
    arrow = make_table(6_000, seed=1)
    order = np.random.default_rng(0).permutation(6_000)
    shuffled = changed(
        arrow,
        click=arrow["click"].take(pa.array(order)).to_pylist(),
        conversion=arrow["conversion"].take(pa.array(order)).to_pylist(),
    )
    out = tmp_path_factory.mktemp("models") / "poor"
    return train_bundle(rows_of(shuffled), DECLARATIONS, out, params=PARAMS)


@pytest.fixture(scope="module")
def scorer(trained: ModelBundle) -> Scorer:
    return Scorer(trained)


def level_of(report: DriftReport, name: str) -> str:
    return next(one.level for one in (*report.features, *report.predictions) if one.name == name)


# -- statistics


def test_psi_is_its_closed_form() -> None:
    """Two bins of shares p and q: (q - p) ln(q (1 - p) / (p (1 - q))), as the half row vanishes in many."""
    n, p, q = 10**9, 0.3, 0.45
    found = psi(np.array([n * p, n * (1 - p)]), np.array([n * q, n * (1 - q)]))
    assert found == pytest.approx((q - p) * math.log(q * (1 - p) / (p * (1 - q))), rel=1e-6)
    assert psi(np.array([5.0, 7.0]), np.array([5.0, 7.0])) == 0.0
    assert math.isfinite(psi(np.array([5.0, 0.0]), np.array([0.0, 5.0])))


@pytest.mark.parametrize("seed", range(5))
def test_ks_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=300), random.normal(0.3, size=211)
    assert ks(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    tied = random.integers(0, 4, 200).astype(float), random.integers(0, 5, 90).astype(float)
    assert ks(*tied) == pytest.approx(stats.ks_2samp(*tied).statistic, abs=1e-12)
    assert ks(a, np.empty(0)) == 0.0


def test_limits_are_the_quantiles_of_chance() -> None:
    """Smirnov's own p value at the limit is alpha; the share of draws above that of PSI is."""
    limit = ks_limit(4_000, 3_000, 0.01)
    assert stats.kstwobign.sf(limit * math.sqrt(4_000 * 3_000 / 7_000)) == pytest.approx(0.01, rel=0.01)
    random = np.random.default_rng(3)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    found = [
        psi(*(random.multinomial(size, shares).astype(float) for size in (5_000, 2_000)))
        for _ in range(2_000)
    ]
    assert np.mean(np.array(found) > psi_limit(4, 5_000, 2_000, 0.05)) == pytest.approx(0.05, abs=0.015)


def test_the_calibration_interval_holds_the_truth_as_often_as_it_says() -> None:
    """300 worlds of 4,000 rows: 99 % intervals miss 1 at most 8 times (binomial, beyond 99 %)."""
    random = np.random.default_rng(11)
    missed = 0
    for _ in range(300):
        p = random.beta(2, 30, 4_000)
        y = (random.random(4_000) < p).astype(float)
        found = calibration_of("ctr", y, p, None, (0.9, 1.1))
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 1.0 <= found.high
    assert missed <= 8


def test_weights_are_repeated_rows_in_calibration() -> None:
    random = np.random.default_rng(2)
    p = random.beta(2, 10, 500)
    y = (random.random(500) < p).astype(float)
    w = random.integers(1, 4, 500)
    once = calibration_of("ctr", y, p, w.astype(float), (0.9, 1.1))
    again = calibration_of("ctr", np.repeat(y, w), np.repeat(p, w), None, (0.9, 1.1))
    assert once.ratio == pytest.approx(again.ratio)


def test_no_event_where_many_were_predicted_is_an_alarm() -> None:
    """exp(-5.2) is above one in two hundred, exp(-5.4) below; a tracker that is dead must not look well."""
    few = calibration_of("ctr", np.zeros(52), np.full(52, 0.1), None, (0.9, 1.1))
    many = calibration_of("ctr", np.zeros(54), np.full(54, 0.1), None, (0.9, 1.1))
    assert (few.level, many.level) == ("ok", "alarm")
    assert many.words == "no event, where 5.4 were predicted"
    heavy = calibration_of("ctr", np.zeros(10), np.full(10, 0.1), np.full(10, 100.0), (0.9, 1.1))
    assert heavy.level == "ok"  # ten rows are ten, whatever they stand for


def test_no_event_is_no_alarm() -> None:
    found = calibration_of("ctr", np.zeros(10), np.full(10, 0.1), None, (0.9, 1.1))
    assert (found.ratio, found.level, found.words) == (None, "ok", "no event to tell by")


# -- drift of tables


def test_rows_of_the_same_kind_give_no_alarm(scorer: Scorer) -> None:
    """40 pairs of fresh draws, some 20 statistics each: at a family-wise rate of 0.1 % none alarms."""
    reference = rows_of(make_table(3_000, seed=100))
    for seed in range(40):
        fresh = rows_of(later(make_table(800, seed=200 + seed)))
        report = drift_of(scorer, reference, fresh)
        assert [one.name for one in report.features if one.level == "alarm"] == []
        assert [one.name for one in report.predictions if one.level == "alarm"] == []


@pytest.mark.parametrize(
    ("column", "values", "name"),
    [
        ("floor_cpm", lambda value: None if value is None else value * 2.0, "floor_cpm"),
        ("floor_cpm", lambda _: None, "floor_cpm"),
        ("domain", lambda value: "new.example" if value in {"d0.example", "d1.example"} else value, "domain"),
        ("segments", lambda _: [], "segment:s1"),
    ],
)
def test_a_shift_is_an_alarm_of_its_feature(scorer: Scorer, column: str, values: object, name: str) -> None:
    reference = rows_of(make_table(3_000, seed=100))
    arrow = make_table(2_000, seed=101)
    shifted = [values(value) for value in arrow[column].to_pylist()]  # type: ignore[operator]
    kind = arrow[column].type
    arrow = arrow.set_column(arrow.column_names.index(column), column, pa.array(shifted, kind))
    report = drift_of(scorer, reference, rows_of(later(arrow)))
    assert level_of(report, name) == "alarm"
    assert any(words.startswith(name) for words in report.alarms)
    assert level_of(report, "exchange") == "ok"


def test_what_campaigns_bring_is_a_notice_at_most(scorer: Scorer) -> None:
    arrow = make_table(2_000, seed=101)
    report = drift_of(
        scorer, rows_of(make_table(3_000, seed=100)), rows_of(changed(arrow, campaign=["c9"] * 2_000))
    )
    assert level_of(report, "campaign") == "notice"


def test_clicks_that_more_than_halve_are_an_alarm_of_calibration(scorer: Scorer) -> None:
    reference = rows_of(make_table(3_000, seed=100))
    fresh = rows_of(make_table(3_000, seed=102, click_rate=0.08))  # odds of 0.25 become 0.087
    report = drift_of(scorer, reference, fresh)
    assert report.calibration[0].level == "alarm"
    assert report.calibration[0].ratio == pytest.approx(2.3, abs=0.4)


# -- the gate


def test_a_better_model_passes_and_a_worse_one_does_not(trained: ModelBundle, poor: ModelBundle) -> None:
    rows = rows_of(later(make_table(4_000, seed=300)))
    good, bad = Scorer(trained), Scorer(poor)
    drift = drift_of(good, rows_of(make_table(6_000, seed=1)), rows)
    passed = {check.name: check for check in Rivals(bad, good, rows, SETTINGS).gate(drift)}
    assert [check.words for check in passed.values() if not check.passed] == []
    failed = {check.name: check for check in Rivals(good, bad, rows, SETTINGS).gate(drift)}
    assert not failed["normalized entropy"].passed
    assert "worse" in failed["normalized entropy"].words


def test_no_clear_difference_is_not_better(trained: ModelBundle) -> None:
    rows = rows_of(later(make_table(4_000, seed=300)))
    same = Rivals(Scorer(trained), Scorer(trained), rows, SETTINGS)
    assert not same.entropy(must_win=True).passed
    assert same.entropy(must_win=False).passed


def test_better_asks_for_the_share_of_draws_that_alpha_says(
    trained: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What 95 % would call better, and did in every fortieth round of equals, is not enough."""
    rows = rows_of(later(make_table(1_000, seed=300)))

    def found(*_: object, **__: object) -> Comparison:
        return Comparison(
            rows=1_000, positives=200, differences={"normalized_entropy": Interval(-0.01, -0.02, -0.001)},
            probability_better={"normalized_entropy": 0.99}, better=True,
        )  # fmt: skip

    monkeypatch.setattr("models.renewal.gate.compare", found)
    for alpha, passed in ((0.05, True), (0.02, True), (0.005, False)):
        settings = msgspec.structs.replace(SETTINGS, alpha=alpha)
        check = Rivals(Scorer(trained), Scorer(trained), rows, settings).entropy(must_win=True)
        assert check.passed is passed
    assert "no clear difference: better in 99.00% of the draws, 99.75% are needed" in check.words
    assert check.numbers["ctr"]["alpha"] == 0.005


def test_a_model_that_predicts_too_much_is_refused(trained: ModelBundle, poor: ModelBundle) -> None:
    rows = rows_of(later(make_table(4_000, seed=300, click_rate=0.1)))
    check = Rivals(Scorer(poor), Scorer(trained), rows, SETTINGS).calibration()[0]
    assert not check.passed
    assert "bounds 0.95 to 1.05" in check.words


def test_the_champions_own_calibration_stands_beside_the_challengers(
    trained: ModelBundle, poor: ModelBundle
) -> None:
    """It is that which the other way round is the challenger's; the first champion has none beside it."""
    rows = rows_of(later(make_table(4_000, seed=300, click_rate=0.1)))
    checks = Rivals(Scorer(poor), Scorer(trained), rows, SETTINGS).calibration()
    turned = Rivals(Scorer(trained), Scorer(poor), rows, SETTINGS).calibration()
    for one, other in zip(checks, turned, strict=True):
        assert one.numbers["champion"] == {end: other.numbers[end] for end in ("ratio", "low", "high")}
    said = turned[0].words.split(", bounds")[0]
    assert checks[0].words.endswith(f"bounds 0.95 to 1.05; the champion {said}")
    alone = Rivals(None, Scorer(trained), rows, SETTINGS).calibration()[0]
    assert "champion" not in alone.words
    assert "champion" not in alone.numbers


def test_rows_of_one_user_make_the_gate_less_sure(trained: ModelBundle) -> None:
    """40 rows of each of 100 users, who are alike: the gate's interval is of 100 users."""
    arrow = make_table(4_000, seed=300)
    arrow = arrow.take(pa.array(np.repeat(np.arange(100), 40)))
    arrow = changed(arrow, at_ns=make_table(4_000, seed=300)["at_ns"].to_pylist())
    users = pa.array([f"u{place // 40}" for place in range(4_000)])
    widths = []
    for rows in (rows_of(arrow), rows_of(arrow.append_column("user", users))):
        numbers = Rivals(None, Scorer(trained), rows, SETTINGS).calibration()[0].numbers
        widths.append(math.log(numbers["high"] / numbers["low"]))
    assert widths[1] > widths[0] * 1.3


def test_a_slow_model_is_refused_and_a_quick_one_need_not_beat_the_champion(trained: ModelBundle) -> None:
    rows = rows_of(make_table(500, seed=3))
    scorer = Scorer(trained)
    strict = msgspec.structs.replace(SETTINGS, budget_ns=0.0, max_slowdown=1e-6)
    assert not Rivals(scorer, scorer, rows, strict).speed().passed
    lenient = msgspec.structs.replace(SETTINGS, budget_ns=1e9, max_slowdown=1e-6)
    assert Rivals(scorer, scorer, rows, lenient).speed().passed


def test_a_change_of_bids_beyond_its_bounds_is_refused(trained: ModelBundle, poor: ModelBundle) -> None:
    rows = rows_of(make_table(500, seed=3))
    tight = msgspec.structs.replace(SETTINGS, shadow_change=(0.9999, 1.0001))
    assert not Rivals(Scorer(poor), Scorer(trained), rows, tight).change().passed
    assert Rivals(Scorer(poor), Scorer(trained), rows, SETTINGS).change().passed


def test_the_mean_that_a_first_champion_must_beat_is_of_the_weighted_rows(trained: ModelBundle) -> None:
    """One row of weight 3 is three rows: the baseline, and so the difference, is the same both ways."""
    arrow = make_table(2_000, seed=300)
    times = np.where(np.asarray(arrow["click"].to_pylist()) > 0, 1, 3)
    weighted = rows_of(arrow.append_column("weight", pa.array(times.astype(float))))
    repeated = rows_of(arrow.take(pa.array(np.repeat(np.arange(2_000), times))))
    found = [
        Rivals(None, Scorer(trained), rows, SETTINGS).entropy(must_win=True).numbers["ctr"]["difference"]
        for rows in (weighted, repeated)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-9)


# -- rounds


@pytest.fixture
def registry(tmp_path: Path, poor: ModelBundle) -> ModelRegistry:
    made = ModelRegistry(tmp_path / "registry", by="tester")
    made.promote(made.add(poor.path, "the first"), "the first")
    return made


def renewal(registry: ModelRegistry, arrow: pa.Table, settings: RenewalSettings = SETTINGS) -> Renewal:
    return Renewal(registry, lambda: rows_of(arrow), DECLARATIONS, settings)


def fresh_rows(rows: int = 6_000, seed: int = 40) -> pa.Table:
    return later(make_table(rows, seed=seed))


def events(registry: ModelRegistry) -> list[str]:
    return [entry.event for entry in registry.log()]


def test_a_better_challenger_shadows_and_is_promoted(registry: ModelRegistry) -> None:
    first = registry.hash_of("champion")
    found = renewal(registry, fresh_rows()).round()
    assert found.outcome == "challenging", found.words
    assert (found.champion, found.challenger) == (first, registry.hash_of("challenger"))
    waiting = renewal(registry, fresh_rows()).round()
    assert (waiting.outcome, waiting.words) == (
        "waiting",
        "the challenger has shadowed 0 rows with 0 clicks, 400 rows with 40 clicks are needed",
    )
    more = pa.concat_tables([fresh_rows(), later(make_table(2_000, seed=41), 2 * TIMES)])
    done = renewal(registry, more).round()
    assert done.outcome == "promoted", done.words
    assert done.champion == found.challenger
    assert done.challenger == ""
    assert events(registry) == [
        "add", "promote", "window", "add", "gate", "challenge", "window", "wait", "window", "shadow", "promote",
    ]  # fmt: skip
    last = registry.log()[-1]
    assert last.numbers["normalized entropy"]["passed"] is True
    assert last.reason.startswith("stood beside the champion on 2,000 later rows")


def test_without_shadow_rows_the_gate_decides(registry: ModelRegistry) -> None:
    found = renewal(registry, fresh_rows(), msgspec.structs.replace(SETTINGS, shadow_rows=0)).round()
    assert found.outcome == "promoted"
    assert registry.hash_of("champion") == found.champion


AT_ONCE = msgspec.structs.replace(SETTINGS, shadow_rows=0)


def test_a_rollback_is_not_undone_by_the_next_round(registry: ModelRegistry) -> None:
    first = registry.hash_of("champion")
    second = renewal(registry, fresh_rows(), AT_ONCE).round().champion
    assert second != first
    registry.rollback("it overbid")
    held = renewal(registry, fresh_rows(), AT_ONCE).round()
    assert (held.outcome, held.champion) == ("kept", first)
    assert held.words == (
        "rolled back by hand (it overbid); promote a model, or the champion itself, to go on"
    )
    # Who promotes the champion itself lets rounds go on; the same rows teach the same model again, in vain.
    registry.promote("champion", "it stays")
    again = renewal(registry, fresh_rows(), AT_ONCE).round()
    assert (again.outcome, again.champion, registry.log()[-1].model) == ("kept", first, second)
    assert again.words.startswith("this model was rolled back")
    registry.challenge(second, "by hand")
    shadowed = renewal(registry, fresh_rows(), AT_ONCE).round()
    assert (shadowed.outcome, shadowed.champion, shadowed.challenger) == ("kept", first, "")


@pytest.mark.parametrize("shadow", [False, True], ids=["gate", "shadow"])
def test_a_champion_that_changes_meanwhile_is_not_replaced(
    registry: ModelRegistry, trained: ModelBundle, monkeypatch: pytest.MonkeyPatch, *, shadow: bool
) -> None:
    """What was judged against one model says nothing about another."""
    other, arrow = registry.add(trained.path, "another"), fresh_rows()
    if shadow:
        renewal(registry, arrow).round()
        arrow = pa.concat_tables([arrow, later(make_table(2_000, seed=41), 2 * TIMES)])
    first = registry.hash_of("champion")

    def meanwhile(*_: object) -> str:
        monkeypatch.undo()
        return registry.promote(other, "by hand")

    monkeypatch.setattr("models.renewal.rounds._numbers", lambda _: meanwhile() and {})
    with pytest.raises(ArtifactError, match=f"judged against, {first[:12]}, the champion is {other[:12]}"):
        renewal(registry, arrow, SETTINGS if shadow else AT_ONCE).round()
    assert registry.hash_of("champion") == other
    assert registry.log()[-1].event == "fail"


def test_the_gate_sees_no_row_that_a_model_was_trained_on(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, TrainingTable] = {}

    class Watched(Rivals):
        def __init__(
            self, champion: Scorer | None, challenger: Scorer, rows: TrainingTable, settings: object
        ):
            seen["rows"] = rows
            super().__init__(champion, challenger, rows, settings)  # type: ignore[arg-type]

    monkeypatch.setattr("models.renewal.rounds.Rivals", Watched)
    champion_end = registry.bundle().manifest.window_ns[1]
    mixed = pa.concat_tables([make_table(6_000, seed=1), fresh_rows(2_000)])
    found = renewal(registry, mixed).round()
    assert found.drift is not None
    challenger = registry.bundle(registry.models()[0].hash if not found.challenger else found.challenger)
    assert seen["rows"].at_ns[0] > champion_end
    assert seen["rows"].at_ns[0] > challenger.manifest.window_ns[1]


def test_a_challenger_that_is_no_better_is_kept_out_with_its_reason(
    registry: ModelRegistry, trained: ModelBundle
) -> None:
    registry.promote(registry.add(trained.path, "a good one"), "a good one")
    arrow = fresh_rows(4_000)
    order = np.concatenate((np.random.default_rng(0).permutation(3_200), np.arange(3_200, 4_000)))
    noise = changed(
        arrow,
        click=arrow["click"].take(pa.array(order)).to_pylist(),
        conversion=arrow["conversion"].take(pa.array(order)).to_pylist(),
    )
    found = renewal(registry, noise).round()
    # What it was taught was noise; what judges it is not.
    assert (found.outcome, found.champion, found.challenger) == ("kept", trained.hash, "")
    assert events(registry)[-2:] == ["gate", "keep"]
    assert "did not pass" in registry.log()[-1].reason


def test_a_challenger_that_fails_in_the_shadow_is_archived(registry: ModelRegistry) -> None:
    found = renewal(registry, fresh_rows()).round()
    shifted = later(make_table(2_000, seed=42, click_rate=0.05), 2 * TIMES)
    done = renewal(registry, pa.concat_tables([fresh_rows(), shifted])).round()
    assert (done.outcome, done.challenger) == ("kept", "")
    assert "calibration ctr" in done.words
    assert registry.bundle(found.challenger).hash == found.challenger
    assert events(registry)[-3:] == ["shadow", "archive", "keep"]


def test_a_challenger_set_by_hand_passes_the_gate_first(
    registry: ModelRegistry, trained: ModelBundle, poor: ModelBundle
) -> None:
    """The gate is against the champion of the day: under another it is asked again."""
    registry.add(trained.path, "by hand", challenger=True)
    early = pa.concat_tables([make_table(3_000, seed=1), fresh_rows(40)])
    waiting = renewal(registry, early).round()
    assert waiting.outcome == "waiting"
    assert "has yet to pass the gate" in waiting.words
    gated = renewal(registry, pa.concat_tables([make_table(3_000, seed=1), fresh_rows()])).round()
    assert (gated.outcome, gated.challenger) == ("challenging", trained.hash), gated.words
    assert [check.name for check in gated.checks][-1] == "speed"
    assert registry.log()[-1].numbers["over"] == poor.hash
    registry.promote(trained.hash, "by hand")
    registry.challenge(poor.hash, "by hand")
    refused = renewal(registry, pa.concat_tables([make_table(3_000, seed=1), fresh_rows()])).round()
    assert (refused.outcome, refused.champion, refused.challenger) == ("kept", trained.hash, "")
    assert events(registry)[-3:] == ["gate", "archive", "keep"]


def test_shadowing_waits_for_clicks_too(registry: ModelRegistry) -> None:
    renewal(registry, fresh_rows()).round()
    more = later(make_table(2_000, seed=41), 2 * TIMES)
    seldom = changed(more, click=[0] * 2_000, conversion=pa.nulls(2_000, more["conversion"].type))
    found = renewal(registry, pa.concat_tables([fresh_rows(), seldom])).round()
    assert found.outcome == "waiting", found.words
    assert "2,000 rows with 0 clicks" in found.words


def test_too_few_unseen_rows_change_nothing(registry: ModelRegistry) -> None:
    found = renewal(registry, make_table(6_000, seed=1)).round()
    assert found.outcome == "kept"
    assert "0 rows with 0 clicks are later than all that the champion has seen" in found.words
    assert "gate" not in events(registry)


def test_the_first_champion_must_beat_the_mean(tmp_path: Path, trained: ModelBundle) -> None:
    empty = ModelRegistry(tmp_path / "new")
    empty.add(trained.path, "kept")
    found = renewal(empty, fresh_rows()).round()
    assert found.outcome == "promoted"


def test_the_same_rows_give_the_same_challenger(registry: ModelRegistry, tmp_path: Path) -> None:
    twin = ModelRegistry(shutil.copytree(registry.path, tmp_path / "twin"))
    one, two = (renewal(each, fresh_rows()).round() for each in (registry, twin))
    assert one.challenger == two.challenger != ""

    def told(found: Round) -> list[tuple[str, str]]:
        return [(check.name, check.words) for check in found.checks if check.name != "speed"]

    assert told(one) == told(two)


def test_a_round_that_fails_is_in_the_log(registry: ModelRegistry) -> None:
    def read() -> TrainingTable:
        raise TableError("training table rows.parquet must be a file, is not there")

    with pytest.raises(TableError, match="must be a file"):
        Renewal(registry, read, DECLARATIONS, SETTINGS).round()
    assert (registry.log()[-1].event, registry.log()[-1].reason[:14]) == ("fail", "training table")


def test_the_newest_rows_settle_first(registry: ModelRegistry) -> None:
    settings = msgspec.structs.replace(SETTINGS, settle="1d")
    renewal(registry, fresh_rows(), settings).round()
    numbers = next(entry.numbers for entry in registry.log() if entry.event == "window")
    assert numbers["until_ns"] <= 2 * TIMES - 86_400 * 10**9


def test_gauges_are_of_prometheus_format(registry: ModelRegistry) -> None:
    found = renewal(registry, fresh_rows()).round()
    lines = gauges_text(found, 5 * 10**9).splitlines()
    assert "clearbid_renewal_round_timestamp_seconds 5.0" in lines
    assert 'clearbid_renewal_round_outcome{outcome="challenging"} 1.0' in lines
    named = [line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")]
    assert {"clearbid_drift_psi", "clearbid_drift_ks", "clearbid_calibration_ratio"} <= set(named)
    assert named == sorted(named, key=named.index), "the lines of a family stand together"
    for line in lines:
        if not line.startswith("#"):
            float(line.rpartition(" ")[2])


# -- settings and tables


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5_400), ("6h", 21_600), ("14d", 1_209_600), ("1.5s", 1.5)]
)
def test_spans(text: str, seconds: float) -> None:
    assert span_ns(text, "window") == seconds * 10**9


@pytest.mark.parametrize("text", ["", "6", "h", "-6h", "6 hours"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(TableError, match="every must be a number and one of s, m, h, d, w"):
        span_ns(text, "every")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("windw = '3d'", "windw"),
        ("window = 'soon'", "window must be a number"),
        ("alpha = 0.5", "alpha must be above 0 and at most 0.2, was 0.5"),
        ("draws = 100", "draws must be at least 2 / alpha, 400 for alpha 0.005, was 100"),
        ("gate_share = 1.0", "gate_share must be above 0 and below 0.9, was 1.0"),
        ("calibration = [1.1, 1.2]", "calibration must be two bounds around 1"),
        ("window = ", "must be TOML"),
    ],
)
def test_bad_settings_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "renew.toml").write_text(text)
    with pytest.raises(TableError, match=said):
        load_settings(tmp_path / "renew.toml")


def test_settings_come_from_toml(tmp_path: Path) -> None:
    (tmp_path / "renew.toml").write_text("window = '3d'\nshadow_rows = 7\n[drift]\npsi = 0.3\n")
    found = load_settings(tmp_path / "renew.toml")
    assert (found.window, found.shadow_rows, found.drift.psi, found.drift.ks) == ("3d", 7, 0.3, 0.1)


def test_many_tables_are_one_in_the_order_of_time(tmp_path: Path) -> None:
    arrow = make_table(900, seed=6)
    write_parquet(tmp_path / "b.parquet", arrow.slice(0, 300))
    write_parquet(tmp_path / "a.parquet", arrow.slice(300))
    found, whole = read_tables(str(tmp_path / "*.parquet"), DECLARATIONS), rows_of(arrow)
    assert found.at_ns.tolist() == whole.at_ns.tolist()
    assert found.click.tolist() == whole.click.tolist()
    assert {name: list(values) for name, values in found.columns.items() if name != "floor_cpm"} == {
        name: list(values) for name, values in whole.columns.items() if name != "floor_cpm"
    }
    with pytest.raises(TableError, match="must be there, none is"):
        read_tables(str(tmp_path / "*.csv"), DECLARATIONS)
    write_parquet(tmp_path / "c.parquet", arrow.drop_columns(["segments"]))
    with pytest.raises(TableError, match=r"must have the same columns, .* differ in segments"):
        read_tables(str(tmp_path / "*.parquet"), DECLARATIONS)


def test_between_cuts_by_time(tmp_path: Path) -> None:
    rows = rows_of(make_table(100, seed=6))
    at = rows.at_ns
    assert len(between(rows, int(at[10]), int(at[20]))) == 10
    assert len(between(rows, int(at[-1]) + 1, 2**63 - 1)) == len(between(rows, 5, 4)) == 0


def test_a_registry_without_champion_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="make one with"):
        renewal(ModelRegistry(tmp_path / "none"), fresh_rows()).round()
