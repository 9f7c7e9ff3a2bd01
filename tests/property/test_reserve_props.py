"""The bound on spend: while no more comes uncovered than is held for it, a budget is never passed."""

from hypothesis import given
from hypothesis import strategies as st

from bidder.core.account import Account
from bidder.core.bookings import AccountRow

TAIL_NS = 100


@given(
    limit=st.integers(0, 10_000),
    share_ppm=st.integers(0, 500_000),
    steps=st.lists(st.tuples(st.integers(0, 60), *[st.integers(0, 1_000)] * 3), max_size=40),
)
def test_spend_stays_within_the_limit_while_what_is_uncovered_fits_what_is_held(
    limit: int, share_ppm: int, steps: list[tuple[int, int, int, int]]
) -> None:
    account = Account(AccountRow("c1", limit_units=limit))
    grant = account.open("s1", 1)
    now_ns = 0
    for past_ns, granted, in_time, late in steps:
        now_ns += past_ns
        account.keep_back(share_ppm, now_ns, TAIL_NS)
        if units := min(granted, account.room):
            account.give(grant, units)
        account.book(min(in_time, grant.outstanding), grant, late=False)
        account.book(min(late, account.held), None, late=True)
        account.check()
        assert account.booked + account.outstanding <= limit
        assert account.over == 0
        assert account.reserve * 1_000_000 <= limit * share_ppm


@given(limit=st.integers(0, 1_000), late=st.lists(st.integers(1, 500), max_size=8))
def test_what_comes_uncovered_beyond_it_is_all_that_passes_the_limit(limit: int, late: list[int]) -> None:
    account = Account(AccountRow("c1", limit_units=limit))
    grant = account.open("s1", 1)
    account.keep_back(100_000, 0, TAIL_NS)
    held = account.held
    if account.room:
        account.give(grant, account.room)
    account.book(grant.outstanding, grant, late=False)
    for units in late:
        account.book(units, None, late=True)
        account.check()
    assert account.over == max(0, sum(late) - held) == max(0, account.booked - limit)
