"""The value of a conversion as a bundle keeps it: P(worth anything) x mean value where it is.

| file | what |
|---|---|
| `value.txt` | LightGBM model text: its sum is the log of the value over the scale |
| `value_positive.txt` | LightGBM model text: P(value > 0 given a conversion); only where some are worth nothing |
| `value.json` | `ValueTable` |

The bidder does not look at it yet: it bids by the value that a line item states.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import CalibrationTable, calibrate

Floats = NDArray[np.float64]

VALUE_FILE, POSITIVE_FILE, TABLE_FILE = "value.txt", "value_positive.txt", "value.json"


class ValueTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What turns the sums of the trees into money.

    Attributes:
        kind: of the model, see `training.value`.
        scale_nanos: value = scale x exp(sum), so that values of the calibration rows are right in total; the
            smearing of a log-normal model is part of it.
        positive: calibration of P(value > 0); None where every conversion is worth something or the model
            counts the worthless itself.
    """

    kind: Literal["gamma", "tweedie", "lognormal", "prior"]
    scale_nanos: float
    positive: CalibrationTable | None = None


@dataclass(frozen=True, slots=True)
class ValueModel:
    """A model of the value of a conversion.

    Attributes:
        text: of the value. positive_text: of P(value > 0), where there is one. table: the rest.
    """

    text: str
    positive_text: str | None
    table: ValueTable

    def nanos(self, values: Floats) -> Floats:
        """Expected value of a conversion, float64[N] nanos, of rows float64[N, F] in the order of the spec."""
        import lightgbm as lgb

        if len(values) == 0:
            return np.empty(0)
        found = self.table.scale_nanos * np.exp(
            np.asarray(lgb.Booster(model_str=self.text).predict(values, raw_score=True), dtype=np.float64)
        )
        if self.positive_text is None or self.table.positive is None:
            return np.asarray(found)
        positive = lgb.Booster(model_str=self.positive_text).predict(values, raw_score=True)
        return np.asarray(found * calibrate(self.table.positive, np.asarray(positive, dtype=np.float64)))
