"""The directory of a set of segments, written beside and moved into place as a whole.

| file | what |
|---|---|
| `assignments.parquet` | `user`, `segment` (null: in none now); alone holds keys of users, only its owner reads it |
| `segments.json` | `report.Report` |
| `manifest.json` | sha256 of the two, of the table, parameters, library versions, own hash |
"""

import hashlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import ArtifactError
from models.paths import no_folder, no_place_for_folder
from models.segments.report import Report

FORMAT = 1
ASSIGNMENTS_FILE, REPORT_FILE, MANIFEST_FILE = "assignments.parquet", "segments.json", "manifest.json"
_FILES = frozenset({ASSIGNMENTS_FILE, REPORT_FILE, MANIFEST_FILE})
_SCHEMA = pa.schema([pa.field("user", pa.string(), nullable=False), pa.field("segment", pa.string())])
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "pyarrow")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a set of segments is and what it was made from.

    Attributes:
        format: layout of the directory. files: sha256 (hex) of each other file.
        table_sha256: of the table. window_ns: first and last time of its rows that counted.
        params: what was asked for. next_number: of the next new segment; numbers are never given twice.
        versions: of the libraries. before: hash of the set that this one refreshed, or empty.
        hash: sha256 (hex) of this manifest without this field.
    """

    format: int
    files: dict[str, str]
    table_sha256: str
    window_ns: tuple[int, int]
    params: dict[str, int | float | bool | None]
    next_number: int
    versions: dict[str, str]
    before: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Before:
    """A set of segments as it was read.

    Attributes:
        manifest, report: of it.
        segment_of: segment of each user who is in one.
        removed: users who were told to be in none.
    """

    manifest: Manifest
    report: Report
    segment_of: Mapping[str, str]
    removed: tuple[str, ...]

    @property
    def next_number(self) -> int:
        """Of the next new segment."""
        return self.manifest.next_number


def save_segments(
    out: Path,
    report: Report,
    users: Sequence[str],
    segment: Sequence[str | None],
    params: dict[str, int | float | bool | None],
    next_number: int,
    before: str = "",
) -> Manifest:
    """Writes a set of segments in the place of the one that was there.

    The new directory is complete before the old one is moved aside; a crash between the two moves leaves the old
    one as `NAME.before`, which `load_segments` takes back.

    Args:
        out: the directory; where it is there it must hold segments and nothing else.
        report: what is told. users, segment: the assignments.
        params: what was asked for. next_number: of the next new segment. before: hash of the set refreshed.

    Raises:
        ArtifactError: the directory holds something else, or cannot be written.
    """
    check_replaceable(out)
    table = pa.table({"user": list(users), "segment": pa.array(list(segment), pa.string())}, schema=_SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    data = {
        ASSIGNMENTS_FILE: sink.getvalue(),
        REPORT_FILE: msgspec.json.format(_canonical(report), indent=2) + b"\n",
    }
    manifest = Manifest(
        format=FORMAT,
        files={name: hashlib.sha256(content).hexdigest() for name, content in data.items()},
        table_sha256=report.table_sha256,
        window_ns=report.window_ns,
        params=params,
        next_number=next_number,
        versions={name: version(name) for name in _LIBRARIES},
        before=before,
    )
    manifest = msgspec.structs.replace(manifest, hash=_hash(manifest))
    data[MANIFEST_FILE] = msgspec.json.format(_canonical(manifest), indent=2) + b"\n"
    try:
        _replace(out, data)
    except OSError as error:
        raise ArtifactError(f"segments directory {out} must be writable: {error.strerror}") from error
    return manifest


def check_replaceable(out: Path) -> None:
    """Raises `ArtifactError` where `out` is there and is something else than a set of segments."""
    if out.is_symlink():
        raise ArtifactError(
            f"segments directory {out} must be a folder itself, because it is replaced as a whole, is a link to one: "
            f"name what it points to"
        )
    if why := no_place_for_folder(out):
        raise ArtifactError(f"segments directory {out} {why}")
    others = sorted(one.name for one in out.iterdir() if one.name not in _FILES) if out.is_dir() else []
    if others:
        raise ArtifactError(
            f"segments directory {out} must hold segments only, because it is replaced as a whole; "
            f"holds {others[0]}: name another one"
        )


def _replace(out: Path, data: Mapping[str, bytes]) -> None:
    part, aside = out.with_name(out.name + ".part"), _aside(out)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, content in data.items():
        # Keys of users are for the owner only, from the first byte on.
        mode = 0o600 if name == ASSIGNMENTS_FILE else 0o644
        with os.fdopen(os.open(part / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    if out.exists():
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
    part.rename(out)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(out: Path) -> Path:
    return out.with_name(out.name + ".before")


def load_segments(path: Path) -> Before:
    """Reads a set of segments and checks every byte of it against its hashes.

    Raises:
        ArtifactError: a file is missing, altered or broken: which one, what was expected, what to do.
    """
    if path.is_file():
        raise ArtifactError(f"segments {path} must be a folder, {no_folder(path)}")
    if not path.exists() and _aside(path).is_dir():
        _aside(path).rename(path)  # cut short between its two moves
    if (path / "spec.json").is_file():
        raise ArtifactError(
            f"segments {path} must be what `clearbid models segments` wrote, is the directory of a model: name the "
            f"folder that its --out named"
        )
    manifest = _manifest(path)
    data = {name: _checked(path, name, manifest) for name in (ASSIGNMENTS_FILE, REPORT_FILE)}
    try:
        report = msgspec.json.decode(data[REPORT_FILE], type=Report)
        table = pq.read_table(io.BytesIO(data[ASSIGNMENTS_FILE]), schema=_SCHEMA)
    except (msgspec.DecodeError, pa.ArrowException) as error:
        raise ArtifactError(
            f"segments {path} must be of this version, are not ({error}): find them again"
        ) from error
    pairs = list(zip(table["user"].to_pylist(), table["segment"].to_pylist(), strict=True))
    return Before(
        manifest,
        report,
        {user: segment for user, segment in pairs if segment is not None},
        tuple(user for user, segment in pairs if segment is None),
    )


def _manifest(path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(_read(path / MANIFEST_FILE), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path / MANIFEST_FILE} is broken ({error}): find the segments again") from error
    if manifest.format != FORMAT:
        raise ArtifactError(
            f"{path / MANIFEST_FILE} must have format {FORMAT}, was {manifest.format}: find the segments again"
        )
    expected = _hash(manifest)
    if manifest.hash != expected:
        raise ArtifactError(
            f"{path / MANIFEST_FILE} must have the hash {expected}, was {manifest.hash or 'empty'}: it was altered; "
            f"restore it or find the segments again"
        )
    return manifest


def _checked(path: Path, name: str, manifest: Manifest) -> bytes:
    data = _read(path / name)
    was, expected = hashlib.sha256(data).hexdigest(), manifest.files.get(name, "")
    if was != expected:
        raise ArtifactError(
            f"segments file {path / name} must have sha256 {expected or 'in the manifest'}, was {was}: it was "
            f"altered; restore it or find the segments again"
        )
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(
            f"segments file {path} must exist, does not: find segments with `clearbid models segments`, or name a "
            f"directory that holds some"
        ) from error
    except OSError as error:
        raise ArtifactError(f"segments file {path} must be readable: {error.strerror}") from error


def _hash(manifest: Manifest) -> str:
    return hashlib.sha256(_canonical(msgspec.structs.replace(manifest, hash=""))).hexdigest()


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
