"""Bring your own model: what a LightGBM file or a bundle needs, whether it fits, how exact and how fast it is.

    file -> texts -> forests -> compiled table -> compared bit by bit with LightGBM -> timed
    features: those of the spec, or the names in the text -> which of them a bidder can serve

A file that does not fit is no error: the report lists each fault with its remedy. An error is only what keeps
us from looking.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import MODEL_NAMES, load_bundle
from models.compile import LeafMaskTable, compile_boosters
from models.errors import ArtifactError, MismatchError, TableError
from models.needs import Need, TextCheck, names_in, needs_of, text_check
from models.paths import no_file
from models.saying import few
from models.schema import (
    SERVED,
    Feature,
    FeatureSpec,
    check_servable,
)
from models.scorer import RowScorer, check_table, check_values
from models.trees import Forest, parse_forest

if TYPE_CHECKING:
    import lightgbm as lgb

BATCHES = (1, 32, 512)
MOST_ROWS = 50_000
"""Rows of a table that are compared; more take time and show nothing new."""
_GENERATED = 2000
_TIMED_S = 0.15

Floats = NDArray[np.float64]


class Speed(msgspec.Struct, frozen=True):
    """Microseconds of CPU a row, one thread, medians; ratio: how many times as fast we are."""

    batch: int
    ours_us: float
    lightgbm_us: float
    ratio: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `clearbid models check` found.

    Attributes:
        path: of the file or directory. kind: `bundle` or `text`.
        fits: whether a bidder could serve it with its compiled form.
        faults: what keeps it from that, each with its remedy. notes: what to know besides.
        models: each text. needs: features that splits ask for, the most used first.
        table_bytes: of the compiled table; 0 where it was not made.
        rows: compared with LightGBM. rows_from: the table's name, or `generated rows`.
        differing: rows with another bit in a raw score. largest_difference: between raw scores.
        speeds: for each of `BATCHES`, all models of the file together.
    """

    path: str
    kind: str
    fits: bool
    faults: list[str]
    notes: list[str]
    models: list[TextCheck]
    needs: list[Need]
    table_bytes: int = 0
    rows: int = 0
    rows_from: str = ""
    differing: int = 0
    largest_difference: float = 0.0
    speeds: list[Speed] = []


def check_file(
    path: Path,
    *,
    table: Path | None = None,
    spec: Path | None = None,
    progress: Callable[[str], None] = lambda _stage: None,
) -> Report:
    """Looks at a LightGBM text or a bundle directory.

    Args:
        path: of either.
        table: training table whose rows are compared besides the generated ones; needs a spec.
        spec: `spec.json` of the features of a text; a bundle has its own.
        progress: told of each stage.

    Raises:
        ArtifactError: no such file, a bundle that is broken, or a spec that is none.
        TableError: a table that does not fit the spec.
    """
    progress("read")
    texts, features = _read(path, spec)
    kind = "bundle" if path.is_dir() else "text"
    if table is not None and features is None:
        raise TableError(f"table {table} needs the features of {path}: name their spec.json with --spec")
    faults: list[str] = []
    forests = _forests(texts, faults, kind)
    if len(forests) < len(texts):
        # What was not read is not spoken of: neither what it needs, nor what its splits would be.
        checks = [text_check(name, text, forests.get(name)) for name, text in texts.items()]
        return Report(path=str(path), kind=kind, fits=False, faults=faults, notes=[], models=checks, needs=[])
    checks = [text_check(name, text, forests.get(name)) for name, text in texts.items()]
    in_text = names_in(next(iter(texts.values())))
    widths = {forest.n_features for forest in forests.values()}
    if features is not None and widths - {len(features)}:
        faults.append(
            f"the model must be trained on the {len(features)} features of the spec, was on {max(widths)}: "
            f"name the spec that it was trained with"
        )
        features = None
    needs = needs_of(list(forests.values()), features.names if features is not None else in_text)
    notes = _notes(texts, features, needs)
    if not path.is_dir():
        notes.append(
            "a bidder takes a directory: `clearbid models import` makes one of a text, a spec and a table"
        )
    if features is not None:
        faults += _feature_faults(texts, features, needs, kind)
    elif not faults:
        faults += _faults_without_spec(needs, in_text)
    shell = Report(
        path=str(path), kind=kind, fits=not faults, faults=faults, notes=notes, models=checks, needs=needs
    )
    if len(widths) != 1:
        return shell
    progress("compile")
    try:
        compiled = compile_boosters(list(texts.values()), max(widths))
    except ArtifactError as error:
        return msgspec.structs.replace(shell, fits=False, faults=[*faults, str(error)])
    return _compare(
        shell, compiled, list(texts.values()), _rows_of(table, features, max(widths)), table, progress
    )


def _compare(
    shell: Report,
    compiled: LeafMaskTable,
    texts: list[str],
    rows: Floats,
    table: Path | None,
    progress: Callable[[str], None],
) -> Report:
    """The report with bits compared and both ways timed."""
    import lightgbm as lgb

    progress("compare")
    faults = list(shell.faults)
    try:
        check_table(compiled, texts)
    except MismatchError as error:
        faults.append(str(error))
    boosters = [lgb.Booster(model_str=text) for text in texts]
    score = RowScorer(compiled)
    values = np.concatenate([rows, check_values(compiled, texts, _GENERATED)])
    ours, theirs = score(values), _predict(boosters, values)
    differing = int((ours.view(np.int64) != theirs.view(np.int64)).any(axis=1).sum())
    if differing and len(faults) == len(shell.faults):
        faults.append(
            f"compiled scores must equal LightGBM's on all {len(values)} rows, differ on {differing}"
        )
    progress("time")
    return msgspec.structs.replace(
        shell,
        fits=not faults,
        faults=faults,
        table_bytes=sum(array.nbytes for array in vars_of(compiled)),
        rows=len(values),
        rows_from=f"{table.name} and generated rows" if table is not None else "generated rows",
        differing=differing,
        largest_difference=float(np.abs(ours - theirs).max()),
        speeds=[_speed(score, boosters, values, batch) for batch in BATCHES],
    )


def vars_of(table: LeafMaskTable) -> list[NDArray[Any]]:
    """The arrays of a compiled table."""
    return [getattr(table, name) for name in LeafMaskTable.__slots__]


# -- what is in the file ------------------------------------------------------------------------------------------


def _read(path: Path, spec: Path | None) -> tuple[dict[str, str], FeatureSpec | None]:
    """Model texts by name, and the spec where there is one."""
    if path.is_dir():
        if spec is not None:
            raise ArtifactError(f"--spec is for a LightGBM text, {path} is a bundle with features of its own")
        bundle = load_bundle(path)
        texts = {name: bundle.texts[name] for name in MODEL_NAMES}
        value = bundle.value.texts if bundle.value is not None else ()
        return texts | dict(zip(("value", "value_positive"), value, strict=False)), bundle.spec
    for name, wanted in ((f"model {path}", path), (f"feature spec {spec}", spec)):
        if wanted is not None and (why := no_file(wanted)):
            raise ArtifactError(f"{name} must be a file, {why}")
    try:
        text = path.read_text(encoding="utf-8")
        given = FeatureSpec.from_json(spec.read_bytes()) if spec is not None else None
    except OSError as error:
        raise ArtifactError(f"model file {error.filename} must be readable: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"model file {path} must be a LightGBM model text, is not text: save it with Booster.save_model"
        ) from error
    return {path.name: text}, given


def _called(name: str, kind: str) -> str:
    """A text in faults: of a bundle one of several; a file alone is named where the faults stand."""
    return name if kind == "bundle" else "the model"


def _forests(texts: dict[str, str], faults: list[str], kind: str) -> dict[str, Forest]:
    """The texts that can be compiled; why the others can not goes to `faults`."""
    found = {}
    for name, text in texts.items():
        try:
            found[name] = parse_forest(text, _called(name, kind))
        except ArtifactError as error:
            faults.append(str(error))
    return found


# -- whether it fits ----------------------------------------------------------------------------------------------


def _feature_faults(texts: dict[str, str], features: FeatureSpec, needs: list[Need], kind: str) -> list[str]:
    """Why the features are not those that a bidder serves, or not those of the texts."""
    found = []
    try:
        check_servable(features)
    except ArtifactError as error:
        found.append(str(error))
    for name, text in texts.items():
        names = names_in(text)
        if len(names) != len(features):  # no model at all, which was said before
            continue
        other = [
            f"{own} where the spec has {wanted}"
            for own, wanted in zip(names, features.names, strict=True)
            if not _is_number(own) and own != wanted.replace(" ", "_")
        ]
        if other:
            found.append(
                f"features of {_called(name, kind)} must be named as in the spec, in its order, has {few(other)}: "
                f"name the spec that it was trained with, or train it on the columns of this one"
            )
    by_name = {feature.name: feature for feature in features.features}
    return found + [fault for need in needs if (fault := _need_fault(need, by_name[need.name]))]


def _is_number(name: str) -> bool:
    """Whether a name is only its place, as LightGBM and our own training write it: `Column_3`, `f3`."""
    return name.removeprefix("Column_").removeprefix("f").isdecimal()


def _need_fault(need: Need, feature: Feature) -> str:
    if need.kind == "both" or (need.kind == "categorical" and feature.kind == "numeric"):
        return f"splits on {need.name} must be {feature.kind} as in the spec, are {need.kind}: train it as one kind"
    most = len(feature.vocabulary) + 1
    if need.codes > most:
        return (
            f"codes of {need.name} must be 0 to {most - 1} (place in the vocabulary plus one, 0 for all else), "
            f"splits name {need.codes - 1}: code the training rows by the spec"
        )
    return ""


def _faults_without_spec(needs: list[Need], names: tuple[str, ...]) -> list[str]:
    """What the text alone tells: names by the served ones of either side; categories need a vocabulary."""
    if names and all(map(_is_number, names)):
        return [
            "features must have names, have only numbers in a LightGBM text: name their spec.json with --spec"
        ]
    served = {**SERVED["campaign"], **SERVED["request"]}
    unknown = [need.name for need in needs if need.name not in served]
    found = [
        f"{need.name} must be {served[need.name]}, its splits are {need.kind}: train it as that kind"
        for need in needs
        if need.kind != served.get(need.name, need.kind)
    ]
    if unknown:
        found.append(
            f"features must be of {', '.join(served)} or segment:ID, were {few(unknown)}: no request has them; "
            f"train it without them, or name columns as they are served"
        )
    if any(need.kind != "numeric" for need in needs):
        found.append(
            "categories have no texts in a LightGBM text: name their vocabularies with --spec spec.json"
        )
    return found


def _notes(texts: dict[str, str], features: FeatureSpec | None, needs: list[Need]) -> list[str]:
    found = []
    used = {need.name for need in needs}
    if features is not None and (idle := [name for name in features.names if name not in used]):
        found.append(f"no split asks for {few(idle)}")
    by_name = {feature.name: feature for feature in features.features} if features is not None else {}
    ordered = [
        need.name
        for need in needs
        if need.kind == "numeric" and need.name in by_name and by_name[need.name].kind == "categorical"
    ]
    if ordered:
        found.append(
            f"splits on {few(ordered)} take codes for numbers: were they meant as categorical_feature?"
        )
    if any("\npandas_categorical:[[" in text for text in texts.values()):
        found.append(
            "it was trained on pandas categories, whose codes begin at 0: ours are place in the vocabulary plus one"
        )
    return found


# -- rows and speed -----------------------------------------------------------------------------------------------


def _rows_of(table: Path | None, spec: FeatureSpec | None, width: int) -> Floats:
    if table is None or spec is None:
        return np.empty((0, width))
    from models.dataset import read_table

    rows = read_table(table, spec.declarations(), lost=True)
    return spec.encode_table(rows.slice(0, min(len(rows), MOST_ROWS)).columns)


def _predict(boosters: "list[lgb.Booster]", values: Floats) -> Floats:
    return np.stack([one.predict(values, raw_score=True, num_threads=1) for one in boosters], axis=1)


def _speed(score: RowScorer, boosters: "list[lgb.Booster]", values: Floats, batch: int) -> Speed:
    rows = np.ascontiguousarray(np.resize(values, (batch, values.shape[1])))
    ours = _median_us(lambda: score(rows)) / batch
    theirs = (
        _median_us(lambda: [one.predict(rows, raw_score=True, num_threads=1) for one in boosters]) / batch
    )
    return Speed(batch, ours, theirs, theirs / ours)


def _median_us(call: Callable[[], object]) -> float:
    """Median CPU time of a call, in microseconds: of at least five, for a fixed time."""
    call()
    times: list[int] = []
    end = time.thread_time_ns() + int(_TIMED_S * 1e9)
    while len(times) < 5 or (time.thread_time_ns() < end and len(times) < 20_000):
        began = time.thread_time_ns()
        call()
        times.append(time.thread_time_ns() - began)
    return float(np.median(times)) / 1e3
