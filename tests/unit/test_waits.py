"""How long reservations wait: learned from the wins that a seat heard of."""

from typing import Any

import pytest

from bidder.core.engine import Engine
from bidder.core.messages import Settlement, SettlementKind
from bidder.core.settings import EngineSettings, ExchangeRules
from bidder.core.token import bid_id_text
from bidder.core.wallet import tag_of
from tests.support import factories as make
from tests.support.factories import campaign, lease

S = 1_000_000_000
RULES: dict[str, Any] = {"result_seconds": 60.0, "billing_seconds": 600.0, "result_least_wins": 50}


def engine(**rules: Any) -> Engine:
    exchanges = {"*": ExchangeRules(**RULES), "alpha": ExchangeRules(**(RULES | rules))}
    made = Engine(EngineSettings(external_scores=True, exchanges=exchanges), make.KEY, None, make.START)
    made.adopt_campaigns({"c1": campaign()}, 1, 0)
    made.adopt_leases([lease()], 0)
    return made


def bid(number: int) -> bytes:
    return number.to_bytes(12, "big")


def win(made: Engine, number: int, delay_ns: int, kind: SettlementKind = SettlementKind.WON) -> None:
    """A bid of exchange `alpha` that is heard of so much later."""
    chain = int(made.wallet.chains[0])
    made.wallet.purse.reserve(bid(number), chain, 1_000, 60 * S, 660 * S, tag=tag_of(0, 1))
    amount = 900 if kind is SettlementKind.POSTED else 0
    row = Settlement(
        kind=kind,
        seat="seat-1",
        epoch=1,
        bid_id=bid_id_text(bid(number)),
        campaign_id="c1",
        amount_nanos=amount,
        late=False,
        bid_at_ns=S,
        at_ns=S + delay_ns // 2,
    )
    made.settle([row], S + delay_ns)


def learned(wins: int, delay_ns: int, **rules: Any) -> Engine:
    made = engine(**rules)
    for number in range(wins):
        win(made, number, delay_ns)
    made.tick(2 * S)
    return made


def test_until_enough_wins_are_heard_of_money_waits_as_configured() -> None:
    assert learned(49, 2 * S).gate.exchange("alpha").wait_ns == 60 * S


def test_then_it_waits_a_multiple_of_the_measured_quantile() -> None:
    made = learned(50, 4 * S)
    wait_ns = made.gate.exchange("alpha").wait_ns
    assert 8 * S <= wait_ns <= 9 * S
    assert made.gate.waits_ns(1) == wait_ns
    assert made.gate.exchange("beta").wait_ns == 60 * S, "each exchange has its own"


@pytest.mark.parametrize(("delay_ns", "wait_ns"), [(S // 100, S), (50 * S, 60 * S)])
def test_the_wait_keeps_its_least_and_its_most(delay_ns: int, wait_ns: int) -> None:
    assert learned(50, delay_ns).gate.exchange("alpha").wait_ns == wait_ns


def test_a_fixed_time_learns_nothing() -> None:
    assert learned(50, 4 * S, result_time="fixed").gate.exchange("alpha").wait_ns == 60 * S


def test_a_win_counts_once_and_its_billing_apart() -> None:
    made = engine()
    win(made, 1, 4 * S)
    win(made, 1, 9 * S, SettlementKind.POSTED)
    win(made, 2, 5 * S, SettlementKind.POSTED)
    assert (made.waits.heard[1].count, made.waits.billed[1].count) == (2, 2)


def test_a_win_that_is_heard_of_too_late_is_measured_all_the_same() -> None:
    made = engine()
    chain = int(made.wallet.chains[0])
    made.wallet.purse.reserve(bid(1), chain, 1_000, 60 * S, 660 * S, tag=tag_of(0, 1))
    made.tick(61 * S)
    win(made, 1, 70 * S, SettlementKind.POSTED)
    assert made.late_wins == 1
    assert made.waits.heard[1].quantile_ns(999_000) >= 70 * S


def test_the_loop_from_a_billing_to_its_multiplier_is_measured() -> None:
    made = engine()
    win(made, 1, 4 * S, SettlementKind.POSTED)
    assert (made.loop.count, made.loop.total_ns) == (1, 2 * S)


def test_money_locked_and_spent_is_told_by_campaign() -> None:
    made = engine()
    win(made, 1, 4 * S, SettlementKind.POSTED)
    win(made, 2, 4 * S)
    assert made.locked() == {"c1": (1_000, 900)}
