"""Fees: what a bid sets aside covers whatever can be booked of it, and its value covers price and fees."""

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.core.account import Account
from bidder.core.bankrules import BankRules
from bidder.core.budgets import Budget, Unit
from bidder.core.campaigns import MAX_FEE_CPM_MICROS, MAX_FEE_PPM, Advertiser, Campaign, Fee, LineItem
from bidder.core.chart import Chart
from bidder.core.lines import line_of
from bidder.core.price_kernels import fees_of
from bidder.core.settings import ExchangeRules
from bidder.core.token import read
from bidder.errors import SheetError
from bidder.openrtb.reasons import Reason
from bidder.store.sheet import parse_sheet, to_csv
from bidder.web.rules import fees_nanos
from tests.support import factories as make
from tests.support.factories import Offer, S

MARGIN = Fee(name="margin", ppm=150_000)
DATA = Fee(name="data", cpm_micros=200_001)


def bid(engine: Any, **changes: Any) -> dict[str, Any]:
    (row,) = make.decide(engine, make.body(Offer(**changes)))
    assert isinstance(row, dict)
    return row


def reserved(engine: Any, account: str = "c1") -> int:
    return int(engine.wallet.purse.reserved(engine.wallet.purse.account(account)))


# -- rounding -----------------------------------------------------------------------------------------------------


class Token:
    """The fields of a token that fees are made of."""

    def __init__(self, fee_ppm: int, fee_cpm_micros: int, impressions: int) -> None:
        self.fee_ppm, self.fee_cpm_micros, self.impressions = fee_ppm, fee_cpm_micros, impressions


@given(
    cap=st.integers(1, 10**15),
    share=st.integers(0, 10**6),
    ppm=st.integers(0, MAX_FEE_PPM + 1_000_000),
    each=st.integers(0, MAX_FEE_CPM_MICROS),
    quantity=st.integers(1, 10**12),
)
@settings(max_examples=500)
def test_what_is_set_aside_covers_any_price_up_to_the_cap(
    cap: int, share: int, ppm: int, each: int, quantity: int
) -> None:
    """By the tracker's own arithmetic, which knows no bound: any price that the bank books is at most the cap."""
    price = max(1, cap * share // 10**6)
    aside = cap + int(fees_of(cap, quantity, ppm, each))
    booked = price + fees_nanos(Token(ppm, each, quantity), price)  # type: ignore[arg-type]
    assert booked <= aside
    # At the cap not a nano more is set aside than is owed.
    assert aside == cap + fees_nanos(Token(ppm, each, quantity), cap)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nanos", "ppm", "each", "fees"),
    [
        (1, 1, 0, 1),
        (0, 1, 0, 0),
        (1_000_000, 1, 0, 1),
        (1_000_001, 1, 0, 2),
        (0, 0, 7, 7),
        (3, 500_000, 1, 3),
    ],
)
def test_each_fee_is_rounded_up_once(nanos: int, ppm: int, each: int, fees: int) -> None:
    assert fees_of(nanos, 1_000_000, ppm, each) == fees


# -- bids ---------------------------------------------------------------------------------------------------------


def test_value_covers_the_price_and_its_fees() -> None:
    """Worth 1,000,000 nanos: 2 units a click, a thousandth of a click, a multiplier of a half."""
    assert bid(make.engine())["bid_cpm_micros"] == 1_000_000
    with_fees = bid(make.engine([make.campaign(fees=(MARGIN, DATA))]))["bid_cpm_micros"]
    assert with_fees == (1_000_000 - 200_001) * 100 // 115
    assert with_fees + fees_of(with_fees, 1_000_000, 150_000, 200_001) <= 1_000_000


def test_what_an_exchange_bills_more_is_a_fee() -> None:
    rules = {"default": ExchangeRules(discrepancy_ppm=250_000)}
    engine = make.engine(settings=msgspec.structs.replace(make.SETTINGS, exchanges=rules))
    assert bid(engine)["bid_cpm_micros"] == 800_000
    assert reserved(engine) == 1_000_000


def test_fees_of_campaign_and_line_item_add_up() -> None:
    item = LineItem(id="x", fees=(DATA,))
    line = line_of(make.campaign(fees=(MARGIN,), line_items=(item,)), item, Advertiser(id="shop"))
    assert (line.fee_ppm, line.fee_cpm_micros) == (150_000, 200_001)
    assert line.most_nanos == 9_000_000 + 1_350_000 + 200_001


def test_nothing_is_bid_where_fees_take_all_of_the_value() -> None:
    engine = make.engine([make.campaign(fees=(Fee(name="data", cpm_micros=1_000_000),))])
    assert bid(engine)["reason"] == Reason.NO_VALUE


@pytest.mark.parametrize(("granted", "reason"), [(1_150_000, Reason.BID), (1_149_999, Reason.BUDGET)])
def test_a_budget_must_pay_for_the_fees_too(granted: int, reason: Reason) -> None:
    campaign = make.campaign(fees=(MARGIN,), value_nanos=4 * S, max_bid_cpm_micros=1_000_000)
    engine = make.engine([campaign], [make.lease(granted_nanos=granted)])
    assert bid(engine)["reason"] == reason
    assert reserved(engine) == (1_150_000 if reason is Reason.BID else 0)


def test_the_token_has_the_fees_and_a_cap_of_the_price_alone() -> None:
    engine = make.engine([make.campaign(fees=(MARGIN, DATA))])
    (answer,) = engine.decide([make.body(Offer())], [0], 0)
    (seat,) = orjson.loads(answer.response)["seatbid"]
    url = seat["bid"][0]["burl"]
    fields = read(url.partition("t=")[2].partition("&")[0], [make.KEY])
    assert (fields.fee_ppm, fields.fee_cpm_micros) == (150_000, 200_001)
    assert fields.cap_nanos == (1_000_000 - 200_001) * 100 // 115


def test_of_two_of_one_value_the_one_without_fees_is_the_better() -> None:
    dear = make.campaign("a", fees=(Fee(name="half", ppm=1_000_000),))
    settings = msgspec.structs.replace(make.SETTINGS, external_scores=False)
    one = make.campaign("b", value_nanos=900 * S)
    two = msgspec.structs.replace(dear, value_nanos=900 * S)
    engine = make.engine([one, two], settings=settings, model=make.model())
    row = bid(engine, external=None)
    assert (row["reason"], row["campaign_id"]) == (Reason.BID, "b")


# -- bank ---------------------------------------------------------------------------------------------------------


def test_the_most_that_a_bid_costs_has_fees_in_it() -> None:
    """So a lease of several maximum bids pays for several with their fees, at the exchange that bills the most."""
    rules = BankRules(discrepancy_ppm=50_000)
    chart = Chart(rules, {"c1": make.campaign(fees=(MARGIN, DATA))}, {})
    assert chart.accounts["c1"].step == 9_000_000 + 1_800_000 + 200_001


def test_an_account_of_impressions_counts_no_fees() -> None:
    account = Account.opened(Budget("c1/imps", Unit.IMPRESSIONS, 10**9, 0, 10**18), 10**18)
    line = line_of(make.campaign(fees=(MARGIN,)), None, Advertiser(id="shop"))
    account.lines["c1", "c1"] = (line, 10**9)
    account.restate()
    assert account.step == 1_000_000


# -- documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fees", "what"),
    [
        ((MARGIN, MARGIN), "names of fees"),
        ((Fee(name="a", ppm=MAX_FEE_PPM), Fee(name="b", ppm=1)), "at most 10000000 ppm"),
        ((Fee(name="a", cpm_micros=MAX_FEE_CPM_MICROS), Fee(name="b", cpm_micros=1)), "9000000 CPM micros"),
    ],
)
def test_fees_that_cannot_be_added_up_are_refused(fees: tuple[Fee, ...], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        make.campaign(fees=fees)
    with pytest.raises(ValueError, match=what):
        make.campaign(fees=fees[:1], line_items=(LineItem(id="x", fees=fees[1:]),))


def test_a_fee_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        Fee(name="a")


CELLS = "id,name,advertiser,adomain,budget,start,end,value,max_bid_cpm,fees,max_per_minute,creatives\n"
ROW = (
    "a,A,acme,acme.example,5,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,2,8.50,{},3.5,"
    "b1|300|250|https://cdn.acme.example/b1.png|https://acme.example/\n"
)


def sheet(fees: str) -> Campaign:
    (campaign,) = parse_sheet(CELLS + ROW.format(fees), ".csv", "a.csv", "USD").campaigns
    return campaign


def test_a_sheet_states_fees_and_a_limit_a_minute() -> None:
    campaign = sheet("margin:15%; data:0.2cpm; data: 1.5 %")
    assert campaign.fees == (MARGIN, Fee(name="data", ppm=15_000, cpm_micros=200_000))
    assert campaign.max_nanos_per_minute == 3_500_000_000
    again = parse_sheet(to_csv([campaign], []), ".csv", "a.csv", "USD").campaigns
    assert list(again) == [campaign]


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("margin", "must be fees such as"),
        ("margin:0%", "above 0"),
        ("margin:1000.1%", "at most 1000%"),
        ("data:9.01cpm", "at most 9cpm"),
        ("a:1%;a:2%", "once"),
        ("a:0.00001%", "at most 4 decimals"),
        ("a:1000%;b:1%", "at most 10000000 ppm"),
    ],
)
def test_what_is_wrong_with_a_cell_of_fees_is_said(cell: str, what: str) -> None:
    with pytest.raises(SheetError, match=what):
        sheet(cell)


def test_the_story_of_a_price_tells_of_its_fees(tmp_path: Path) -> None:
    from rich.console import Console

    from bidder.cli.price_story import price_table
    from bidder.core.explain import explain

    engine = make.engine([make.campaign(fees=(MARGIN, DATA))])
    price = explain(engine, make.body(Offer()), "c1", 0).opportunities[0].price
    assert price is not None
    assert (price.fee_ppm, price.fee_nanos) == (150_000, 200_001)
    assert price.fees_nanos == fees_of(price.offer_nanos, 1_000_000, 150_000, 200_001)
    with (tmp_path / "out").open("w") as file:
        Console(file=file, width=100).print(price_table(price))
    shown = (tmp_path / "out").read_text()
    assert "- fees an impression" in shown
    assert "15 %" in shown
