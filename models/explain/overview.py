"""Many rows: which features count, for which campaign, and how a contribution runs with the value.

Means are over a seeded sample of the rows, by the table's weights where it has any. The weight of a group is the
mean of the absolute value of its contribution: of hour and weekday together it is less than the sum of both where
they pull against each other.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import ModelBundle
from models.calibration import calibrate
from models.dataset import TrainingTable
from models.explain.contributions import Contributions, Contributor
from models.explain.groups import MISSING, Group, groups_of, number_text, taken
from models.explain.permutation import Shuffled, Trial, permute
from models.schema import SEGMENT_PREFIX, Feature

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Tell = Callable[[str, int, int], None]
"""Told of (stage, done, total); stages are `ctr`, `cvr`, `ctr shuffled` and `cvr shuffled`."""

SAMPLE = 4_000
_MOST_CAMPAIGNS, _MOST_VALUES, _MOST_BINS, _TOP_FEATURES, _TOP_GROUPS = 12, 10, 8, 6, 6
_MOST_ORDINALS = 24
_OWNERS = ("campaign", "line_item", "advertiser")


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """How much a group or a feature counts.

    Attributes:
        name: of it. features: that are in it.
        mean_absolute: mean of |contribution|, log odds. mean: of the contribution, with its sign.
        share: of the sum of `mean_absolute` over all of its kind.
    """

    name: str
    features: tuple[str, ...]
    mean_absolute: float
    mean: float
    share: float


class CampaignWeights(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign: its rows in the sample, its mean probability, mean |contribution| by group."""

    name: str
    rows: int
    mean_probability: float
    mean_absolute: dict[str, float]


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that show a like value: how many, mean contribution of the feature (log odds), mean probability."""

    label: str
    rows: int
    mean_contribution: float
    mean_probability: float


class Dependence(msgspec.Struct, frozen=True, kw_only=True):
    """How the contribution of a feature runs with its value."""

    feature: str
    bins: tuple[Bin, ...]


class ModelOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One model over the sample.

    Attributes:
        model: `ctr` or `cvr`. base: log odds of the average training row. mean_probability: calibrated.
        groups, features: by weight, heaviest first; what no tree splits on is left out.
        owner: feature whose values `campaigns` are; empty where the model has none.
        campaigns: those with the most rows. dependence: of the heaviest features.
        shuffled: see `permutation`; empty where the table has too few labels, and `shuffled_note` says so.
        shuffled_rows, positives: what was shuffled. unseen: whether training saw none of it.
    """

    model: str
    base: float
    mean_probability: float
    groups: tuple[Weight, ...]
    features: tuple[Weight, ...]
    owner: str
    campaigns: tuple[CampaignWeights, ...]
    dependence: tuple[Dependence, ...]
    shuffled: tuple[Shuffled, ...]
    shuffled_rows: int
    positives: int
    unseen: bool
    shuffled_note: str = ""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What counts in a bundle over a table; `sampled` of its `rows` were asked, chosen by `seed`."""

    bundle: str
    table: str
    rows: int
    sampled: int
    seed: int
    window_ns: tuple[int, int]
    models: tuple[ModelOverview, ...]


def overview(
    bundle: ModelBundle,
    table: TrainingTable,
    *,
    sample: int = SAMPLE,
    seed: int = 1,
    tell: Tell | None = None,
) -> Overview:
    """The view of a bundle over a table.

    Args:
        bundle: the models. table: read with `groups.bundle.spec.declarations()`.
        sample: most rows to ask for contributions. seed: of the sample and of what is shuffled.
        tell: told how far it is.

    Raises:
        ArtifactError: contributions that do not add up. TableError: a column is missing.
    """
    random = np.random.default_rng(seed)
    rows = len(table)
    chosen = np.sort(random.choice(rows, size=min(sample, rows), replace=False))
    columns = {name: taken(values, chosen) for name, values in table.columns.items()}
    view = _View(bundle, columns, _weights(table)[chosen])
    told = tell or (lambda _stage, _done, _total: None)
    models = []
    for name, text in bundle.texts.items():
        contributor = Contributor(text, f"{name}.txt")
        found = view.of(name, contributor, told)
        trial = Trial(bundle, name, contributor, table, seed)
        heavy = [
            group for group in view.groups if group.name in {one.name for one in found.groups[:_TOP_GROUPS]}
        ]
        shuffled = permute(trial, heavy, told)
        models.append(
            msgspec.structs.replace(
                found,
                shuffled=shuffled,
                shuffled_rows=trial.rows,
                positives=trial.positives,
                unseen=trial.unseen,
                shuffled_note=trial.refusal,
            )
        )
    return Overview(
        bundle=bundle.hash,
        table=table.source,
        rows=rows,
        sampled=len(chosen),
        seed=seed,
        window_ns=(int(table.at_ns[0]), int(table.at_ns[-1])),
        models=tuple(models),
    )


def _weights(table: TrainingTable) -> Floats:
    """How many rows each row stands for."""
    return np.asarray(table.extras.get("weight", np.ones(len(table))), dtype=np.float64)


class _View:
    """A sample of rows, encoded once for all models."""

    def __init__(
        self, bundle: ModelBundle, columns: dict[str, Sequence[object] | Floats], weights: Floats
    ) -> None:
        self._bundle, self._columns, self._weights = bundle, columns, weights
        self._values = bundle.spec.encode_table(columns)
        self.groups = groups_of(bundle.spec)

    def of(self, name: str, contributor: Contributor, tell: Tell) -> ModelOverview:
        total = len(self._values)
        tell(name, 0, total)
        found = contributor(self._values, lambda done: tell(name, done, total))
        spec = self._bundle.spec
        probability = calibrate(self._bundle.calibration[name], found.raw)
        singles = [Group(feature, (place,)) for place, feature in enumerate(spec.names)]
        groups, features = self._ranked(self.groups, found), self._ranked(singles, found)
        owner = next((owner for owner in _OWNERS if owner in spec.names), "")
        return ModelOverview(
            model=name,
            base=found.base,
            mean_probability=self._mean(probability),
            groups=groups,
            features=features,
            owner=owner,
            campaigns=self._campaigns(owner, groups, found, probability) if owner else (),
            dependence=tuple(
                self._dependence(spec.names.index(one.name), found, probability)
                for one in features[:_TOP_FEATURES]
            ),
            shuffled=(),
            shuffled_rows=0,
            positives=0,
            unseen=False,
        )

    def _mean(self, values: Floats, where: Bools | None = None) -> float:
        if where is None:
            return float(np.average(values, weights=self._weights))
        return float(np.average(values[where], weights=self._weights[where]))

    def _ranked(self, groups: Sequence[Group], found: Contributions) -> tuple[Weight, ...]:
        sums = [found.features[:, list(group.places)].sum(axis=1) for group in groups]
        sizes = [self._mean(np.abs(one)) for one in sums]
        whole = math.fsum(sizes)
        names = self._bundle.spec.names
        weights = [
            Weight(
                name=group.name,
                features=tuple(names[place] for place in group.places if np.any(found.features[:, place])),
                mean_absolute=size,
                mean=self._mean(one),
                share=size / whole,
            )
            for group, one, size in zip(groups, sums, sizes, strict=True)
            if size > 0.0
        ]
        return tuple(sorted(weights, key=lambda one: (-one.mean_absolute, one.name)))

    def _campaigns(
        self, owner: str, ranked: Sequence[Weight], found: Contributions, probability: Floats
    ) -> tuple[CampaignWeights, ...]:
        shown = np.array([str(value) for value in self._columns[owner]])
        names, counts = np.unique(shown, return_counts=True)
        order = np.lexsort((names, -counts))[:_MOST_CAMPAIGNS]
        heavy = [group for one in ranked[:_TOP_GROUPS] for group in self.groups if group.name == one.name]
        sums = {group.name: np.abs(found.features[:, list(group.places)].sum(axis=1)) for group in heavy}
        rows = []
        for place in order.tolist():
            where = shown == names[place]
            rows.append(
                CampaignWeights(
                    name=str(names[place]),
                    rows=int(counts[place]),
                    mean_probability=self._mean(probability, where),
                    mean_absolute={name: self._mean(one, where) for name, one in sums.items()},
                )
            )
        return tuple(rows)

    # -- by value -------------------------------------------------------------------------------------------

    def _dependence(self, place: int, found: Contributions, probability: Floats) -> Dependence:
        feature = self._bundle.spec.features[place]
        bins = [
            Bin(
                label=label,
                rows=int(where.sum()),
                mean_contribution=self._mean(found.features[:, place], where),
                mean_probability=self._mean(probability, where),
            )
            for label, where in self._parted(feature, self._values[:, place])
            if where.any()
        ]
        return Dependence(feature=feature.name, bins=tuple(bins))

    def _parted(self, feature: Feature, values: Floats) -> list[tuple[str, Bools]]:
        if feature.kind == "categorical":
            return self._by_text(feature)
        if feature.name.startswith(SEGMENT_PREFIX):
            return [("in the segment", values == 1.0), ("not in it", values == 0.0)]
        return [*_by_size(values), (MISSING, np.isnan(values))]

    def _by_text(self, feature: Feature) -> list[tuple[str, Bools]]:
        """The most frequent values that the model knows, then the others, then what it does not know.

        Whole numbers, such as hours, stand in their order, and a day of them is told in full.
        """
        known = set(feature.vocabulary)
        shown = np.array(
            [value if isinstance(value, str) else None for value in self._columns[feature.name]], dtype=object
        )
        missing = np.array([value is None for value in shown])
        has_code = np.array([value in known for value in shown])
        names, counts = np.unique(shown[has_code].astype(str), return_counts=True)
        order = np.lexsort((names, -counts)).tolist()
        ordinal = all(name.isdecimal() for name in names.tolist())
        most = _MOST_ORDINALS if ordinal and len(order) <= _MOST_ORDINALS else _MOST_VALUES
        told = [str(names[one]) for one in order[:most]]
        parts = [(name, shown == name) for name in (sorted(told, key=int) if ordinal else told)]
        others = {str(names[one]) for one in order[most:]}
        if others:
            parts.append((f"{len(others)} other values", np.array([value in others for value in shown])))
        return [*parts, ("unknown to the model", ~has_code & ~missing), (MISSING, missing)]


def _by_size(values: Floats) -> list[tuple[str, Bools]]:
    """Each value where there are few, else bins of about equally many rows."""
    present = values[~np.isnan(values)]
    distinct = np.unique(present)
    if len(distinct) <= _MOST_BINS:
        return [(number_text(value), values == value) for value in distinct.tolist()]
    cuts = np.unique(np.quantile(present, np.linspace(0, 1, _MOST_BINS + 1), method="lower"))
    parts = []
    for low, high in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        last = high == cuts[-1]
        inside = (values >= low) & ((values <= high) if last else (values < high))
        label = f"{low:.4g} to {'' if last else 'below '}{high:.4g}"
        parts.append((label, inside))
    return parts
