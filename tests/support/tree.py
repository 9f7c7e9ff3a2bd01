"""The project's own files, as they are tracked."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.data import ROOT

SOURCE = ("bidder", "models", "simulator")


@cache
def tracked() -> tuple[Path, ...]:
    """Every tracked file that is there, or a skip where this is no checkout."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a git checkout: {error}")
    return tuple(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


def sources(*folders: str) -> list[Path]:
    """Python files of these folders, or files, of the project."""
    found = [
        path
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).as_posix().startswith(tuple(folders))
    ]
    assert found, folders
    return found


def name_of(path: Path) -> str:
    """Its path in the project."""
    return path.relative_to(ROOT).as_posix()
