"""How the purse lays out its state: the arrays that its compiled loops share, and their columns.

State is four arrays, made and grown by `bidder.core.purse`:

    records  int64[n, 8]     one reservation a row, one line of the cache: the columns below
    index    int64[2**k]     open addressing: stamp << 32 | record + 1, 0 where empty
    wheel    int32[2**14]    first record of each tick's list, -1 where empty
    control  int64[10]       counters, by C_ column

and the accounts: `books` int64[accounts, 4] by B_ column, `available` int64[accounts] free amounts, `unit`
uint8[accounts], `chain_start` int32[chains + 1] into `chain_accounts` int32[].
"""

HEAD, IDENTITY, AMOUNT, IMPRESSIONS, DUE, SIDE, TAG, LINKS = range(8)
"""Columns of a record, int64.

HEAD: bytes 0 to 7 of the id, the first is the highest. IDENTITY: H_TAIL and H_MARK. AMOUNT: nanos. IMPRESSIONS: in
micros. DUE: when time ends it; once ended, when it is forgotten. SIDE: while RESERVED the end of waiting for the
billing of a win, after that the time under which it hangs. TAG: the caller's. LINKS: H_NEXT and H_PREV; in a row
that is free, H_NEXT is the next free one.
"""

H_TAIL, H_MARK, H_NEXT, H_PREV = 2, 3, 14, 15
"""Columns of the same rows seen as int32: bytes 8 to 11 of the id, chain << 3 | state, neighbours in the list.

H_PREV of the first record in the list of tick t is -1 - t.
"""

RESERVED, WON, POSTED, VOIDED, EXPIRED = range(5)
"""States; money stands reserved up to WON."""

C_USED, C_TOP, C_FREE, C_OPEN, C_CURSOR, C_SHIFT, C_KEEP, C_ROW, C_ACCOUNT, C_FETCHED = range(10)
"""Records in use; rows ever used; first free row below those, or -1; reservations with money set aside; tick up to
which time is over; log2 of a tick's nanoseconds; how long an end is remembered, ns; row and account of a fault; what
was looked up last, there for the compiler not to leave the looking up out.
"""

B_GRANTED, B_RESERVED, B_POSTED, B_LATE = range(4)
"""Columns of the books."""

MONEY, IMPRESSION = range(2)
"""`bidder.core.purse.Unit`."""

K_WON, K_POSTED, K_VOIDED = 1, 2, 3
"""Kinds of a settlement, `bidder.core.messages.SettlementKind`."""

OK, EXISTS, NOT_FOUND, EXCEEDS, LATE = range(5)
"""`bidder.core.purse.Result`."""

F_SHAPE, F_AMOUNT, F_CHAIN, F_KIND, F_BOOKS, F_SPENT = range(16, 22)
"""Faults of ours: arrays of different lengths or without room; an amount of nothing; a chain or a kind that there is
not; books that do not add up; more spent than an account can hold."""

ONE_IMPRESSION = 1_000_000
