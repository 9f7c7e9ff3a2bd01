"""The input journal of a worker."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.errors import InputError
from bidder.store.journal import (
    Adopt,
    Control,
    Decide,
    Entry,
    JournalWriter,
    ModelChange,
    Output,
    Tick,
    output_digest,
    read_journal,
)

TIMES = st.integers(-(2**63), 2**63 - 1)
BATCH = st.lists(st.tuples(st.binary(max_size=30), TIMES), max_size=6)
ENTRIES = st.one_of(
    st.builds(
        lambda now_ns, batch: Decide(now_ns, tuple(b for b, _ in batch), tuple(a for _, a in batch)),
        TIMES,
        BATCH,
    ),
    st.builds(
        lambda now_ns, items: Control(now_ns, tuple(items)),
        TIMES,
        st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=30)), max_size=4),
    ),
    st.builds(Tick, TIMES),
    st.builds(Output, st.binary(min_size=16, max_size=16)),
    st.builds(Adopt, TIMES, st.integers(0, 2**64 - 1)),
    st.builds(ModelChange, TIMES, st.text(max_size=70)),
)
META = {"numpy": "2.3.1", "seat": "s1", "config": b'{"a":1}'}


def write(path: Path, entries: list[Entry]) -> list[int]:
    """Writes a journal; returns where each entry begins, and the end."""
    path.unlink(missing_ok=True)
    starts = []
    with JournalWriter(path, META) as writer:
        for entry in entries:
            starts.append(path.stat().st_size)
            match entry:
                case Decide(now_ns, bodies, ages_ns):
                    writer.decide(now_ns, bodies, ages_ns)
                case Control(now_ns, items):
                    writer.control(now_ns, items)
                case Tick(now_ns):
                    writer.tick(now_ns)
                case Output(digest):
                    writer.output(digest)
                case Adopt(now_ns, controls):
                    writer.adopt(now_ns, controls)
                case ModelChange(now_ns, bundle_hash):
                    writer.model(now_ns, bundle_hash)
            writer.flush()
    return [*starts, path.stat().st_size]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal") / "worker.journal"


SOME: list[Entry] = [
    Tick(1),
    Decide(2, (b"one", b"", b"three"), (5, 0, -7)),
    Output(output_digest([b"a", b"b"])),
    Control(3, (("campaigns", b"{}"), ("leases", b""))),
]


@given(st.lists(ENTRIES, max_size=8))
def test_what_is_read_is_what_was_written(path: Path, entries: list[Entry]) -> None:
    write(path, entries)
    journal = read_journal(path)
    assert journal.meta == {"journal": 2, "numpy": "2.3.1", "seat": "s1", "config": '{"a":1}'}
    assert list(journal) == entries
    assert not journal.truncated


@given(st.data())
def test_a_torn_last_frame_ends_the_journal_cleanly(path: Path, data: st.DataObject) -> None:
    starts = write(path, SOME)
    cut = data.draw(st.integers(starts[0], starts[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    journal = read_journal(path)
    assert list(journal) == [entry for entry, end in zip(SOME, starts[1:], strict=True) if end <= cut]
    assert journal.truncated == (cut not in starts)


@given(st.data())
def test_a_changed_byte_is_found_with_the_offset_of_its_frame(path: Path, data: st.DataObject) -> None:
    starts = write(path, SOME)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(starts[0], len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    frame = max(start for start in starts if start <= at)
    with pytest.raises(InputError, match=rf"worker\.journal is damaged at byte {frame}: "):
        list(read_journal(path))


def test_entries_before_the_damage_are_still_read(path: Path) -> None:
    starts = write(path, SOME)
    content = bytearray(path.read_bytes())
    content[starts[2] + 16] ^= 1
    path.write_bytes(content)
    entries = iter(read_journal(path))
    assert [next(entries), next(entries)] == SOME[:2]
    with pytest.raises(InputError, match=f"byte {starts[2]}: a frame whose checksum does not match"):
        next(entries)


def test_a_damaged_length_is_not_taken_for_a_torn_end(path: Path) -> None:
    starts = write(path, SOME)
    content = bytearray(path.read_bytes())
    content[starts[0] + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"byte {starts[0]}: no head of a frame"):
        list(read_journal(path))


def test_what_was_flushed_is_there_before_the_journal_is_closed(path: Path) -> None:
    path.unlink(missing_ok=True)
    with JournalWriter(path, {}) as writer:
        writer.tick(7)
        writer.flush()
        assert list(read_journal(path)) == [Tick(7)]


def test_only_its_owner_may_read_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "own"
    with JournalWriter(path, {}):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_is_never_written_over(path: Path) -> None:
    write(path, SOME)
    with pytest.raises(InputError, match="must not exist yet"):
        JournalWriter(path, {})
    assert list(read_journal(path)) == SOME


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04" + bytes(40)])
def test_a_file_that_is_no_journal_is_named(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises(InputError, match="other is"):
        read_journal(other)


def test_a_journal_of_another_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidder.store.journal.FORMAT_VERSION", 3)
    write(path, [])
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"version of journal .* must be 2, was 3"):
        read_journal(path)


def test_a_journal_of_version_1_is_refused_by_name(tmp_path: Path) -> None:
    payload = b'{"journal":1}'
    head = struct.pack("<IBI", len(payload), 1, zlib.crc32(payload))
    old = tmp_path / "old"
    old.write_bytes(head + struct.pack("<H", zlib.crc32(head) & 0xFFFF) + payload)
    with pytest.raises(InputError, match=r"version of journal .*old must be 2, was 1: replay it with"):
        read_journal(old)


@pytest.mark.parametrize("use", [read_journal, lambda path: JournalWriter(path, {})])
def test_a_path_that_cannot_be_used_is_named(tmp_path: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"journal .*nowhere/x cannot be .*: No such file"):
        use(tmp_path / "nowhere" / "x")


def test_as_many_ages_as_bodies(path: Path) -> None:
    path.unlink(missing_ok=True)
    with JournalWriter(path, {}) as writer, pytest.raises(AssertionError, match="2 bodies but 1 ages"):
        writer.decide(0, [b"a", b"b"], [1])


def test_the_digest_tells_where_one_output_ends() -> None:
    assert len({output_digest(o) for o in ([b"ab", b""], [b"a", b"b"], [b"b", b"a"], [b"ab"], [])}) == 5
