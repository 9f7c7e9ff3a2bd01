"""The models as the decision kernel reads them: arrays, the request encoder and each campaign's leaf mask."""

from dataclasses import dataclass

import numpy as np

from bidder.core.campaigns import Campaign
from bidder.core.lines import Line
from bidder.core.opportunity import RowEncoder
from models.compile import LeafMaskTable
from models.kernels import Masks, and_rows, feature_row
from models.schema import FeatureSpec

CAMPAIGN_FEATURES = ("campaign", "advertiser", "line_item")
"""Campaign-side features that a model may use."""


def campaign_features(campaign: Campaign, line_item_id: str = "") -> dict[str, str]:
    """Values of the campaign-side features, by name; training tables are written from here too."""
    return {
        "campaign": campaign.id,
        "advertiser": campaign.advertiser,
        "line_item": line_item_id or campaign.id,
    }


@dataclass(frozen=True)
class Model:
    """Compiled click and conversion models with their features.

    `hash` names the artifact and stands in every decision.
    """

    spec: FeatureSpec
    table: LeafMaskTable
    encoder: RowEncoder
    hash: str

    @classmethod
    def of(cls, spec: FeatureSpec, table: LeafMaskTable, model_hash: str) -> "Model":
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
        return cls(spec, table, RowEncoder(spec), model_hash)

    def line_masks(self, lines: tuple[Line, ...]) -> Masks:
        """Leaves that each line item's own features leave open, [lines, trees] of the table's type."""
        table = self.table
        encoders = self.spec.encoders()
        features = self.spec.campaign.tolist()
        masks = np.full(
            (len(lines), table.masks.shape[1]), np.iinfo(table.masks.dtype).max, dtype=table.masks.dtype
        )
        if not features:
            return masks
        rows = np.empty(len(features), dtype=np.int64)
        for place, line in enumerate(lines):
            values = campaign_features(line.campaign, line.line_item_id)
            for position, index in enumerate(features):
                code = encoders[index].get(values[self.spec.names[index]], 0.0)
                rows[position] = feature_row(
                    code, index, table.feature_kind, table.first_row, table.thr_start, table.thresholds,
                    table.cat_start, table.category_rows,
                )  # fmt: skip
            and_rows(table.masks, rows, len(features), masks[place])
        return masks


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
