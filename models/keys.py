"""Parameters as TOML: read into a record, each unknown key named with what was meant, and listed with their words.

A record's docstring is the only place where its keys are described: the list that a person asks for is made of it.
"""

import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from models.errors import TableError
from models.paths import no_file
from models.saying import nearest

_Record = TypeVar("_Record", bound=msgspec.Struct)


def load_keys(path: Path, kind: type[_Record], what: str, listed: str) -> _Record:
    """A TOML file as a record; what is absent is the default.

    Args:
        path: of the file. kind: of the record; a field that is a record itself is a table.
        what: the file is, for messages. listed: the command that lists its keys.

    Raises:
        TableError: the file is missing, is not TOML, or holds a key or value that is not allowed.
    """
    if why := no_file(path):
        raise TableError(f"{what} {path} must be a file, {why}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{what} {path} must be a readable file: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{what} {path} must be TOML: {error}; `{listed}` prints one") from error
    _check_names(found, kind, f"{what} {path}")
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        said = str(error).replace(" - at `$.", " at `")
        raise TableError(f"{what} {path} must hold values as `{listed}` shows them: {said}") from error


def _check_names(found: Mapping[str, object], kind: type[msgspec.Struct], where: str) -> None:
    defaults = _defaults(kind)
    for key, value in found.items():
        if key not in defaults:
            raise TableError(f"unknown key {key} in {where}; {_meant(key, defaults)}")
        inner = defaults[key]
        if isinstance(inner, msgspec.Struct) and isinstance(value, dict):
            _check_names(value, type(inner), f"[{key}] of {where}")


def _meant(key: str, defaults: Mapping[str, object]) -> str:
    for name, value in defaults.items():
        if isinstance(value, msgspec.Struct) and key in _defaults(type(value)):
            return f"it is a key of its table [{name}]"
    return nearest(key, list(defaults))


def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: getattr(kind(), field.name) for field in msgspec.structs.fields(kind)}


# -- the list -----------------------------------------------------------------------------------------------------


def keys_listed(kind: type[msgspec.Struct]) -> str:
    """TOML that holds every key at its default, each below what it is: a file to begin with."""
    return "\n".join(_lines(kind)) + "\n"


def _lines(kind: type[msgspec.Struct], table: str = "") -> Iterator[str]:
    words = _words(kind)
    inner: dict[str, type[msgspec.Struct]] = {}
    last = ""
    for name, value in _defaults(kind).items():
        if isinstance(value, msgspec.Struct):
            inner[name] = type(value)
            continue
        if words[name] != last:
            yield f"# {words[name]}"
        last = words[name]
        # TOML has no word for nothing: such a key is left out.
        yield f"# {name} =" if value is None else f"{name} = {_written(value)}"
    for name, each in inner.items():
        yield f"\n# {words[name]}\n[{table}{name}]"
        yield from _lines(each, f"{table}{name}.")


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, tuple) else str(value)


def _words(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstring's `Attributes` say of each key; several may share their words, or a line."""
    names = [field.name for field in msgspec.structs.fields(kind)]
    told = " ".join(inspect.cleandoc(kind.__doc__ or "").partition("Attributes:")[2].split())
    name = f"(?:{'|'.join(names)})"
    parts = re.split(rf"(?:^|(?<=[.;] )|(?<=\s))({name}(?:, {name})*): ", told)
    found: dict[str, str] = {}
    for keys, said in zip(parts[1::2], parts[2::2], strict=True):
        found |= dict.fromkeys(keys.split(", "), said.strip())
    return found
