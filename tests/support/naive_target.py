"""The slow twin of `bidder.core.target_kernels`: a target as sums over lists of what happened, nothing carried along.

room = start x exp of all moves so far, held within its bounds at each
unit = step / mean spend of an opportunity
"""

import math
from dataclasses import dataclass, field

from bidder.core import target_kernels as kernels

_SUMS = ("offered", "ended", "worth", "won", "paid", "turns")


@dataclass
class NaiveTarget:
    """One target; `opened` are bids under way, `ended` and `won` what came of the others, each with its weight."""

    eta: float
    first_eta: float
    prior: float
    room: float = 0.4
    drift: float = 1.0
    unit: float = 0.0
    won_share: float = 0.0
    spent_share: float = 0.0
    charge: float = 0.0
    ratio: float = 1.0
    binding: float = 1.0
    seen: int = 0
    seen_at_tick: int = 0
    over_first: float | None = None
    opened: list[tuple[float, float]] = field(default_factory=list)
    sums: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("offered", "ended", "worth", "won", "paid", "turns"), 0.0)
    )
    bought: list[tuple[float, float, float]] = field(default_factory=list)
    ripe: float = 0.0
    outcomes: float = 0.0
    observed: float = 0.0

    def allows(self, worth: float, base: float) -> float:
        """The most that may be bid."""
        return self.ratio * (worth + self.room * base)

    def opportunity(self, *, binds: bool) -> None:
        """One more opportunity."""
        self.seen += 1
        self.binding += (binds - self.binding) / kernels.RECENT
        self._move(math.log(self.drift))

    def bid(self, worth: float, amount: float) -> None:
        """A bid is made."""
        self.sums["offered"] += amount
        self.opened.append((worth, amount))
        self._charge()

    def end(self, worth: float, amount: float, count: float, paid: float | None) -> None:
        """A bid ends."""
        self.opened.remove((worth, amount))
        self.sums["ended"] += amount
        self.sums["worth"] += worth
        self._charge()
        if paid is not None:
            self.bought.append((worth, count, paid))
            self.sums["won"] += worth
            self.sums["paid"] += paid
            step = self.unit * (self.ratio * worth - paid)
            self._move(min(max(step, -kernels.MAX_STEP), kernels.MAX_STEP))

    def ripen(self, share: float) -> None:
        """Outcomes come to be known."""
        self.ripe += (sum(worth for worth, _, _ in self.bought) - self.ripe) * share

    def solve(self, over: float) -> None:
        """The plan is solved again."""
        if self.over_first is None:
            self.over_first = over
        more = self.seen - self.seen_at_tick
        self.seen_at_tick = self.seen
        self.sums = {
            name: one * kernels.SETTLED / (kernels.SETTLED + more) for name, one in self.sums.items()
        }
        self.sums["turns"] += more
        worth, count, spent = (sum(one[place] for one in self.bought) for place in range(3))
        self.ratio = self._ratio(worth, count)
        if self.sums["offered"] <= 0.0 or self.sums["turns"] <= 0.0:
            self.unit = self.charge = 0.0
            self.drift = 1.0
            return
        each = self.sums["offered"] / self.sums["turns"]
        first = kernels.PRIOR_TURNS * each
        self.spent_share = (self.sums["paid"] + kernels.PRIOR_SPENT * first) / (self.sums["ended"] + first)
        self.won_share = kernels.PRIOR_WON
        if self.sums["worth"] > 0.0:
            prior = first * self.sums["worth"] / self.sums["ended"]
            self.won_share = (self.sums["won"] + kernels.PRIOR_WON * prior) / (self.sums["worth"] + prior)
        mean = each * self.spent_share
        lag = sum(amount for _, amount in self.opened) / each
        half = kernels.FIRST_HALF
        step = self.eta + self.first_eta * half / (half + max(self.seen - lag, 0.0))
        step = min(step, kernels.STEP_TIMES_LAG / lag) if lag else step
        slack = self._slack(worth, spent) + self._expected()
        if slack >= 0.0:
            step *= max(self.binding, kernels.LEAST_BINDING)
        before, self.unit = self.unit, step / mean
        if before > 0.0:
            self.charge = self._bounded(self.charge * self.unit / before)
        self._charge()
        gone = over - self.over_first
        left = self.seen * (1.0 - over) / gone if gone > 0.0 else math.inf
        least = kernels.SPREAD / step if slack > 0.0 else kernels.LAST + 2.0 * lag
        rate = slack / max(left, least) / mean
        self.drift = math.exp(step * min(max(rate, -kernels.MAX_RATE), kernels.MAX_RATE))

    def _ratio(self, worth: float, count: float) -> float:
        if count <= 0.0 or self.prior <= 0.0:
            return 1.0
        weight = self.prior * worth / count
        return min(max((self.observed + weight) / (self.ripe + weight), kernels.MIN_RATIO), kernels.MAX_RATIO)

    def _slack(self, worth: float, spent: float) -> float:
        known = self.outcomes / (self.outcomes + self.prior) if self.prior > 0.0 else 0.0
        return self.ratio * worth + known * (self.observed - self.ratio * self.ripe) - spent

    def _expected(self) -> float:
        worth, amount = (sum(one[place] for one in self.opened) for place in range(2))
        return self.won_share * self.ratio * worth - self.spent_share * amount

    def _charge(self) -> None:
        charge = self._bounded(self.unit * self._expected())
        self._move(charge - self.charge)
        self.charge = charge

    @staticmethod
    def _bounded(charge: float) -> float:
        return min(max(charge, -kernels.MAX_CHARGE), kernels.MAX_CHARGE)

    def _move(self, exponent: float) -> None:
        self.room = min(max(self.room * math.exp(exponent), kernels.MIN_ROOM), kernels.MAX_ROOM)
