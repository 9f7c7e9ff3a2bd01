"""A folder of a real disk that one process has to itself."""

import fcntl
import os
from pathlib import Path
from typing import Self

from bidder.errors import ConfigError

_LOCK = "lock"


class Disk:
    """Files of one folder, see `spool.Files`; use it as a context manager, or close it.

    Whoever reads the files learns keys of users: only their owner may.

    Args:
        folder: made where it is missing.

    Raises:
        ConfigError: it cannot be used, or another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""
        self._writing = -1
        self._lock = -1
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ConfigError(
                f"folder {folder} must be of one tracker alone, was in use by another"
            ) from None
        except OSError as error:
            self.close()
            raise ConfigError(
                f"folder {folder} must be one that we may write to, was not: {error.strerror}"
            ) from None

    def sizes(self) -> dict[str, int]:
        """Every file and its bytes."""
        with os.scandir(self._folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.name != _LOCK}

    def read(self, name: str) -> bytes:
        """All of a file."""
        return (self._folder / name).read_bytes()

    def append(self, name: str, data: bytes) -> None:
        """Puts bytes behind a file; returns when they would survive a power cut."""
        try:
            if name != self._name:
                self._open(name)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._writing, rest) :]
            os.fsync(self._writing)
        except OSError:
            self._leave()
            raise

    def remove(self, name: str) -> None:
        """Deletes a file; one that is not there is deleted."""
        if name == self._name:
            self._leave()
        (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the folder free."""
        self._leave()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _open(self, name: str) -> None:
        """Opens a file to write to; a new one is not there after a power cut before its folder was synced too."""
        self._leave()
        path = self._folder / name
        known = path.exists()
        self._writing = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._name = name
        if not known:
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _leave(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
        self._writing, self._name = -1, ""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()
