"""The spool: what it said it holds is there after any crash, in order, within its bounds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidder.errors import ConfigError, DependencyError, InvariantError
from bidder.web.disk import Disk
from bidder.web.spool import Record, Spool, read_frames
from simulator.disk import PowerCut, SimulatedDisk

FIRST = "0000000000000001.notices"
AMPLE = 1 << 20


def records(first: int, count: int) -> list[Record]:
    """Records that differ, some of them with the mark of a frame, a line end or nothing in them."""
    texts = [b"", b"\xabntc", b"\n", b"\0" * 9, b'{"kind":1}']
    return [
        Record(b"key-%d" % (number % 3), b"%d%b" % (number, texts[number % len(texts)]))
        for number in range(first, first + count)
    ]


def drained(spool: Spool) -> list[Record]:
    found: list[Record] = []
    while (batch := spool.oldest()) is not None:
        found += batch.records
        spool.done(batch.number)
    return found


def test_what_is_kept_comes_out_in_order_and_once() -> None:
    spool = Spool(SimulatedDisk(), AMPLE)
    for first in range(0, 50, 10):
        assert spool.append(records(first, 10)) == 10
    assert drained(spool) == records(0, 50)
    assert not spool
    assert spool.bytes == 0
    assert (spool.counts["spooled"], spool.counts["replayed"]) == (50, 50)


def test_many_notices_are_one_sync() -> None:
    disk = SimulatedDisk()
    Spool(disk, AMPLE).append(records(0, 500))
    assert disk.syncs == 1


@pytest.mark.parametrize("lost", ["cut", "zeros", "noise"])
def test_a_crash_at_any_byte_of_a_write_loses_nothing_that_was_kept_before(lost: str) -> None:
    """Cut off there, or followed by what a file system may leave of blocks that were never written."""
    probe = SimulatedDisk()
    spool = Spool(probe, AMPLE)
    spool.append(records(0, 7))
    safe = probe.sizes()[FIRST]
    spool.append(records(7, 7))
    whole = probe.read(FIRST)
    for at in range(safe, len(whole) + 1):
        disk = SimulatedDisk()
        rest = {"cut": b"", "zeros": bytes(len(whole) - at), "noise": whole[:safe][::-1][: len(whole) - at]}
        left = whole[:at] + rest[lost]
        disk.put(FIRST, left)
        found = drained(Spool(disk, AMPLE))
        assert found[:7] == records(0, 7)
        assert found == records(0, len(found))
        assert (len(found) == 14) == (left == whole)


def test_a_segment_cut_at_any_byte_gives_what_was_whole_and_nothing_else() -> None:
    disk = SimulatedDisk()
    Spool(disk, AMPLE).append(records(0, 9))
    whole = disk.read(FIRST)
    counts = []
    for at in range(len(whole) + 1):
        found, torn = read_frames(whole[:at], 1)
        assert found == records(0, len(found))
        assert torn == at - sum(14 + len(key) + len(value) for key, value in found)
        counts.append(len(found))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 9)


def test_a_byte_that_changed_costs_its_own_record_alone() -> None:
    disk = SimulatedDisk()
    Spool(disk, AMPLE).append(records(0, 5))
    whole = disk.read(FIRST)
    for at in range(len(whole)):
        found, torn = read_frames(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :], 1)
        assert len(found) == 4
        assert set(found) < set(records(0, 5))
        assert torn > 0


def test_frames_of_another_segment_are_none() -> None:
    disk = SimulatedDisk()
    Spool(disk, AMPLE).append(records(0, 5))
    data = disk.read(FIRST)
    assert read_frames(data, 2) == ([], len(data))


def test_after_a_start_nothing_is_written_behind_a_torn_tail() -> None:
    disk = SimulatedDisk()
    Spool(disk, AMPLE).append(records(0, 3))
    disk.put(FIRST, disk.read(FIRST)[:-1])
    spool = Spool(disk, AMPLE)
    spool.append(records(3, 2))
    assert len(disk.sizes()) == 2
    assert drained(spool) == records(0, 2) + records(3, 2)
    assert spool.counts["torn_bytes"] > 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 9), st.sampled_from(["keep", "cut", "fail", "send", "start"]), st.floats(0, 1)
        ),
        max_size=25,
    )
)
def test_whatever_happens_what_was_kept_is_sent_and_in_order(
    steps: list[tuple[int, str, float]],
) -> None:
    disk = SimulatedDisk()
    spool, number, kept, sent = Spool(disk, AMPLE, 300), 0, [], []
    for count, step, share in steps:
        new = records(number, count)
        if step in {"keep", "fail", "cut"}:
            number += count
            disk.fail(failing=step == "fail")
            if step == "cut":
                disk.cut_power_after(int(share * 30 * count))
            try:
                kept += new[: spool.append(new)]
            except DependencyError:
                pass
            except PowerCut:
                disk.restart(lambda _, pending, share=share: int(share * pending))
                spool = Spool(disk, AMPLE, 300)
            disk.fail(failing=False)
        elif step == "start":
            disk.restart()
            spool = Spool(disk, AMPLE, 300)
        elif (batch := spool.oldest()) is not None:
            sent += batch.records
            if share < 0.7:  # else the acknowledgement is lost, and it comes again
                spool.done(batch.number)
    sent += drained(spool)
    assert set(kept) <= set(sent)
    firsts = list(dict.fromkeys(sent))
    assert firsts == sorted(firsts, key=lambda record: int(record.value.split(b"{")[0].strip(b"\xabntc\n\0")))


def test_a_full_spool_keeps_what_fits_and_says_how_much() -> None:
    spool = Spool(SimulatedDisk(), 200)
    kept = spool.append(records(0, 50))
    assert 0 < kept < 50
    assert spool.append(records(50, 1)) == 0
    assert (spool.counts["spooled"], spool.counts["full"]) == (kept, 51 - kept)
    assert spool.bytes <= 200
    assert drained(spool) == records(0, kept)
    assert spool.append(records(50, 1)) == 1


def test_what_was_there_before_counts_for_the_bound() -> None:
    disk = SimulatedDisk()
    Spool(disk, AMPLE).append(records(0, 20))
    spool = Spool(disk, 300)
    assert spool.bytes == sum(disk.sizes().values()) > 300
    assert spool.append(records(20, 1)) == 0


def test_a_segment_gets_a_successor() -> None:
    disk = SimulatedDisk()
    spool = Spool(disk, AMPLE, segment_bytes=100)
    for first in range(0, 40, 5):
        spool.append(records(first, 5))
    assert len(spool) == len(disk.sizes()) > 3
    assert max(disk.sizes().values()) < 300
    assert drained(Spool(disk, AMPLE)) == records(0, 40)


@pytest.mark.parametrize("disk", [SimulatedDisk(capacity=60), SimulatedDisk()])
def test_a_disk_that_fails_keeps_nothing_and_leaves_no_trail(disk: SimulatedDisk) -> None:
    disk.fail(failing=True)
    spool = Spool(disk, AMPLE)
    for first in range(0, 30, 10):
        with pytest.raises(DependencyError, match=r"notices cannot be spooled to 0+\d.notices: "):
            spool.append(records(first, 10))
    assert disk.sizes() == {}
    assert spool.bytes == 0
    assert not spool


def test_after_a_failed_sync_the_next_write_begins_a_new_segment() -> None:
    disk = SimulatedDisk()
    spool = Spool(disk, AMPLE)
    spool.append(records(0, 2))
    disk.fail(failing=True)
    with pytest.raises(DependencyError):
        spool.append(records(2, 2))
    disk.fail(failing=False)
    spool.append(records(4, 2))
    assert len(disk.sizes()) == 2
    disk.restart()  # what was not synced is gone
    assert drained(Spool(disk, AMPLE)) == records(0, 2) + records(4, 2)


def test_what_is_being_sent_takes_no_more() -> None:
    spool = Spool(SimulatedDisk(), AMPLE)
    spool.append(records(0, 2))
    batch = spool.oldest()
    assert batch is not None
    spool.append(records(2, 2))
    assert spool.oldest() == batch == (1, records(0, 2))
    spool.done(1)
    assert drained(spool) == records(2, 2)


def test_only_what_was_given_out_can_be_done() -> None:
    spool = Spool(SimulatedDisk(), AMPLE)
    spool.append(records(0, 2))
    with pytest.raises(InvariantError, match="must be the oldest"):
        spool.done(1)
    spool.oldest()
    with pytest.raises(InvariantError, match="must be the oldest"):
        spool.done(2)


class BrokenDisk(SimulatedDisk):
    """One call of it fails."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    def sizes(self) -> dict[str, int]:
        return self._try("sizes", super().sizes)

    def read(self, name: str) -> bytes:
        return self._try("read", lambda: SimulatedDisk.read(self, name))

    def remove(self, name: str) -> None:
        self._try("remove", lambda: SimulatedDisk.remove(self, name))

    def _try(self, what: str, work: Callable[[], Any]) -> Any:
        if what == self.broken:
            raise OSError(5, "input/output error")
        return work()


def test_a_folder_that_cannot_be_read_is_told() -> None:
    with pytest.raises(DependencyError, match="folder of spooled notices cannot be read"):
        Spool(BrokenDisk("sizes"), AMPLE)


@pytest.mark.parametrize(("broken", "words"), [("read", "cannot be read"), ("remove", "cannot be deleted")])
def test_a_segment_that_cannot_be_used_is_named_and_kept(broken: str, words: str) -> None:
    disk = BrokenDisk(broken)
    spool = Spool(disk, AMPLE)
    spool.append(records(0, 2))
    with pytest.raises(DependencyError, match=f"{FIRST} {words}"):
        drained(spool)
    disk.broken = ""
    assert drained(spool) == records(0, 2)


# --- on a real disk


def test_on_a_real_disk_it_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "spool"
    with Disk(folder) as disk:
        spool = Spool(disk, AMPLE, 200)
        for first in range(0, 30, 10):
            spool.append(records(first, 10))
    with Disk(folder) as disk:
        spool = Spool(disk, AMPLE)
        spool.append(records(30, 5))
        assert spool.bytes == sum(disk.sizes().values())
        assert drained(spool) == records(0, 35)
        assert disk.sizes() == {}


def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    with Disk(tmp_path / "spool") as disk:
        Spool(disk, AMPLE).append(records(0, 1))
        assert {path.stat().st_mode & 0o077 for path in (tmp_path / "spool").iterdir()} == {0}
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_two_trackers_cannot_share_a_folder(tmp_path: Path) -> None:
    with Disk(tmp_path), pytest.raises(ConfigError, match="must be of one tracker alone"):
        Disk(tmp_path)
    Disk(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"folder .*file must be one that we may write to"):
        Disk(tmp_path / "file")


def test_a_disk_that_is_full_says_so_and_goes_on_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Disk(tmp_path) as disk:
        spool = Spool(disk, AMPLE)
        spool.append(records(0, 2))
        with monkeypatch.context() as patched:
            patched.setattr("bidder.web.disk.os.fsync", _no_space)
            with pytest.raises(DependencyError, match="No space left"):
                spool.append(records(2, 2))
        spool.append(records(4, 2))
        assert set(drained(spool)) >= {*records(0, 2), *records(4, 2)}


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")
