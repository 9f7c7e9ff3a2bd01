"""The synthetic conversion law."""

import pytest

from simulator.logs.conversions import ConversionLaw
from tests.support.data import row

CLICKS = [
    row(id=f"r{n}", campaign=str(n % 3), clicked=True, region=str(n % 20), exchange=f"x{n % 4}", os=None)
    for n in range(20_000)
]


def test_same_seed_gives_the_same_conversions():
    assert [ConversionLaw(1).converted(r) for r in CLICKS[:500]] == [
        ConversionLaw(1).converted(r) for r in CLICKS[:500]
    ]


def test_order_of_asking_changes_nothing():
    forth, back = ConversionLaw(1), ConversionLaw(1)
    assert [forth.converted(r) for r in CLICKS[:500]] == [back.converted(r) for r in CLICKS[:500][::-1]][::-1]


def test_other_seed_gives_others():
    assert [ConversionLaw(1).converted(r) for r in CLICKS] != [ConversionLaw(2).converted(r) for r in CLICKS]


def test_conversions_come_at_the_stated_probability():
    law = ConversionLaw(3)
    expected = sum(law.probability(r) for r in CLICKS)
    assert abs(sum(law.converted(r)[0] for r in CLICKS) - expected) < 4 * expected**0.5


def test_probability_varies_by_field_round_the_mean_rate():
    law = ConversionLaw(3, mean_rate=0.1)
    rates = {law.probability(r) for r in CLICKS}
    assert min(rates) < 0.08 < 0.13 < max(rates)


def test_without_effects_every_click_has_the_mean_rate():
    assert {round(ConversionLaw(3, 0.1, strength=0.0).probability(r), 12) for r in CLICKS[:100]} == {0.1}


def test_worth_is_in_whole_cents_near_its_mean():
    law = ConversionLaw(5, mean_rate=0.5, mean_value_units=40.0)
    worths = [value for converted, value in map(law.converted, CLICKS) if converted]
    assert all(worth % 10_000_000 == 0 < worth for worth in worths)
    assert 20 < sum(worths) / len(worths) / 1e9 < 80


def test_annotated_click_knows_its_conversion():
    law = ConversionLaw(1)
    assert all((r.converted, r.value_nanos) == law.converted(r) for r in map(law.annotate, CLICKS[:200]))


@pytest.mark.parametrize(
    "unchanged", [row(clicked=False), row(clicked=None), row(clicked=True, converted=True, value_nanos=3)]
)
def test_other_rows_stay_as_they_are(unchanged):
    assert ConversionLaw(1).annotate(unchanged) is unchanged


@pytest.mark.parametrize(
    ("name", "value"), [("mean_rate", 0.0), ("mean_rate", 1.0), ("mean_value_units", 0.0)]
)
def test_law_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        ConversionLaw(1, **{name: value})
