"""Deals: who bids on them, at what floor and price, and what refuses them."""

from typing import Any

import pytest

from bidder.core.campaigns import Campaign, Creative, Media, Rule, Targeting
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, S, campaign, creative

NOW_NS = 1_772_409_600 * S
SETTINGS = EngineSettings(
    external_scores=True,
    rates={"base": "USD", "rates": {"2026-03-01": {"EUR": "1.5"}}},
    exchanges={"default": ExchangeRules(first_price_shade=0.5)},
)
WORTH = 1_000_000
"""What the campaigns here bid on these impressions: 2 units x 0.001 x 0.5."""


def wanting(name: str = "c1", *deals: str, **changes: Any) -> Campaign:
    return campaign(name, targeting=Targeting(deal=Rule(include=deals or ("d1",))), **changes)


def rows(
    *deals: dict[str, Any],
    private: int = 1,
    campaigns: tuple[Campaign, ...] = (),
    scored: str = "c1",
    **more: Any,
) -> list[dict[str, Any]]:
    engine = make.engine(campaigns or (wanting(),), settings=SETTINGS, now_ns=NOW_NS)
    imp = {
        "id": "1",
        "banner": {"w": 300, "h": 250},
        "pmp": {"private_auction": private, "deals": list(deals)},
    }
    imp |= {"ext": {"clearbid": {"campaign": scored, "pctr": 0.001}}, **more.pop("imp", {})}
    return make.decide(engine, make.body(Offer(more={"imp": [imp], **more})), now_ns=NOW_NS)


def ends(*deals: dict[str, Any], **more: Any) -> list[tuple[str, int, int]]:
    """Deal, reason and bid of each row."""
    return [
        (row.get("deal_id", ""), row["reason"], row.get("bid_cpm_micros", 0)) for row in rows(*deals, **more)
    ]


def test_who_wants_a_deal_bids_on_it_and_not_in_the_open_auction() -> None:
    assert ends({"id": "d1"}, private=0) == [("", Reason.DEAL, 0), ("d1", Reason.BID, WORTH)]


def test_who_wants_no_deal_bids_in_the_open_auction_alone() -> None:
    both = (wanting(), campaign("c2"))
    found = ends({"id": "d1"}, private=0, campaigns=both, scored="c2")
    assert found == [("", Reason.BID, WORTH), ("d1", Reason.UNSCORED, 0)]


def test_a_deal_that_nobody_wants_is_passed_over() -> None:
    assert ends({"id": "d9"}, {"id": "d1"}) == [("d1", Reason.BID, WORTH)]
    assert ends({"id": "d9"}) == [("", Reason.PRIVATE_AUCTION, 0)]
    assert ends({"id": "d9"}, private=0) == [("", Reason.DEAL, 0)]


def test_a_private_auction_without_deals_is_nobodys() -> None:
    assert ends() == [("", Reason.PRIVATE_AUCTION, 0)]


def test_each_deal_gets_a_bid_of_its_own() -> None:
    found = rows({"id": "d1"}, {"id": "d2"}, campaigns=(wanting("c1", "d1", "d2"),))
    assert [row["deal_id"] for row in found] == ["d1", "d2"]
    assert len({row["bid_id"] for row in found}) == 2


def test_the_answer_names_the_deal() -> None:
    engine = make.engine([wanting("c1", 'd"1')], settings=SETTINGS, now_ns=NOW_NS)
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "pmp": {"deals": [{"id": 'd"1'}]}}
    imp["ext"] = {"clearbid": {"campaign": "c1", "pctr": 0.001}}
    (answer,) = engine.decide([make.body(Offer(more={"imp": [imp]}))], [0], NOW_NS)
    assert b'"dealid":"d\\"1"' in answer.response


# -- terms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deal", "reason", "bid"),
    [
        ({"bidfloor": 1.0}, Reason.BID, WORTH),
        ({"bidfloor": 1.000001}, Reason.BELOW_FLOOR, 0),
        ({"bidfloor": 0.6666, "bidfloorcur": "EUR"}, Reason.BID, WORTH),
        ({"bidfloor": 0.6667, "bidfloorcur": "EUR"}, Reason.BELOW_FLOOR, 0),
        ({"bidfloor": 0.1, "bidfloorcur": "CHF"}, Reason.FLOOR_CURRENCY, 0),
        ({"bidfloorcur": "CHF"}, Reason.BID, WORTH),
        ({"mincpmpersec": 0.1, "bidfloorcur": "CHF"}, Reason.FLOOR_CURRENCY, 0),
        ({"bidfloor": -1}, Reason.INVALID, 0),
        ({"at": 2}, Reason.BID, WORTH),
        ({"at": 1}, Reason.BID, WORTH // 2),
        ({"at": 3, "bidfloor": 0.4}, Reason.BID, 400_000),
        ({"at": 3, "bidfloor": 1.1}, Reason.BID, 1_100_000),
        ({"at": 3, "bidfloor": 2.1}, Reason.BELOW_FLOOR, 0),
        ({"at": 3}, Reason.BID, 1),
        ({"at": 4}, Reason.AUCTION_TYPE, 0),
        ({"wseat": ["clearbid"]}, Reason.BID, WORTH),
        ({"wseat": ["rival"]}, Reason.SEAT, 0),
        ({"guar": 1, "bidfloor": 3.0}, Reason.BID, 3_000_000),
        ({"guar": 1, "bidfloor": 0.5}, Reason.BID, WORTH),
        ({"guar": 1, "at": 3, "bidfloor": 3.0}, Reason.BID, 3_000_000),
        ({"guar": 1, "bidfloor": 9.1}, Reason.BELOW_FLOOR, 0),
        ({"wadomain": ["Shop.Example"]}, Reason.BID, WORTH),
        ({"wadomain": ["example"]}, Reason.DEAL, 0),
        ({"wadomain": ["rival.example"]}, Reason.DEAL, 0),
        ({"wadomain": []}, Reason.BID, WORTH),
    ],
)
def test_a_deal_by_its_terms(deal: dict[str, Any], reason: Reason, bid: int) -> None:
    assert ends({"id": "d1", **deal}) == [("d1", reason, bid)]


def test_a_deals_floor_is_its_own_and_not_the_impressions() -> None:
    imp = {"bidfloor": 5.0, "bidfloorcur": "CHF"}
    found = ends({"id": "d1"}, private=0, imp=imp)
    assert found == [("", Reason.FLOOR_CURRENCY, 0), ("d1", Reason.BID, WORTH)]


@pytest.mark.parametrize(("terms", "bid"), [({}, WORTH // 2), ({"at": 2}, WORTH)])
def test_an_auction_at_first_price_is_so_for_a_deal_that_says_nothing(
    terms: dict[str, Any], bid: int
) -> None:
    assert ends({"id": "d1", **terms}, at=1) == [("d1", Reason.BID, bid)]


def test_a_list_of_advertisers_bars_a_line_item_with_one_creative_of_another() -> None:
    two: tuple[Creative, ...] = (creative("k1"), creative("k2", adomain=("rival.example",)))
    assert ends({"id": "d1", "wadomain": ["shop.example"]}, campaigns=(wanting(creatives=two),)) == [
        ("d1", Reason.DEAL, 0)
    ]


@pytest.mark.parametrize(
    ("deal", "imp", "reason"),
    [
        ({}, {"mincpmpersec": 5.0}, Reason.BID),
        ({"mincpmpersec": 0.06}, {}, Reason.BID),
        ({"mincpmpersec": 0.07}, {}, Reason.BELOW_FLOOR),
        ({"durfloors": [{"mindur": 10, "maxdur": 20, "bidfloor": 1.1}]}, {}, Reason.BELOW_FLOOR),
        ({"bidfloor": 5.0, "durfloors": [{"mindur": 10, "maxdur": 20, "bidfloor": 0.9}]}, {}, Reason.BID),
        ({"bidfloor": 5.0, "durfloors": [{"mindur": 16, "bidfloor": 0.9}]}, {}, Reason.BELOW_FLOOR),
    ],
)
def test_floors_by_duration_of_a_deal_are_its_own(
    deal: dict[str, Any], imp: dict[str, Any], reason: Reason
) -> None:
    video = creative(
        media=Media.VIDEO, image_url="", media_url="https://a.example/v", mime="video/mp4", duration_s=15
    )
    slot = {"banner": None, "video": {"mimes": ["video/mp4"], **imp}}
    assert ends({"id": "d1", **deal}, campaigns=(wanting(creatives=(video,)),), imp=slot)[0][1] == reason


def test_a_deal_listed_twice_gets_one_bid_by_its_first_terms() -> None:
    assert ends({"id": "d1", "bidfloor": 0.1}, {"id": "d1", "bidfloor": 5.0}) == [("d1", Reason.BID, WORTH)]


def test_a_floor_follows_the_rate_of_the_hour() -> None:
    rates = {"base": "USD", "rates": {"2026-03-01": {"EUR": "1"}, "2026-03-03": {"EUR": "2"}}}
    engine = make.engine(
        [wanting()], settings=EngineSettings(external_scores=True, rates=rates), now_ns=NOW_NS
    )
    imp = {
        "banner": {"w": 300, "h": 250},
        "pmp": {"deals": [{"id": "d1", "bidfloor": 0.3, "bidfloorcur": "EUR"}]},
    }
    imp["ext"] = {"clearbid": {"campaign": "c1", "pctr": 0.001}}
    floors = []
    for day in (0, 1):
        offer = Offer(id=f"r{day}", more={"imp": [{"id": "1", **imp}]})
        row = make.decide(engine, make.body(offer), now_ns=NOW_NS + day * 86_400 * S)[-1]
        floors.append(row["floor_cpm_micros"])
    assert floors == [300_000, 600_000]
