"""What holds for the exchange whatever it is sent, in whatever order."""

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bidder.core.messages import NoticeKind
from bidder.money import MICROS_PER_UNIT, format_decimal
from bidder.openrtb.macros import PriceOutcome, parse_auction_price
from simulator.exchange.answers import MAX_BID_CPM_MICROS, price_cpm_micros
from simulator.exchange.auction import decide
from simulator.exchange.books import Call
from simulator.exchange.exchange import Exchange
from simulator.exchange.outcomes import LoggedOutcomes
from simulator.logs.conversions import ConversionLaw
from simulator.logs.requests import RequestEncoder
from tests.support.data import answer, bid, row

PRICES = st.integers(1, MAX_BID_CPM_MICROS)
FLOORS = st.integers(0, MAX_BID_CPM_MICROS)
RIVALS = st.none() | FLOORS
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "id",
        "impid",
        "price",
        "nurl",
        "burl",
        "lurl",
        "adm",
        "adomain",
        "cid",
        "crid",
        "w",
        "h",
        "mtype",
        "ext",
    ]
)


def exchange(first_price: bool = False) -> Exchange:
    names = frozenset({"adx-one"}) if first_price else frozenset[str]()
    law = ConversionLaw(9, mean_rate=0.5)
    return Exchange(RequestEncoder("USD", first_price=names), LoggedOutcomes(law), seed=9)


@given(PRICES, FLOORS, RIVALS, st.booleans())
def test_winner_never_pays_more_than_its_bid_nor_less_than_floor_and_rival(price, floor, rival, first_price):
    verdict = decide(price, floor, rival, first_price=first_price)
    assert verdict.won == (price >= floor and (rival is None or price > rival))
    if verdict.won:
        assert max(floor, rival or 0, 1) <= verdict.price_cpm_micros <= price


@given(PRICES, FLOORS, RIVALS, st.booleans())
def test_what_is_told_as_needed_to_win_is_the_least_that_wins(price, floor, rival, first_price):
    needed = decide(price, floor, rival, first_price=first_price).min_to_win_cpm_micros
    assert decide(needed, floor, rival, first_price=first_price).won
    assert not decide(needed - 1, floor, rival, first_price=first_price).won


@given(PRICES)
def test_price_in_micros_survives_json_text(price):
    assert price_cpm_micros(format_decimal(price, MICROS_PER_UNIT).encode()) == price


@given(PRICES)
def test_price_written_by_a_float_is_the_price(price):
    """Up to a million CPM a double's shortest text holds every micro."""
    assert price_cpm_micros(json.dumps(price / MICROS_PER_UNIT).encode()) == price


@given(PRICES, FLOORS, RIVALS, st.booleans())
def test_billed_price_is_the_one_that_the_bidder_reads_in_the_url(price, floor, rival, first_price):
    market = exchange(first_price)
    market.offer(row(floor_cpm_micros=floor, market_cpm_micros=rival), 0)
    text = format_decimal(price, MICROS_PER_UNIT)
    calls = market.respond(
        answer(bid(price=12321, burl="https://t.example/b?${AUCTION_PRICE}")).replace(
            b"12321", text.encode()
        ),
        1,
    )
    for call in calls:
        if call.kind is NoticeKind.BILLING:
            read = parse_auction_price(call.url.partition("?")[2])
            assert read == (PriceOutcome.POSITIVE, call.price_nanos)
            assert call.price_nanos <= price


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_answer_raises_and_garbage_is_counted(body):
    market = exchange()
    market.offer(row(), 0)
    assert market.respond(body, 1) == []
    assert market.books.violations.total() + market.books.no_bids == 1


@given(FIELDS, JSON)
def test_bid_with_any_value_in_any_field_is_judged_and_adds_up(field, value):
    market = exchange()
    market.offer(row(), 0)
    calls = market.respond(answer(bid(**{field: value})), 1)
    books = market.books
    assert (books.offered, books.answered, market.open_auctions) == (1, 1, 0)
    for each in books.campaigns.values():
        assert each.bids == each.wins + each.losses + each.rejected
    assert sum(call.kind is NoticeKind.BILLING for call in calls) == sum(
        b.wins for b in books.campaigns.values()
    )


@st.composite
def sessions(draw):
    """Rows with their answers: no bid, a bid at some price, late, repeated or never."""
    prices = draw(st.lists(st.none() | st.integers(1, 40), min_size=1, max_size=12))
    return [
        (f"r{n}", price, draw(st.sampled_from(["once", "twice", "late", "never"])))
        for n, price in enumerate(prices)
    ]


def play(session, order) -> tuple[Exchange, list[Call]]:
    market = exchange()
    calls: list[Call] = []
    for name, _, _ in session:
        market.offer(row(id=name, campaign="c1", clicked=True), 100)
    for place in order:
        name, price, fate = session[place]
        body = answer(*([] if price is None else [bid(price=price / 10)]), request_id=name)
        for _ in range({"never": 0, "twice": 2}.get(fate, 1)):
            calls += market.respond(body, 50, late=fate == "late")
    market.expire(100)
    for call in sorted(calls):
        market.happened(call)
    return market, calls


@given(sessions().flatmap(lambda s: st.tuples(st.just(s), st.permutations(range(len(s))))))
def test_order_of_answers_changes_neither_calls_nor_books(case):
    session, order = case
    first, calls = play(session, range(len(session)))
    second, others = play(session, order)
    assert Counter(calls) == Counter(others)
    assert first.books == second.books


@given(sessions())
def test_every_offer_ends_once_and_the_books_add_up(session):
    market, calls = play(session, range(len(session)))
    books = market.books
    assert books.offered == books.answered + books.timeouts == len(session)
    assert market.open_auctions == 0
    assert books.answered == books.no_bids + sum(each.bids for each in books.campaigns.values())
    billed = [call for call in calls if call.kind is NoticeKind.BILLING]
    for each in books.campaigns.values():
        assert (each.impressions, each.spend_nanos) == (len(billed), sum(call.price_nanos for call in billed))
        assert each.wins == each.impressions >= each.clicks >= each.conversions
