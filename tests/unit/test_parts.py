"""Parts of requests: read once, remembered by their bytes, bounded."""

import pytest

from bidder.errors import RequestError
from bidder.openrtb import parts
from bidder.openrtb.parts import BANNER, PMP, REGS, VIDEO, Part, eids_of, texts_of
from bidder.openrtb.request import Banner


def test_the_same_bytes_are_read_once() -> None:
    one, two = (BANNER.read(b'{"w":320,"h":50}')[0] for _ in range(2))
    assert one is two
    assert one == Banner(w=320, h=50)


def test_null_is_nothing_and_is_mended_in_nothing() -> None:
    assert BANNER.read(b"null") == (None, 0)
    assert PMP.read(b"null") == (None, 0)


def test_what_was_mended_is_told_each_time() -> None:
    raw = b'{"w":"320","h":50,"pos":{}}'
    assert [BANNER.read(raw)[1] for _ in range(2)] == [2, 2]


@pytest.mark.parametrize("raw", [b"[]", b"5", b'"x"'])
def test_a_part_of_another_type_is_dropped_where_it_is_soft(raw: bytes) -> None:
    value, repaired = VIDEO.read(raw, ("imp", 0))
    assert (value, repaired) == (None, 1)


@pytest.mark.parametrize("part", [PMP, REGS])
def test_a_part_on_which_rules_rest_refuses(part: Part[object]) -> None:
    with pytest.raises(RequestError) as raised:
        part.read(b"5", ("imp", 2) if part is PMP else ())
    assert raised.value.path in {"$.imp[2].pmp", "$.regs"}


def test_a_part_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(RequestError):
            PMP.read(b'{"private_auction":"x"}', ("imp", 0))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CAPACITY", 3)
    part = Part(Banner, "banner")
    for number in range(20):
        value, _ = part.read(b'{"w":%d}' % number)
        assert value == Banner(w=number)
        assert len(part._known) <= 3


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'["a.example"]', (["a.example"], 0)),
        (b"[]", ([], 0)),
        (b"null", ([], 0)),
        (b'"a.example"', (["a.example"], 1)),
        (b'[5,null,"x"]', (["5", "x"], 2)),
    ],
)
def test_lists_of_texts(raw: bytes, found: tuple[list[str], int]) -> None:
    assert texts_of("badv", raw) == found


@pytest.mark.parametrize("name", ["badv", "bcat", "acat", "bapp"])
def test_a_blocklist_that_cannot_be_read_refuses(name: str) -> None:
    with pytest.raises(RequestError) as raised:
        texts_of(name, b'["a",{}]')
    assert raised.value.path == f"$.{name}[1]"


def test_ids_of_users_are_read_and_not_remembered() -> None:
    (one,) = eids_of(b'[{"source":"a.example","uids":[{"id":"x","atype":"1"}]}]')
    assert one.uids is not None
    assert (one.source, one.uids[0].id, one.uids[0].atype) == ("a.example", "x", 1)
    assert eids_of(b"null") == []
