"""Encrypted prices: published examples are read, nothing that was changed is."""

from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.errors import InputError
from bidder.money import MAX_NANOS
from bidder.openrtb.encrypted import PriceCipher
from bidder.openrtb.macros import PriceOutcome, parse_auction_price

KEYS = [
    urlsafe_b64decode(text)
    for text in (
        "skU7Ax_NL5pPAFyKdkfZjZz2-VhIN8bjj1rVFOaJ_5o=",
        "arO23ykdNqUQ5LEoQ0FVmPkBd7xB5CO89PDZlSjpFxo=",
    )
]
CIPHER = PriceCipher(*KEYS)
EXAMPLES = {
    "YWJjMTIzZGVmNDU2Z2hpN7fhCuPemCce_6msaw": 100,
    "YWJjMTIzZGVmNDU2Z2hpN7fhCuPemCAWJRxOgA": 1_900,
    "YWJjMTIzZGVmNDU2Z2hpN7fhCuPemC32prpWWw": 2_700,
}
"""What circulates as test values of the scheme: text and CPM micros."""
TEXT = next(iter(EXAMPLES))
VECTORS = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(("text", "micros"), EXAMPLES.items())
def test_published_examples_are_read_and_written(text: str, micros: int) -> None:
    assert CIPHER.parse(text) == (PriceOutcome.POSITIVE, micros)
    assert CIPHER.parse(f" {text}== ") == (PriceOutcome.POSITIVE, micros)
    assert CIPHER.encrypt(micros, b"abc123def456ghi7") == text


def test_an_example_of_other_keys_is_read_by_them_alone() -> None:
    keys = ("sIxwz7yw62yrfoLGt12lIHKuYrK_S5kLuApI2BQe7Ac=", "v3fsVcMBMMHYzRhi7SpM0sdqwzvAxM6KPTu9OtVod5I=")
    text = "SjpvRwAB4kB7jEpgW5IA8p73ew9ic6VZpFsPnA"
    assert PriceCipher(*map(urlsafe_b64decode, keys)).parse(text) == (PriceOutcome.POSITIVE, 709_959_680)
    assert CIPHER.parse(text) == (PriceOutcome.TAMPERED, 0)


@given(st.integers(1, MAX_NANOS), VECTORS)
def test_what_was_encrypted_is_read(micros: int, vector: bytes) -> None:
    text = CIPHER.encrypt(micros, vector)
    assert CIPHER.parse(text) == (PriceOutcome.POSITIVE, micros)
    assert parse_auction_price(text).outcome is PriceOutcome.ENCRYPTED


@given(VECTORS)
def test_zero_and_too_much_are_told(vector: bytes) -> None:
    assert CIPHER.parse(CIPHER.encrypt(0, vector)).outcome is PriceOutcome.ZERO
    assert CIPHER.parse(CIPHER.encrypt(MAX_NANOS + 1, vector)).outcome is PriceOutcome.UNREADABLE
    assert CIPHER.parse(CIPHER.encrypt(2**64 - 1, vector)).outcome is PriceOutcome.UNREADABLE


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_a_character_that_was_changed_is_no_price(at: int) -> None:
    changed = "A" if TEXT[at] != "A" else "B"
    assert CIPHER.parse(TEXT[:at] + changed + TEXT[at + 1 :]) == (PriceOutcome.TAMPERED, 0)


@pytest.mark.parametrize("text", [TEXT[:-1], TEXT + "A", TEXT[1:] + "A", "x" * 38, TEXT.replace("_", "/")])
def test_another_form_is_no_price(text: str) -> None:
    assert CIPHER.parse(text) == (PriceOutcome.TAMPERED, 0)


@pytest.mark.parametrize("text", ["1.5", "0", "-1", "1,5", "é" * 38, "1e5"])
def test_a_price_that_anybody_can_write_is_none(text: str) -> None:
    assert CIPHER.parse(text) == (PriceOutcome.UNENCRYPTED, 0)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", PriceOutcome.EMPTY),
        ("AUDIT", PriceOutcome.AUDIT),
        ("${AUCTION_PRICE}", PriceOutcome.UNEXPANDED),
        ("%24%7BAUCTION_PRICE%7D", PriceOutcome.UNEXPANDED),
    ],
)
def test_what_is_no_price_either_way_is_told_as_such(text: str, outcome: PriceOutcome) -> None:
    assert CIPHER.parse(text) == (outcome, 0)


@pytest.mark.parametrize("other", [(KEYS[0], KEYS[0]), (KEYS[1], KEYS[1]), (KEYS[1], KEYS[0])])
def test_both_keys_must_be_right(other: tuple[bytes, bytes]) -> None:
    assert PriceCipher(*other).parse(TEXT).outcome is PriceOutcome.TAMPERED


@pytest.mark.parametrize("keys", [(b"", KEYS[1]), (KEYS[0], b"x" * 31)])
def test_keys_of_another_length_are_refused(keys: tuple[bytes, bytes]) -> None:
    with pytest.raises(InputError, match="must have 32 bytes each, had"):
        PriceCipher(*keys)
