"""The checks between a challenger and the champion's place, each with its numbers and its reason in words."""

import statistics
import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.artifact import MODEL_NAMES
from models.clusters import clusters_in, packed
from models.dataset import TrainingTable
from models.evaluation.compare import compare
from models.registry.schema import bundle_differences
from models.renewal.drift import Calibration, DriftReport, calibrations, labels_of, weights_of
from models.renewal.settings import RenewalSettings
from models.ripe import horizon_of
from models.scorer import Scorer

Floats = NDArray[np.float64]

_TIMED_ROWS, _TIMED_ROUNDS = 2_000, 31


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check.

    Attributes:
        name: of what. passed: whether. words: why. numbers: what was measured.
    """

    name: str
    passed: bool
    words: str
    numbers: dict[str, Any] = {}


class Rivals:
    """Both models on the same rows, which neither has seen.

    Args:
        champion: None where there is none yet. challenger: to be judged. rows: labelled rows.
        settings: what it is judged by.
    """

    def __init__(
        self, champion: Scorer | None, challenger: Scorer, rows: TrainingTable, settings: RenewalSettings
    ) -> None:
        self.rows = rows
        self.settings = settings
        self._champion, self._challenger = champion, challenger
        self._horizon_ns = horizon_of(challenger.bundle, champion.bundle if champion else None)
        self._clusters = clusters_in(rows.extras, len(rows))
        self.new = challenger.probabilities(challenger.bundle.spec.encode_table(rows.columns))
        self.old = (
            champion.probabilities(champion.bundle.spec.encode_table(rows.columns)) if champion else None
        )

    def gate(self, drift: DriftReport) -> list[Check]:
        """All checks of the gate; `drift` compares the rows that the challenger was trained on with these."""
        return [
            self.features(),
            self.entropy(must_win=True),
            *self.calibration(),
            drifted(drift),
            self.speed(),
        ]

    def features(self) -> Check:
        """Whether the challenger asks for what the champion asks for."""
        if self._champion is None:
            return Check(name="features", passed=True, words="there is no champion to differ from")
        found = bundle_differences(self._champion.bundle, self._challenger.bundle)
        words = "; ".join(found) or "as the champion's"
        return Check(name="features", passed=not found, words=words)

    def entropy(self, *, must_win: bool) -> Check:
        """Normalized entropy: better with confidence in one model and worse with confidence in none.

        Rounds come again and again, and each may promote by chance: so *better* asks for a share of the draws of
        1 - alpha / 2. *Worse* is a 95 % interval above 0, as it only keeps what is there.

        Args:
            must_win: whether one must be better; else it is enough that none is worse.
        """
        better, worse, words = [], [], []
        numbers: dict[str, Any] = {}
        for place, name in enumerate(MODEL_NAMES):
            places, y = labels_of(self.rows, name, self._horizon_ns)
            events = int(min(y.sum(), len(y) - y.sum()))
            if events < self.settings.min_positives:
                words.append(f"{name}: {events} events are too few to tell")
                continue
            every = weights_of(self.rows)
            weights = every[places] if every is not None else None
            found = compare(
                y,
                self._before(place, places, y, weights),
                self.new[places, place],
                weights,
                clusters=packed(self._clusters[places])[0],
                draws=self.settings.draws,
                seed=self.settings.seed,
            )
            value, low, high = found["normalized_entropy"]
            share = found.probability_better["normalized_entropy"]
            numbers[name] = {"difference": value, "low": low, "high": high, "rows": len(y), "events": events}
            numbers[name] |= {"better_share": share, "alpha": self.settings.alpha}
            if value is None or low is None or high is None or share is None:
                words.append(f"{name}: not defined on these rows")
                continue
            wanted = 1.0 - self.settings.alpha / 2.0 - 1e-9  # a share is a fraction of the draws
            better += [name] if share >= wanted else []
            worse += [name] if low > 0.0 else []
            said = "better" if share >= wanted else "worse" if low > 0.0 else "no clear difference"
            words.append(
                f"{name}: {value:+.4f} ({low:+.4f} to {high:+.4f}), {said}: better in {share:.2%} of the draws, "
                f"{wanted:.2%} are needed"
            )
        passed = not worse and bool(better or not must_win)
        return Check(name="normalized entropy", passed=passed, words="; ".join(words), numbers=numbers)

    def _before(self, place: int, places: NDArray[np.int64], y: Floats, weights: Floats | None) -> Floats:
        """What the champion says; without one, the mean label, which a model must beat to be worth anything."""
        if self.old is not None:
            return np.asarray(self.old[places, place])
        return np.full(len(y), float(np.average(y, weights=weights)))

    def calibration(self) -> list[Check]:
        """Whether as many events come as are predicted, as far as rows can tell; the champion's stand beside it."""
        champions = self._calibrations(self.old) if self.old is not None else [None] * len(MODEL_NAMES)
        return [
            self._calibrated(one, champion)
            for one, champion in zip(self._calibrations(self.new), champions, strict=True)
        ]

    def _calibrations(self, probabilities: Floats) -> list[Calibration]:
        return calibrations(self.rows, probabilities, self.settings.calibration, self._horizon_ns)

    def _calibrated(self, one: Calibration, champion: Calibration | None) -> Check:
        settings, ratio = self.settings, one.ratio
        numbers: dict[str, Any] = {"ratio": ratio, "low": one.low, "high": one.high, "events": one.positives}
        if champion is not None:
            numbers["champion"] = {"ratio": champion.ratio, "low": champion.low, "high": champion.high}
        if ratio is None:
            return Check(name=one.name, passed=one.level != "alarm", words=one.words, numbers=numbers)
        if one.positives < settings.min_positives:
            words = f"{one.positives} events are too few to tell"
            return Check(name=one.name, passed=True, words=words, numbers=numbers)
        hard = settings.calibration_hard
        passed = one.level != "alarm" and hard[0] <= ratio <= hard[1]
        words = f"{one.words}, bounds {settings.calibration[0]} to {settings.calibration[1]}"
        if champion is not None:
            words += f"; the champion {champion.words}"
        return Check(name=one.name, passed=passed, words=words, numbers=numbers)

    def speed(self) -> Check:
        """Time to score a row, medians of rounds in turns, so that a busy machine is busy for both."""
        settings = self.settings
        scorers = [self._challenger, *([self._champion] if self._champion else [])]
        took = [round(value, 1) for value in ns_a_row(scorers, self.rows)]
        mine, champions = took[0], took[1] if len(took) > 1 else None
        most = max(settings.budget_ns, settings.max_slowdown * (champions or 0.0))
        beside = f", the champion {champions:,.0f} ns" if champions is not None else ""
        return Check(
            name="speed",
            passed=mine <= most,
            words=f"{mine:,.0f} ns a row{beside}, at most {most:,.0f} ns",
            numbers={"challenger_ns": mine, "champion_ns": champions, "most_ns": most},
        )

    def change(self) -> Check:
        """How far the mean prediction would move: bids are proportional to it."""
        settings = self.settings
        if self.old is None:
            return Check(name="change", passed=True, words="there is no champion to compare with")
        weights = weights_of(self.rows)
        means = [np.average(side, axis=0, weights=weights) for side in (self.old, self.new)]
        numbers = {name: round(float(means[1][k] / means[0][k]), 4) for k, name in enumerate(MODEL_NAMES)}
        moved = np.abs(np.log(self.new / self.old)).max(axis=1) > np.log(2.0)
        low, high = settings.shadow_change
        said = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        return Check(
            name="change",
            passed=all(low <= value <= high for value in numbers.values()),
            words=f"mean prediction over the champion's: {said}, bounds {low} to {high}; "
            f"{moved.mean():.1%} of the rows more than double or halve",
            numbers=numbers | {"moved": float(moved.mean())},
        )


def drifted(report: DriftReport) -> Check:
    """Whether fresh rows are of the kind that the challenger was trained on; calibration is judged apart."""
    parts = (*report.features, *report.predictions)
    alarms = [f"{one.name}: {one.words}" for one in parts if one.level == "alarm"]
    worst = max((one for one in parts if one.judged), key=lambda one: one.psi)
    words = "; ".join(alarms) or f"no alarm, the largest PSI is {worst.psi:.3f} of {worst.name}"
    numbers = {"alarms": len(alarms), "largest_psi": worst.psi, "rows": list(report.rows)}
    return Check(name="drift", passed=not alarms, words=words, numbers=numbers)


def ns_a_row(scorers: list[Scorer], rows: TrainingTable) -> list[float]:
    """CPU nanoseconds to score a row whole, by scorer: medians of rounds, each scorer in turn in every round."""
    part = rows.slice(max(0, len(rows) - _TIMED_ROWS), len(rows))
    values = [scorer.bundle.spec.encode_table(part.columns) for scorer in scorers]
    took: list[list[float]] = [[] for _ in scorers]
    for turn in range(_TIMED_ROUNDS + 1):
        for place, scorer in enumerate(scorers):
            began = time.thread_time_ns()
            scorer.score_rows(values[place])
            if turn:  # the first is a warm-up
                took[place].append((time.thread_time_ns() - began) / len(part))
    return [statistics.median(one) for one in took]
