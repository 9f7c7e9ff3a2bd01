"""A worker over months: what is of days that are over is forgotten, and what is kept still adds up."""

from typing import Any

import numpy as np
import pytest

from bidder.core.campaigns import Advertiser, Budgets, LineItem, Pacing
from bidder.core.engine import Engine
from bidder.core.messages import ONE_IMPRESSION, SettlementKind, Settlements
from bidder.core.purse import Purse, Result, Unit
from bidder.core.wallet import _DAYS_KEPT
from bidder.errors import InvariantError
from bidder.openrtb.reasons import Reason
from tests.support import factories as make
from tests.support.factories import Offer, S, campaign, settlement
from tests.support.naive_ledger import NaiveLedger

DAY = 86_400 * S
FIRST = 20_500
LONG: dict[str, Any] = {"start_ns": 0, "end_ns": 40_000 * DAY, "pacing": Pacing.ASAP}
ITEMS = tuple(LineItem(id=f"l{n}", budgets=Budgets(daily_nanos=5 * S, daily_impressions=9)) for n in range(2))
SHOP = Advertiser(id="shop", budgets=Budgets(daily_nanos=9 * S))
DAILY = ("a/shop/money", "l/l0/money", "l/l0/imps", "l/l1/money", "l/l1/imps")


def opened() -> Engine:
    made = Engine(make.SETTINGS, make.KEY, None, make.START)
    made.adopt_campaigns({"c1": campaign(line_items=ITEMS, **LONG)}, 1, FIRST * DAY, {"shop": SHOP})
    return made


def a_day(made: Engine, day: int, *, settled: bool = True) -> str:
    """Leases of the day, one bid, what came of it, and ticks until the day is over; the bid."""
    now_ns = day * DAY + S
    end_ns = (day + 1) * DAY
    leases = [make.lease("c1", granted_nanos=day * S, budget_nanos=day * S, bid_until_ns=end_ns)]
    for name in DAILY:
        granted = 9 * ONE_IMPRESSION if "/imps" in name else 5 * S
        leases.append(make.lease(f"{name}/d{day}", granted_nanos=granted, bid_until_ns=end_ns))
    made.tick(now_ns)
    made.adopt_leases(leases, now_ns)
    (row,) = make.decide(made, make.body(Offer(id=f"r{day}", external=("l0", 0.001))), now_ns=now_ns)
    assert row["reason"] == Reason.BID
    if settled:
        post = settlement(SettlementKind.POSTED, row["bid_id"], 700, line_item_id="l0", bid_at_ns=now_ns)
        made.settle([post], now_ns + S)
    for tick in range(100):
        made.tick(now_ns + 2 * S + tick * S)
    return str(row["bid_id"])


def sizes(made: Engine) -> dict[str, int]:
    """Of all that could grow by the day."""
    wallet = made.wallet
    purse = wallet.purse
    return {
        "accounts": len(purse.books),
        "chains": len(purse.chain_start) - 1,
        "chain accounts": len(purse.chain_accounts),
        "keys": len(list(purse.account_keys())),
        "leases": len(wallet.leases),
        "chains by keys": len(wallet._chain_of_keys),
        "chains by line": len(wallet._chains),
        "seen": len(wallet.available),
        "until": len(wallet.lease_until),
        "open": purse.open_reservations,
    }


def test_what_a_worker_keeps_is_bounded_over_months() -> None:
    made = opened()
    for day in range(FIRST, FIRST + 8):
        a_day(made, day)
    after_days = sizes(made)
    for day in range(FIRST + 8, FIRST + 150):
        a_day(made, day)
    assert sizes(made) == after_days
    books = made.wallet.purse.books
    assert books[made.wallet.purse.account("c1"), 2] == 150 * 700, "of what stands all is known"
    assert after_days["keys"] == 1 + len(DAILY) * (_DAYS_KEPT + 1)


def test_without_forgetting_it_would_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the test above."""
    monkeypatch.setattr("bidder.core.wallet._DAYS_KEPT", 10_000)
    made = opened()
    for day in range(FIRST, FIRST + 20):
        a_day(made, day)
    assert sizes(made)["keys"] == 1 + len(DAILY) * 20


def test_a_day_on_which_a_bid_still_waits_is_kept() -> None:
    """The bank says that it heard of nothing since: what is reserved stays."""
    made = opened()
    made.wallet.hear(Settlements(seat=make.SEAT, epoch=1, rows=(), heard_until_ns=FIRST * DAY))
    bid = a_day(made, FIRST, settled=False)
    for day in range(FIRST + 1, FIRST + 9):
        a_day(made, day)
    kept = set(made.wallet.purse.account_keys())
    assert f"l/l0/money/d{FIRST}" in kept
    assert f"l/l1/money/d{FIRST}" not in kept
    post = settlement(SettlementKind.POSTED, bid, 700, line_item_id="l0", bid_at_ns=FIRST * DAY + S)
    made.settle([post], (FIRST + 9) * DAY)
    assert made.wallet.purse.posted(made.wallet.purse.account(f"l/l0/money/d{FIRST}")) == 700
    a_day(made, FIRST + 10)
    assert f"l/l0/money/d{FIRST}" not in set(made.wallet.purse.account_keys())


def test_a_post_of_a_day_that_was_forgotten_is_owed_all_the_same() -> None:
    made = opened()
    bids = [a_day(made, day, settled=False) for day in range(FIRST, FIRST + 9)]
    now_ns = (FIRST + 9) * DAY
    post = settlement(SettlementKind.POSTED, bids[0], 700, line_item_id="l0", bid_at_ns=FIRST * DAY + S)
    made.settle([post], now_ns)
    purse = made.wallet.purse
    assert purse.late(purse.account(f"l/l0/money/d{FIRST}")) == 700
    assert purse.late(purse.account("c1")) == 700
    a_day(made, FIRST + 10)
    assert f"l/l0/money/d{FIRST}" not in set(purse.account_keys())


# -- the purse itself -----------------------------------------------------------------------------------------------


def test_numbers_of_what_was_forgotten_are_used_again_and_begin_with_nothing() -> None:
    purse = Purse(10)
    stands, day = purse.account("c1"), purse.account("c1/d1", Unit.IMPRESSIONS)
    chain = purse.chain((stands, day))
    for account in (stands, day):
        purse.grant(account, 5 * ONE_IMPRESSION)
    assert purse.reserve(b"a" * 12, chain, 7, 100, 100) is Result.OK
    with pytest.raises(InvariantError, match="hold nothing in reserve"):
        purse.forget(["c1/d1"])
    with pytest.raises(InvariantError, match="must be known"):
        purse.forget(["nobody"])
    assert purse.post(b"a" * 12, chain, 7, 1) is Result.OK
    assert purse.forget(["c1/d1"]) == ([day], [chain])
    again = purse.account("c1/d2", Unit.MONEY)
    assert (again, purse.unit[again], purse.books[again].tolist()) == (day, Unit.MONEY, [0, 0, 0, 0])
    assert purse.chain((again, stands)) == chain
    assert purse.chain_accounts.tolist() == [again, stands]
    assert purse.books[stands, 2] == 7
    # The bid is remembered, and charges nothing of the new day.
    assert purse.post(b"a" * 12, chain, 7, 2) is Result.EXISTS
    assert purse.books[again].tolist() == [0, 0, 0, 0]


def _unit(name: str) -> Unit:
    return Unit.IMPRESSIONS if "/imps" in name else Unit.MONEY


def _play(book: Purse | NaiveLedger, day: int) -> tuple[list[Result], list[tuple[int, int, int]]]:
    """Twenty bids of a day: paid, lost, paid late or left; how each step ended, and the books after it."""
    random = np.random.default_rng(day)
    names = ["c1", f"l/money/d{day}", f"l/imps/d{day}"]
    accounts = tuple(book.account(name, _unit(name)) for name in names)
    for account in accounts:
        book.grant(account, (day + 1) * 40 * ONE_IMPRESSION)
    chain = book.chain(accounts)
    results = []
    for step in range(20):
        now_ns, amount = day * 100 + step, int(random.integers(1, 90))
        bid = (day * 100 + step).to_bytes(12, "big")
        results.append(book.reserve(bid, chain, amount, now_ns + 5, now_ns + 5))
        kind = int(random.integers(4))
        if kind == 0:
            results.append(book.post(bid, chain, amount, now_ns))
        elif kind == 1:
            results.append(book.void(bid, now_ns))
        elif kind == 2:
            book.expire(now_ns + 10)
            results.append(book.post(bid, chain, amount, now_ns + 11))
    book.expire(day * 100 + 99)
    return results, [_books(book, account) for account in accounts]


def _books(book: Purse | NaiveLedger, number: int) -> tuple[int, int, int]:
    """Free, posted and late of an account."""
    if isinstance(book, Purse):
        return int(book.available[number]), book.posted(number), book.late(number)
    account = book.accounts[number]
    return account.free, account.posted, account.late


def test_a_purse_that_forgets_days_agrees_with_one_that_never_does() -> None:
    purse, naive = Purse(50), NaiveLedger(50)
    ends = set()
    for day in range(60):
        results, books = _play(purse, day)
        assert (results, books) == _play(naive, day)
        ends |= set(results)
        purse.forget([f"l/money/d{day}", f"l/imps/d{day}"])
    assert (len(purse.books), len(purse.chain_start) - 1) == (3, 1)
    assert ends == {Result.OK, Result.LATE}
