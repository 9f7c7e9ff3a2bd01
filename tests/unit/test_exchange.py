"""The exchange as a state machine: what an answer leads to, and what the books say."""

import json

import pytest

from bidder.core.messages import NoticeKind
from simulator.exchange.delays import Delays, FixedDelay
from simulator.exchange.exchange import CLOSED_KEPT, Exchange
from simulator.logs.requests import RequestEncoder
from simulator.logs.rows import LogRow
from tests.support.data import answer, bid, row

NOW_NS = 5_000
FIXED = Delays(FixedDelay(10), FixedDelay(100), FixedDelay(1_000), FixedDelay(10_000))


class Certain:
    """Every impression is clicked and every click converts, if so wished."""

    def __init__(self, clicks: bool = False, converts: bool = False) -> None:
        self.clicks, self.converts = clicks, converts

    def clicked(self, row: LogRow, campaign_id: str) -> bool:
        return self.clicks

    def converted(self, row: LogRow, campaign_id: str) -> tuple[bool, int]:
        return (True, 12_500_000_000) if self.converts else (False, 0)


def exchange(
    clicks: bool = False, converts: bool = False, first_price: bool = False, loss_notice_share: float = 1.0
) -> Exchange:
    names = frozenset({"adx-one"}) if first_price else frozenset[str]()
    encoder = RequestEncoder("USD", first_price=names)
    return Exchange(
        encoder, Certain(clicks, converts), seed=1, delays=FIXED, loss_notice_share=loss_notice_share
    )


def urls(calls: list) -> dict[NoticeKind, str]:
    return {call.kind: call.url for call in calls}


def test_winner_pays_the_rivals_price_at_second_price():
    market = exchange()
    market.offer(row(), 0)
    calls = market.respond(answer(bid()), NOW_NS)
    assert urls(calls)[NoticeKind.BILLING] == "https://t.example/bill?t=1&p=1.2"


def test_winner_pays_the_floor_where_the_rival_is_below_it():
    market = exchange()
    market.offer(row(floor_cpm_micros=1_500_000), 0)
    calls = market.respond(answer(bid()), NOW_NS)
    assert {call.price_nanos for call in calls if call.kind is NoticeKind.BILLING} == {1_500_000}


def test_winner_pays_its_bid_at_first_price():
    market = exchange(first_price=True)
    market.offer(row(), 0)
    calls = market.respond(answer(bid()), NOW_NS)
    assert urls(calls)[NoticeKind.WIN] == "https://t.example/win?t=1&p=2.5&c=USD"


def test_first_price_is_by_exchange():
    market = exchange(first_price=True)
    market.offer(row(exchange="adx-two"), 0)
    calls = market.respond(answer(bid()), NOW_NS)
    assert {call.price_nanos for call in calls if call.kind is NoticeKind.WIN} == {1_200_000}


def test_tie_goes_to_the_rival():
    market = exchange()
    market.offer(row(), 0)
    calls = market.respond(answer(bid(price=1.2)), NOW_NS)
    assert [call.kind for call in calls] == [NoticeKind.LOSS]


def test_loser_hears_reason_102():
    market = exchange()
    market.offer(row(), 0)
    calls = market.respond(answer(bid(price=1.0)), NOW_NS)
    assert urls(calls) == {NoticeKind.LOSS: "https://t.example/loss?t=1&l=102"}


def test_loss_notice_comes_after_the_notice_delay():
    market = exchange()
    market.offer(row(), 0)
    (call,) = market.respond(answer(bid(price=1.0)), NOW_NS)
    assert call.at_ns == NOW_NS + 10


def test_no_loss_notice_where_the_exchange_tells_nobody():
    market = exchange(loss_notice_share=0.0)
    market.offer(row(), 0)
    assert market.respond(answer(bid(price=1.0)), NOW_NS) == []
    assert market.books.of("c1").losses == 1


def test_loss_without_lurl_calls_nothing():
    market = exchange()
    market.offer(row(), 0)
    assert market.respond(answer(bid(price=1.0, lurl=...)), NOW_NS) == []


def test_calls_come_at_their_delays():
    market = exchange(clicks=True, converts=True)
    market.offer(row(), 0)
    calls = market.respond(answer(bid()), NOW_NS)
    assert {call.kind: call.at_ns - NOW_NS for call in calls} == {
        NoticeKind.WIN: 10,
        NoticeKind.BILLING: 110,
        NoticeKind.IMPRESSION: 110,
        NoticeKind.CLICK: 1_110,
        NoticeKind.CONVERSION: 11_110,
    }


def test_click_calls_the_unescaped_link():
    market = exchange(clicks=True)
    market.offer(row(), 0)
    assert urls(market.respond(answer(bid()), NOW_NS))[NoticeKind.CLICK] == "https://t.example/c?t=1&l=2"


def test_conversion_postback_tells_worth_and_event():
    market = exchange(clicks=True, converts=True)
    market.offer(row(id="row 1/2"), 0)
    calls = market.respond(answer(bid(), request_id="row 1/2"), NOW_NS)
    assert urls(calls)[NoticeKind.CONVERSION] == "https://t.example/v?t=1&v=12.5&e=row%201%2F2-1"


def test_conversion_is_not_reported_where_the_bid_names_no_postback():
    market = exchange(clicks=True, converts=True)
    market.offer(row(), 0)
    calls = market.respond(answer(bid(ext=...)), NOW_NS)
    assert NoticeKind.CONVERSION not in urls(calls)


def test_win_is_not_billed_before_its_call_happens():
    market = exchange()
    market.offer(row(), 0)
    market.respond(answer(bid()), NOW_NS)
    books = market.books.of("c1")
    assert (books.wins, books.impressions, books.spend_nanos) == (1, 0, 0)


def test_books_hold_everything_that_happened():
    market = exchange(clicks=True, converts=True)
    market.offer(row(), 0)
    for call in sorted(market.respond(answer(bid()), NOW_NS)):
        market.happened(call)
    books = market.books.of("c1")
    assert (books.impressions, books.spend_nanos, books.shown) == (1, 1_200_000, 1)
    assert (books.clicks, books.conversions, books.value_nanos) == (1, 1, 12_500_000_000)


def test_no_bid_is_counted():
    market = exchange()
    market.offer(row(), 0)
    assert market.respond(answer(nbr=2), NOW_NS) == []
    assert (market.books.answered, market.books.no_bids, market.open_auctions) == (1, 1, 0)


def test_bid_with_no_rival_and_no_floor_pays_one_micro():
    market = exchange()
    market.offer(row(floor_cpm_micros=0, market_cpm_micros=None), 0)
    calls = market.respond(answer(bid()), NOW_NS)
    assert urls(calls)[NoticeKind.BILLING] == "https://t.example/bill?t=1&p=0.000001"


def test_highest_of_several_bids_wins_and_the_other_hears_what_it_took():
    market = exchange()
    market.offer(row(), 0)
    other = bid(id="bid-2", price=2.0, cid="c2", lurl="https://t.example/loss?m=${AUCTION_MIN_TO_WIN}")
    calls = market.respond(answer(other, bid()), NOW_NS)
    assert urls(calls)[NoticeKind.LOSS] == "https://t.example/loss?m=2.500001"
    assert market.books.of("c1").wins == 1


def test_bid_below_the_floor_is_refused_with_reason_100():
    market = exchange()
    market.offer(row(), 0)
    calls = market.respond(answer(bid(price=0.4)), NOW_NS)
    assert urls(calls) == {NoticeKind.LOSS: "https://t.example/loss?t=1&l=100"}
    assert market.books.violations == {"floor": 1}


def test_refused_bid_leaves_a_good_one_in_the_auction():
    market = exchange()
    market.offer(row(), 0)
    market.respond(answer(bid(id="bid-2", price=9, cid="c2", w=728), bid()), NOW_NS)
    assert (market.books.of("c2").rejected, market.books.of("c1").wins) == (1, 1)


def test_late_answer_is_a_timeout():
    market = exchange()
    market.offer(row(), 0)
    assert market.respond(answer(bid()), NOW_NS, late=True) == []
    assert (market.books.late, market.books.timeouts, market.books.answered) == (1, 1, 0)


def test_expire_gives_up_what_is_due_and_nothing_else():
    market = exchange()
    market.offer(row(id="a"), 100)
    market.offer(row(id="b"), 200)
    assert market.expire(100) == 1
    assert (market.books.timeouts, market.open_auctions) == (1, 1)


def test_answer_after_expiry_is_late_and_then_a_repeat():
    market = exchange()
    market.offer(row(), 100)
    market.expire(100)
    for _ in range(2):
        assert market.respond(answer(bid()), NOW_NS) == []
    assert (market.books.late, market.books.repeats, market.books.violations) == (1, 1, {})


def test_repeated_answer_changes_nothing():
    market = exchange()
    market.offer(row(), 0)
    market.respond(answer(bid()), NOW_NS)
    assert market.respond(answer(bid()), NOW_NS) == []
    assert (market.books.repeats, market.books.of("c1").bids) == (1, 1)


def test_answer_to_no_auction_is_a_violation():
    market = exchange()
    assert market.respond(answer(bid()), NOW_NS) == []
    assert market.books.violations == {"unknown_auction": 1}


def test_malformed_answer_closes_the_auction_it_names():
    market = exchange()
    market.offer(row(), 0)
    assert market.respond(b'{"id":"row-1","seatbid":"nothing"}', NOW_NS) == []
    assert (market.books.violations, market.open_auctions) == ({"malformed": 1}, 0)


@pytest.mark.parametrize("body", [b"", b"nothing", b"\xff", b'{"seatbid":[]}', b"[]"])
def test_answer_that_names_no_auction_is_counted_and_leaves_all_open(body):
    market = exchange()
    market.offer(row(), 0)
    assert market.respond(body, NOW_NS) == []
    assert (market.books.violations, market.open_auctions) == ({"malformed": 1}, 1)


def test_memory_of_closed_auctions_is_bounded():
    market = exchange()
    for number in range(CLOSED_KEPT + 1):
        market.offer(row(id=str(number)), 0)
        market.respond(answer(request_id=str(number)), NOW_NS)
    market.respond(answer(request_id="0"), NOW_NS)
    market.respond(answer(request_id="1"), NOW_NS)
    assert (market.books.repeats, market.books.violations) == (1, {"unknown_auction": 1})


def test_offer_returns_the_rows_request():
    assert json.loads(exchange().offer(row(), 0))["id"] == "row-1"


def test_row_on_offer_cannot_be_offered_again():
    market = exchange()
    market.offer(row(), 0)
    with pytest.raises(AssertionError, match="on offer already"):
        market.offer(row(), 0)


def test_loss_notice_share_must_be_a_share():
    with pytest.raises(ValueError, match=r"must be from 0 to 1, was 1\.5"):
        exchange(loss_notice_share=1.5)


def test_bids_are_won_lost_or_rejected():
    market = exchange()
    prices = [0.4, 0.9, 1.2, 1.3, 2.0, "x"]
    for number, price in enumerate(prices):
        market.offer(row(id=str(number)), 0)
        market.respond(answer(bid(price=price), request_id=str(number)), NOW_NS)
    books = market.books.of("c1")
    assert (books.bids, books.wins, books.losses, books.rejected) == (6, 2, 2, 2)
