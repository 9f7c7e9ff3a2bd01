"""The features of a model: names, order, kinds, vocabularies, and how a raw value becomes a number.

`FeatureSpec` is the contract of the logs, the trainer and the bidder; its hash names it. Every feature
belongs to one side: the *request* (the same for all candidates of an opportunity) or the *campaign* (the same
for all requests). The sides are scored apart and joined by one AND, see `models.compile`.

A categorical value is a text; its code is its place in the vocabulary plus one, and 0 is everything else
(unknown, rare, missing). A numeric value is a float; missing is NaN. A feature named `segment:ID` is 1.0
where `ID` is among the segments of the request, else 0.0: no segments and no knowledge of segments are the
same.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError, TableError
from models.paths import no_file
from models.saying import few, few_said
from models.texts import TextLists, Texts

SEGMENTS_COLUMN = "segments"
SEGMENT_PREFIX = "segment:"

Side = Literal["request", "campaign"]
Columns = Mapping[str, Sequence[object] | NDArray[np.float64]]


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of the matrix that is scored.

    Attributes:
        name: unique in the spec.
        kind: `numeric` (float, NaN where missing) or `categorical` (a code, 0 where unknown).
        side: `request` or `campaign`.
        vocabulary: known values of a categorical feature, the most frequent first; code = place + 1.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    side: Side
    vocabulary: tuple[str, ...] = ()


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wish for features, before the values are known.

    Attributes:
        name: column of the training table.
        kind: `numeric`, `categorical`, or `segments`: a column of lists of ids (or ids joined by `;`), of
            which the `top` most frequent become numeric features `segment:ID`.
        side: `request` or `campaign`.
        optional: whether a table without the column is still good.
        top: how many segments to keep.
    """

    name: str
    kind: Literal["numeric", "categorical", "segments"]
    side: Side = "request"
    optional: bool = False
    top: int = 24


def _default_declarations() -> tuple[Declaration, ...]:
    request = "exchange region city domain tag_id size position os browser device_type hour weekday"
    return (
        *(Declaration(name, "categorical") for name in request.split()),
        Declaration("floor_cpm", "numeric"),
        Declaration("segment_count", "numeric"),
        Declaration(SEGMENTS_COLUMN, "segments", optional=True),
        *(Declaration(name, "categorical", "campaign") for name in ("campaign", "advertiser")),
    )


DEFAULT_DECLARATIONS: tuple[Declaration, ...] = _default_declarations()

SERVED: dict[Side, dict[str, str]] = {
    "request": {
        item.name: item.kind
        for item in DEFAULT_DECLARATIONS
        if item.side == "request" and item.kind != "segments"
    },
    "campaign": dict.fromkeys(("campaign", "advertiser", "line_item"), "categorical"),
}
"""Name -> kind of the features that a bidder can serve, by side; on the request's side `segment:ID` too."""


def serving_faults(features: Sequence[Feature]) -> list[str]:
    """Why a bidder cannot serve these features as they are, in sentences; empty where it can."""
    found = []
    unknown: dict[Side, list[str]] = {"request": [], "campaign": []}
    for feature in features:
        own = SERVED[feature.side]
        is_segment = feature.side == "request" and feature.name.startswith(SEGMENT_PREFIX)
        kind = "numeric" if is_segment else own.get(feature.name)
        if kind is None:
            unknown[feature.side].append(feature.name)
        elif feature.kind != kind:
            found.append(f"feature {feature.name} must be {kind}, was {feature.kind}")
    return [*(_unknown_said(side, names) for side, names in unknown.items() if names), *found]


def _unknown_said(side: Side, names: Sequence[str]) -> str:
    served = ", ".join(SERVED[side]) + (" or segment:ID" if side == "request" else "")
    if len(names) == 1:
        return f"{side} feature must be one of {served}, was {names[0]}"
    return f"{side} features must be of {served}, were {few(names)}"


class _DeclarationFile(msgspec.Struct, forbid_unknown_fields=True):
    feature: tuple[Declaration, ...]


def load_declarations(path: Path) -> tuple[Declaration, ...]:
    """Declarations of a TOML file with one `[[feature]]` table each.

    Raises:
        TableError: the file is missing, is not TOML, or holds a key or value that is not allowed.
    """
    if why := no_file(path):
        raise TableError(f"feature declarations {path} must be a file, {why}")
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _DeclarationFile).feature
    except OSError as error:
        raise TableError(f"feature declarations {path} must be a readable file: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise TableError(
            f"feature declarations {path} must be [[feature]] tables of TOML: {error}"
        ) from error
    check_declarations(found)
    return found


def check_declarations(declarations: Sequence[Declaration]) -> None:
    """Raises `TableError` where declarations repeat a column, are empty, or misplace segments."""
    if not declarations:
        raise TableError("feature declarations must hold at least one [[feature]], were empty")
    for name, count in Counter(item.name for item in declarations).items():
        if count > 1:
            raise TableError(f"feature {name} must be declared once, was declared {count} times")
    for item in declarations:
        if item.name.startswith(SEGMENT_PREFIX) or not item.name:
            raise TableError(
                f"a feature's name must not be empty nor begin with {SEGMENT_PREFIX!r}, was {item.name!r}"
            )
        if item.kind == "segments" and (
            item.name != SEGMENTS_COLUMN or item.side != "request" or not 0 < item.top <= 1000
        ):
            raise TableError(
                f"a feature of kind 'segments' must be the request's column {SEGMENTS_COLUMN!r} with top in "
                f"1..1000, was {item.name!r} of the {item.side} with top {item.top}"
            )


def check_servable(spec: "FeatureSpec") -> None:
    """Refuses a spec that no bidder loads; it judges all features, for a bidder encodes all, whether used or not.

    Raises:
        ArtifactError: a feature that no request or campaign has, or of another kind: each is named.
    """
    if faults := serving_faults(spec.features):
        raise ArtifactError(
            f"features of a model that bids must be those that a bidder serves: {few_said(faults)}; train it "
            f"without them, or declare them as they are served (--features of `clearbid models train`)"
        )


class FeatureSpec:
    """The ordered features of a model; immutable.

    Attributes:
        features: in the order of the matrix columns.
        names: of the features.
        request: int64 places of the request's features.
        campaign: int64 places of the campaign's features.
        hash: sha256 (hex) of the canonical JSON.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        """Raises `ArtifactError` where the features contradict each other."""
        self.features: tuple[Feature, ...] = tuple(features)
        _check_features(self.features)
        self.names: tuple[str, ...] = tuple(feature.name for feature in self.features)
        self.request: NDArray[np.int64] = self._places("request")
        self.campaign: NDArray[np.int64] = self._places("campaign")
        self.hash: str = hashlib.sha256(self.to_json()).hexdigest()

    def _places(self, side: Side) -> NDArray[np.int64]:
        places = [place for place, feature in enumerate(self.features) if feature.side == side]
        return np.array(places, dtype=np.int64)

    def __len__(self) -> int:
        """Number of features."""
        return len(self.features)

    def declarations(self) -> tuple[Declaration, ...]:
        """The columns that a table must have so that it can be encoded; none of them is optional."""
        found: dict[str, Declaration] = {}
        for feature in self.features:
            if feature.name.startswith(SEGMENT_PREFIX):
                found[SEGMENTS_COLUMN] = Declaration(SEGMENTS_COLUMN, "segments")
            else:
                found[feature.name] = Declaration(feature.name, feature.kind, feature.side)
        return tuple(found.values())

    def to_json(self) -> bytes:
        """Canonical JSON: the same features give the same bytes."""
        return msgspec.json.encode({"features": self.features}, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes) -> "FeatureSpec":
        """The spec that `to_json` wrote; raises `ArtifactError` where `data` is not one."""
        try:
            return cls(msgspec.json.decode(data, type=_SpecFile).features)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"feature spec must be JSON as training wrote it: {error}") from error

    def encoders(self) -> list[dict[str, float]]:
        """For each feature in order: text -> code of a categorical one, an empty dict for a numeric one.

        Look up with `encoder.get(value, 0.0)`.
        """
        return [
            {value: float(code) for code, value in enumerate(feature.vocabulary, start=1)}
            for feature in self.features
        ]

    def encode_table(self, columns: Columns) -> NDArray[np.float64]:
        """Raw columns as the float64[N, F] matrix that is scored.

        Args:
            columns: for each categorical feature texts (or None), for each numeric one numbers (or None), and
                `segments` where the spec has features of segments: an iterable of ids a row, or None.

        Raises:
            TableError: a column is missing, or columns differ in length.
        """
        names = dict.fromkeys(_column_of(name) for name in self.names)
        for name in names:
            if name not in columns:
                raise TableError(
                    f"table must have the column {name}, has {few(list(columns), 12) or 'none'}: take a table with "
                    f"the columns that the model learned from"
                )
        lengths = {name: len(columns[name]) for name in names}
        if len(set(lengths.values())) > 1:
            raise TableError(f"columns must be of one length, were {lengths}")
        out = np.zeros((max(lengths.values(), default=0), len(self.features)))
        for place, (feature, encoder) in enumerate(zip(self.features, self.encoders(), strict=True)):
            if feature.kind == "categorical":
                out[:, place] = _as_codes(columns[feature.name], encoder)
            elif not feature.name.startswith(SEGMENT_PREFIX):
                out[:, place] = _as_floats(columns[feature.name])
        self._encode_segments(columns, out)
        return out

    def _encode_segments(self, columns: Columns, out: NDArray[np.float64]) -> None:
        places = {
            name.removeprefix(SEGMENT_PREFIX): place
            for place, name in enumerate(self.names)
            if name.startswith(SEGMENT_PREFIX)
        }
        if not places:
            return
        found = columns[SEGMENTS_COLUMN]
        if isinstance(found, TextLists):
            column = np.array([*(places.get(value, -1) for value in found.values), -1])[found.codes]
            known = column >= 0
            out[found.rows()[known], column[known]] = 1.0
            return
        for row, ids in enumerate(found):
            for segment in segments_of(ids):
                place = places.get(segment)
                if place is not None:
                    out[row, place] = 1.0


class _SpecFile(msgspec.Struct, forbid_unknown_fields=True):
    features: tuple[Feature, ...]


def _column_of(name: str) -> str:
    return SEGMENTS_COLUMN if name.startswith(SEGMENT_PREFIX) else name


def _as_codes(
    values: Sequence[object] | NDArray[np.float64], encoder: dict[str, float]
) -> NDArray[np.float64]:
    if isinstance(values, Texts):
        return values.encoded(encoder)
    codes = (encoder.get(value, 0.0) if isinstance(value, str) else 0.0 for value in values)
    return np.fromiter(codes, np.float64, len(values))


def _as_floats(values: Sequence[object] | NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def segments_of(value: object) -> tuple[str, ...]:
    """The ids in one value of a `segments` column: a list of texts, texts joined by `;`, or None."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part for part in value.split(";") if part)
    return tuple(str(part) for part in value)  # type: ignore[attr-defined]


def _check_features(features: tuple[Feature, ...]) -> None:
    if not features:
        raise ArtifactError("feature spec must hold at least one feature, was empty")
    for name, count in Counter(feature.name for feature in features).items():
        if count > 1:
            raise ArtifactError(f"feature {name} must be in the spec once, was there {count} times")
    for feature in features:
        if feature.kind == "numeric" and feature.vocabulary:
            raise ArtifactError(f"numeric feature {feature.name} must have no vocabulary")
        if len(set(feature.vocabulary)) != len(feature.vocabulary):
            raise ArtifactError(f"vocabulary of feature {feature.name} must not repeat a value")


def fit_spec(
    columns: Columns,
    declarations: Sequence[Declaration],
    *,
    max_categories: int = 1000,
    min_count: int = 10,
) -> FeatureSpec:
    """The spec of training columns: vocabularies by count, then by text, so that it is deterministic.

    Args:
        columns: raw columns of the training rows only; later rows must not shape the vocabulary.
        declarations: what to make of them.
        max_categories: longest vocabulary.
        min_count: fewest rows a value needs to get a code of its own.

    Raises:
        TableError: a declared column is missing and not optional.
    """
    check_declarations(declarations)
    features: list[Feature] = []
    for item in declarations:
        if item.name not in columns:
            if item.optional:
                continue
            raise TableError(
                f"table must have the declared column {item.name}, has {few(list(columns), 12)}: declare it "
                f"optional, or take a table that has it"
            )
        values = columns[item.name]
        if item.kind == "numeric":
            features.append(Feature(item.name, "numeric", item.side))
        elif item.kind == "categorical":
            counts = _text_counts(values)
            features.append(
                Feature(item.name, "categorical", item.side, _most_common(counts, max_categories, min_count))
            )
        else:
            counts = _segment_counts(values)
            features.extend(
                Feature(SEGMENT_PREFIX + segment, "numeric", item.side)
                for segment in _most_common(counts, item.top, min_count)
            )
    return FeatureSpec(features)


def _text_counts(values: Sequence[object] | NDArray[np.float64]) -> Counter[str]:
    if isinstance(values, Texts):
        return Counter(values.counts())
    return Counter(value for value in values if isinstance(value, str))


def _segment_counts(values: Sequence[object] | NDArray[np.float64]) -> Counter[str]:
    if isinstance(values, TextLists):
        return Counter(values.counts())
    return Counter(segment for ids in values for segment in set(segments_of(ids)))


def _most_common(counts: Counter[str], limit: int, min_count: int) -> tuple[str, ...]:
    ranked = sorted((-count, value) for value, count in counts.items() if count >= min_count)
    return tuple(value for _, value in ranked[:limit])
