"""Tokens: what goes in comes out, and nothing else does."""

import base64
import hashlib

import msgspec
import pytest

from bidder.core.token import (
    MIN_KEY_BYTES,
    Scope,
    Signer,
    TokenError,
    TokenFields,
    bid_id,
    bid_id_bytes,
    bid_id_text,
    landing_is_signed,
    read,
    sign,
    sign_landing,
    sign_pair,
    standing_part,
)
from bidder.errors import InputError

KEY = b"0123456789abcdef0123456789abcdef"
OTHER = b"another key that is long enough!"
FIELDS = TokenFields(
    bid_id=bytes(range(12)),
    campaign_id="campaign-7",
    seat="seat-1",
    epoch=3,
    partition=2,
    cap_nanos=2_500_000,
    currency="USD",
    result_until_ns=1_700_000_000_000_000_000,
    liable_until_ns=1_700_000_600_000_000_000,
    line_item_id="shoes-1",
    creative_id="banner-3",
    bid_at_ns=1_699_999_999_000_000_000,
    rate_nanos=1_084_200_000,
    impressions=2_500_000,
    user=0xFEDC_BA98_7654_3210,
    advertiser_id="aurora",
    exchange="adx",
    money=1,
    fee_ppm=50_000,
    fee_cpm_micros=20_000,
)


def reason(token: str, keys: list[bytes] | None = None, need: Scope = Scope.EXCHANGE) -> str:
    with pytest.raises(TokenError) as caught:
        read(token, [KEY] if keys is None else keys, need)
    return caught.value.reason


def raw(token: str) -> bytes:
    return base64.urlsafe_b64decode(token)


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def test_a_token_gives_back_its_fields() -> None:
    assert read(sign(FIELDS, KEY), [KEY]) == FIELDS


def test_a_token_needs_no_escaping_in_a_query() -> None:
    for seat in ("a", "ab", "abc"):
        token = sign(msgspec.structs.replace(FIELDS, seat=seat), KEY)
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        assert read(token, [KEY]).seat == seat


def test_fields_that_are_left_out_are_those_of_one_impression_in_the_accounts_currency() -> None:
    fields = TokenFields(bytes(12), "c", "s", 1, -1, 1, "USD", 1, 2)
    assert (fields.line_item_id, fields.creative_id, fields.bid_at_ns, fields.user) == ("", "", 0, 0)
    assert (fields.rate_nanos, fields.impressions) == (1_000_000_000, 1_000_000)
    assert read(sign(fields, KEY), [KEY]) == fields


def test_the_signatures_are_the_halves_of_one_keyed_blake2b_of_rfc_7693() -> None:
    for key in (KEY, b"k" * 16, b"long" * 40):
        short = key if len(key) <= 64 else hashlib.blake2b(key).digest()
        exchange, browser = (raw(sign(FIELDS, key, scope)) for scope in (Scope.EXCHANGE, Scope.BROWSER))
        body = exchange[3:-18]
        digest = hashlib.blake2b(body, key=short, digest_size=36, person=b"clearbid.token.3").digest()
        assert exchange[-18:] + browser[-18:] == digest
        assert browser[3:-18] == body


def test_the_two_tokens_of_a_bid_are_those_that_are_signed_alone() -> None:
    assert sign_pair(FIELDS, KEY) == (sign(FIELDS, KEY, Scope.EXCHANGE), sign(FIELDS, KEY, Scope.BROWSER))


def test_a_signer_makes_the_same_pair_of_plain_arguments() -> None:
    standing = standing_part(
        FIELDS.campaign_id,
        FIELDS.line_item_id,
        FIELDS.creative_id,
        FIELDS.seat,
        FIELDS.advertiser_id,
        FIELDS.exchange,
        FIELDS.money,
        FIELDS.fee_ppm,
        FIELDS.fee_cpm_micros,
    )
    pair = Signer(KEY).pair(
        FIELDS.bid_id,
        standing,
        FIELDS.epoch,
        FIELDS.partition,
        FIELDS.cap_nanos,
        FIELDS.currency.encode(),
        FIELDS.result_until_ns,
        FIELDS.liable_until_ns,
        FIELDS.bid_at_ns,
        FIELDS.rate_nanos,
        FIELDS.impressions,
        FIELDS.user,
    )
    assert pair == sign_pair(FIELDS, KEY)


def test_the_signature_of_one_scope_is_none_of_the_other() -> None:
    """Who reads the browser's token in the markup knows half of the hash, and that is not the other half."""
    exchange, browser = (raw(token) for token in sign_pair(FIELDS, KEY))
    assert reason(text(exchange[:-18] + browser[-18:])) == "forged"
    assert reason(text(browser[:-18] + exchange[-18:]), need=Scope.BROWSER) == "forged"


def test_a_token_of_an_older_key_is_read_while_that_key_is_listed() -> None:
    assert read(sign(FIELDS, OTHER), [KEY, OTHER]) == FIELDS


def test_a_token_of_an_unlisted_key_is_forged() -> None:
    assert reason(sign(FIELDS, OTHER)) == "forged"
    assert reason(sign(FIELDS, KEY), []) == "forged"


def test_keys_that_share_an_id_are_each_tried() -> None:
    def first_byte(key: bytes) -> int:
        return raw(sign(FIELDS, key))[1]

    twin = next(
        key for key in (b"twin%028d" % n for n in range(10_000)) if first_byte(key) == first_byte(KEY)
    )
    assert read(sign(FIELDS, twin), [KEY, twin]) == FIELDS
    assert reason(sign(FIELDS, twin)) == "forged"


def test_a_changed_field_is_forged() -> None:
    data = bytearray(raw(sign(FIELDS, KEY)))
    data[5] ^= 1
    assert reason(text(bytes(data))) == "forged"


def test_another_version_is_malformed() -> None:
    for version in {*range(16)} - {3}:
        data = bytearray(raw(sign(FIELDS, KEY)))
        data[0] = version << 4 | Scope.EXCHANGE
        assert reason(text(bytes(data))) == "malformed"


@pytest.mark.parametrize("scope", [0, *range(3, 16)])
def test_a_scope_that_there_is_not_is_malformed(scope: int) -> None:
    data = bytearray(raw(sign(FIELDS, KEY)))
    data[0] = data[0] & 0xF0 | scope
    assert reason(text(bytes(data))) == "malformed"


def test_a_byte_that_says_nothing_must_say_nothing() -> None:
    data = bytearray(raw(sign(FIELDS, KEY)))
    data[2] = 1
    assert reason(text(bytes(data))) == "malformed"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "abc",
        "AAAA",
        "é" * 120,
        "A" * 119,
        "A" * 5000,
        "=" * 120,
        "$" * 120,
        "EoZ4\n" * 24,
        "\x00" * 120,
    ],
)
def test_text_that_is_no_token_is_malformed(token: str) -> None:
    assert reason(token) == "malformed"


def test_a_token_has_one_spelling() -> None:
    fields = msgspec.structs.replace(FIELDS, bid_id=b"\xff\xff\xff" + b"\xfb\xef\xbe" * 3)
    token = sign(fields, KEY)
    assert "-" in token
    assert "_" in token
    assert reason(token.replace("-", "+")) == "malformed"
    assert reason(token.replace("_", "/")) == "malformed"
    assert reason(token + "=") == "malformed"
    assert reason(token + "\n") == "malformed"


def test_a_cut_token_is_refused() -> None:
    token = sign(FIELDS, KEY)
    assert {reason(token[:n]) for n in range(len(token))} <= {"malformed", "forged"}


def test_a_browser_token_gives_no_right_of_the_exchange() -> None:
    token = sign(FIELDS, KEY, Scope.BROWSER)
    assert read(token, [KEY], Scope.BROWSER) == FIELDS
    assert reason(token, need=Scope.EXCHANGE) == "scope"


def test_an_exchange_token_gives_the_right_of_the_browser() -> None:
    assert read(sign(FIELDS, KEY), [KEY], Scope.BROWSER) == FIELDS


def test_a_raised_scope_is_forged() -> None:
    data = bytearray(raw(sign(FIELDS, KEY, Scope.BROWSER)))
    data[0] = data[0] & 0xF0 | Scope.EXCHANGE
    assert reason(text(bytes(data))) == "forged"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(InputError, match=f"at least {MIN_KEY_BYTES} bytes, was 15"):
        sign(FIELDS, b"k" * 15)


@pytest.mark.parametrize(
    "change",
    [
        {"bid_id": b"short"},
        {"currency": "US"},
        {"currency": "DOLLAR"},
        {"cap_nanos": 2**63},
        {"epoch": -(2**63) - 1},
        {"partition": 2**31},
        {"seat": "s" * 256},
        {"line_item_id": "l" * 256},
        {"creative_id": "c" * 256},
        {"bid_at_ns": 2**63},
        {"rate_nanos": 2**63},
        {"impressions": 2**63},
        {"user": 2**64},
        {"user": -1},
        {"campaign_id": "é" * 128},
    ],
)
def test_a_field_that_does_not_fit_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        sign(msgspec.structs.replace(FIELDS, **change), KEY)


def test_a_bid_id_is_the_same_for_the_same_request_in_an_epoch() -> None:
    assert bid_id("ex", "r", "1", 3, "s") == bid_id("ex", "r", "1", 3, "s")
    assert len(bid_id("ex", "r", "1", 3, "s")) == 12


def test_a_bid_id_changes_with_each_of_its_parts() -> None:
    ids = {
        bid_id("ex", "r", "1", 3, "s"),
        bid_id("e", "r", "1", 3, "s"),
        bid_id("ex", "q", "1", 3, "s"),
        bid_id("ex", "r", "2", 3, "s"),
        bid_id("ex", "r", "1", 4, "s"),
        bid_id("ex", "r", "1", 3, "t"),
        bid_id("exr", "", "1", 3, "s"),
        bid_id("ex", "r1", "", 3, "s"),
        bid_id("ex", "r", "", 13, "s"),
        bid_id("ex", "r", "1", 3, "s", "d1"),
        bid_id("ex", "r", "1", 3, "s", "p1"),
        bid_id("ex", "r", "1d1", 3, "s"),
    }
    assert len(ids) == 12


def test_a_bid_id_of_broken_text_is_made_all_the_same() -> None:
    assert bid_id("ex", "\ud800", "1", 3, "s") != bid_id("ex", "\ud801", "1", 3, "s")


def test_a_bid_id_as_text_is_16_characters_and_comes_back() -> None:
    assert len(bid_id_text(b"\xff" * 12)) == 16
    assert bid_id_bytes(bid_id_text(b"\xfb" * 12)) == b"\xfb" * 12


@pytest.mark.parametrize("wrong", ["", "AAAA", "A" * 20, "A" * 15, "A" * 15 + "+", "A" * 15 + "é"])
def test_text_that_is_no_bid_id_is_malformed(wrong: str) -> None:
    with pytest.raises(TokenError):
        bid_id_bytes(wrong)


def landing_parts(part: str) -> tuple[str, str]:
    from urllib.parse import parse_qs

    query = parse_qs(part, strict_parsing=True)
    return query["u"][0], query["s"][0]


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/", "http://shop.example/a?b=c&d=%20e+f#g", "https://shop.example/?u=http://x&s=1"],
)
def test_a_signed_landing_url_comes_back_as_it_was(url: str) -> None:
    address, signature = landing_parts(sign_landing(url, KEY))
    assert address == url
    assert landing_is_signed(address, signature, [OTHER, KEY])


def test_letters_beyond_ascii_are_percent_encoded_in_a_landing_url() -> None:
    address, signature = landing_parts(sign_landing("https://shop.example/café?q=%C3%A9", KEY))
    assert address == "https://shop.example/caf%C3%A9?q=%C3%A9"
    assert landing_is_signed(address, signature, [KEY])


def test_a_landing_signature_is_of_its_own_domain() -> None:
    address, signature = landing_parts(sign_landing("https://shop.example/", KEY))
    blake = hashlib.blake2b
    assert (
        raw(signature)
        != blake(address.encode(), key=KEY, digest_size=12, person=b"clearbid.token.3").digest()
    )
    assert (
        raw(signature)
        == blake(address.encode(), key=KEY, digest_size=12, person=b"clearbid.landing").digest()
    )


def test_another_landing_url_is_not_signed() -> None:
    address, signature = landing_parts(sign_landing("https://shop.example/", KEY))
    assert not landing_is_signed(address + "x", signature, [KEY])
    assert not landing_is_signed(address, signature, [OTHER])
    assert not landing_is_signed(address, signature[:-1], [KEY])
    assert not landing_is_signed(address, "", [KEY])
    assert not landing_is_signed(address, "é", [KEY])
    assert not landing_is_signed("https://é", signature, [KEY])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        "//shop.example",
        "ftp://shop.example",
        "https://a b",
        "https://a\r\nX: y",
        "https://a\x7f",
    ],
)
def test_a_landing_url_that_cannot_be_a_location_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="landing URL must be"):
        sign_landing(url, KEY)
