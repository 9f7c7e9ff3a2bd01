"""A disk that loses what was not synced: folder of files for whoever takes `bidder.web.spool.Files`.

What is appended is written, then synced; a power cut, a full disk or a failed sync may stop it in between, after any
byte. No clock and no draws: the caller says what fails and where.
"""

import errno
from collections.abc import Callable


class PowerCut(Exception):
    """The machine ended in the middle of a write."""


class SimulatedDisk:
    """Files in memory, and what a power cut leaves of them.

    Args:
        capacity: bytes that there is room for.

    Attributes:
        syncs: how often it was synced.
    """

    def __init__(self, capacity: int = 1 << 40) -> None:
        self.syncs = 0
        self._capacity = capacity
        self._synced: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        self._cut_after: int | None = None
        self._failing = False

    def cut_power_after(self, count: int) -> None:
        """The next `append` raises `PowerCut` when `count` of its bytes are written, and none of it is synced."""
        self._cut_after = count

    def fail(self, *, failing: bool) -> None:
        """Whether syncs fail from now on; what is written then may or may not be there."""
        self._failing = failing

    def restart(self, kept: Callable[[str, int], int] | None = None) -> None:
        """The machine comes back: of each file the first `kept(name, bytes not synced)` of those are there too.

        By default none are.
        """
        for name, data in self._written.items():
            synced = self._synced.get(name, b"")
            rest = data[len(synced) :]
            self._synced[name] = synced + rest[: kept(name, len(rest)) if kept is not None else 0]
        self._synced = {name: self._synced[name] for name in self._written}
        self._written = dict(self._synced)
        self._cut_after = None

    def put(self, name: str, data: bytes) -> None:
        """Makes a file what it is told."""
        self._written[name] = self._synced[name] = data

    def holds(self, data: bytes) -> bool:
        """Whether some file has these bytes where a power cut would not take them."""
        return any(data in synced for synced in self._synced.values())

    # --- as `bidder.web.spool.Files`

    def sizes(self) -> dict[str, int]:
        """Every file and its bytes."""
        return {name: len(data) for name, data in self._written.items()}

    def read(self, name: str) -> bytes:
        """All of a file."""
        try:
            return self._written[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", name) from None

    def append(self, name: str, data: bytes) -> None:
        """Writes and syncs, or does as it was told."""
        if self._cut_after is not None:
            data, self._cut_after = data[: self._cut_after], None
            self._written[name] = self._written.get(name, b"") + data
            raise PowerCut(name)
        room = self._capacity - sum(map(len, self._written.values()))
        self._written[name] = self._written.get(name, b"") + data[:room]
        if len(data) > room:
            raise OSError(errno.ENOSPC, "no space left on device", name)
        if self._failing:
            raise OSError(errno.EIO, "input/output error", name)
        self._synced[name] = self._written[name]
        self.syncs += 1

    def remove(self, name: str) -> None:
        """Deletes a file."""
        self._written.pop(name, None)
        self._synced.pop(name, None)
