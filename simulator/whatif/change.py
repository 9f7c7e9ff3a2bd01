"""What can be changed, and what a change makes of a log."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.errors import InputError
from simulator.estimate.controller import Controller
from simulator.history.auctions import Auctions

Floats = NDArray[np.float64]

LEAST_SHARE = 0.5
"""Share of the auctions that another model must have scored: the others it would not bid for."""


class Change(NamedTuple):
    """What is different on the other side; a field that is left as it is changes nothing.

    Attributes:
        budget_nanos: another budget. worth_nanos: what the outcome of the goal is worth. to_click: whether clicks
            take the place of conversions as the goal. max_bid_nanos: another highest bid.
        price_factor: by which rivals' prices are higher. only: bool[n], where it may bid.
        click: float64[n], click probabilities of another model, NaN where it has none.
        shade, eta: of the controller. is_new: whether the other side is another line item on the same traffic, whose
            worth is what its outcomes bring.
    """

    budget_nanos: int | None = None
    worth_nanos: int | None = None
    to_click: bool = False
    max_bid_nanos: int | None = None
    price_factor: float = 1.0
    only: NDArray[np.bool_] | None = None
    click: Floats | None = None
    shade: float | None = None
    eta: float | None = None
    is_new: bool = False

    @property
    def is_none(self) -> bool:
        """Whether nothing is changed."""
        plain = Change()
        arrays = self.only is not None or self.click is not None
        return not arrays and self._replace(only=None, click=None) == plain

    def controller(self, before: Controller) -> Controller:
        """The controller of the other side."""
        return before._replace(
            cap_nanos=before.cap_nanos if self.max_bid_nanos is None else self.max_bid_nanos,
            shade=before.shade if self.shade is None else self.shade,
            eta=before.eta if self.eta is None else self.eta,
        )

    def log(self, before: Auctions) -> Auctions:
        """What the other side believes of the same auctions.

        Raises:
            InputError: another model says too little; there is no conversion to leave out; a worth is not above 0.
        """
        found = before
        if self.is_new and self.worth_nanos is None:
            raise InputError("a new line item must have --worth: what its click or conversion is worth")
        if self.worth_nanos is not None:
            if self.worth_nanos <= 0:
                raise InputError(f"worth must be above 0, was {self.worth_nanos}")
            found = found._replace(worth_nanos=np.full(found.opportunities, self.worth_nanos, dtype=np.int64))
        if self.to_click:
            if np.isnan(found.conversion).all():
                raise InputError(f"goal of campaign {before.campaign} is click already")
            if self.worth_nanos is None:
                raise InputError("--goal click must come with --worth: what a click is worth")
            found = found._replace(conversion=np.full(found.opportunities, np.nan))
        if self.click is not None:
            known = float(np.isfinite(self.click).mean()) if len(self.click) else 0.0
            if known < LEAST_SHARE:
                raise InputError(
                    f"another model must score at least {LEAST_SHARE:.0%} of the auctions, scored {known:.1%}"
                )
            found = found._replace(click=self.click)
        return found
