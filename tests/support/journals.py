"""Journals that are changed on purpose: what a replay must notice."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bidder.store.journal import (
    Adopt,
    Control,
    Decide,
    Entry,
    JournalWriter,
    ModelChange,
    Output,
    Tick,
    read_journal,
)
from bidder.store.seat import JOURNAL, KEY

Change = Callable[[list[Entry]], None]


def entries_of(folder: Path) -> list[Entry]:
    """All entries of a run's journal."""
    return list(read_journal(folder / JOURNAL))


def altered(folder: Path, to: Path, change: Change) -> Path:
    """A copy of a run whose journal is whole but says something else."""
    journal = read_journal(folder / JOURNAL)
    entries = list(journal)
    change(entries)
    to.mkdir()
    shutil.copy(folder / KEY, to / KEY)
    if (folder / "model").exists():
        (to / "model").symlink_to(folder / "model")
    with JournalWriter(to / JOURNAL, journal.meta) as writer:
        for entry in entries:
            _write(writer, entry)
    return to


def _write(writer: JournalWriter, entry: Entry) -> None:
    if isinstance(entry, Decide):
        writer.decide(entry.now_ns, entry.bodies, entry.ages_ns)
    elif isinstance(entry, Control):
        writer.control(entry.now_ns, entry.items)
    elif isinstance(entry, Tick):
        writer.tick(entry.now_ns)
    elif isinstance(entry, Adopt):
        writer.adopt(entry.now_ns, entry.controls)
    elif isinstance(entry, ModelChange):
        writer.model(entry.now_ns, entry.hash)
    else:
        assert isinstance(entry, Output)
        writer.output(entry.digest)
