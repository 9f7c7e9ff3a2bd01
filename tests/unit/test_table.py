"""The table's bits and columns, set by what each campaign states."""

from typing import Any

import numpy as np
import pytest

from bidder.core import kernels
from bidder.core.campaigns import Campaign, Goal, Pacing, Rule, Status, Targeting
from bidder.core.engine import FUNNEL
from bidder.core.table import CampaignTable, Column, Dimension
from bidder.openrtb.reasons import Reason
from tests.support.factories import campaign, creative


def table(*campaigns: Campaign) -> CampaignTable:
    return CampaignTable({one.id: one for one in campaigns}, 1)


def rows(bits: Any) -> list[int]:
    """Campaign rows whose bit is set."""
    return [64 * word + bit for word, value in enumerate(bits) for bit in range(64) if int(value) >> bit & 1]


def numbered(count: int, **changes: Any) -> CampaignTable:
    return table(*(campaign(f"c{number:03d}", **changes) for number in range(count)))


def test_rows_go_by_the_order_of_ids() -> None:
    made = table(campaign("b"), campaign("a"))
    assert (made.ids, made.index, made.campaigns[0].id, len(made)) == (("a", "b"), {"a": 0, "b": 1}, "a", 2)


@pytest.mark.parametrize(
    ("count", "words"), [(0, 1), (1, 1), (63, 1), (64, 1), (65, 2), (128, 2), (129, 3), (200, 4)]
)
def test_every_campaign_has_its_own_bit(count: int, words: int) -> None:
    made = numbered(count)
    assert (made.words, rows(made.active)) == (words, list(range(count)))


def test_an_empty_table_has_shapes_that_kernels_take() -> None:
    made = table()
    assert made.active.shape == (1,)
    assert made.base.shape == (len(Dimension), 1)
    assert made.include.shape == made.exclude.shape == (0, 1)
    assert made.columns.shape == (0, len(Column))


def test_paused_campaigns_are_not_active() -> None:
    made = table(campaign("a"), campaign("b", status=Status.PAUSED), campaign("c"))
    assert rows(made.active) == [0, 2]


def test_base_holds_those_who_include_nothing() -> None:
    targeted = Targeting(geo=Rule(include=("CA",)), domain=Rule(exclude=("x.example",)))
    made = table(campaign("a", targeting=targeted), campaign("b"))
    assert rows(made.base[Dimension.GEO]) == [1]
    assert rows(made.base[Dimension.DOMAIN]) == [0, 1]


def test_values_lead_to_the_rows_of_include_and_exclude() -> None:
    made = table(
        campaign("a", targeting=Targeting(geo=Rule(include=("CA", "NY")))),
        campaign("b", targeting=Targeting(geo=Rule(exclude=("CA",)))),
    )
    place = made.values[Dimension.GEO]
    assert sorted(place) == ["CA", "NY"]
    assert (rows(made.include[place["CA"]]), rows(made.exclude[place["CA"]])) == ([0], [1])
    assert (rows(made.include[place["NY"]]), rows(made.exclude[place["NY"]])) == ([0], [])


def test_the_same_text_in_two_dimensions_is_two_values() -> None:
    made = table(campaign(targeting=Targeting(geo=Rule(include=("x",)), segment=Rule(include=("x",)))))
    assert made.values[Dimension.GEO]["x"] != made.values[Dimension.SEGMENT]["x"]


def test_sizes_are_those_of_the_creatives_and_secure_ones_apart() -> None:
    plain = creative("k2", w=728, h=90, image_url="http://cdn.example/a.png")
    made = table(campaign(creatives=(creative("k1"), plain)))
    assert sorted(made.values[Dimension.SIZE]) == ["300x250", "728x90", "s300x250"]


def test_the_first_creative_of_a_size_serves_it_and_the_first_secure_one_where_asked() -> None:
    plain = creative("k1", image_url="http://cdn.example/a.png")
    made = table(campaign(creatives=(plain, creative("k2"), creative("k3"))))
    assert (made.creatives[0, "300x250"].id, made.creatives[0, "s300x250"].id) == ("k1", "k2")


@pytest.mark.parametrize(
    ("adomain", "barred"),
    [
        ("shop.example", {"adv:shop.example"}),
        ("A.Shop.Example", {"adv:a.shop.example", "adv:shop.example"}),
        ("localhost", {"adv:localhost"}),
    ],
)
def test_a_domain_is_barred_by_itself_and_its_parents(adomain: str, barred: set[str]) -> None:
    assert set(table(campaign(adomain=(adomain,))).values[Dimension.BLOCKED]) == barred


def test_a_category_is_barred_by_itself_and_its_parent() -> None:
    made = table(campaign(adomain=(), cat=("IAB7-39", "IAB1")))
    assert set(made.values[Dimension.BLOCKED]) == {"cat:IAB7-39", "cat:IAB7", "cat:IAB1"}


def test_an_attribute_of_any_creative_bars_the_campaign() -> None:
    made = table(campaign(adomain=(), creatives=(creative("k1", attr=(1,)), creative("k2", attr=(2, 1)))))
    assert set(made.values[Dimension.BLOCKED]) == {"attr:1", "attr:2"}


def test_columns_hold_what_kernels_need() -> None:
    made = table(
        campaign("a", start_ns=5, end_ns=9, goal=Goal.CONVERSION, pacing=Pacing.ASAP),
        campaign("b", value_nanos=7, max_bid_cpm_micros=3),
    )
    assert made.columns[0].tolist() == [5, 9, 9_000_000, 2 * 10**9, 1, 1]
    assert made.columns[1, [Column.MAX_BID_NANOS, Column.VALUE_NANOS, Column.GOAL, Column.ASAP]].tolist() == [
        3,
        7,
        0,
        0,
    ]


def test_rows_beyond_the_first_word_are_set_in_their_own() -> None:
    made = table(
        *(
            campaign(
                f"c{n:03d}",
                targeting=Targeting(segment=Rule(include=("s",) if n in {63, 64, 127, 128} else ())),
            )
            for n in range(130)
        )
    )
    include = made.include[made.values[Dimension.SEGMENT]["s"]]
    assert include.dtype == np.uint64
    assert rows(include) == [63, 64, 127, 128]
    assert len(rows(made.base[Dimension.SEGMENT])) == 126


def test_the_numbers_of_the_kernel_are_those_of_the_enums() -> None:
    for column in Column:
        assert getattr(kernels, column.name) == column
    for number, name in enumerate(FUNNEL):
        assert getattr(kernels, f"F_{name.upper()}") == number
    for name in (
        "BID",
        "NO_CAMPAIGNS",
        "FLIGHT",
        "UNSCORED",
        "NO_LEASE",
        "BELOW_FLOOR",
        "BUDGET",
        "NO_VALUE",
    ):
        assert getattr(kernels, f"R_{name}") == Reason[name]
    for dimension in Dimension:
        assert Reason[dimension.name] == kernels.R_DIMENSION + dimension
