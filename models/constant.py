"""A model that knows nothing: every click and every conversion has the same probability.

For commands that decide without a trained model. It is scored by the same kernels as any other: two trees of one
leaf each, and a calibration of one knot that says the probability.
"""

import hashlib

import numpy as np

from models.compile import UNUSED, LeafMaskTable
from models.errors import ArtifactError
from models.schema import Feature, FeatureSpec


def constant_model(ctr: float, cvr: float) -> tuple[FeatureSpec, LeafMaskTable, str]:
    """Features, table and hash of a model with these probabilities.

    Args:
        ctr: of a click, in [0, 1]. cvr: of a conversion after a click, in [0, 1].

    Raises:
        ArtifactError: a probability that is none.
    """
    for name, probability in (("ctr", ctr), ("cvr", cvr)):
        if not 0.0 <= probability <= 1.0:
            raise ArtifactError(f"{name} of a constant model must be in [0, 1], was {probability}")
    # A spec has at least one feature; no split asks for this one.
    spec = FeatureSpec((Feature("exchange", "categorical", "request"),))
    starts = np.array([0, 1, 2], dtype=np.int32)
    table = LeafMaskTable(
        masks=np.ones((1, 2), dtype=np.uint32),
        leaf_values=np.zeros((2, 32), dtype=np.float64),
        feature_kind=np.array([UNUSED], dtype=np.uint8),
        first_row=np.zeros(1, dtype=np.int32),
        thr_start=np.zeros(2, dtype=np.int32),
        thresholds=np.zeros(1, dtype=np.float64),
        cat_start=np.zeros(2, dtype=np.int32),
        category_rows=np.zeros(1, dtype=np.int32),
        tree_start=starts,
        knots_start=starts,
        knots_raw=np.zeros(2, dtype=np.float64),
        knots_probability=np.array([ctr, cvr], dtype=np.float64),
    )
    return spec, table, hashlib.sha256(f"constant {ctr!r} {cvr!r}".encode()).hexdigest()
