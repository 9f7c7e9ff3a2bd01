"""The rules of the tracking endpoints, without a socket."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from bidder.core.messages import Notice, NoticeKind, encode
from bidder.core.token import Scope, TokenFields, bid_id_text, sign, sign_landing
from bidder.core.urls import TrackingUrls
from bidder.errors import ConfigError, InputError
from bidder.money import MAX_NANOS
from bidder.web.calls import Answer, Outcome
from bidder.web.track import (
    DEFAULT_CONVERSION_WINDOW_NS,
    DEFAULT_GRACE_NS,
    Tracker,
)

KEY = b"0123456789abcdef0123456789abcdef"
OTHER = b"another key that is long enough!"
NOW = 1_700_000_000_000_000_000
LIABLE = NOW + 600_000_000_000
CAP = 2_500_000
FIELDS = TokenFields(
    bid_id=bytes(range(12)),
    campaign_id="campaign-7",
    seat="seat-1",
    epoch=3,
    partition=2,
    cap_nanos=CAP,
    currency="USD",
    result_until_ns=NOW + 1_000_000_000,
    liable_until_ns=LIABLE,
    line_item_id="shoes-1",
    creative_id="banner-3",
    bid_at_ns=NOW - 5,
    user=0xFEDC_BA98_7654_3210,
)
TOKEN = sign(FIELDS, KEY)
BROWSER = sign(FIELDS, KEY, Scope.BROWSER)
PAGE = "https://shop.example/sale?id=7&ref=a%20b"
LANDING = sign_landing(PAGE, KEY)
NO_STORE = ("Cache-Control", "no-store")


@pytest.fixture
def tracker() -> Tracker:
    return Tracker([KEY], "USD")


def call(
    tracker: Tracker,
    target: str,
    now_ns: int = NOW,
    method: str = "GET",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    return tracker.handle(
        method,
        target,
        {name.encode(): value.encode() for name, value in headers.items()},
        now_ns,
    )


def refusal(tracker: Tracker, target: str, now_ns: int = NOW, method: str = "GET") -> tuple[int, Outcome]:
    """Status and outcome of a call that gives no notice and is counted once."""
    answer = call(tracker, target, now_ns, method)
    assert answer.notice is None
    ((_, outcome),) = tracker.counts
    assert tracker.counts.total() == 1
    return answer.reply.status, outcome


def notice(kind: NoticeKind, price_nanos: int = 0, value_nanos: int = 0, event_id: str = "") -> Notice:
    return Notice(
        kind=kind,
        bid_id=bid_id_text(FIELDS.bid_id),
        campaign_id="campaign-7",
        seat="seat-1",
        epoch=3,
        cap_nanos=CAP,
        price_nanos=price_nanos,
        value_nanos=value_nanos,
        event_id=event_id,
        at_ns=NOW,
        result_until_ns=NOW + 1_000_000_000,
        liable_until_ns=LIABLE,
        line_item_id="shoes-1",
        creative_id="banner-3",
        bid_at_ns=NOW - 5,
        partition=2,
        user=0xFEDC_BA98_7654_3210,
    )


# --- what each path says


def test_a_win_gives_a_notice_with_its_price(tracker: Tracker) -> None:
    answer = call(tracker, f"/win?t={TOKEN}&p=1.25&c=USD")
    assert answer.reply.status == 204
    assert answer.notice == notice(NoticeKind.WIN, price_nanos=1_250_000)
    assert tracker.counts == {("/win", Outcome.ACCEPTED): 1}


def test_a_billing_gives_a_notice_with_its_price(tracker: Tracker) -> None:
    answer = call(tracker, f"/bill?t={TOKEN}&p=1.234567&c=USD")
    assert answer.reply.status == 204
    assert answer.notice == notice(NoticeKind.BILLING, price_nanos=1_234_567)


def test_a_loss_gives_a_notice_and_its_reason_is_counted(tracker: Tracker) -> None:
    answer = call(tracker, f"/loss?t={TOKEN}&l=102")
    assert answer.reply.status == 204
    assert answer.notice == notice(NoticeKind.LOSS)
    assert tracker.loss_reasons == {102: 1}


def test_a_pixel_gives_a_notice_and_an_image_that_no_cache_keeps(tracker: Tracker) -> None:
    answer = call(tracker, f"/i?t={BROWSER}")
    assert answer.notice == notice(NoticeKind.IMPRESSION)
    assert answer.reply.status == 200
    assert answer.reply.headers == (("Content-Type", "image/gif"), NO_STORE)
    assert answer.reply.body[:10] == b"GIF89a\x01\x00\x01\x00"
    assert answer.reply.body[-1:] == b";"


def test_a_click_gives_a_notice_and_leads_to_the_page(tracker: Tracker) -> None:
    answer = call(tracker, f"/c?t={BROWSER}&{LANDING}")
    assert answer.notice == notice(NoticeKind.CLICK)
    assert answer.reply.status == 302
    assert answer.reply.headers == (("Location", PAGE), NO_STORE)


def test_a_conversion_gives_a_notice_with_its_worth(tracker: Tracker) -> None:
    answer = call(tracker, f"/v?t={BROWSER}&v=12.345678901&e=order:17&c=USD")
    assert answer.reply.status == 204
    assert answer.notice == notice(NoticeKind.CONVERSION, value_nanos=12_345_678_901, event_id="order:17")


def test_a_conversion_without_worth_or_event_is_worth_nothing(tracker: Tracker) -> None:
    assert call(tracker, f"/v?t={BROWSER}").notice == notice(NoticeKind.CONVERSION)


def test_a_repeat_passes_as_the_bank_tells_it_apart(tracker: Tracker) -> None:
    target = f"/bill?t={TOKEN}&p=1"
    assert call(tracker, target).notice == call(tracker, target).notice != None  # noqa: E711


# --- tokens


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss", "/i", "/view", "/c", "/v"])
@pytest.mark.parametrize(
    ("token", "outcome"),
    [
        ("", Outcome.MALFORMED),
        ("abc", Outcome.MALFORMED),
        (sign(FIELDS, OTHER), Outcome.FORGED),
    ],
)
def test_without_a_token_of_ours_there_is_no_notice(
    tracker: Tracker, path: str, token: str, outcome: Outcome
) -> None:
    assert refusal(tracker, f"{path}?t={token}&p=1&{LANDING}") == (400, outcome)


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss"])
def test_a_token_out_of_the_markup_books_nothing(tracker: Tracker, path: str) -> None:
    assert refusal(tracker, f"{path}?t={BROWSER}&p=1") == (400, Outcome.SCOPE)


def test_a_token_of_an_older_key_passes_while_it_is_listed() -> None:
    tracker = Tracker([KEY, OTHER], "USD")
    assert call(tracker, f"/bill?t={sign(FIELDS, OTHER)}&p=1").notice is not None


def test_a_landing_page_signed_by_an_older_key_is_led_to() -> None:
    tracker = Tracker([KEY, OTHER], "USD")
    assert call(tracker, f"/c?t={BROWSER}&{sign_landing(PAGE, OTHER)}").reply.status == 302


def in_currency(**fields: Any) -> str:
    """A token of a bid in euros worth 1.0842 dollars each."""
    euros: dict[str, Any] = {"currency": "EUR", "rate_nanos": 1_084_200_000}
    return sign(msgspec.structs.replace(FIELDS, **(euros | fields)), KEY)


def test_a_price_in_another_currency_is_booked_in_the_accounts_at_the_rate_of_the_bid(
    tracker: Tracker,
) -> None:
    answer = call(tracker, f"/bill?t={in_currency()}&p=1&c=EUR")
    assert answer.notice is not None
    assert answer.notice.price_nanos == 1_084_200


def test_a_part_of_a_nano_is_owed_as_a_whole_one(tracker: Tracker) -> None:
    answer = call(tracker, f"/bill?t={in_currency()}&p=0.000001&c=EUR")
    assert answer.notice is not None
    assert answer.notice.price_nanos == 2


@pytest.mark.parametrize(("impressions", "nanos"), [(2_500_000, 2_500_000), (1, 1), (999_999, 999_999)])
def test_a_bid_of_several_impressions_costs_the_price_of_each(
    tracker: Tracker, impressions: int, nanos: int
) -> None:
    token = sign(msgspec.structs.replace(FIELDS, impressions=impressions), KEY)
    answer = call(tracker, f"/bill?t={token}&p=1")
    assert answer.notice is not None
    assert (answer.notice.price_nanos, answer.notice.impressions) == (nanos, impressions)


def test_rate_and_quantity_are_rounded_up_once(tracker: Tracker) -> None:
    token = in_currency(impressions=1_500_000)
    answer = call(tracker, f"/bill?t={token}&p=0.000003&c=EUR")
    assert answer.notice is not None
    assert answer.notice.price_nanos == 5  # 3 * 1.5 * 1.0842 = 4.8789


@pytest.mark.parametrize(("price", "outcome"), [("2.305847", None), ("2.305848", Outcome.ABOVE_CAP)])
def test_the_cap_is_of_the_whole_bid_in_the_accounts_currency(price: str, outcome: Outcome | None) -> None:
    tracker = Tracker([KEY], "USD")
    call(tracker, f"/bill?t={in_currency(cap_nanos=2_500_000)}&p={price}&c=EUR")
    assert tracker.counts == {("/bill", outcome or Outcome.ACCEPTED): 1}


def test_a_rate_of_the_accounts_own_currency_is_refused(tracker: Tracker) -> None:
    token = in_currency(currency="USD")
    assert refusal(tracker, f"/bill?t={token}&p=1&c=USD") == (204, Outcome.CURRENCY)


@pytest.mark.parametrize("path", ["/win", "/bill"])
def test_the_currency_of_a_notice_must_be_that_of_its_bid(tracker: Tracker, path: str) -> None:
    assert refusal(tracker, f"{path}?t={in_currency()}&p=1&c=USD") == (204, Outcome.CURRENCY)


def test_the_worth_of_a_conversion_is_in_the_accounts_currency(tracker: Tracker) -> None:
    assert call(tracker, f"/v?t={in_currency()}&v=1&c=USD").notice is not None
    assert call(tracker, f"/v?t={in_currency()}&v=1&c=EUR").notice is None


def test_a_tracker_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Tracker([], "USD")


# --- prices

NOT_PRICES = [
    ("", Outcome.EMPTY),
    ("${AUCTION_PRICE}", Outcome.UNEXPANDED),
    ("%24%7BAUCTION_PRICE%7D", Outcome.UNEXPANDED),
    ("%2524%257BAUCTION_PRICE%257D", Outcome.UNEXPANDED),
    ("YWJjMTIzZGVmNDU2Z2hpN7fhCuPemCce_6msaw", Outcome.ENCRYPTED),
    ("1,5", Outcome.UNREADABLE),
]
WRONG_PRICES = [
    ("0", Outcome.ZERO),
    ("0.000", Outcome.ZERO),
    ("-1", Outcome.NEGATIVE),
    ("2.500001", Outcome.ABOVE_CAP),
    ("2.5000001", Outcome.ABOVE_CAP),
    ("999999", Outcome.ABOVE_CAP),
    ("AUDIT", Outcome.AUDIT),
]


@pytest.mark.parametrize(("price", "outcome"), NOT_PRICES + WRONG_PRICES)
def test_no_spend_is_booked_on_a_price_that_is_none(tracker: Tracker, price: str, outcome: Outcome) -> None:
    assert refusal(tracker, f"/bill?t={TOKEN}&p={price}&c=USD") == (204, outcome)


def test_a_billing_without_the_parameter_of_its_price_books_nothing(tracker: Tracker) -> None:
    assert refusal(tracker, f"/bill?t={TOKEN}") == (204, Outcome.EMPTY)


@pytest.mark.parametrize("price", [price for price, _ in NOT_PRICES])
def test_a_win_with_an_unknown_price_is_a_win_at_price_0(tracker: Tracker, price: str) -> None:
    answer = call(tracker, f"/win?t={TOKEN}&p={price}")
    assert answer.reply.status == 204
    assert answer.notice == notice(NoticeKind.WIN)
    assert tracker.counts == {("/win", Outcome.ACCEPTED_UNPRICED): 1}


@pytest.mark.parametrize(("price", "outcome"), WRONG_PRICES)
def test_a_win_with_a_wrong_price_is_refused(tracker: Tracker, price: str, outcome: Outcome) -> None:
    assert refusal(tracker, f"/win?t={TOKEN}&p={price}") == (204, outcome)


def test_a_price_of_exactly_the_cap_is_booked(tracker: Tracker) -> None:
    answer = call(tracker, f"/bill?t={TOKEN}&p=2.5")
    assert answer.notice == notice(NoticeKind.BILLING, price_nanos=CAP)


@pytest.mark.parametrize("path", ["/win", "/bill", "/v"])
def test_another_currency_is_refused(tracker: Tracker, path: str) -> None:
    assert refusal(tracker, f"{path}?t={TOKEN}&p=1&c=EUR") == (204, Outcome.CURRENCY)


@pytest.mark.parametrize("currency", ["", "USD", "usd", "${AUCTION_CURRENCY}", "%24%7BAUCTION_CURRENCY%7D"])
def test_a_currency_that_does_not_say_otherwise_is_the_bids(tracker: Tracker, currency: str) -> None:
    assert call(tracker, f"/bill?t={TOKEN}&p=1&c={currency}").notice is not None


# --- losses


def test_a_loss_by_the_reason_of_a_won_bid_keeps_the_reservation(tracker: Tracker) -> None:
    assert refusal(tracker, f"/loss?t={TOKEN}&l=0") == (204, Outcome.BID_WON)


@pytest.mark.parametrize("text", ["", "${AUCTION_LOSS}", "abc", "99999", "²", "-1", "%C2%B2"])
def test_a_loss_for_an_unknown_reason_is_a_loss(tracker: Tracker, text: str) -> None:
    assert call(tracker, f"/loss?t={TOKEN}&l={text}").notice == notice(NoticeKind.LOSS)
    assert not tracker.loss_reasons


# --- ages


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss", "/i", "/view"])
def test_a_notice_is_taken_until_the_grace_ends_and_then_gone(path: str) -> None:
    target = f"{path}?t={TOKEN}&p=1"
    assert call(Tracker([KEY], "USD"), target, LIABLE + DEFAULT_GRACE_NS).notice is not None
    assert refusal(Tracker([KEY], "USD"), target, LIABLE + DEFAULT_GRACE_NS + 1) == (410, Outcome.EXPIRED)


def test_a_conversion_is_taken_until_its_own_window_ends() -> None:
    target = f"/v?t={BROWSER}&v=1"
    end = LIABLE + DEFAULT_CONVERSION_WINDOW_NS
    assert call(Tracker([KEY], "USD"), target, end).notice is not None
    assert refusal(Tracker([KEY], "USD"), target, end + 1) == (410, Outcome.EXPIRED)


def test_an_old_click_leads_to_its_page_but_counts_for_nothing(tracker: Tracker) -> None:
    answer = call(tracker, f"/c?t={BROWSER}&{LANDING}", LIABLE + DEFAULT_GRACE_NS + 1)
    assert answer.reply.status == 302
    assert answer.notice is None
    assert tracker.counts == {("/c", Outcome.EXPIRED): 1}


# --- landing pages


@pytest.mark.parametrize(
    "landing",
    [
        "",
        "u=https%3A%2F%2Fevil.example%2F",
        LANDING.replace("shop", "evil"),
        LANDING.partition("&")[0],
        sign_landing(PAGE, OTHER),
        "u=https%3A%2F%2Fevil.example%2F&" + LANDING.partition("&")[2],
        "u=%0d%0aX: y&s=" + "A" * 16,
    ],
)
def test_a_click_leads_nowhere_that_we_did_not_sign(tracker: Tracker, landing: str) -> None:
    assert refusal(tracker, f"/c?t={BROWSER}&{landing}") == (400, Outcome.LANDING)


# --- conversions


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": -1},
        {"epoch": 2**62 + 1},
        {"cap_nanos": MAX_NANOS + 1},
        {"liable_until_ns": MAX_NANOS + 1},
        {"bid_at_ns": MAX_NANOS + 1},
        {"bid_at_ns": -1},
        {"rate_nanos": 0, "currency": "EUR"},
        {"impressions": 0},
        {"impressions": 10**12 + 1},
        {"partition": -2},
        {"line_item_id": "a b"},
        {"creative_id": "x" * 65},
        {"campaign_id": "a b"},
        {"campaign_id": "x" * 65},
        {"seat": ""},
        {"seat": "s\0"},
    ],
)
def test_a_token_of_a_bid_that_the_bank_cannot_book_is_refused(
    tracker: Tracker, fields: dict[str, Any]
) -> None:
    token = sign(msgspec.structs.replace(FIELDS, **fields), KEY)
    assert refusal(tracker, f"/bill?t={token}&p=1") == (400, Outcome.MALFORMED)


def test_every_notice_is_one_that_the_bank_can_read(tracker: Tracker) -> None:
    largest = msgspec.structs.replace(
        FIELDS,
        epoch=2**62,
        cap_nanos=MAX_NANOS,
        liable_until_ns=MAX_NANOS,
        seat="s" * 255,
        campaign_id="x" * 64,
        line_item_id="l" * 64,
        creative_id="c" * 64,
        bid_at_ns=MAX_NANOS,
        impressions=10**12,
        partition=2**31 - 1,
        user=2**64 - 1,
    )
    sent = call(tracker, f"/v?t={sign(largest, KEY)}&v=9000000000&e={'e' * 64}").notice
    assert sent is not None
    assert msgspec.json.decode(encode(sent), type=Notice) == sent


@pytest.mark.parametrize("value", ["-1", "abc", "1e5", "1.0000000001", "1" * 30, "9000000001", "${VALUE}"])
def test_a_worth_that_cannot_be_read_is_told_to_the_advertiser(tracker: Tracker, value: str) -> None:
    assert refusal(tracker, f"/v?t={BROWSER}&v={value}") == (400, Outcome.VALUE)


@pytest.mark.parametrize("event_id", ["a b", "x" * 65, "%00", "a/b", "%C3%A9"])
def test_an_event_id_that_cannot_be_kept_is_told_to_the_advertiser(tracker: Tracker, event_id: str) -> None:
    assert refusal(tracker, f"/v?t={BROWSER}&v=1&e={event_id}") == (400, Outcome.EVENT_ID)


# --- the call itself


@pytest.mark.parametrize("target", ["/", "/wins", "/win/", "", "*", "example.com:443", "http://a/other"])
def test_an_unknown_path_is_not_found(tracker: Tracker, target: str) -> None:
    assert refusal(tracker, target) == (404, Outcome.NOT_FOUND)


def test_unknown_paths_do_not_grow_the_counters(tracker: Tracker) -> None:
    for number in range(10):
        call(tracker, f"/{number}")
    assert tracker.counts == {("other", Outcome.NOT_FOUND): 10}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/i", "GET, HEAD"),
        ("POST", "/c", "GET, HEAD"),
        ("PUT", "/win", "GET, HEAD, POST"),
        ("DELETE", "/bill", "GET, HEAD, POST"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_told(
    tracker: Tracker, method: str, path: str, allowed: str
) -> None:
    answer = call(tracker, f"{path}?t={TOKEN}&p=1&{LANDING}", method=method)
    assert answer == (msgspec.structs.replace(answer.reply, status=405, headers=(("Allow", allowed),)), None)


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss", "/v"])
def test_a_notice_may_be_posted(tracker: Tracker, path: str) -> None:
    assert call(tracker, f"{path}?t={TOKEN}&p=1", method="POST").notice is not None


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss", "/i", "/view", "/c", "/v"])
def test_a_head_is_answered_alike_and_is_no_event(tracker: Tracker, path: str) -> None:
    target = f"{path}?t={TOKEN}&p=1&{LANDING}"
    answer = call(tracker, target, method="HEAD")
    assert answer == (call(Tracker([KEY], "USD"), target).reply, None)
    assert tracker.counts == {(path, Outcome.NOT_AN_EVENT): 1}


@pytest.mark.parametrize(
    "headers", [{"sec-purpose": "prefetch;prerender"}, {"purpose": "Prefetch"}, {"x-moz": "prefetch"}]
)
def test_a_prefetch_is_no_event(tracker: Tracker, headers: dict[str, str]) -> None:
    answer = call(tracker, f"/c?t={BROWSER}&{LANDING}", headers=headers)
    assert answer.reply.status == 302
    assert answer.notice is None


def test_another_purpose_is_an_event(tracker: Tracker) -> None:
    assert call(tracker, f"/c?t={BROWSER}&{LANDING}", headers={"purpose": "navigate"}).notice is not None


@pytest.mark.parametrize("extra", ["t=x", "p=9", "p=1", "c=USD"])
def test_a_parameter_that_comes_twice_is_refused(tracker: Tracker, extra: str) -> None:
    target = f"/bill?t={TOKEN}&p=1&c=USD&{extra}"
    assert refusal(tracker, target) == (400, Outcome.QUERY)


def test_unknown_parameters_are_ignored(tracker: Tracker) -> None:
    assert call(tracker, f"/bill?cb=1&&=&x&t={TOKEN}&p=1&cb=2").notice is not None


def test_a_whole_url_and_bytes_are_targets_too(tracker: Tracker) -> None:
    target = f"http://track.example:8080/bill?t={TOKEN}&p=1".encode()
    assert tracker.handle("GET", target, {}, NOW).notice == notice(NoticeKind.BILLING, price_nanos=1_000_000)


def test_every_call_is_counted_once() -> None:
    tracker = Tracker([KEY], "USD")
    for target in (f"/bill?t={TOKEN}&p=1", "/x", f"/win?t={BROWSER}", f"/c?t={TOKEN}", "/v?e=%00"):
        call(tracker, target)
    assert tracker.counts.total() == 5


# --- the builder of URLs agrees with the tracker


def expanded(url: str) -> str:
    values = {"PRICE": "1.5", "CURRENCY": "USD", "LOSS": "102"}
    for name, value in values.items():
        url = url.replace(f"${{AUCTION_{name}}}", value)
    assert "${" not in url
    return url


def test_each_url_that_we_build_is_one_that_we_take() -> None:
    urls = TrackingUrls("https://track.example")
    tracker = Tracker([KEY], "USD")
    built = {
        NoticeKind.WIN: urls.nurl(TOKEN),
        NoticeKind.BILLING: urls.burl(TOKEN),
        NoticeKind.LOSS: urls.lurl(TOKEN),
        NoticeKind.IMPRESSION: urls.pixel(BROWSER),
        NoticeKind.VIEW: urls.view(BROWSER),
        NoticeKind.CLICK: urls.click(BROWSER, LANDING),
        NoticeKind.CONVERSION: urls.conversion(BROWSER) + "&v=3&e=1",
    }
    for kind, url in built.items():
        assert url.startswith("https://track.example/")
        answer = call(tracker, expanded(url))
        assert answer.notice is not None
        assert answer.notice.kind is kind


def test_macros_stand_in_the_urls_as_the_exchange_looks_for_them() -> None:
    urls = TrackingUrls("http://127.0.0.1:8080/")
    assert urls.burl("T") == "http://127.0.0.1:8080/bill?t=T&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}"
    assert urls.nurl("T") == "http://127.0.0.1:8080/win?t=T&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}"
    assert urls.lurl("T") == "http://127.0.0.1:8080/loss?t=T&l=${AUCTION_LOSS}"


def test_urls_say_whether_they_may_stand_in_secure_markup() -> None:
    assert TrackingUrls("https://track.example").secure
    assert not TrackingUrls("http://track.example").secure


@pytest.mark.parametrize(
    "url", ["", "track.example", "ftp://track.example", "https://", "https://a?b", "https://a#b"]
)
def test_a_public_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="public URL of the tracker"):
        TrackingUrls(url)


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss", "/i", "/view", "/c", "/v"])
def test_nothing_of_a_bid_on_test_traffic_counts(tracker: Tracker, path: str) -> None:
    fields = msgspec.structs.replace(FIELDS, cap_nanos=0)
    answer = tracker.handle("GET", f"{path}?t={sign(fields, KEY)}&p=1.5&{LANDING}", now_ns=NOW)
    assert answer.notice is None
    assert answer.reply.status in {200, 204, 302}
