"""A landscape as one file: a line of JSON that says what it is, then the arrays, every byte under one sha256.

| part | what |
|---|---|
| first line | format, strata, shrinkage, tables, time and half-life of the counts, shapes of the arrays, sha256 |
| the rest | the arrays one after the other, little-endian, in C order |

The sha256 is over the first line with an empty `sha256` and all that follows it. Nothing depends on when or
where the file was written.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError, TableError
from models.landscape.counts import Counts
from models.landscape.curves import Landscape
from models.landscape.grid import check_grid
from models.landscape.strata import Strata
from models.paths import no_file

FORMAT = 1
KIND = "clearbid landscape"
_NAMES = ("grid", "survival", "expected_price", "exact", "price_sum", "above", "below")
_AGAIN = "fit it again with `clearbid models landscape`"


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    kind: str
    format: int
    strata: Strata
    shrinkage: float
    tables: dict[str, str]
    at_ns: int | None
    half_life_ns: int | None
    arrays: dict[str, tuple[int, ...]]
    sha256: str = ""


def save_landscape(path: Path, landscape: Landscape) -> str:
    """Writes a landscape and says its sha256; a file that is there is replaced as a whole.

    Raises:
        ArtifactError: the file cannot be written.
    """
    counts = landscape.counts
    arrays = dict(
        zip(
            _NAMES,
            (
                landscape.grid, landscape.survival, landscape.expected_price,
                counts.exact, counts.price_sum, counts.above, counts.below,
            ),
            strict=True,
        )
    )  # fmt: skip
    body = b"".join(_bytes(array) for array in arrays.values())
    head = _Head(
        kind=KIND,
        format=FORMAT,
        strata=landscape.strata,
        shrinkage=landscape.shrinkage,
        tables=dict(landscape.tables),
        at_ns=counts.at_ns,
        half_life_ns=counts.half_life_ns,
        arrays={name: array.shape for name, array in arrays.items()},
    )
    head = msgspec.structs.replace(head, sha256=_digest(head, body))
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(_line(head) + body)
        part.replace(path)
    except OSError as error:
        raise ArtifactError(f"landscape {path} must be writable: {error.strerror}") from error
    return head.sha256


def load_landscape(path: Path) -> Landscape:
    """Reads a landscape and checks every byte of it.

    Raises:
        ArtifactError: the file is missing, cut short, altered, or not a landscape.
    """
    return read_landscape(path)[0]


def read_landscape(path: Path) -> tuple[Landscape, str]:
    """As `load_landscape`, with the sha256 that names it."""
    if why := no_file(path):
        raise ArtifactError(f"landscape {path} must be a file, {why}; {_AGAIN}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"landscape {path} must be a readable file: {error.strerror}; {_AGAIN}"
        ) from error
    line, _, body = data.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} must be a landscape, is not ({error}): {_AGAIN}") from error
    if (head.kind, head.format) != (KIND, FORMAT):
        raise ArtifactError(
            f"{path} must be a {KIND!r} of format {FORMAT}, was {head.kind!r} of {head.format}: {_AGAIN}"
        )
    was = _digest(head, body)
    if was != head.sha256:
        raise ArtifactError(
            f"landscape {path} must have sha256 {head.sha256}, was {was}: it was cut short or altered; {_AGAIN}"
        )
    arrays = _arrays(path, head, body)
    return _landscape(path, head, arrays), was


def _arrays(path: Path, head: _Head, body: bytes) -> dict[str, NDArray[np.float64]]:
    sizes = {name: math.prod(head.arrays.get(name, (0,))) for name in _NAMES}
    if set(head.arrays) != set(_NAMES) or 8 * sum(sizes.values()) != len(body):
        raise ArtifactError(
            f"landscape {path} must hold the arrays {', '.join(_NAMES)} and nothing else: {_AGAIN}"
        )
    found, begin = {}, 0
    for name, size in sizes.items():
        kind = "<i8" if name == "grid" else "<f8"
        flat = np.frombuffer(body, kind, size, begin)
        found[name] = flat.astype(flat.dtype.newbyteorder("=")).reshape(head.arrays[name])
        begin += 8 * size
    return found


def _landscape(path: Path, head: _Head, arrays: dict[str, NDArray[np.float64]]) -> Landscape:
    grid = arrays.pop("grid").astype(np.int64)
    survival, expected = arrays.pop("survival"), arrays.pop("expected_price")
    strata, points = len(head.strata), len(grid)
    shapes = [survival.shape, expected.shape, *(part.shape for part in arrays.values())]
    bins, at = (strata, points + 1), (strata, points)
    parents = [stratum.parent for stratum in head.strata.strata]
    whole = all(np.isfinite(part).all() for part in (survival, expected, *arrays.values()))
    try:
        check_grid(grid)
    except TableError as error:
        raise ArtifactError(f"landscape {path} is broken ({error}): {_AGAIN}") from error
    ordered = parents[:1] == [0] and all(0 <= parent < place for place, parent in enumerate(parents) if place)
    if shapes != [at, at, bins, bins, at, at] or not ordered or not whole:
        raise ArtifactError(f"landscape {path} is broken: its arrays do not fit its strata; {_AGAIN}")
    counts = Counts(grid, **arrays, at_ns=head.at_ns, half_life_ns=head.half_life_ns)
    return Landscape(grid, survival, expected, head.strata, counts, head.shrinkage, head.tables)


def _bytes(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()


def _line(head: _Head) -> bytes:
    return msgspec.json.encode(head, order="deterministic") + b"\n"


def _digest(head: _Head, body: bytes) -> str:
    return hashlib.sha256(_line(msgspec.structs.replace(head, sha256="")) + body).hexdigest()
