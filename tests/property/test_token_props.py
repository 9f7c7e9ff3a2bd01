"""Tokens under any input: no change of a token passes, and no text breaks the reader."""

import base64

from hypothesis import example, given
from hypothesis import strategies as st

from bidder.core.token import (
    Scope,
    TokenError,
    TokenFields,
    bid_id,
    landing_is_signed,
    read,
    sign,
    sign_landing,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
NAME = st.text(st.characters(codec="utf-8"), max_size=63)
FIELDS = st.builds(
    TokenFields,
    bid_id=st.binary(min_size=12, max_size=12),
    campaign_id=NAME,
    seat=NAME,
    epoch=INT64,
    partition=st.integers(-(2**31), 2**31 - 1),
    cap_nanos=INT64,
    currency=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3),
    result_until_ns=INT64,
    liable_until_ns=INT64,
    line_item_id=NAME,
    creative_id=NAME,
    bid_at_ns=INT64,
    rate_nanos=INT64,
    impressions=INT64,
    user=st.integers(0, 2**64 - 1),
)
KEYS = st.binary(min_size=16, max_size=100)
SCOPES = st.sampled_from(Scope)
KEY = b"0123456789abcdef0123456789abcdef"


def refused(token: str, keys: list[bytes]) -> bool:
    try:
        read(token, keys, Scope.BROWSER)
    except TokenError as error:
        return error.reason in {"malformed", "forged"}
    return False


@given(FIELDS, KEYS, SCOPES)
def test_any_fields_come_back(fields: TokenFields, key: bytes, scope: Scope) -> None:
    assert read(sign(fields, key, scope), [key], scope) == fields


@given(FIELDS, SCOPES, st.data())
def test_a_token_with_any_bit_flipped_is_refused(
    fields: TokenFields, scope: Scope, data: st.DataObject
) -> None:
    token = sign(fields, KEY, scope)
    raw = bytearray(base64.urlsafe_b64decode(token))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert refused(base64.urlsafe_b64encode(raw).decode(), [KEY])
    # The control: the same bit flipped back is a token again, so what refused it was the flip.
    raw[bit // 8] ^= 1 << bit % 8
    assert not refused(base64.urlsafe_b64encode(raw).decode(), [KEY])


@given(FIELDS, st.data())
def test_a_token_with_any_character_changed_is_refused(fields: TokenFields, data: st.DataObject) -> None:
    token = sign(fields, KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[at]))
    assert refused(token[:at] + other + token[at + 1 :], [KEY])


@given(FIELDS, st.text(max_size=4))
def test_a_token_with_anything_behind_it_is_refused(fields: TokenFields, tail: str) -> None:
    assert refused(sign(fields, KEY) + tail, [KEY]) is bool(tail)


@given(st.text(max_size=300))
@example("A" * 180)
def test_no_text_of_others_is_a_token(text: str) -> None:
    assert refused(text, [KEY])


@given(st.binary(min_size=80, max_size=200))
def test_no_bytes_of_others_are_a_token(raw: bytes) -> None:
    assert refused(base64.urlsafe_b64encode(raw).decode(), [KEY])


@given(FIELDS, KEYS.filter(lambda key: key != KEY))
def test_a_token_of_another_key_is_refused(fields: TokenFields, key: bytes) -> None:
    assert refused(sign(fields, key), [KEY])


PARTS = st.tuples(
    st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.integers(0, 99), st.text(max_size=8)
)


@given(PARTS, PARTS)
@example(("a", "b", "c", 1, "d"), ("ab", "", "c", 1, "d"))
@example(("a", "b", "c", 1, "1:d"), ("a", "b", "c", 11, ":d"))
@example(("1:a", "", "", 0, ""), ("1", ":a", "", 0, ""))
def test_bid_ids_are_equal_only_for_equal_parts(
    one: tuple[str, str, str, int, str], other: tuple[str, str, str, int, str]
) -> None:
    assert (bid_id(*one) == bid_id(*other)) is (one == other)


@given(st.text(st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E), max_size=60), KEYS)
def test_any_landing_url_survives_its_query(path: str, key: bytes) -> None:
    from urllib.parse import parse_qs

    url = f"https://shop.example/{path}"
    query = parse_qs(sign_landing(url, key), strict_parsing=True)
    assert query["u"] == [url]
    assert landing_is_signed(query["u"][0], query["s"][0], [key])
    assert not landing_is_signed(query["u"][0] + "x", query["s"][0], [key])
