"""The table's bits and columns, set by what each line item states."""

from typing import Any

import pytest

from bidder.core import creative_kernels, decision_columns, kernels
from bidder.core.campaigns import (
    Advertiser,
    Campaign,
    Cap,
    Creative,
    Flight,
    Goal,
    LineItem,
    Modifier,
    Pacing,
    Rule,
    Status,
    Targeting,
)
from bidder.core.creatives import C
from bidder.core.dimensions import OPEN_AUCTION, Dimension
from bidder.core.engine import FUNNEL
from bidder.core.frequency import Level, owner_number
from bidder.core.rows import LONG_LIST
from bidder.core.specs import S as SlotColumn
from bidder.core.table import FAR_NS, SPARE_ROWS, Column, LineTable
from bidder.errors import InputError
from tests.support.factories import campaign, creative


def table(*campaigns: Campaign, advertisers: tuple[Advertiser, ...] = ()) -> LineTable:
    return LineTable({one.id: one for one in campaigns}, 1, None, {one.id: one for one in advertisers})


def lines(bits: Any) -> list[int]:
    """Rows of line items whose bit is set."""
    return [64 * word + bit for word, value in enumerate(bits) for bit in range(64) if int(value) >> bit & 1]


def numbered(count: int, **changes: Any) -> LineTable:
    return table(*(campaign(f"c{number:03d}", **changes) for number in range(count)))


def targeted(campaign_id: str, **rules: Rule) -> Campaign:
    return campaign(campaign_id, targeting=Targeting(**rules))


def admitted(made: LineTable, dimension: Dimension, *shown: str) -> list[int]:
    """Line items that a dimension lets pass where these values are shown."""
    place = made.slot[dimension]
    admit, refuse = made.base[place].copy(), made.base[place] * 0
    for value in shown:
        for row in made.values[dimension].get(value, ()):
            if row >= 0:
                admit |= made.rows[row]
            else:
                refuse |= made.rows[~row]
    return lines(admit & ~refuse)


# -- bits -----------------------------------------------------------------------------------------------------


def test_rows_go_by_the_order_of_ids() -> None:
    items = (LineItem(id="d"), LineItem(id="a"))
    made = table(campaign("b"), campaign("c", line_items=items))
    assert (made.ids, made.index, len(made)) == (("a", "b", "d"), {"a": 0, "b": 1, "d": 2}, 3)
    assert [line.campaign.id for line in made.lines] == ["c", "b", "c"]


@pytest.mark.parametrize(
    ("count", "words"), [(0, 1), (1, 1), (63, 1), (64, 1), (65, 2), (128, 2), (129, 3), (200, 4)]
)
def test_every_line_item_has_its_own_bit(count: int, words: int) -> None:
    made = numbered(count)
    assert (made.words, lines(made.active)) == (words, list(range(count)))


def test_an_empty_table_has_shapes_that_kernels_take() -> None:
    made = table()
    assert (made.active.shape, made.columns.shape, made.caps.shape) == ((1,), (0, len(Column)), (0, 3))
    assert made.base.shape == (len(made.dimensions), 1)
    assert made.rows.shape[1] == 1


def test_paused_line_items_and_those_without_a_creative_are_not_active() -> None:
    paused = creative(status=Status.PAUSED)
    made = table(
        campaign("a"), campaign("b", status=Status.PAUSED), campaign("c"), campaign("d", creatives=(paused,))
    )
    assert lines(made.active) == [0, 2]


def test_only_dimensions_that_somebody_states_are_asked() -> None:
    always = (Dimension.FLIGHT, Dimension.FORMAT, Dimension.BLOCKED)
    assert table(campaign()).dimensions == always
    made = table(targeted("a", geo=Rule(include=("CA",))), targeted("b", hour=Rule(exclude=("3",))))
    assert made.dimensions == tuple(sorted((*always, Dimension.GEO, Dimension.HOUR)))
    assert [made.slot[dimension] for dimension in made.dimensions] == list(range(5))
    assert made.slot[Dimension.CITY] == -1


@pytest.mark.parametrize(
    ("shown", "left"), [((), [1, 2]), (("CA",), [0, 2]), (("NY",), [0, 1, 2]), (("CA", "NY"), [0, 2])]
)
def test_who_includes_wants_a_value_and_who_excludes_bars_it(shown: tuple[str, ...], left: list[int]) -> None:
    made = table(
        targeted("a", geo=Rule(include=("CA", "NY"))), targeted("b", geo=Rule(exclude=("CA",))), campaign("c")
    )
    assert admitted(made, Dimension.GEO, *shown) == left


def test_the_same_text_in_two_dimensions_is_two_values() -> None:
    made = table(targeted("a", geo=Rule(include=("x",))), targeted("b", segment=Rule(include=("x",))))
    assert admitted(made, Dimension.GEO, "x") == [0, 1]
    assert admitted(made, Dimension.GEO) == [1]
    assert admitted(made, Dimension.SEGMENT) == [0]


def test_a_long_list_has_one_row_for_all_its_values() -> None:
    names = tuple(f"site{number}.example" for number in range(1_000))
    made = table(
        targeted("a", domain=Rule(include=names)), targeted("b", domain=Rule(exclude=names)), campaign("c")
    )
    assert made.first_spare < LONG_LIST
    assert admitted(made, Dimension.DOMAIN, "site999.example") == [0, 2]
    assert admitted(made, Dimension.DOMAIN, "other.example") == [1, 2]


def test_rows_beyond_the_first_word_are_set_in_their_own() -> None:
    chosen = {63, 64, 127, 128}
    made = table(
        *(targeted(f"c{n:03d}", segment=Rule(include=("s",) if n in chosen else ())) for n in range(130))
    )
    assert len(admitted(made, Dimension.SEGMENT, "s")) == 130
    assert len(admitted(made, Dimension.SEGMENT)) == 126


def test_there_are_spare_rows_for_what_requests_state() -> None:
    made = numbered(3)
    assert made.rows[made.first_spare :].shape == (SPARE_ROWS, 1)
    assert not made.rows[made.first_spare :].any()


# -- what dimensions read of a line item ----------------------------------------------------------------------


def test_who_wants_no_deal_wants_the_open_auction() -> None:
    made = table(
        targeted("a", deal=Rule(include=("d1",))), targeted("b", deal=Rule(exclude=("d2",))), campaign("c")
    )
    assert admitted(made, Dimension.DEAL, OPEN_AUCTION) == [1, 2]
    assert admitted(made, Dimension.DEAL, "d1") == [0]
    assert admitted(made, Dimension.DEAL, "d2") == []


def test_a_modifier_on_a_deal_lets_nobody_bid_on_it() -> None:
    modified = campaign(modifiers=(Modifier(dimension="deal", value="d1", factor=2.0),))
    assert admitted(table(modified), Dimension.DEAL, "d1") == []
    assert admitted(table(modified), Dimension.DEAL, OPEN_AUCTION) == [0]


def test_hours_are_those_of_the_advertiser() -> None:
    made = table(
        targeted("a", hour=Rule(include=("9",))),
        campaign("b", advertiser="far", targeting=Targeting(hour=Rule(include=("9",)))),
        advertisers=(Advertiser(id="far", time_zone="Asia/Tokyo"),),
    )
    assert made.zones == ("Asia/Tokyo", "UTC")
    assert admitted(made, Dimension.HOUR, "UTC|9") == [0]
    assert admitted(made, Dimension.HOUR, "Asia/Tokyo|9") == [1]


def test_categories_without_a_taxonomy_are_of_the_first() -> None:
    made = table(
        targeted("a", content=Rule(include=("IAB7",))), targeted("b", content=Rule(include=("9:150",)))
    )
    assert admitted(made, Dimension.CONTENT, "1:IAB7") == [0]
    assert admitted(made, Dimension.CONTENT, "9:150") == [1]


def test_what_bars_all_creatives_bars_the_line_item_and_what_bars_one_does_not() -> None:
    two = (creative("k1", cat=("IAB1",)), creative("k2", cat=("IAB1-2", "IAB3")))
    made = table(campaign(adomain=(), creatives=two))
    assert set(made.values[Dimension.BLOCKED]) == {"cat:1:IAB1"}


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


# -- columns --------------------------------------------------------------------------------------------------


def test_columns_hold_what_kernels_need() -> None:
    capped = campaign(
        "a",
        goal=Goal.CONVERSION,
        min_bid_cpm_micros=5,
        caps=(Cap(impressions=2, seconds=60),),
        pacing=Pacing.ASAP,
    )
    made = table(capped, campaign("b", value_nanos=7, max_bid_cpm_micros=3, unknown_user="refuse"))
    assert made.columns[0].tolist() == [9_000_000, 2 * 10**9, 1, 5, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert made.columns[1].tolist() == [3, 7, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert made.caps.tolist() == [[owner_number(Level.CAMPAIGN, "a"), 60 * 10**9, 2]]
    assert made.asap().tolist() == [True, False]


def test_targets_are_rows_of_their_own_and_ask_for_what_they_count() -> None:
    made = table(
        campaign("a", target_cpa_nanos=50),
        campaign("b", target_cpc_nanos=60, cpm_cap_micros=70),
        campaign("c", value_nanos=80, goal=Goal.VALUE, target_roas_ppm=2_000_000),
        campaign("d"),
    )
    assert made.columns[:, Column.WANTS_CVR].tolist() == [1, 0, 1, 0]
    edges = made.columns[:, [Column.AIM_START, Column.AIM_END]].tolist()
    assert edges == [[0, 1], [1, 3], [3, 4], [4, 4]]
    # A target of another event than the goal's has its room over the value.
    assert made.aims.tolist() == [[0, 2, 50, 1], [1, 1, 60, 0], [2, 0, 70, 1], [3, 2, 40, 0]]
    assert [target.owner for target in made.targets] == ["a", "b", "b", "c"]


def test_a_capped_line_item_may_allow_unknown_users() -> None:
    made = table(campaign(caps=(Cap(impressions=1, seconds=1),), unknown_user="allow"))
    assert made.columns[0, Column.REFUSE_UNKNOWN] == 0


def modified(*modifiers: tuple[str, str, float], **rules: Rule) -> LineTable:
    found = tuple(Modifier(dimension=name, value=value, factor=factor) for name, value, factor in modifiers)
    return table(campaign(modifiers=found, targeting=Targeting(**rules)))


def test_modifiers_stand_in_their_order_each_with_a_row_of_its_own() -> None:
    made = modified(("geo", "CA", 2.0), ("os", "ios", 0.5), ("geo", "CA", 3.0))
    assert made.modifier_factors.tolist() == [2.0, 0.5, 3.0]
    first, second, third = made.modifier_rows.tolist()
    assert first == third != second
    assert made.columns[0, [Column.MODIFIER_START, Column.MODIFIER_END]].tolist() == [0, 3]
    assert first in made.values[Dimension.GEO]["CA"]


def test_a_modifier_on_one_value_of_a_long_list_is_of_that_value_alone() -> None:
    names = tuple(f"site{number}.example" for number in range(LONG_LIST))
    made = modified(("domain", "site3.example", 2.0), domain=Rule(include=names))
    assert int(made.modifier_rows[0]) in made.values[Dimension.DOMAIN]["site3.example"]
    assert int(made.modifier_rows[0]) not in made.values[Dimension.DOMAIN]["site4.example"]


def test_modifiers_reach_circles_expressions_and_zones() -> None:
    made = modified(("circle", "1,2,3km", 2.0), ("expression", "imp.instl == 1", 2.0), ("hour", "5", 2.0))
    assert [made.modifier_rows[0]] == list(made.circle_rows[0])
    assert [rows for _, rows in made.expressions] == [(made.modifier_rows[1],)]
    assert made.zones == ("UTC",)


# -- time, errors, numbers ------------------------------------------------------------------------------------


def test_a_line_item_is_in_flight_in_each_of_its_flights() -> None:
    flights = (
        Flight(start_ns=50, end_ns=60),
        Flight(start_ns=10, end_ns=20),
        Flight(start_ns=90, end_ns=900),
    )
    item = LineItem(id="a", flights=flights)
    made = table(campaign("c", start_ns=15, end_ns=100, line_items=(item,)))
    ends = {at_ns: made.in_flight(at_ns) for at_ns in (0, 15, 20, 50, 95, 100)}
    assert [at_ns for at_ns, (bits, _) in ends.items() if lines(bits)] == [15, 50, 95]
    assert [edge for _, edge in ends.values()] == [15, 20, 50, 60, 100, FAR_NS]


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ({"circle": Rule(include=("here",))}, "circle"),
        ({"expression": Rule(include=("1 ==",))}, "expression"),
        ({"content": Rule(exclude=(":",))}, "category"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(rules: dict[str, Rule], wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        table(targeted("a", **rules))


def test_two_line_items_of_one_id_are_refused() -> None:
    items = (LineItem(id="x"),)
    with pytest.raises(InputError, match="x of campaign"):
        table(campaign("a", line_items=items), campaign("b", line_items=items))


def test_the_numbers_of_the_kernels_are_those_of_the_enums() -> None:
    for column in Column:
        assert getattr(decision_columns, column.name) == column
    for number, name in enumerate(FUNNEL):
        assert getattr(kernels, f"F_{name.upper()}") == number
    ours = (
        "MEDIA",
        "SIZE",
        "ATTR",
        "BTYPE",
        "MIME",
        "API",
        "PROTOCOL",
        "DURATION_S",
        "BITRATE_KBPS",
        "LINEARITY",
    )
    for name in (
        *ours,
        "DELIVERY",
        "SECURE",
        "LANGUAGE",
        "EXCHANGES",
        "BLOCK_START",
        "BLOCK_END",
        "NATIVE",
        "FLEX",
    ):
        plain = name.removesuffix("_S").removesuffix("_KBPS")
        assert getattr(creative_kernels, f"C_{plain}") == C[name]
    slots = {"S_MEDIA": "MEDIA", "S_ATTR": "ATTR_BLOCKED", "S_MIME": "MIME_OK", "S_NATIVE": "NATIVE_ROW"}
    slots |= {"S_RQD": "RQD", "S_MIN_S": "MIN_S", "S_MAX_KBPS": "MAX_KBPS", "S_DELIVERY": "DELIVERY_OK"}
    for name, column in slots.items():
        assert getattr(creative_kernels, name) == SlotColumn[column]


def test_creatives_are_one_row_each_whichever_line_items_show_them() -> None:
    two: tuple[Creative, ...] = (creative("k1"), creative("k2", w=728, h=90))
    items = (LineItem(id="a"), LineItem(id="b", creatives=("k2",)))
    made = table(campaign(creatives=two, line_items=items))
    assert len(made.creatives) == 2
    assert (made.creatives.of_line(0), made.creatives.of_line(1)) == ([0, 1], [1])
