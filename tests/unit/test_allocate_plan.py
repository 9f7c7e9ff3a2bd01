"""Plans: goals, bounds, holding, and what is said of each."""

from pathlib import Path

import pytest

from bidder.core.portfolio import Bound, Frontier, value_of
from bidder.core.portfolio_moves import EVEN
from bidder.core.responses import Response, points_of
from bidder.errors import InputError
from simulator.allocate.curves import MEASURES, CurveSet
from simulator.allocate.goals import Goal, Wanted
from simulator.allocate.plan import Plan, Rules, plan
from simulator.allocate.terms import Shares, Stated, TermsFile, asked_of, read_terms
from simulator.allocate.words import facts, verdict
from tests.support.response_curves import BOOKS, SHOES, THREE, Market, curve_set

UNIT = 10**9
VALUE = MEASURES["value"]


@pytest.fixture
def three(tmp_path: Path) -> CurveSet:
    return curve_set(tmp_path / "c.parquet", THREE, noise=0.0)


def planned(
    curves: CurveSet,
    stated: TermsFile | None = None,
    frozen: tuple[str, ...] = (),
    wanted: Wanted | None = None,
    rules: Rules | None = None,
    measure: str = "value",
) -> Plan:
    asked = asked_of(curves.names, curves.current, stated or TermsFile(), frozen)
    return plan(curves, asked, MEASURES[measure], wanted, rules)


def test_money_goes_where_returns_are_even(three: CurveSet) -> None:
    found = planned(three)
    assert found.certificate is not None
    assert found.certificate.holds
    assert sum(found.best) == sum(found.current) == 250 * UNIT
    moves = {move.name: move for move in found.moves}
    assert moves["books"].after < moves["books"].before
    assert moves["shoes"].stopped == EVEN
    assert moves["books"].gain < 0 < moves["toys"].gain
    assert sum(move.gain for move in found.moves) == pytest.approx(found.apparent)
    assert moves["toys"].return_before > moves["toys"].return_after >= found.certificate.price
    assert verdict(found).endswith("how sure that is needs 20 draws.")


def test_a_frozen_campaign_stays(three: CurveSet) -> None:
    found = planned(three, frozen=("books",))
    books = found.moves[found.names.index("books")]
    assert (books.before, books.after, books.stopped) == (100 * UNIT, 100 * UNIT, "frozen")
    assert found.best != found.current


def test_bounds_are_kept_and_named(three: CurveSet) -> None:
    stated = TermsFile(
        all=Shares(max_share=1.1), campaigns={"books": Stated(min="95"), "toys": Stated(max="52.50")}
    )
    moves = {move.name: move for move in planned(three, stated).moves}
    assert (moves["books"].after, moves["books"].stopped) == (95 * UNIT, "at its least: min 95")
    assert (moves["toys"].after, moves["toys"].stopped) == (52_500_000_000, "at its largest: max 52.50")
    assert moves["shoes"].after == 250 * UNIT - 95 * UNIT - 52_500_000_000


TOO_LITTLE = (
    "total must be at most 225, the sum of all largest budgets, was 250: 25 too much; largest: "
    "books 90 (all: max_share 0.9 of 100)"
)
TOO_MUCH = (
    "total must be at least 200, the sum of all least budgets, was 150: 50 too little; largest: "
    "shoes 200 (min 200)"
)
CROSSED = "least budget of shoes must be at most its largest, 10 (max 10), was 20 (min 20): 10 too much"
BEYOND = "least budget of shoes must be at most 250, the end of its curve, was 300 (min 300): 50 too much"


@pytest.mark.parametrize(
    ("stated", "total", "said"),
    [
        (TermsFile(all=Shares(max_share=0.9)), None, TOO_LITTLE),
        (TermsFile(campaigns={"shoes": Stated(min="200")}), 150, TOO_MUCH),
        (TermsFile(campaigns={"shoes": Stated(min="20", max="10")}), None, CROSSED),
        (TermsFile(campaigns={"shoes": Stated(min="300")}), None, BEYOND),
    ],
)
def test_bounds_that_cannot_be_kept_are_an_error_that_says_which_and_by_how_much(
    three: CurveSet, stated: TermsFile, total: int | None, said: str
) -> None:
    wanted = Wanted(total=None if total is None else total * UNIT)
    with pytest.raises(InputError) as error:
        planned(three, stated, wanted=wanted)
    assert said in str(error.value)


def test_another_total_is_compared_with_the_split_scaled(three: CurveSet) -> None:
    found = planned(three, wanted=Wanted(total=300 * UNIT))
    assert sum(found.best) == 300 * UNIT
    assert found.base == (120 * UNIT, 120 * UNIT, 60 * UNIT)
    assert found.value(found.best) > found.value(found.base)


def test_target_roas_is_met_with_the_most_value(three: CurveSet) -> None:
    found = planned(three, wanted=Wanted(Goal.RETURN, 2.5))
    ratio = found.value(found.best) / found.spend(found.best)
    assert ratio >= 2.5
    more = planned(three, wanted=Wanted(total=sum(found.best) + 10 * UNIT))
    assert more.value(more.best) / more.spend(more.best) < 2.5


def test_target_cpa_is_met(three: CurveSet) -> None:
    found = planned(three, wanted=Wanted(Goal.COST, 1 / (4 * UNIT)), measure="conversions")
    cost = found.spend(found.best) / found.value(found.best)
    assert cost == pytest.approx(4 * UNIT, rel=1e-6)
    assert cost <= 4 * UNIT * (1 + 1e-12)


def test_target_marginal_roas_places_what_brings_that_much_and_no_more(three: CurveSet) -> None:
    found = planned(three, wanted=Wanted(Goal.MARGINAL, 1.5))
    for curve, budget in zip(found.curves, found.best, strict=True):
        before, after = curve.returns(budget)
        assert before >= 1.5 > after


def test_least_money_for_the_same_result(three: CurveSet) -> None:
    found = planned(three, wanted=Wanted(Goal.LEAST))
    assert sum(found.best) < 250 * UNIT
    assert found.value(found.best) >= found.value(found.current)
    assert found.value(found.best) == pytest.approx(found.value(found.current), rel=1e-9)


@pytest.mark.parametrize(
    ("wanted", "measure", "said"),
    [
        (Wanted(Goal.RETURN, 50.0), "value", "return on spend must be at most "),
        (Wanted(Goal.COST, 1.0), "conversions", "cost for one of conversions must be at least "),
    ],
)
def test_a_target_that_nobody_reaches_says_what_can_be_had(
    three: CurveSet, wanted: Wanted, measure: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        planned(three, wanted=wanted, measure=measure)


def test_a_result_out_of_bounds_is_an_error(three: CurveSet) -> None:
    with pytest.raises(InputError, match="must be reachable within bounds"):
        planned(three, TermsFile(all=Shares(max_share=0.5)), wanted=Wanted(Goal.LEAST))


def test_the_best_split_is_held(tmp_path: Path) -> None:
    twins = (Market("a", 100.0, 50.0, 100.0), Market("b", 100.0, 50.0, 100.0))
    found = planned(curve_set(tmp_path / "c.parquet", twins, noise=0.0))
    assert found.hold.startswith("the split now is the best one")
    assert found.recommended == found.current
    assert verdict(found).startswith("Hold: ")
    drawn = planned(curve_set(tmp_path / "d.parquet", twins, draws=30, noise=0.0))
    assert drawn.sureness is not None
    # Nothing is better than now: there is no gain to be told of, nor how sure it is.
    assert not {"how sure", "its gain"} & {name for name, _ in facts(drawn)}


def test_a_move_that_is_not_sure_is_held_and_one_that_is_shrunk_to_its_probability(tmp_path: Path) -> None:
    near = (Market("a", 105.0, 60.0, 100.0), Market("b", 100.0, 60.0, 100.0))
    curves = curve_set(tmp_path / "c.parquet", near, draws=200, noise=0.2, seed=4)
    unsure = planned(curves, rules=Rules(sure=0.99, least_gain=0.0))
    assert unsure.sureness is not None
    assert "fewer than 99%" in unsure.hold
    assert unsure.recommended == unsure.current
    moved = planned(curves, rules=Rules(sure=0.0, least_gain=0.0))
    assert moved.sureness is not None
    whole = moved.best[0] - moved.base[0]
    assert moved.recommended[0] - moved.base[0] == pytest.approx(whole * moved.sureness.helps, abs=1)
    assert 0 < moved.sureness.helps < 1
    assert sum(moved.recommended) == sum(moved.current)


def test_a_choice_is_flattered_and_that_is_taken_off(tmp_path: Path) -> None:
    curves = curve_set(tmp_path / "c.parquet", THREE, draws=100, noise=0.1)
    found = planned(curves)
    assert found.sureness is not None
    assert found.sureness.flattered > 0
    assert found.sureness.gain == pytest.approx(found.apparent - found.sureness.flattered)
    assert found.sureness.low < found.sureness.gain < found.sureness.high


def test_bounds_that_forbid_the_split_now_are_obeyed_and_said(three: CurveSet) -> None:
    found = planned(three, TermsFile(campaigns={"shoes": Stated(max="60")}))
    assert not found.allowed
    assert found.hold == ""
    assert found.recommended == found.best
    assert ("bounds", "they do not allow the split now: what they ask for is done in full") in facts(found)


def test_a_given_split_is_told_of_as_it_would_be(three: CurveSet) -> None:
    """What if: bounds that leave one budget each."""
    given = {"shoes": Stated(min="80", max="80"), "books": Stated(min="100", max="100"),
             "toys": Stated(min="70", max="70")}  # fmt: skip
    found = planned(three, TermsFile(campaigns=given))
    assert dict(zip(found.names, found.recommended, strict=True)) == {
        "shoes": 80 * UNIT, "books": 100 * UNIT, "toys": 70 * UNIT,
    }  # fmt: skip
    assert found.apparent == pytest.approx(found.value(found.best) - found.value(found.current))
    assert found.apparent != 0.0


def test_steps_and_targets_are_not_asked_for_together(three: CurveSet) -> None:
    stated = TermsFile(campaigns={"shoes": Stated(step="25")})
    with pytest.raises(InputError, match="target-roas must stand without step"):
        planned(three, stated, wanted=Wanted(Goal.RETURN, 2.0))


def test_steps_and_least_spends_are_kept_with_a_stated_gap(three: CurveSet) -> None:
    stated = TermsFile(
        campaigns={"shoes": Stated(step="25"), "books": Stated(min="80", or_nothing=True), "toys": Stated()}
    )
    found = planned(three, stated)
    assert found.stepped is not None
    assert found.certificate is None
    by_name = dict(zip(found.names, found.best, strict=True))
    assert by_name["shoes"] % (25 * UNIT) == 0
    assert by_name["books"] == 0 or by_name["books"] >= 80 * UNIT
    assert 0 <= found.stepped.gap < 0.05
    assert sum(found.best) + found.stepped.left == 250 * UNIT


def test_an_s_curve_is_not_taken_for_a_concave_one() -> None:
    """By the concave curve half of the money each is as good as all for one; by what was measured it is nothing."""
    from bidder.core.portfolio_steps import Terms, solve

    both = [Response(name, points_of(name, [50, 100], [1.0, 100.0])) for name in ("a", "b")]
    terms = [Terms(Bound(0, 100))] * 2
    found = solve(both, terms, 100, [50, 50])
    assert sorted(found.budgets) == [0, 100]
    assert (found.value, found.bound, found.gap) == (100.0, 100.0, 0.0)
    even = Frontier(both, [each.bound for each in terms]).at(100, [50, 50]).budgets
    assert even == (50, 50)
    assert value_of(both, even) == 100.0
    assert sum(curve.points.value(budget) for curve, budget in zip(both, even, strict=True)) == 2.0


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("300", "multiples of 300000000000 nanos must lie from 0 to 250000000000"),
        ("0.0001", "step of shoes must"),
    ],
)
def test_a_step_that_leaves_nothing_or_too_much_is_an_error(tmp_path: Path, step: str, said: str) -> None:
    curves = curve_set(tmp_path / "c.parquet", (SHOES, BOOKS), noise=0.0)
    stated = TermsFile(campaigns={"shoes": Stated(step=step, min="0.00001" if step == "300" else "")})
    with pytest.raises(InputError, match=said.split(" nanos", maxsplit=1)[0]):
        planned(curves, stated)


def test_terms_are_read_and_a_misspelt_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bounds.toml"
    path.write_text('[all]\nmin_share = 0.5\n[campaigns.shoes]\ncurrent = "80.00"\nfrozen = true\n')
    found = asked_of(("books", "shoes"), {"books": 5 * UNIT, "shoes": 6}, read_terms(path))
    assert found.current == (5 * UNIT, 80 * UNIT)
    assert found.bounds[0][:2] == (2_500_000_000, 9 * 10**18)
    assert found.bounds[1] == Bound(80 * UNIT, 80 * UNIT, "frozen", "frozen")
    path.write_text("[campaigns.shoes]\nmaks = 3\n")
    with pytest.raises(InputError, match=r"bounds\.toml must be a readable file of bounds: .*maks"):
        read_terms(path)


@pytest.mark.parametrize(
    ("stated", "frozen", "said"),
    [
        (
            TermsFile(campaigns={"shoos": Stated()}),
            (),
            "campaign must be one of the curves', was 'shoos'; nearest: ",
        ),
        (TermsFile(), ("hats",), "campaign must be one of the curves', was 'hats'"),
        (TermsFile(campaigns={"shoes": Stated(min="much")}), (), "min of shoes must be a decimal number"),
        (TermsFile(campaigns={"shoes": Stated(max="-1")}), (), "max of shoes must be >= 0, was -1"),
    ],
)
def test_terms_name_what_is_wrong(stated: TermsFile, frozen: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as error:
        asked_of(("books", "shoes"), {"books": UNIT, "shoes": UNIT}, stated, frozen)
    assert said in str(error.value)


def test_a_budget_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(InputError, match="current budget of campaign shoes must be known"):
        asked_of(("books", "shoes"), {"books": UNIT}, TermsFile())


def test_a_budget_beyond_its_curve_is_an_error(three: CurveSet) -> None:
    with pytest.raises(InputError, match="current budget of shoes must be at most 250000000000 nanos"):
        planned(three, TermsFile(campaigns={"shoes": Stated(current="251")}))
