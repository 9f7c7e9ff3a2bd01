"""User profiles: which message holds, until when, and who goes where there is no room."""

import sys
from typing import Any

import msgspec
import pytest

from bidder.core.messages import encode
from bidder.core.profiles import MOST_SEGMENTS, Profile, ProfileTable
from bidder.core.users import key_text
from bidder.errors import InputError


def profile(user: int = 7, *segments: str, at_ns: int = 100, expires_ns: int = 1_000) -> Profile:
    return Profile(user=key_text(user), segments=segments, at_ns=at_ns, expires_ns=expires_ns)


def test_a_profile_holds_until_it_expires() -> None:
    table = ProfileTable(10)
    assert table.take(profile(7, "a", "b"))
    assert [table.segments(7, now_ns) for now_ns in (100, 999, 1_000)] == [("a", "b"), ("a", "b"), ()]


def test_a_user_without_a_profile_is_in_no_segment() -> None:
    assert ProfileTable(10).segments(7, 100) == ()


@pytest.mark.parametrize("at_ns", [99, 100])
def test_a_message_that_is_not_newer_changes_nothing(at_ns: int) -> None:
    table = ProfileTable(10)
    table.take(profile(7, "a"))
    assert not table.take(profile(7, "b", at_ns=at_ns))
    assert (table.segments(7, 100), table.stale) == (("a",), 1)


def test_a_newer_message_replaces_all_segments() -> None:
    table = ProfileTable(10)
    table.take(profile(7, "a", "b"))
    assert table.take(profile(7, "c", at_ns=101, expires_ns=500))
    assert (table.segments(7, 200), table.segments(7, 500)) == (("c",), ())


def test_a_profile_without_segments_removes_the_user() -> None:
    table = ProfileTable(10)
    table.take(profile(7, "a"))
    table.take(profile(7, at_ns=101))
    assert table.segments(7, 200) == ()


def test_what_was_removed_is_not_brought_back_by_an_older_message() -> None:
    table = ProfileTable(10)
    table.take(profile(7, at_ns=101))
    assert not table.take(profile(7, "a", at_ns=100))
    assert table.segments(7, 200) == ()


def test_the_user_updated_longest_ago_goes_where_there_is_no_room() -> None:
    table = ProfileTable(2)
    for user, at_ns in ((1, 100), (2, 101), (1, 102), (3, 103)):
        table.take(profile(user, "a", at_ns=at_ns))
        table.segments(2, 103)
    assert [table.segments(user, 104) for user in (1, 2, 3)] == [("a",), (), ("a",)]
    assert (len(table), table.evicted) == (2, 1)


def test_a_message_that_is_not_newer_does_not_keep_a_user() -> None:
    table = ProfileTable(2)
    for user, at_ns in ((1, 100), (2, 101), (1, 99), (3, 103)):
        table.take(profile(user, "a", at_ns=at_ns))
    assert table.segments(1, 104) == ()


def test_the_unknown_user_has_no_profile() -> None:
    table = ProfileTable(2)
    assert not table.take(profile(0, "a"))
    assert (table.segments(0, 100), len(table)) == ((), 0)


def test_equal_segments_are_one_text_in_memory() -> None:
    table = ProfileTable(2)
    for user in (1, 2):
        table.take(msgspec.json.decode(encode(profile(user, "sports-fans")), type=Profile))
    one, two = table.segments(1, 100)[0], table.segments(2, 100)[0]
    assert one is two is sys.intern("sports-fans")


def test_clearing_forgets_every_profile() -> None:
    table = ProfileTable(2)
    table.take(profile(7, "a"))
    table.clear()
    assert table.segments(7, 100) == ()
    assert table.take(profile(7, "a"))


def test_a_table_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="must be >= 1 user, was 0"):
        ProfileTable(0)


def test_a_profile_reads_as_it_was_written() -> None:
    sent = profile(2**64 - 1, "a", "b")
    assert msgspec.json.decode(encode(sent), type=Profile) == sent
    assert encode(sent) == (
        b'{"type":"profile","user":"ffffffffffffffff","segments":["a","b"],"at_ns":100,"expires_ns":1000,"v":1}'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"user": "7"},
        {"user": 7},
        {"segments": [""]},
        {"segments": ["x" * 65]},
        {"segments": ["x"] * (MOST_SEGMENTS + 1)},
        {"at_ns": -1},
        {"expires_ns": 2**63},
        {"type": "exposure"},
    ],
    ids=str,
)
def test_a_profile_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    fields = msgspec.to_builtins(profile(7, "a")) | change
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Profile)
