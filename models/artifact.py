"""The directory a trained model lives in, and the checks that stand between it and the bidder.

| file | what |
|---|---|
| `manifest.json` | format, hashes, data window, rows, label rates, parameters, metrics, versions, own hash |
| `spec.json` | `FeatureSpec` |
| `ctr.txt`, `cvr.txt` | LightGBM model texts: click, and conversion given a click |
| `calibration.json` | raw score -> probability of each model |
| `value.txt`, `value.json`, `value_positive.txt` | optional: the value of a conversion, see `models.value` |

The manifest holds the sha256 of every other file, and its own `hash` over all the rest of itself; so one
changed byte anywhere is found, and the hash names the model as a whole. Nothing in it depends on when or where
training ran: the same table, parameters and library versions give the same hash.

Format 2 adds the optional files and the manifest's `training`; bundles of format 1 have neither and load as before.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from models.aliases import champion_hash
from models.calibration import CalibrationTable, check_table
from models.errors import ArtifactError
from models.pages.text import counted
from models.paths import no_folder
from models.reports import ModelReport, TrainingReport
from models.schema import FeatureSpec
from models.trees import parse_forest
from models.value import POSITIVE_FILE, TABLE_FILE, VALUE_FILE, ValueModel, ValueTable

__all__ = ["Manifest", "ModelBundle", "ModelReport", "load_bundle", "manifest_hash", "save_bundle"]

FORMAT = 2
READABLE = (1, 2)
"""Formats that this version loads."""

CTR, CVR = 0, 1
MODEL_NAMES = ("ctr", "cvr")

MANIFEST_FILE = "manifest.json"
SPEC_FILE = "spec.json"
CALIBRATION_FILE = "calibration.json"
_FILES = (SPEC_FILE, CALIBRATION_FILE, *(f"{name}.txt" for name in MODEL_NAMES))


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle is and what it was made from.

    Attributes:
        format: layout of the directory.
        spec_hash: of the feature spec.
        files: sha256 (hex) of each other file.
        window_ns: first and last `at_ns` of the training table.
        rows: of the slices `train`, `calibration`, `test`.
        label_rates: mean of each model's label over all rows that have one.
        table_sha256: of the training table. created_from: its name.
        params: of the training.
        models: a report for each model.
        versions: of Python and the libraries that made it.
        training: what was learned of which rows; absent before format 2 and where no training made the bundle.
        hash: sha256 (hex) of this manifest without this field; names the bundle.
    """

    format: int
    spec_hash: str
    files: dict[str, str]
    window_ns: tuple[int, int]
    rows: dict[str, int]
    label_rates: dict[str, float]
    table_sha256: str
    created_from: str
    params: dict[str, Any]
    models: dict[str, ModelReport]
    versions: dict[str, str]
    # Absent, not null: the hash of a manifest of format 1 is over a text without the field.
    training: TrainingReport | msgspec.UnsetType = msgspec.UNSET
    hash: str = ""


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A trained model as it was checked and read.

    Attributes:
        path: the directory.
        manifest: where it came from.
        spec: its features.
        texts: LightGBM model text by name (`ctr`, `cvr`).
        calibration: raw score -> probability, by name.
        value: of a conversion, where the bundle has a model of it.
    """

    path: Path
    manifest: Manifest
    spec: FeatureSpec
    texts: dict[str, str]
    calibration: dict[str, CalibrationTable]
    value: ValueModel | None = None

    @property
    def hash(self) -> str:
        """The content hash that names the bundle."""
        return self.manifest.hash


def save_bundle(
    out_dir: Path,
    manifest: Manifest,
    spec: FeatureSpec,
    texts: dict[str, str],
    calibration: dict[str, CalibrationTable],
    value: ValueModel | None = None,
) -> ModelBundle:
    """Writes a bundle; its `files`, `spec_hash` and `hash` are filled in here.

    The manifest goes last, so that a run cut short leaves a directory that is refused. Each file is replaced
    as a whole.

    Raises:
        ArtifactError: the directory cannot be written.
    """
    data = {SPEC_FILE: spec.to_json(), CALIBRATION_FILE: _canonical(calibration)}
    data |= {f"{name}.txt": texts[name].encode() for name in MODEL_NAMES}
    data |= {} if value is None else _value_files(value)
    sealed = msgspec.structs.replace(
        manifest,
        spec_hash=spec.hash,
        files={name: hashlib.sha256(content).hexdigest() for name, content in data.items()},
    )
    sealed = msgspec.structs.replace(sealed, hash=manifest_hash(sealed))
    data[MANIFEST_FILE] = msgspec.json.format(_canonical(sealed), indent=2) + b"\n"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / MANIFEST_FILE).unlink(missing_ok=True)
        for name in (VALUE_FILE, TABLE_FILE, POSITIVE_FILE):  # of a bundle that was here before
            if name not in data:
                (out_dir / name).unlink(missing_ok=True)
        for name, content in data.items():
            part = out_dir / f"{name}.part"
            part.write_bytes(content)
            part.replace(out_dir / name)
    except OSError as error:
        raise ArtifactError(f"model directory {out_dir} must be writable: {error.strerror}") from error
    return ModelBundle(out_dir, sealed, spec, texts, calibration, value)


def load_bundle(path: Path | str) -> ModelBundle:
    """Reads a bundle and checks every byte of it against its hashes.

    Args:
        path: of the bundle, or of a registry, whose champion is read.

    Raises:
        ArtifactError: a file is missing, altered or broken: which one, what was expected, what to do.
    """
    path = Path(path)
    if path.is_file():  # what is not there is said by its first file, and may come yet
        raise ArtifactError(f"model {path} must be a folder, {no_folder(path)}")
    named = champion_hash(path)
    path = path / named if named else path
    manifest = _read_manifest(path)
    if named and manifest.hash != named:
        raise ArtifactError(
            f"model {path} must have the hash of its folder's name, was {manifest.hash}: add it again"
        )
    data = {name: _read_checked(path, name, manifest) for name in _FILES}
    spec = FeatureSpec.from_json(data[SPEC_FILE])
    if spec.hash != manifest.spec_hash:
        raise ArtifactError(
            f"{path / SPEC_FILE} must have the spec hash {manifest.spec_hash} of the manifest, "
            f"was {spec.hash}: train the model again"
        )
    texts = {name: data[f"{name}.txt"].decode() for name in MODEL_NAMES}
    for name, text in texts.items():
        _check_features(path / f"{name}.txt", text, spec)
    calibration = _read_calibration(path, data[CALIBRATION_FILE])
    return ModelBundle(path, manifest, spec, texts, calibration, _read_value(path, manifest, spec))


def _check_features(path: Path, text: str, spec: FeatureSpec) -> None:
    found = parse_forest(text, str(path)).n_features
    if found != len(spec):
        raise ArtifactError(
            f"{path} must be trained on the {len(spec)} features of {SPEC_FILE}, was on {found}: "
            f"train the model again"
        )


def _value_files(value: ValueModel) -> dict[str, bytes]:
    data = {VALUE_FILE: value.text.encode(), TABLE_FILE: _canonical(value.table)}
    if value.positive_text is not None:
        data[POSITIVE_FILE] = value.positive_text.encode()
    return data


def _read_value(path: Path, manifest: Manifest, spec: FeatureSpec) -> ValueModel | None:
    """The model of value, where the manifest names its files."""
    if VALUE_FILE not in manifest.files:
        return None
    names = (VALUE_FILE, POSITIVE_FILE) if POSITIVE_FILE in manifest.files else (VALUE_FILE,)
    texts = [_read_checked(path, name, manifest).decode() for name in names]
    for name, text in zip(names, texts, strict=True):
        _check_features(path / name, text, spec)
    where = path / TABLE_FILE
    try:
        table = msgspec.json.decode(_read_checked(path, TABLE_FILE, manifest), type=ValueTable)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} is broken ({error}): train the model again") from error
    if table.positive is not None:
        check_table(table.positive, f"positive in {where}")
    return ValueModel(texts[0], texts[1] if len(texts) > 1 else None, table)


def manifest_hash(manifest: Manifest) -> str:
    """sha256 (hex) of the canonical manifest with an empty `hash`."""
    return hashlib.sha256(_canonical(msgspec.structs.replace(manifest, hash=""))).hexdigest()


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(
            f"model file {path} must exist, does not: train a model with `clearbid models train`, "
            f"or name a directory that holds one"
        ) from error
    except OSError as error:
        raise ArtifactError(f"model file {path} must be readable: {error.strerror}") from error


def _read_manifest(path: Path) -> Manifest:
    data = _read(path / MANIFEST_FILE)
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path / MANIFEST_FILE} must be JSON, is not ({error}): train the model again"
        ) from error
    version = found.get("format") if isinstance(found, dict) else None
    if version not in READABLE:
        raise ArtifactError(
            f"{path / MANIFEST_FILE} must have format {' or '.join(map(str, READABLE))}, was {version!r}: "
            f"train the model again with this version"
        )
    try:
        manifest = msgspec.convert(found, Manifest)
    except msgspec.ValidationError as error:
        raise ArtifactError(f"{path / MANIFEST_FILE} is broken ({error}): train the model again") from error
    expected = manifest_hash(manifest)
    if manifest.hash != expected:
        raise ArtifactError(
            f"{path / MANIFEST_FILE} must have the hash {expected}, was {manifest.hash or 'empty'}: "
            f"it was altered after training; restore it or train the model again"
        )
    return manifest


def _read_checked(path: Path, name: str, manifest: Manifest) -> bytes:
    expected = manifest.files.get(name)
    if expected is None:
        raise ArtifactError(f"{path / MANIFEST_FILE} must name {name} among its files: train the model again")
    data = _read(path / name)
    was = hashlib.sha256(data).hexdigest()
    if was != expected and _is_cut_short(name, data):
        raise ArtifactError(
            f"model file {path / name} must be whole, was cut short at {counted(len(data), 'byte')}: "
            f"copy the directory again, or train the model again"
        )
    if was != expected:
        raise ArtifactError(
            f"model file {path / name} must have sha256 {expected}, was {was}: "
            f"it was altered after training; restore it or train the model again"
        )
    return data


def _is_cut_short(name: str, data: bytes) -> bool:
    """Whether a file that is not as it was sealed ends before what every whole one ends with."""
    if name.endswith(".txt"):
        begun = b"\nparameters:" in data
        if not b"tree\n".startswith(data[:5]):
            return False  # another text, not a part of this one
        return b"\nend of trees" not in data or (begun and b"\nend of parameters" not in data)
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except UnicodeDecodeError:
        return False
    return False


def _read_calibration(path: Path, data: bytes) -> dict[str, CalibrationTable]:
    where = path / CALIBRATION_FILE
    try:
        tables = msgspec.json.decode(data, type=dict[str, CalibrationTable])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} is broken ({error}): train the model again") from error
    for name in MODEL_NAMES:
        if name not in tables:
            raise ArtifactError(f"{where} must hold the model {name}, holds {', '.join(tables) or 'none'}")
        check_table(tables[name], f"{name} in {where}")
    return tables
