"""Signed names of pixels."""

import pytest

from bidder.core.pixels import Pixel, read_pixel, sign_pixel
from bidder.core.token import TokenError, sign_landing
from bidder.errors import InputError

KEY, OTHER = b"0123456789abcdef0123456789abcdef", b"another key that is long enough!"
LONG = "a" * 64


@pytest.mark.parametrize("pixel", [Pixel("acme", "purchase"), Pixel("a.c_m-e:1", ""), Pixel(LONG, LONG)])
def test_a_pixel_is_read_as_it_was_signed_with_any_key_that_is_still_good(pixel: Pixel) -> None:
    assert read_pixel(sign_pixel(pixel, KEY), [OTHER, KEY]) == pixel


def test_its_name_is_safe_in_a_query() -> None:
    name = sign_pixel(Pixel("acme", "purchase"), KEY)
    assert name.startswith("acme~purchase~")
    assert set(name[14:]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda name: name.replace("acme", "acne"), "forged"),
        (lambda name: name.replace("purchase", ""), "forged"),
        (lambda name: name[:-1] + ("A" if name[-1] != "A" else "B"), "forged"),
        (lambda name: name[:-1], "malformed"),
        (lambda name: name.replace("~", "-", 1), "malformed"),
        (lambda name: name + "~" + name[-20:], "malformed"),
        (lambda name: "", "malformed"),
        (lambda name: "~" + name, "malformed"),
        (lambda name: name.replace("acme", "a cme"), "malformed"),
        (lambda name: name[:-1] + "ä", "malformed"),
        (lambda name: "x" * 3_000, "malformed"),
    ],
)
def test_a_name_that_was_changed_is_refused(change, reason):  # type: ignore[no-untyped-def]
    with pytest.raises(TokenError) as refused:
        read_pixel(change(sign_pixel(Pixel("acme", "purchase"), KEY)), [KEY])
    assert refused.value.reason == reason


def test_a_key_that_is_gone_signs_nothing() -> None:
    with pytest.raises(TokenError):
        read_pixel(sign_pixel(Pixel("acme", ""), KEY), [OTHER])


def test_a_signature_of_a_landing_page_is_none_of_a_pixel() -> None:
    query = sign_landing("https://acme.example/", KEY)
    with pytest.raises(TokenError):
        read_pixel(f"acme~~{query.rpartition('=')[2]}", [KEY])


@pytest.mark.parametrize(
    ("pixel", "message"),
    [
        (Pixel("", ""), "advertiser of a pixel must be 1 to 64 letters, digits or ._:-, was ''"),
        (Pixel("a b", ""), "advertiser of a pixel must be .*, was 'a b'"),
        (Pixel("acme", "x~y"), "goal of a pixel must be .*, was 'x~y'"),
    ],
)
def test_what_is_no_id_is_not_signed(pixel: Pixel, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sign_pixel(pixel, KEY)


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="at least 16 bytes, was 3"):
        sign_pixel(Pixel("acme", ""), b"abc")
