"""What a manifest says of a training: how each model came about, what was corrected, and how it did on later rows.

Nothing here depends on when or where training ran.
"""

from typing import Any

import msgspec

from models.evaluate import Metrics


class ModelReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one model came about and how it did on rows later than all it has seen.

    Attributes:
        kind: `lightgbm`; `prior`: too few positives to learn from, so one leaf with the smoothed mean; or `mean`: a
            brought model without one of conversions, so one rate for all clicks.
        rounds: trees.
        early_stopping: whether held-out rows chose the number of trees.
        training_rows: rows the trees were grown on. training_positives: positives among them.
        calibration: `isotonic` or `offset`, see `models.calibration`.
        before: on the test rows, by the model's own sigmoid.
        after: on the test rows, calibrated.
        settled: where labels of the test rows are interim (`DelayReport.method` is not `none`), `before` and `after`
            are of all of them by the probability of being known by now; this is of those watched for the whole
            horizon, by the probability itself, as `models evaluate` judges. Absent where labels are complete.
    """

    kind: str
    rounds: int
    early_stopping: bool
    training_rows: int
    training_positives: int
    calibration: str
    before: Metrics
    after: Metrics
    # Absent, not null, as bundles had no such field once: their hash is over a text without it.
    settled: Metrics | msgspec.UnsetType = msgspec.UNSET


class DelayReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How conversions that have not come yet were dealt with.

    Attributes:
        method: `none`, `elapsed` or `buckets`. why: in words, where it is not what was asked for.
        horizon_ns: the longest delay told from never; 0 where there is no method.
        median_ns: delay by which half of the conversions within the horizon have come.
        conversions: dated ones in the rows to learn from, of which the delays were learned.
        groups: how many values of `delay_by` have a distribution of their own.
        undated: clicks left out because their times are not known.
        to_come: share, of all conversions expected of the table's clicks, that had not come when observation
            ended.
    """

    method: str
    why: str = ""
    horizon_ns: int = 0
    median_ns: int = 0
    conversions: int = 0
    groups: int = 0
    undated: int = 0
    to_come: float = 0.0


class ValueReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the model of the value of a conversion came about, and how it did on the test rows.

    Attributes:
        kind: `gamma`, `tweedie` or `lognormal`, or `prior`: the mean alone.
        rounds: trees of the value.
        rows: converted rows with a value to learn from. zeros: share of them worth nothing.
        mean_nanos: of their values.
        test_rows: converted rows with a value in the test. ratio: predicted over actual value there.
        gain: share of the deviance (Tweedie, power 1.5) of the constant mean that the model takes away there;
            below 0 it is worse than the mean. Both are None without test rows of value.
    """

    kind: str
    rounds: int
    rows: int
    zeros: float
    mean_nanos: float
    test_rows: int
    ratio: float | None
    gain: float | None


class TuningReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a search for parameters found.

    Attributes:
        model: whose loss was made small, `ctr` or `cvr`. trials: how many parameters were tried.
        log_loss_default: of the parameters that the search began with, on the calibration rows.
        log_loss_best: of the best. found: what differs from where the search began.
    """

    model: str
    trials: int
    log_loss_default: float
    log_loss_best: float
    found: dict[str, Any]


class TrainingReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was learned, of which rows, with which corrections.

    Attributes:
        goal: the column whose ones count as conversions.
        split_by: `time` or a column.
        left_out: declared columns without any value.
        weighted: whether rows stand for others by a column `weight`. effective_rows: how many equal rows would
            say as much, (sum w)^2 / sum w^2 (Kish).
        click_rows: rows that the click trees were grown on, after negatives were sampled. click_shift: log odds
            that were added to undo the sampling.
        delay, value, tuning: of these; None where there was nothing to report.
    """

    goal: str
    split_by: str
    left_out: tuple[str, ...]
    weighted: bool
    effective_rows: float
    click_rows: int
    click_shift: float
    delay: DelayReport
    value: ValueReport | None = None
    tuning: TuningReport | None = None
