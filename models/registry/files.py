"""Writes that a crash leaves done or undone, and the lock that lets one process write at a time."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ArtifactError

_POLL_S = 0.02


def sync_directory(path: Path) -> None:
    """Makes names that were put into a directory, or taken out of it, last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file to the disk; its name is not made to last."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file as a whole: who reads sees what was there before, or all of `content`."""
    part = path.with_name(f"{path.name}.part")
    write_synced(part, content)
    os.replace(part, path)  # noqa: PTH105 - the tests of crashes stand on the calls of `os`
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Removes a file where there is one."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return
    sync_directory(path.parent)


def rename_directory(source: Path, target: Path) -> None:
    """Gives a directory its final name."""
    os.rename(source, target)  # noqa: PTH104
    sync_directory(target.parent)


def append_line(path: Path, line: bytes, keep: int) -> None:
    """Appends a line to the first `keep` bytes of a file; what stood behind them, a line cut short, goes.

    Args:
        path: of the file, made where it is not there. line: without its end. keep: bytes of whole lines.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, keep)
        os.lseek(descriptor, keep, os.SEEK_SET)
        _write_all(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not keep:
        sync_directory(path.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def locked(path: Path, *, wait_s: float, said: str) -> Iterator[None]:
    """Holds the lock of a file; the system lets go of it when the process ends, however it ends.

    Args:
        path: of the lock file, which stays. wait_s: seconds to wait for another holder.
        said: what the error says that the other does.

    Raises:
        ArtifactError: another process held it all that time.
    """
    import fcntl  # where there is none, as on Windows, registries are read only

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline_s:
                    raise ArtifactError(
                        f"{path} must be free, was held by another process for {wait_s:.0f} s: {said}"
                    ) from error
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
