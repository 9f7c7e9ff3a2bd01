"""From a called URL to the books: what each rule lets through, and under which count it refuses."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from bidder.core.bank import Bank, CampaignReport
from bidder.core.bankrules import BankRules
from bidder.core.messages import Notice, NoticeKind
from bidder.core.token import Scope, TokenFields, sign, sign_landing
from bidder.errors import InputError
from bidder.openrtb.encrypted import PriceCipher
from bidder.web.calls import Outcome
from bidder.web.track import Tracker
from tests.support.banking import S, campaign

KEY, OLD, STRANGER = b"k" * 32, b"o" * 32, b"s" * 32
NOW = 10 * S
FIELDS = TokenFields(
    bid_id=b"b" * 12,
    campaign_id="c1",
    seat="s1",
    epoch=1,
    partition=0,
    cap_nanos=2_000_000,
    currency="USD",
    result_until_ns=60 * S,
    liable_until_ns=100 * S,
    line_item_id="c1",
    creative_id="b1",
    bid_at_ns=9 * S,
    advertiser_id="acme",
    exchange="adx",
)
CIPHER = PriceCipher(b"e" * 32, b"i" * 32)
PAGE = "https://shop.example/sale"


def token(scope: Scope = Scope.EXCHANGE, key: bytes = KEY, **changes: Any) -> str:
    return sign(msgspec.structs.replace(FIELDS, **changes), key, scope)


class Desk:
    """A tracker and the bank that hears of what it takes."""

    def __init__(self, keys: Sequence[bytes] = (KEY,), **options: Any) -> None:
        self.tracker = Tracker(keys, "USD", **options)
        self.bank = Bank(BankRules(), {"c1": campaign()})
        self.notices: list[Notice] = []

    def call(self, target: str, method: str = "GET", now_ns: int = NOW) -> int:
        """Status of the answer."""
        answer = self.tracker.handle(method, target, {}, now_ns)
        if answer.notice is not None:
            self.notices.append(answer.notice)
            self.bank.apply([answer.notice], now_ns)
        return answer.reply.status

    @property
    def books(self) -> CampaignReport:
        (report,) = self.bank.report()
        return report

    def counts(self) -> dict[str, int]:
        """By path and outcome, as one text."""
        return {f"{path} {outcome.value}": count for (path, outcome), count in self.tracker.counts.items()}


def refused(target: str, outcome: Outcome, status: int, **options: Any) -> None:
    """Asserts that a call books nothing, is counted once as `outcome`, and gets `status`."""
    desk = Desk(**options)
    assert desk.call(target) == status
    assert desk.notices == []
    assert desk.books.spend_nanos == 0
    assert desk.counts() == {f"{target.partition('?')[0]} {outcome.value}": 1}


def test_a_billing_in_order_is_booked() -> None:
    desk = Desk()
    assert desk.call(f"/bill?t={token()}&p=1.5&c=USD") == 204
    assert desk.books.spend_nanos == 1_500_000
    assert desk.counts() == {"/bill accepted": 1}


def test_a_duplicate_is_answered_alike_and_booked_once() -> None:
    """An exchange repeats a call that it got no answer to: every ten seconds for a minute."""
    desk = Desk()
    assert {desk.call(f"/bill?t={token()}&p={price}") for price in ("1.5", "1.5", "0.5", "2")} == {204}
    assert desk.books.spend_nanos == 1_500_000
    assert desk.books.refused == {"duplicate": 3}


@pytest.mark.parametrize("path", ["/win", "/i", "/view", "/loss"])
def test_every_other_event_counts_once_a_bid_too(path: str) -> None:
    desk = Desk()
    for _ in range(3):
        desk.call(f"{path}?t={token()}")
    books = desk.books
    assert (books.wins, books.impressions, books.views) == (path == "/win", path == "/i", path == "/view")
    assert books.refused == ({} if path == "/loss" else {"duplicate": 2})


@pytest.mark.parametrize("at", [0, 3, 40, 100, 150, -1, -20])
def test_a_token_that_was_changed_is_forged(at: int) -> None:
    good = token()
    changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at:][1:]
    desk = Desk()
    assert desk.call(f"/bill?t={changed}&p=1") == 400
    assert desk.counts().keys() <= {"/bill forged", "/bill malformed"}
    assert desk.notices == []


def test_a_token_of_a_stranger_is_forged() -> None:
    refused(f"/bill?t={token(key=STRANGER)}&p=1", Outcome.FORGED, 400)


def test_a_key_that_was_replaced_is_good_until_it_is_removed() -> None:
    target = f"/bill?t={token(key=OLD)}&p=1"
    desk = Desk([KEY, OLD])
    assert desk.call(target) == 204
    assert desk.books.spend_nanos == 1_000_000
    refused(target, Outcome.FORGED, 400)


def test_a_notice_past_its_grace_is_expired() -> None:
    desk = Desk(grace_ns=5 * S)
    target = f"/bill?t={token()}&p=1"
    assert desk.call(target, now_ns=105 * S + 1) == 410
    assert desk.counts() == {"/bill expired": 1}
    assert desk.call(target, now_ns=105 * S) == 204
    assert desk.books.late_nanos == 1_000_000


@pytest.mark.parametrize("price", ["2.000001", "2.0000000001", "1e9"])
def test_a_price_above_the_cap_books_nothing(price: str) -> None:
    refused(f"/bill?t={token()}&p={price}", Outcome.ABOVE_CAP, 204)


@pytest.mark.parametrize(("currency", "told"), [("USD", "EUR"), ("EUR", "USD")])
def test_a_price_in_another_currency_than_the_bids_books_nothing(currency: str, told: str) -> None:
    bid = token(currency=currency, rate_nanos=S if currency == "USD" else 1_084_200_000)
    refused(f"/bill?t={bid}&p=1&c={told}", Outcome.CURRENCY, 204)


@pytest.mark.parametrize(
    ("price", "outcome"),
    [
        ("AUDIT", Outcome.AUDIT),
        ("audit", Outcome.AUDIT),
        ("${AUCTION_PRICE}", Outcome.UNEXPANDED),
        ("%24%7BAUCTION_PRICE%7D", Outcome.UNEXPANDED),
        ("${AUCTION_PRICE:B64}", Outcome.UNEXPANDED),
        ("", Outcome.EMPTY),
        ("0", Outcome.ZERO),
        ("-0.5", Outcome.NEGATIVE),
        ("NaN", Outcome.UNREADABLE),
    ],
)
def test_what_stands_for_no_price_books_nothing(price: str, outcome: Outcome) -> None:
    refused(f"/bill?t={token()}&p={price}", outcome, 204)


@pytest.mark.parametrize("path", ["/win", "/bill"])
def test_a_creative_under_review_is_neither_won_nor_billed(path: str) -> None:
    refused(f"{path}?t={token()}&p=AUDIT&c=AUDIT", Outcome.AUDIT, 204)


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss"])
def test_a_token_out_of_the_markup_gives_no_right_to_money(path: str) -> None:
    refused(f"{path}?t={token(Scope.BROWSER)}&p=1", Outcome.SCOPE, 400)


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss"])
def test_the_browsers_token_does_not_become_the_exchanges_by_its_first_byte(path: str) -> None:
    mixed = token()[:4] + token(Scope.BROWSER)[4:]
    refused(f"{path}?t={mixed}&p=1", Outcome.FORGED, 400)


# --- encrypted prices


def sealed(cpm_micros: int) -> str:
    return CIPHER.encrypt(cpm_micros, b"0123456789abcdef")


KEYED = {"ciphers": {"adx": CIPHER}}


def test_an_encrypted_price_is_booked_where_its_keys_are_known() -> None:
    desk = Desk(**KEYED)
    assert desk.call(f"/bill?t={token()}&p={sealed(1_234_567)}&c=USD") == 204
    assert desk.books.spend_nanos == 1_234_567


def test_an_encrypted_price_is_refused_where_no_keys_are_known() -> None:
    refused(f"/bill?t={token()}&p={sealed(1_000_000)}", Outcome.ENCRYPTED, 204)
    refused(f"/bill?t={token(exchange='other')}&p={sealed(1_000_000)}", Outcome.ENCRYPTED, 204, **KEYED)


def test_an_encrypted_price_is_capped_too() -> None:
    refused(f"/bill?t={token()}&p={sealed(2_000_001)}", Outcome.ABOVE_CAP, 204, **KEYED)


def test_an_encrypted_price_that_was_changed_is_refused() -> None:
    text = sealed(1_000_000)
    refused(
        f"/bill?t={token()}&p={text[:30]}{'B' if text[30] == 'A' else 'A'}{text[31:]}",
        Outcome.TAMPERED,
        204,
        **KEYED,
    )


def test_a_plain_price_is_refused_where_the_exchange_encrypts_its_own() -> None:
    refused(f"/bill?t={token()}&p=0.01", Outcome.UNENCRYPTED, 204, **KEYED)


@pytest.mark.parametrize(("exchange", "price"), [("other", sealed(1)), ("adx", "1.5")])
def test_a_win_whose_price_cannot_be_trusted_is_a_win_without_one(exchange: str, price: str) -> None:
    desk = Desk(**KEYED)
    assert desk.call(f"/win?t={token(exchange=exchange)}&p={price}") == 204
    assert (desk.notices[0].price_nanos, desk.books.wins, desk.books.spend_nanos) == (0, 1, 0)
    assert desk.counts() == {"/win accepted_unpriced": 1}


# --- clicks


@pytest.mark.parametrize(
    "landing",
    [
        "u=https%3A%2F%2Fevil.example%2F",
        "u=https%3A%2F%2Fevil.example%2F&s=",
        "u=%2F%2Fevil.example&s=AAAAAAAAAAAAAAAA",
        "u=javascript%3Aalert(1)&s=AAAAAAAAAAAAAAAA",
        sign_landing(PAGE, STRANGER),
        sign_landing(PAGE, KEY).replace("shop.example", "evil.example"),
        sign_landing(PAGE, KEY).replace("https", "http"),
        sign_landing(PAGE, KEY).replace("%2Fsale", "%2Fsale%2F..%2Fevil"),
        sign_landing(PAGE, KEY).replace("shop.example", "shop.example%40evil.example"),
        "u=https%3A%2F%2Fevil.example&" + sign_landing(PAGE, KEY).partition("&")[2],
        "",
    ],
)
def test_a_click_redirects_nowhere_that_was_not_signed(landing: str) -> None:
    refused(f"/c?t={token(Scope.BROWSER)}&{landing}", Outcome.LANDING, 400)


def test_two_landing_pages_lead_to_none() -> None:
    signed = sign_landing(PAGE, KEY)
    refused(f"/c?t={token(Scope.BROWSER)}&u=https%3A%2F%2Fevil.example&{signed}", Outcome.QUERY, 400)


@pytest.mark.parametrize(
    "page", ["//evil.example", "javascript:alert(1)", "https://a.example/\r\nX: y", "ftp://a"]
)
def test_a_landing_page_that_is_no_web_address_is_never_signed(page: str) -> None:
    with pytest.raises(InputError, match="landing URL must be"):
        sign_landing(page, KEY)


def test_a_click_without_a_token_of_ours_leads_nowhere_either() -> None:
    refused(f"/c?t={token(Scope.BROWSER, STRANGER)}&{sign_landing(PAGE, KEY)}", Outcome.FORGED, 400)


# --- views, and calls of servers


@pytest.mark.parametrize("scope", list(Scope))
def test_a_view_is_counted_for_line_item_and_creative(scope: Scope) -> None:
    desk = Desk()
    assert desk.call(f"/view?t={token(scope)}") == 200
    assert (desk.books.views, desk.books.impressions, desk.books.spend_nanos) == (1, 0, 0)
    (item,) = desk.bank.line_items()
    (creative,) = desk.bank.creative_counts()
    assert (item.views, creative.views, creative.impressions) == (1, 1, 0)
    assert desk.notices[0].kind is NoticeKind.VIEW


def test_a_view_is_an_image_and_is_not_posted() -> None:
    answer = Tracker([KEY], "USD").handle("GET", f"/view?t={token()}", {}, NOW)
    assert answer.reply.headers[0] == ("Content-Type", "image/gif")
    refused_post = Tracker([KEY], "USD").handle("POST", f"/view?t={token()}", {}, NOW)
    assert (refused_post.reply.status, refused_post.notice) == (405, None)


@pytest.mark.parametrize("path", ["/win", "/bill", "/loss", "/v"])
def test_servers_may_post_and_who_calls_is_not_kept(path: str) -> None:
    told = {b"x-forwarded-for": b"192.0.2.7", b"x-device-ip": b"192.0.2.7", b"x-device-user-agent": b"Agent"}
    tracker = Tracker([KEY], "USD")
    target = f"{path}?t={token()}&p=1"
    with_headers = tracker.handle("POST", target, told, NOW)
    assert with_headers.notice is not None
    assert with_headers == tracker.handle("GET", target, {}, NOW)
    assert b"192.0.2.7" not in msgspec.json.encode(with_headers.notice)


def test_a_notice_names_the_advertiser_whose_budgets_it_may_book_on() -> None:
    desk = Desk()
    desk.call(f"/bill?t={token()}&p=1")
    assert desk.notices[0].advertiser_id == "acme"
