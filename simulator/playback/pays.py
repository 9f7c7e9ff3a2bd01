"""What line items of a replay pay for, in the terms of its engine, which knows of clicks alone.

A row brings the chance of the goal of its own line item, and the engine takes it for that of a click. So a
conversion is the engine's click, and what one may cost is what a click may cost there. What a conversion is worth is
of each play: the same rows are played again with other values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bidder.core.campaigns import Campaign, Goal, LineItem
from bidder.core.lines import Aim, Line
from bidder.errors import InputError
from simulator.playback.prepared import Facts, Piece

_CONVERSIONS = (Goal.CONVERSION, Goal.VALUE)


class Pays(NamedTuple):
    """What each line item pays for.

    Attributes:
        by_conversion: bool[lines], whether for conversions. stated_nanos: int64[lines], what an outcome is worth.
        least_nanos, most_nanos: int64[lines], bounds of what a model says of a conversion; 0 where it has no say.
    """

    by_conversion: NDArray[np.bool_]
    stated_nanos: NDArray[np.int64]
    least_nanos: NDArray[np.int64]
    most_nanos: NDArray[np.int64]

    def worth_nanos(
        self, facts: Facts, rows: NDArray[np.int64], lines: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """What an outcome is worth to its buyer, as the live engine bounds what the model says.

        Args:
            facts: of the log, whose worth is taken for the model's. rows: int64[k], places in it. lines: int64[k],
                who buys each.
        """
        said, stated, most = facts.worth_nanos[rows], self.stated_nanos[lines], self.most_nanos[lines]
        bounded = np.clip(said, self.least_nanos[lines], most)
        return np.asarray(np.where((most > 0) & (said > 0), bounded, stated), dtype=np.int64)

    def scores(self, piece: Piece) -> NDArray[np.float64]:
        """float64[n], the chance of each row's goal, times what a model says over what is stated."""
        scores, line = piece.rows.external, piece.facts.line
        if not self.most_nanos.any():
            return scores
        own = np.flatnonzero(line >= 0)
        by_model = own[self.most_nanos[line[own]] > 0]
        worth = self.worth_nanos(piece.facts, by_model, line[by_model])
        found = scores.copy()
        found[by_model] *= worth / self.stated_nanos[line[by_model]]
        return found


def pays_of(lines: Sequence[Line]) -> Pays:
    """What line items pay for, in their order."""
    return Pays(
        np.array([line.goal in _CONVERSIONS for line in lines], dtype=np.bool_),
        np.array([line.value_nanos for line in lines], dtype=np.int64),
        np.array([line.least_value_nanos for line in lines], dtype=np.int64),
        np.array([line.most_value_nanos for line in lines], dtype=np.int64),
    )


def check_targets(lines: Sequence[Line]) -> None:
    """Checks that a row says all that targets of cost count.

    Raises:
        InputError: a target counts what the goal of its line item does not pay for, or pays for by its worth.
    """
    for line in lines:
        aims = {target.aim for target in line.targets}
        by_conversion = line.goal in _CONVERSIONS
        if Aim.CPC in aims and by_conversion:
            raise _refused(
                line, "target_cpc", f"goal {line.goal.value}: state target_cpa, or a goal that is a click"
            )
        if Aim.CPA in aims and not by_conversion:
            raise _refused(
                line,
                "target_cpa",
                f"goal {line.goal.value}: state target_cpc, or a goal that is a conversion",
            )
        if Aim.CPA in aims and line.most_value_nanos:
            raise _refused(
                line, "target_cpa", "value_source model: state target_roas, or the value of a conversion"
            )


def _refused(line: Line, target: str, beside: str) -> InputError:
    return InputError(
        f"target of line item {line.id} must count what its score does, as rows of a history bring one chance; "
        f"was {target} with {beside}"
    )


def by_outcome(campaign: Campaign) -> Campaign:
    """The campaign, paid by click: the score that comes with a row is that of its own goal already.

    Targets of what a conversion costs become targets of a click; `check_targets` says which make sense. What a model
    took a conversion to be worth is in the score, see `Pays.scores`.
    """
    items = tuple(
        msgspec.structs.replace(
            item, goal=Goal.CLICK if item.goal else None, value_source=None, **_target_of(item)
        )
        for item in campaign.line_items
    )
    return msgspec.structs.replace(
        campaign, goal=Goal.CLICK, value_source="stated", line_items=items, **_target_of(campaign)
    )


def _target_of(record: Campaign | LineItem) -> dict[str, int]:
    """What one of the engine's clicks may cost; one target at most is stated."""
    return {
        "target_cpc_nanos": record.target_cpc_nanos or record.target_cpa_nanos,
        "target_cpa_nanos": 0,
    }
