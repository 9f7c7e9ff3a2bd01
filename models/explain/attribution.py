"""One row: how a model comes from its base to the probability that is bid on.

In log odds everything adds up:

    base + contribution of each group + calibration = log odds of the probability

The calibration is a row of its own: it moves every row with the same raw score alike, whatever feature made the
score. Near 0, where clicks live, a contribution c in log odds multiplies the probability by nearly exp(c).
"""

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import ModelBundle
from models.calibration import calibrate
from models.errors import TableError
from models.explain.contributions import Contributions, Contributor
from models.explain.groups import Group, Shown, groups_of, reading, shown
from models.schema import Columns, FeatureSpec

TOP = 8
_TITLES = {"ctr": "click", "cvr": "conversion of a click"}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of a group: what the row shows, whether the model has a code for it, what it adds (log odds)."""

    feature: str
    value: str
    known: bool
    contribution: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One group of features.

    Attributes:
        name: of the group. value: what the row shows in it, as raw text.
        contribution: in log odds. odds_factor: by which it multiplies the odds, exp(contribution).
        probability: after this step and all above it, before calibration. It depends on their order; the
            contribution does not.
        parts: the features of the group that the model splits on for this row, the largest first.
    """

    name: str
    value: str
    contribution: float
    odds_factor: float
    probability: float
    parts: tuple[Part, ...] = ()


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """How one model comes to the probability of one row.

    Attributes:
        model: `ctr` or `cvr`. title: what it gives the probability of.
        base: log odds of the average training row. base_probability: the same as a probability.
        steps: groups with the largest contributions, largest first.
        rest: contribution of all other groups together. rest_groups: how many of them are not 0.
        raw: the score, log odds before calibration. raw_probability: the same as a probability.
        calibration: in log odds, what calibration adds.
        probability: calibrated; what the bidder uses.
    """

    model: str
    title: str
    base: float
    base_probability: float
    steps: tuple[Step, ...]
    rest: float
    rest_groups: int
    raw: float
    raw_probability: float
    calibration: float
    probability: float


class Attributor:
    """The models of a bundle, ready to be asked for rows.

    Args:
        bundle: as `artifact.load_bundle` gives it.

    Raises:
        ArtifactError: as `Contributor`.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._groups = groups_of(bundle.spec)
        self._models = {name: Contributor(text, f"{name}.txt") for name, text in bundle.texts.items()}

    def one(self, columns: Columns, top: int = TOP) -> tuple[Attribution, ...]:
        """Each model's attribution of one row.

        Args:
            columns: raw columns of one row, see `FeatureSpec.encode_table`. top: most steps of a model.

        Raises:
            TableError: a column is missing, or there is not one row.
        """
        spec = self._bundle.spec
        values = spec.encode_table(columns)
        if len(values) != 1:
            raise TableError(f"columns must hold one row to explain, held {len(values)}")
        shows = {place: shown(feature, columns, 0) for place, feature in enumerate(spec.features)}
        return tuple(
            self._attribution(name, model(values), shows, top) for name, model in self._models.items()
        )

    def _attribution(self, name: str, found: Contributions, shows: dict[int, Shown], top: int) -> Attribution:
        row = found.features[0]
        raw = float(found.raw[0])
        probability = float(calibrate(self._bundle.calibration[name], found.raw)[0])
        ranked = _ranked(self._groups, row)
        steps = _steps(ranked[:top], self._bundle.spec, shows, row, found.base)
        rest = ranked[top:]
        contributions = [found.base, *row.tolist()]
        return Attribution(
            model=name,
            title=_TITLES.get(name, name),
            base=found.base,
            base_probability=probability_of(found.base),
            steps=steps,
            rest=math.fsum(amount for _, amount in rest),
            rest_groups=len(rest),
            raw=raw,
            raw_probability=probability_of(raw),
            # From the sum of what is shown, so that the rows of the account meet the total to the last digit.
            calibration=math.fsum([log_odds(probability), *(-one for one in contributions)]),
            probability=probability,
        )


def _ranked(groups: Sequence[Group], row: NDArray[np.float64]) -> list[tuple[Group, float]]:
    """Groups that add something, the largest first; equal ones by name."""
    sums = [(group, math.fsum(row[list(group.places)].tolist())) for group in groups]
    return sorted(
        ((group, amount) for group, amount in sums if amount != 0.0),
        key=lambda pair: (-abs(pair[1]), pair[0].name),
    )


def _steps(
    ranked: Sequence[tuple[Group, float]],
    spec: FeatureSpec,
    shows: Mapping[int, Shown],
    row: NDArray[np.float64],
    base: float,
) -> tuple[Step, ...]:
    found: list[Step] = []
    at = base
    for group, amount in ranked:
        at += amount
        found.append(
            Step(
                name=group.name,
                value=reading(group, spec, dict(shows)),
                contribution=amount,
                odds_factor=_exp(amount),
                probability=probability_of(at),
                parts=_parts(group, spec, shows, row),
            )
        )
    return tuple(found)


def _parts(
    group: Group, spec: FeatureSpec, shows: Mapping[int, Shown], row: NDArray[np.float64]
) -> tuple[Part, ...]:
    parts = [
        Part(
            feature=spec.names[place],
            value=shows[place].text,
            known=shows[place].known,
            contribution=float(row[place]),
        )
        for place in group.places
        if row[place] != 0.0
    ]
    return tuple(sorted(parts, key=lambda part: (-abs(part.contribution), part.feature)))


def probability_of(log_odds: float) -> float:
    """1 / (1 + exp(-log_odds)), without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def log_odds(probability: float) -> float:
    """The logarithm of the odds of a probability inside (0, 1)."""
    return math.log(probability) - math.log1p(-probability)


def _exp(value: float) -> float:
    """`exp` that ends at the largest double, which JSON can carry."""
    return math.exp(min(value, 709.0))
