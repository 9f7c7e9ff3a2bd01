"""A seat's folder."""

from pathlib import Path

from bidder.core.settings import EngineSettings
from bidder.store.journal import Tick, read_journal
from bidder.store.seat import open_journal, read_key

KEY = bytes(range(32))


def begin(folder: Path, start_id: str, now_ns: int) -> None:
    with open_journal(folder, EngineSettings(), KEY, None, start_id) as journal:
        journal.tick(now_ns)


def test_a_seat_that_starts_again_keeps_its_older_journals(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        begin(tmp_path, f"start-{number}", number)
    names = {"journal.1": 1, "journal.2": 2, "journal": 3}
    for name, number in names.items():
        journal = read_journal(tmp_path / name)
        assert journal.meta["start_id"] == f"start-{number}"
        assert list(journal) == [Tick(number)]


def test_the_key_stands_beside_the_journal_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    begin(tmp_path, "start-1", 1)
    assert read_key(tmp_path) == KEY
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert KEY.hex().encode() not in (tmp_path / "journal").read_bytes()
