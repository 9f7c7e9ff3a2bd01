"""The benchmark's desk measures a market that has settled: bids are paced by nothing, and as many as ever."""

from benchmarks.desk import Desk
from benchmarks.market import make_market
from bidder.core.pacing_kernels import G_LEAST, G_MULTIPLIER

BATCH = 128


def test_ample_budgets_pace_nothing_and_the_bid_rate_stands_still() -> None:
    market = make_market(100)
    desk = Desk(market, market.model())
    rates = []
    for _ in range(3):
        bids, asked = desk.engine.reasons.get(0, 0), desk.engine.opportunities
        for _ in range(24):
            desk.decide(BATCH)
        rates.append((desk.engine.reasons[0] - bids) / (desk.engine.opportunities - asked))
        paces = desk.engine._pacer.rows
        assert (paces[:, G_MULTIPLIER] > 0.9).all()
        assert (paces[:, G_LEAST] <= 0.0).all()
    assert min(rates) > 0.38
    assert max(rates) < 0.48
    assert desk.engine.wallet.purse.open_reservations < 2 * 8 * BATCH
