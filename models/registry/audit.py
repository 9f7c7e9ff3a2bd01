"""The audit log of a registry: one JSON object a line, each bound to the one before by its hash.

A line that a crash cut short has no end of line: it never happened, and the next writer takes it away. Any other
line that does not fit is an edit, and the log is refused with its number.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from models.errors import ArtifactError
from models.registry.files import append_line

FIRST = "0" * 64
"""Stands for the line before the first."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line.

    Attributes:
        number: from 1 on.
        at_ns: when, nanoseconds since the epoch.
        by: who: the user of the process, or what was given.
        event: what: `add`, `restore`, `challenge`, `promote`, `rollback`, `archive`, or a step of a renewal.
        model: hash of the bundle that it is about; empty where it is about none.
        reason: why, in words.
        numbers: what was measured.
        aliases: the aliases that hold after it: name -> hash.
        before: hash of the line before.
        hash: sha256 (hex) of this line without this field.
    """

    number: int
    at_ns: int
    by: str
    event: str
    reason: str
    aliases: dict[str, str]
    before: str
    model: str = ""
    numbers: dict[str, Any] = {}
    hash: str = ""


def entry_hash(entry: Entry) -> str:
    """What the `hash` of an entry must be."""
    return hashlib.sha256(_canonical(msgspec.structs.replace(entry, hash=""))).hexdigest()


def _canonical(entry: Entry) -> bytes:
    return msgspec.json.encode(entry, order="deterministic")


class AuditLog:
    """Reads and appends; whoever appends must hold the registry's lock.

    Args:
        path: of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """All lines, checked.

        Raises:
            ArtifactError: the file cannot be read, or a line was altered, removed or put in: which one.
        """
        return self._checked(self._whole())

    def _whole(self) -> bytes:
        """The file without a last line that was cut short."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ArtifactError(f"audit log {self.path} must be readable: {error.strerror}") from error
        return content[: content.rfind(b"\n") + 1]

    def _checked(self, content: bytes) -> list[Entry]:
        found: list[Entry] = []
        before = FIRST
        for number, line in enumerate(content.splitlines(), start=1):
            wrong = None
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise self._altered(number, f"is not an entry ({error})") from error
            if entry.number != number or entry.before != before:
                wrong = "does not follow the line before"
            elif entry.hash != entry_hash(entry):
                wrong = "does not have the hash that it states"
            if wrong:
                raise self._altered(number, wrong)
            found.append(entry)
            before = entry.hash
        return found

    def _altered(self, number: int, what: str) -> ArtifactError:
        return ArtifactError(
            f"audit log {self.path} must be as it was written, its line {number} {what}: restore it, or move it "
            f"aside and a new log begins with the aliases as they are"
        )

    def append(
        self,
        event: str,
        *,
        model: str,
        reason: str,
        numbers: dict[str, Any],
        aliases: dict[str, str],
        by: str,
        at_ns: int,
    ) -> Entry:
        """Writes an entry to the disk; the arguments are those of `Entry`.

        Raises:
            ArtifactError: as `entries`; nothing is put behind a log that was altered.
        """
        content = self._whole()
        entries = self._checked(content)
        entry = Entry(
            number=len(entries) + 1,
            at_ns=at_ns,
            by=by,
            event=event,
            model=model,
            reason=reason,
            numbers=numbers,
            aliases=aliases,
            before=entries[-1].hash if entries else FIRST,
        )
        entry = msgspec.structs.replace(entry, hash=entry_hash(entry))
        append_line(self.path, _canonical(entry), len(content))
        return entry
