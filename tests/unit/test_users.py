"""Which identifier stands for a user, and the key that it makes."""

from itertools import permutations
from typing import Any

import msgspec
import pytest
from xxhash import xxh3_64_intdigest

from bidder.core import users
from bidder.core.users import UserText, key_of, key_text, user_key, user_key_text

IFA = "0F8E1C0A-77AA-4B6E-9D3F-0A1B2C3D4E5F"
EIDS = (("a.example", (("p", 3),)),)


def key(**changes: Any) -> int:
    fields: dict[str, Any] = {"buyeruid": None, "eids": (), "ifa": None, "user_id": None, "exchange": "one"}
    return user_key(**(fields | changes))


def test_our_own_id_comes_first() -> None:
    assert key(buyeruid="b", eids=EIDS, ifa=IFA, user_id="u") == key(buyeruid="b")


def test_extended_ids_come_before_the_device() -> None:
    assert key(eids=EIDS, ifa=IFA, user_id="u") == key(eids=EIDS)


def test_the_device_comes_before_the_exchanges_own_id() -> None:
    assert key(ifa=IFA, user_id="u") == key(ifa=IFA)


def test_without_an_id_the_user_is_unknown() -> None:
    assert key() == users.UNKNOWN == 0


def test_ids_of_two_kinds_are_two_users() -> None:
    same = "0f8e1c0a"
    kinds = ({"buyeruid": same}, {"ifa": same}, {"user_id": same}, {"eids": ((same, ((same, 3),)),)})
    assert len({key(**kind) for kind in kinds}) == 4


def test_our_own_id_is_the_same_user_on_every_exchange() -> None:
    assert key(buyeruid="b", exchange="one") == key(buyeruid="b", exchange="two")


def test_an_exchanges_own_id_counts_within_it_only() -> None:
    assert key(user_id="u", exchange="one") != key(user_id="u", exchange="two")


def test_a_person_comes_before_a_browser_or_device_before_the_rest() -> None:
    ids = (("z.example", (("person", 3),)), ("b.example", (("web", 1),)), ("a.example", (("vendor", 500),)))
    assert {key(eids=some) for some in permutations(ids)} == {key(eids=ids[:1])}
    assert {key(eids=some) for some in permutations(ids[1:])} == {key(eids=ids[1:2])}


def test_an_app_id_is_as_good_as_a_browsers_and_one_that_says_nothing_is_last() -> None:
    app, web = ("a.example", (("app", 2),)), ("b.example", (("web", 1),))
    silent = ("0.example", (("silent", None),))
    assert key(eids=(silent, web, app)) == key(eids=(app,))
    assert key(eids=(silent,)) != 0


def test_of_several_ids_the_order_of_the_request_does_not_choose() -> None:
    ids = (("b.example", (("2", 3), ("1", 3))), ("c.example", (("0", 3), ("9", 3))))
    same = (("c.example", (("9", 3), ("0", 3))), ("b.example", (("1", 3), ("2", 3))))
    assert key(eids=ids) == key(eids=same) == key(eids=(("b.example", (("1", 3),)),))


def test_a_source_is_a_domain_in_any_case() -> None:
    assert key(eids=(("A.Example", (("p", 3),)),)) == key(eids=EIDS)
    assert key(eids=(("a.example", (("P", 3),)),)) != key(eids=EIDS)


def test_source_and_id_do_not_run_together() -> None:
    assert key(eids=(("ab", (("c", 3),)),)) != key(eids=(("a", (("bc", 3),)),))


def test_an_advertising_id_is_the_same_in_any_case() -> None:
    assert key(ifa=IFA) == key(ifa=IFA.lower())


@pytest.mark.parametrize("nobody", ["", "0", "00000000-0000-0000-0000-000000000000", "0" * 32])
def test_a_text_that_stands_for_no_id_is_passed_over(nobody: str) -> None:
    assert key(buyeruid=nobody, user_id="u") == key(user_id="u")
    assert key(ifa=nobody, user_id="u") == key(user_id="u")
    assert key(eids=(("a.example", ((nobody, 3),)),), user_id="u") == key(user_id="u")
    assert key(user_id=nobody) == 0


def test_an_id_without_a_source_is_passed_over() -> None:
    assert key(eids=(("", (("p", 3),)),), ifa=IFA) == key(ifa=IFA)
    assert key(eids=(("a.example", ()),), ifa=IFA) == key(ifa=IFA)


def test_keys_are_the_same_in_every_process_and_version() -> None:
    assert key(buyeruid="b") == xxh3_64_intdigest(b"bb")
    assert key(eids=EIDS) == xxh3_64_intdigest(b"ea.example\0p")
    assert key(ifa="AB") == xxh3_64_intdigest(b"iab")
    assert key(user_id="é") == xxh3_64_intdigest(b"uone\0\xc3\xa9")
    assert key_text(key(buyeruid="b")) == "b776d5cb968aa5a4"


@pytest.mark.parametrize(
    "fields",
    [{"buyeruid": "b"}, {"eids": EIDS}, {"ifa": IFA}, {"user_id": "u"}],
    ids=lambda one: next(iter(one)),
)
def test_an_id_that_hashes_to_the_unknown_user_is_another(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(users, "xxh3_64_intdigest", lambda text: 0)
    assert key(**fields) == 1


@pytest.mark.parametrize("number", [0, 1, 255, 2**64 - 1])
def test_the_text_of_a_key_reads_as_the_key(number: int) -> None:
    text = msgspec.convert(key_text(number), UserText)
    assert len(text) == 16
    assert key_of(text) == number


@pytest.mark.parametrize("text", ["", "F" * 16, "f" * 15, "f" * 17, "0x" + "f" * 14, "f" * 16 + "\n"])
def test_no_other_text_is_a_key(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, UserText)


def test_requests_are_keyed_by_the_text_that_exposures_carry() -> None:
    assert user_key_text("b", (), None, None, "one") == key_text(key(buyeruid="b")).encode()
    assert user_key_text(None, (), None, None, "one") == b""


@pytest.mark.parametrize("body", [rb'"\ud800"', rb'"\udc00x"', rb'"\ud800\u0041"', b'"\xed\xa0\x80"'])
def test_no_text_of_a_request_can_be_what_has_no_bytes(body: bytes) -> None:
    """A lone surrogate could not be encoded; the decoder lets none through."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        msgspec.json.decode(body, type=str)
