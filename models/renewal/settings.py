"""What a renewal goes by; a TOML file may say otherwise."""

import math
from pathlib import Path

import msgspec

from models.errors import TableError
from models.keys import load_keys
from models.renewal.drift import Bounds
from models.spans import span_ns
from models.train import TrainParams


class RenewalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a round works.

    Attributes:
        window: how far back from the newest row the rows of a round go.
        settle: the newest rows of this span are left out: their clicks may still come.
        gate_share: share of the window's rows, the latest, that no model is trained on and the gate judges by.
        min_positives: fewest clicks among them, below which nothing is trained, and fewest events of any model
            for a comparison of entropies.
        alpha: two-sided chance that a round calls a model better that is equal: of each model, click and conversion.
        draws: number of the bootstrap's draws, at least 2 / alpha, or they could not tell.
        seed: of training and draws.
        calibration: bounds of predicted over happened; refused where the whole 99 % interval lies outside.
        calibration_hard: bounds of the ratio itself, however wide its interval.
        max_slowdown: time of the challenger over the champion's to score a row, at most, unless it is quick enough.
        budget_ns: nanoseconds to score a row that are quick enough whatever the champion takes.
        shadow_rows: rows after the gate's that both models score before a challenger is promoted; 0 promotes at once.
        shadow_change: bounds of the challenger's mean prediction over the champion's on these rows: bids follow it.
        drift: what is an alarm. train: how challengers are trained.
    """

    window: str = "14d"
    settle: str = "0s"
    gate_share: float = 0.2
    min_positives: int = 100
    alpha: float = 0.005
    draws: int = 400
    seed: int = 1
    calibration: tuple[float, float] = (0.95, 1.05)
    calibration_hard: tuple[float, float] = (0.8, 1.25)
    max_slowdown: float = 1.5
    budget_ns: float = 5_000.0
    shadow_rows: int = 1_000
    shadow_change: tuple[float, float] = (0.67, 1.5)
    drift: Bounds = Bounds()
    train: TrainParams = TrainParams()

    def check(self) -> "RenewalSettings":
        """Itself; raises `TableError` where a value makes no sense."""
        span_ns(self.window, "window")
        span_ns(self.settle, "settle", may_be_nothing=True)
        for name, good, allowed in (
            ("gate_share", 0.0 < self.gate_share < 0.9, "above 0 and below 0.9"),
            ("min_positives", self.min_positives >= 1, "at least 1"),
            ("alpha", 0.0 < self.alpha <= 0.2, "above 0 and at most 0.2"),
            ("draws", 20 <= self.draws <= 100_000, "20 to 100000"),
            ("max_slowdown", self.max_slowdown > 0.0, "above 0"),
            ("shadow_rows", self.shadow_rows >= 0, "at least 0"),
        ):
            if not good:
                raise TableError(f"{name} must be {allowed}, was {getattr(self, name)}")
        if self.draws * self.alpha < 2.0:
            raise TableError(
                f"draws must be at least 2 / alpha, {math.ceil(2.0 / self.alpha)} for alpha {self.alpha}, "
                f"was {self.draws}"
            )
        for name in ("calibration", "calibration_hard", "shadow_change"):
            low, high = getattr(self, name)
            if not 0.0 < low <= 1.0 <= high:
                raise TableError(f"{name} must be two bounds around 1, was {low} and {high}")
        return self


def load_settings(path: Path) -> RenewalSettings:
    """Settings of a TOML file whose keys are the attributes; `drift` and `train` are tables of their own.

    Raises:
        TableError: the file is missing, is not TOML, or holds a key or value that is not allowed.
    """
    return load_keys(path, RenewalSettings, "renewal settings", "clearbid models params renew").check()
