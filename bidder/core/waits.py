"""How long a bid's money waits for its result, by exchange: learned from the wins that this seat heard of.

The time from a bid to the first that its seat hears of its win, be it the win or the billing, goes through exchange,
tracker and bank; a reservation that outlasts it is safe, and each second longer locks money that other bids could
use. So once `result_least_wins` wins of an exchange were heard of, a reservation waits

    result_factor * the quantile `result_quantile` of those times,

at least `result_least_seconds` and never longer than `result_seconds`, which the bank counts on. A win that is heard
of after its reservation ended counts too, as long as the purse remembers the bid: else the time could only shrink.
What is rarer than the quantile tells is a late win, paid and counted as such. The terms in a bid's token stay
as configured. All follows from settlements and ticks, which are journaled: a replay waits as long.
"""

from bidder.core.delays import DelayHistogram
from bidder.core.gate import Gate
from bidder.core.settings import NS_PER_SECOND, EngineSettings

_MOST_WINS = 1 << 17
"""Wins after which the older ones fade."""


class Waits:
    """Measured delays of each exchange with rules of its own, and of all others together.

    Args:
        settings: of the engine. gate: whose exchanges wait.

    Attributes:
        names: of exchanges, by their index in the gate; `*` for all others.
        heard: from a bid to the first word of its win. billed: to its billing.
    """

    def __init__(self, settings: EngineSettings, gate: Gate) -> None:
        self._gate = gate
        self.names = gate.rule_names
        self._rules = [settings.rules(name) for name in self.names]
        self.heard = [DelayHistogram(_MOST_WINS) for _ in self.names]
        self.billed = [DelayHistogram(_MOST_WINS) for _ in self.names]

    def refresh(self) -> None:
        """Takes what was heard of by now; for each tick."""
        for index, (rules, heard) in enumerate(zip(self._rules, self.heard, strict=True)):
            if rules.result_time == "fixed" or heard.count < rules.result_least_wins:
                continue
            long_ns = int(heard.quantile_ns(round(rules.result_quantile * 1e6)) * rules.result_factor)
            least_ns = int(rules.result_least_seconds * NS_PER_SECOND)
            most_ns = int(rules.result_seconds * NS_PER_SECOND)
            self._gate.wait(index, min(max(long_ns, least_ns), most_ns))
