"""A factor by price as a small JSON file, with the hash of the model that it belongs to."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from models.errors import ArtifactError
from models.reliability.factor import Knots, PriceFactor

KIND, FORMAT = "clearbid price factor", 1


class FactorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file holds; `sha256` is over the rest. `model` is the hash of the bundle, `name` its model."""

    kind: str = KIND
    format: int = FORMAT
    model: str
    name: str
    factor: PriceFactor
    sha256: str = ""


def save_factor(path: Path, model: str, name: str, factor: PriceFactor) -> None:
    """Writes a factor; raises `ArtifactError` where it cannot."""
    file = FactorFile(model=model, name=name, factor=factor)
    file = msgspec.structs.replace(file, sha256=_digest(file))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(_canonical(file), indent=2) + b"\n")
    except OSError as error:
        raise ArtifactError(f"price factor {path} must be writable: {error.strerror}") from error


def load_factor(path: Path, model: str) -> PriceFactor:
    """Reads a factor of one model.

    Raises:
        ArtifactError: the file is missing, altered, broken, or of another model.
    """
    again = "fit it again with `clearbid models calibration --price-factor`"
    try:
        file = msgspec.json.decode(path.read_bytes(), type=FactorFile)
    except OSError as error:
        raise ArtifactError(
            f"price factor {path} must be a readable file: {error.strerror}; {again}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} must be a price factor, is not ({error}): {again}") from error
    was = _digest(file)
    if (file.kind, file.format, file.sha256) != (KIND, FORMAT, was):
        raise ArtifactError(
            f"price factor {path} must have sha256 {file.sha256}, was {was}: it was altered; {again}"
        )
    if file.model != model:
        raise ArtifactError(f"price factor {path} must be of model {model}, was of {file.model}: {again}")
    for knots in (file.factor.prediction, file.factor.price):
        _check(path, knots, again)
    return file.factor


def _check(path: Path, knots: Knots, again: str) -> None:
    places, factors = np.array(knots.places), np.array(knots.factors)
    good = (
        len(places) == len(factors) > 0
        and places[0] > 0
        and (np.diff(places) > 0).all()
        and (factors > 0).all()
    )
    if not good or not np.isfinite([*places, *factors]).all():
        raise ArtifactError(f"price factor {path} must have ascending places and factors above 0: {again}")


def _canonical(file: FactorFile) -> bytes:
    return msgspec.json.encode(file, order="deterministic")


def _digest(file: FactorFile) -> str:
    return hashlib.sha256(_canonical(msgspec.structs.replace(file, sha256=""))).hexdigest()
