"""The value of a conversion as a bundle keeps it: P(worth anything) x mean value where it is.

| file | what |
|---|---|
| `value.txt` | LightGBM model text: its sum is the log of the value over the scale |
| `value_positive.txt` | LightGBM model text: P(value > 0 given a conversion); only where some are worth nothing |
| `value.json` | `ValueTable` |

The bidder asks it for line items whose `value_source` is the model, see `bidder.core.valuing`. Both make money of the
sums by one compiled function, so that what is served has the bits of what was measured.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.calibration import CalibrationTable

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

    @property
    def texts(self) -> tuple[str, ...]:
        """The model texts that a value is made of: one, or two where the second gives P(value > 0)."""
        if self.positive_text is None or self.table.positive is None:
            return (self.text,)
        return self.text, self.positive_text

    @property
    def knots(self) -> tuple[Floats, Floats]:
        """Raw scores and probabilities of P(value > 0); empty where no model gives it."""
        table = self.table.positive
        if len(self.texts) == 1 or table is None:
            return np.empty(0), np.empty(0)
        return np.array(table.raw), np.array(table.probability)

    def nanos(self, values: Floats) -> Floats:
        """Expected value of a conversion, float64[N] nanos, of rows float64[N, F] in the order of the spec."""
        # Who only reads a bundle waits neither for LightGBM nor for a compiler.
        import lightgbm as lgb

        from models.kernels import value_rows

        out = np.empty(len(values))
        if len(values):
            raw = [lgb.Booster(model_str=text).predict(values, raw_score=True) for text in self.texts]
            value_rows(np.stack(raw, axis=1).astype(np.float64), self.table.scale_nanos, *self.knots, out)
        return out
