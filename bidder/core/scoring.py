"""The models as the decision kernel reads them: arrays, the request encoder and each campaign's leaf mask."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Campaign
from bidder.core.lines import Line
from bidder.core.opportunity import RowEncoder
from bidder.core.valuing import ValueArrays, ValueForest
from models.compile import LeafMaskTable
from models.kernels import Masks, and_rows, feature_row
from models.native import NativeModels
from models.schema import FeatureSpec

CAMPAIGN_FEATURES = ("campaign", "advertiser", "line_item")
"""Campaign-side features that a model may use."""

NATIVE_MARK = "-lightgbm"
"""Ends the hash of a model that LightGBM itself scores: a replay must score as the worker did."""


def campaign_features(campaign: Campaign, line_item_id: str = "") -> dict[str, str]:
    """Values of the campaign-side features, by name; training tables are written from here too."""
    return {
        "campaign": campaign.id,
        "advertiser": campaign.advertiser,
        "line_item": line_item_id or campaign.id,
    }


class Own(NamedTuple):
    """What line items bring to their scores.

    Attributes:
        masks: see `Model.line_masks`. values: see `Model.line_values`.
    """

    masks: Masks
    values: NDArray[np.uint64]


@dataclass(frozen=True)
class Model:
    """Click and conversion models with their features, and what a conversion is worth where they know it.

    Attributes:
        spec, table: features and compiled form; of a fallback only the calibration of the table counts.
        encoder: of requests.
        hash: names the artifact, and ends in `NATIVE_MARK` where LightGBM scores; its begin stands in every decision.
        native: LightGBM's own models where their compiled form did not prove equal, else None.
        value: of a conversion, compiled; None where the artifact has none.
    """

    spec: FeatureSpec
    table: LeafMaskTable
    encoder: RowEncoder
    hash: str
    native: NativeModels | None = None
    value: ValueForest | None = None

    @property
    def fallback(self) -> bool:
        """Whether LightGBM itself scores: right, but the kernel takes ten times as long."""
        return self.native is not None

    @classmethod
    def of(
        cls,
        spec: FeatureSpec,
        table: LeafMaskTable,
        model_hash: str,
        native: NativeModels | None = None,
        value: ValueForest | None = None,
    ) -> "Model":
        """Checks that the bidder has every feature that the models want.

        Raises:
            ValueError: a feature that no request or campaign has, or one of the wrong kind.
        """
        for index in spec.campaign.tolist():
            if spec.names[index] not in CAMPAIGN_FEATURES:
                raise ValueError(
                    f"campaign feature must be one of {', '.join(CAMPAIGN_FEATURES)}, was {spec.names[index]}"
                )
            if spec.features[index].kind != "categorical":
                raise ValueError(
                    f"campaign feature {spec.names[index]} must be categorical, was {spec.features[index].kind}: "
                    "declare it so and train the model again"
                )
        name = model_hash if native is None else model_hash + NATIVE_MARK
        scored = table.n_models + (value.table.n_models if value is not None else 0)
        assert native is None or native.n_models == scored, "LightGBM scores all models or none"
        return cls(spec, table, RowEncoder(spec), name, native, value)

    def own(self, lines: tuple[Line, ...]) -> Own:
        """What line items bring to their scores: all that a change of them or of the model makes anew."""
        return Own(self.line_masks(lines), self.line_values(lines))

    def line_masks(self, lines: tuple[Line, ...]) -> Masks:
        """Leaves that each line item's own features leave open, [lines, trees] of the table's type.

        Of a fallback the codes themselves, [lines, campaign features], in the same type.
        """
        table = self.table
        if self.native is not None:
            features = self.spec.campaign.tolist()
            codes = np.zeros((len(lines), len(features)), dtype=table.masks.dtype)
            for place, line in enumerate(lines):
                codes[place] = self._codes(line)
            return codes
        masks: Masks = self._left_open(table, table.masks, lines)
        return masks

    def line_values(self, lines: tuple[Line, ...]) -> NDArray[np.uint64]:
        """uint64[lines, trees of the value], `line_masks` of it; all ones where the model is not asked."""
        if self.value is None:
            return np.zeros((len(lines), 0), dtype=np.uint64)
        table = self.value.table
        asked = [place for place, line in enumerate(lines) if line.most_value_nanos]
        own = np.full((len(lines), table.n_trees), np.iinfo(np.uint64).max, dtype=np.uint64)
        own[asked] = self._left_open(
            table, table.masks.astype(np.uint64), tuple(lines[place] for place in asked)
        )
        return own

    def _left_open(self, table: LeafMaskTable, rows_of: Any, lines: tuple[Line, ...]) -> Any:
        """[lines, trees] of the type of `rows_of`, the table's masks: what each line item's features leave open."""
        features = self.spec.campaign.tolist()
        masks = np.full((len(lines), rows_of.shape[1]), np.iinfo(rows_of.dtype).max, dtype=rows_of.dtype)
        if not features:
            return masks
        rows = np.empty(len(features), dtype=np.int64)
        for place, line in enumerate(lines):
            for position, (index, code) in enumerate(zip(features, self._codes(line), strict=True)):
                rows[position] = feature_row(
                    code, index, table.feature_kind, table.first_row, table.thr_start, table.thresholds,
                    table.cat_start, table.category_rows,
                )  # fmt: skip
            and_rows(rows_of, rows, len(features), masks[place])
        return masks

    def _codes(self, line: Line) -> list[float]:
        """The codes of a line item's own features, 0 where the model does not know a value."""
        values = campaign_features(line.campaign, line.line_item_id)
        return [
            self._encoders[index].get(values[self.spec.names[index]], 0.0)
            for index in self.spec.campaign.tolist()
        ]

    @cached_property
    def _encoders(self) -> list[dict[str, float]]:
        return self.spec.encoders()


_Any = NDArray[Any]


class ModelArrays(NamedTuple):
    """What `decide_rows` needs of the models, in its order, but for the line items' own masks.

    `request_features`: the place of each value of a request in the spec. Then see `LeafMaskTable`, and at the end
    `native_arrays`.
    """

    request_features: NDArray[np.int32]
    feature_kind: _Any
    first_row: _Any
    thr_start: _Any
    thresholds: _Any
    cat_start: _Any
    category_rows: _Any
    masks: Masks
    leaf_values: _Any
    tree_start: _Any
    knots_start: _Any
    knots_raw: _Any
    knots_probability: _Any
    handles: NDArray[np.int64]
    line_features: NDArray[np.int32]
    whole: NDArray[np.float64]


def kernel_arrays(model: Model | None) -> ModelArrays:
    """Of the models, or of none."""
    forest = model.table if model is not None else empty_table()
    return ModelArrays(
        model.encoder.indices if model is not None else np.zeros(0, dtype=np.int32),
        forest.feature_kind, forest.first_row, forest.thr_start, forest.thresholds, forest.cat_start,
        forest.category_rows, forest.masks, forest.leaf_values, forest.tree_start, forest.knots_start,
        forest.knots_raw, forest.knots_probability, *native_arrays(model),
    )  # fmt: skip


def value_arrays(model: Model | None) -> ValueArrays:
    """What `decide_rows` needs of the model of value, in its order, but for what is of line items."""
    if model is None:
        return ValueArrays.of(None, np.zeros(0, dtype=np.int32))
    return ValueArrays.of(model.value, model.encoder.indices)


def native_arrays(model: Model | None) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """What `decide_rows` needs where LightGBM itself scores: `handles`, `line_features`, `whole`."""
    if model is None or model.native is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.float64)
    return model.native.handles, model.spec.campaign.astype(np.int32), model.native.room()


def empty_table() -> LeafMaskTable:
    """A table without a tree, for the kernel where scores come from outside."""
    starts = np.zeros(3, dtype=np.int32)
    number = np.zeros(1, dtype=np.float64)
    return LeafMaskTable(
        masks=np.zeros((1, 0), dtype=np.uint32),
        leaf_values=np.zeros((0, 32), dtype=np.float64),
        feature_kind=np.zeros(1, dtype=np.uint8),
        first_row=starts,
        thr_start=starts,
        thresholds=number,
        cat_start=starts,
        category_rows=starts,
        tree_start=starts,
        knots_start=starts,
        knots_raw=number,
        knots_probability=number,
    )
