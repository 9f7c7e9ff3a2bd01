"""The compiled loops of the purse: reservations in a hash table, their ends on a wheel, money in chains of accounts.

State is the arrays of `core.purse_columns`, made and grown by `core.purse`; the hash table is
`core.purse_index_kernels`.

*Wheel* (Varghese and Lauck, Hashed and Hierarchical Timing Wheels, SOSP 1987, scheme 6). A record hangs in one list,
under a time that is never after its due time. A due time that moves to later moves nothing: the record is hung
anew when its list is visited. What ends early is thus touched once, and the order in a list means nothing.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

from bidder.core.purse_columns import (
    AMOUNT,
    B_GRANTED,
    B_LATE,
    B_POSTED,
    B_RESERVED,
    C_ACCOUNT,
    C_CURSOR,
    C_FREE,
    C_KEEP,
    C_OPEN,
    C_ROW,
    C_SHIFT,
    C_TOP,
    C_USED,
    DUE,
    EXCEEDS,
    EXISTS,
    EXPIRED,
    F_AMOUNT,
    F_BOOKS,
    F_CHAIN,
    F_KIND,
    F_SHAPE,
    F_SPENT,
    H_MARK,
    H_NEXT,
    H_PREV,
    H_TAIL,
    HEAD,
    IMPRESSION,
    IMPRESSIONS,
    K_POSTED,
    K_VOIDED,
    K_WON,
    LATE,
    NOT_FOUND,
    OK,
    ONE_IMPRESSION,
    POSTED,
    RESERVED,
    SIDE,
    TAG,
    VOIDED,
    WON,
)
from bidder.core.purse_index_kernels import fetch, number_of, seek, stamp_of, vacate
from bidder.money import MAX_NANOS

_NONE = -1
_M32 = 0xFFFF_FFFF


@njit(cache=True)
def hang(wheel, halves, control, record, at_ns):
    """Puts a record into the list of a time; of time that is over, into the list that is visited next."""
    tick = max(at_ns >> control[C_SHIFT], control[C_CURSOR]) & wheel.shape[0] - 1
    first = wheel[tick]
    halves[record, H_NEXT] = first
    halves[record, H_PREV] = -1 - tick
    if first >= 0:
        halves[first, H_PREV] = record
    wheel[tick] = record


@njit(cache=True)
def unhang(wheel, halves, record):
    """Takes a record out of its list."""
    following, before = halves[record, H_NEXT], halves[record, H_PREV]
    if before >= 0:
        halves[before, H_NEXT] = following
    else:
        wheel[-1 - before] = following
    if following >= 0:
        halves[following, H_PREV] = before


@njit(cache=True)
def redate(records, wheel, halves, control, record, due_ns):
    """Moves the due time of a record that was RESERVED or WON until now."""
    hung_ns = records[record, SIDE]
    if np.int64(halves[record, H_MARK]) & 7 == RESERVED:
        hung_ns = records[record, DUE]
    if due_ns < hung_ns:
        unhang(wheel, halves, record)
        hang(wheel, halves, control, record, due_ns)
        hung_ns = due_ns
    records[record, DUE] = due_ns
    records[record, SIDE] = hung_ns


@njit(cache=True)
def mark(halves, record, state):
    """Sets the state of a record."""
    halves[record, H_MARK] = np.int64(halves[record, H_MARK]) & ~7 | state


@njit(cache=True)
def take(index, records, halves, wheel, control, ids, row, slot, stamp, chain, state, due_ns):
    """Writes a new record of an id that `seek` found no record of, and hangs it; amounts are left to the caller."""
    record = control[C_FREE]
    if record >= 0:
        control[C_FREE] = halves[record, H_NEXT]
    else:
        record = control[C_TOP]
        control[C_TOP] = record + 1
    control[C_USED] += 1
    records[record, HEAD] = number_of(ids, row, 0, 4) << 32 | number_of(ids, row, 4, 8)
    tail = number_of(ids, row, 8, 12)
    halves[record, H_TAIL] = tail - (tail >> 31 << 32)
    halves[record, H_MARK] = chain << 3 | state
    records[record, DUE] = due_ns
    records[record, SIDE] = due_ns
    index[slot] = stamp << 32 | record + 1
    hang(wheel, halves, control, record, due_ns)
    return record


@njit(cache=True)
def forget(index, records, halves, control, record):
    """Frees a record that hangs in no list."""
    head = records[record, HEAD]
    stamp = stamp_of(head >> 32 & _M32, head & _M32, np.int64(halves[record, H_TAIL]) & _M32)
    entry = stamp << 32 | record + 1
    mask = index.shape[0] - 1
    slot = stamp & mask
    while index[slot] != entry:
        slot = slot + 1 & mask
    vacate(index, slot)
    halves[record, H_NEXT] = control[C_FREE]
    control[C_FREE] = record
    control[C_USED] -= 1


@njit(cache=True)
def move(accounts, control, chain, reserved, posted, reserved_impressions, posted_impressions, late):
    """Moves amounts between the places of every account of a chain; what is neither reserved nor posted is free.

    Checks each account after it was moved: none was made or lost, none is below nothing.

    Args:
        accounts: (books, available, unit, chain_start, chain_accounts), changed. control: where a fault is noted.
        chain: whose accounts.
        reserved, posted: added in accounts of money, nanos. reserved_impressions, posted_impressions: in the others.
        late: whether what is posted is late.

    Returns:
        OK, or the fault, with its account in `control`.
    """
    books, available, unit, chain_start, chain_accounts = accounts
    for k in range(chain_start[chain], chain_start[chain + 1]):
        account = chain_accounts[k]
        more, spent = reserved, posted
        if unit[account] == IMPRESSION:
            more, spent = reserved_impressions, posted_impressions
        if books[account, B_POSTED] > MAX_NANOS - spent:
            control[C_ACCOUNT] = account
            return F_SPENT
        books[account, B_RESERVED] += more
        books[account, B_POSTED] += spent
        if late:
            books[account, B_LATE] += spent
        free = available[account] - more - spent
        available[account] = free
        total = free + books[account, B_RESERVED] + books[account, B_POSTED]
        whole = total == books[account, B_GRANTED]
        if not whole or books[account, B_RESERVED] < 0 or free < -books[account, B_LATE]:
            control[C_ACCOUNT] = account
            return F_BOOKS
    return OK


@njit(cache=True)
def affordable(accounts, chain, amount, impressions):
    """Whether every account of a chain has that much free; `accounts` as in `move`."""
    _, available, unit, chain_start, chain_accounts = accounts
    for k in range(chain_start[chain], chain_start[chain + 1]):
        account = chain_accounts[k]
        need = impressions if unit[account] == IMPRESSION else amount
        if need > available[account]:
            return False
    return True


@njit(cache=True)
def reserve_rows(
    index, records, wheel, control, books, available, unit, chain_start, chain_accounts,
    ids, chains, amounts, impressions, tags, result_until, liable_until,
):  # fmt: skip
    """Sets money aside for bids in order; stops at the first that cannot be.

    Args:
        index, records, wheel, control, books, available, unit, chain_start, chain_accounts: the state, changed.
        ids: uint8[n, 12]. chains: int32[n]. amounts: int64[n], nanos. impressions: int64[n], micro-impressions.
        tags: uint64[n], kept for the caller. result_until, liable_until: int64[n], ns.

    Returns:
        OK, else the result or fault of the row in `control[C_ROW]`: the rows before it stand.
    """
    n = ids.shape[0]
    accounts = books, available, unit, chain_start, chain_accounts
    halves = records.view(np.int32)
    marks = tags.view(np.int64)
    control[C_ROW] = 0
    lengths = min(chains.shape[0], amounts.shape[0], impressions.shape[0], tags.shape[0])
    lengths = min(lengths, result_until.shape[0], liable_until.shape[0])
    if ids.shape[1] != 12 or lengths < n or control[C_USED] + n > records.shape[0]:
        return F_SHAPE
    for i in range(n):
        control[C_ROW] = i
        chain, amount, count = chains[i], amounts[i], impressions[i]
        if amount <= 0 or count <= 0:
            return F_AMOUNT
        if chain < 0 or chain >= chain_start.shape[0] - 1:
            return F_CHAIN
        slot, record, stamp = seek(index, records, halves, ids, i)
        if record >= 0:
            return EXISTS
        if not affordable(accounts, chain, amount, count):
            return EXCEEDS
        record = take(
            index, records, halves, wheel, control, ids, i, slot, stamp, chain, RESERVED, result_until[i]
        )
        records[record, AMOUNT] = amount
        records[record, IMPRESSIONS] = count
        records[record, SIDE] = liable_until[i]
        records[record, TAG] = marks[i]
        control[C_OPEN] += 1
        fault = move(accounts, control, np.int64(chain), amount, 0, count, 0, False)
        if fault != OK:
            return fault
    return OK


@njit(cache=True)
def release(accounts, control, records, halves, record, state):
    """Ends an open reservation and frees all that it had set aside; returns OK or the fault."""
    mark(halves, record, state)
    control[C_OPEN] -= 1
    amount, count = records[record, AMOUNT], records[record, IMPRESSIONS]
    return move(accounts, control, np.int64(halves[record, H_MARK]) >> 3, -amount, 0, -count, 0, False)


@njit(cache=True)
def settle_rows(
    index, records, wheel, control, books, available, unit, chain_start, chain_accounts,
    ids, kinds, chains, amounts, impressions, now_ns, results, tags,
):  # fmt: skip
    """Takes over wins, posts and voids in order.

    Args:
        index, records, wheel, control, books, available, unit, chain_start, chain_accounts: the state, changed.
        ids: uint8[n, 12]. kinds: uint8[n], by K_. chains: int32[n] and amounts: int64[n], nanos, read of posts only.
        impressions: int64[n], micro-impressions that a late post is charged, 0 for what was reserved, or for
            one where nothing is known of it; an array of no length for 0 everywhere.
        now_ns: the time.
        results: uint8[n], how each ended. tags: uint64[n], of each bid as far as it is known, else 0.

    Returns:
        OK, or the fault of the row in `control[C_ROW]`: the rows before it stand.
    """
    n = ids.shape[0]
    accounts = books, available, unit, chain_start, chain_accounts
    halves = records.view(np.int32)
    marks = tags.view(np.int64)
    given = impressions.shape[0] > 0
    control[C_ROW] = 0
    lengths = min(kinds.shape[0], chains.shape[0], amounts.shape[0], results.shape[0], tags.shape[0])
    if given:
        lengths = min(lengths, impressions.shape[0])
    if ids.shape[1] != 12 or lengths < n or control[C_USED] + n > records.shape[0]:
        return F_SHAPE
    fetch(index, records, halves, control, ids)
    for i in range(n):
        control[C_ROW] = i
        slot, record, stamp = seek(index, records, halves, ids, i)
        marks[i] = records[record, TAG] if record >= 0 else 0
        state = np.int64(halves[record, H_MARK]) & 7 if record >= 0 else EXPIRED
        kind = kinds[i]
        if kind == K_POSTED:
            chain, amount = chains[i], amounts[i]
            if amount <= 0 or (given and impressions[i] < 0):
                return F_AMOUNT
            if chain < 0 or chain >= chain_start.shape[0] - 1:
                return F_CHAIN
            if state == POSTED:
                results[i] = EXISTS
                continue
            if state <= WON:
                held, count = records[record, AMOUNT], records[record, IMPRESSIONS]
                if amount > held:
                    results[i] = EXCEEDS
                    continue
                payer = np.int64(halves[record, H_MARK]) >> 3
                fault = move(accounts, control, payer, -held, amount, -count, count, False)
                redate(records, wheel, halves, control, record, now_ns + control[C_KEEP])
                mark(halves, record, POSTED)
                control[C_OPEN] -= 1
                results[i] = OK
            else:
                if record < 0:
                    record = take(
                        index, records, halves, wheel, control, ids, i, slot, stamp, chain, POSTED,
                        now_ns + control[C_KEEP],
                    )  # fmt: skip
                    records[record, AMOUNT] = 0
                    records[record, IMPRESSIONS] = ONE_IMPRESSION
                    records[record, TAG] = 0
                mark(halves, record, POSTED)
                count = records[record, IMPRESSIONS]
                if given and impressions[i] > 0:
                    count = impressions[i]
                fault = move(accounts, control, np.int64(chain), 0, amount, 0, count, True)
                results[i] = LATE
            if fault != OK:
                return fault
        elif kind == K_WON:
            results[i] = NOT_FOUND if record < 0 else EXISTS
            if state == RESERVED:
                redate(records, wheel, halves, control, record, records[record, SIDE])
                mark(halves, record, WON)
                results[i] = OK
        elif kind == K_VOIDED:
            results[i] = NOT_FOUND if record < 0 else EXISTS
            if state <= WON:
                redate(records, wheel, halves, control, record, now_ns + control[C_KEEP])
                fault = release(accounts, control, records, halves, record, VOIDED)
                if fault != OK:
                    return fault
                results[i] = OK
        else:
            return F_KIND
    return OK


@njit(cache=True)
def expire(
    index, records, wheel, control, books, available, unit, chain_start, chain_accounts, now_ns, ended
):  # fmt: skip
    """Frees reservations whose time is over and forgets those long ended.

    Args:
        index, records, wheel, control, books, available, unit, chain_start, chain_accounts: the state, changed.
        now_ns: the time.
        ended: int64[at least the open reservations, 2], written: the record of each that was freed, still to be read
            there until the next one is reserved, and when its time was over. In no particular order.

    Returns:
        How many were freed, or -1 times the fault.
    """
    accounts = books, available, unit, chain_start, chain_accounts
    halves = records.view(np.int32)
    size = wheel.shape[0]
    begin = control[C_CURSOR]
    last = max(begin, now_ns >> control[C_SHIFT])
    control[C_CURSOR] = last
    freed = 0
    for tick in range(begin, min(last, begin + size - 1) + 1):
        record = np.int64(wheel[tick & size - 1])
        wheel[tick & size - 1] = _NONE
        while record >= 0:
            following = np.int64(halves[record, H_NEXT])
            due_ns = records[record, DUE]
            state = np.int64(halves[record, H_MARK]) & 7
            if due_ns <= now_ns and state <= WON:
                ended[freed, 0] = record
                ended[freed, 1] = due_ns
                freed += 1
                fault = release(accounts, control, records, halves, record, EXPIRED)
                if fault != OK:
                    return -fault
                state = np.int64(EXPIRED)
                due_ns = now_ns + control[C_KEEP]
                records[record, DUE] = due_ns
            if due_ns <= now_ns:
                forget(index, records, halves, control, record)
            else:
                if state != RESERVED:
                    records[record, SIDE] = due_ns
                hang(wheel, halves, control, record, due_ns)
            record = following
    return freed


@njit(cache=True)
def known(index, records, ids, out):
    """Writes into `out`, bool[n], which of `ids`, uint8[n, 12], have a record."""
    halves = records.view(np.int32)
    for i in range(min(ids.shape[0], out.shape[0])):
        _, record, _ = seek(index, records, halves, ids, i)
        out[i] = record >= 0


@njit(cache=True)
def states(index, records, ids, out):
    """Writes into `out`, uint8[n], the state of each of `ids`, uint8[n, 12]; 255 where it is not known."""
    halves = records.view(np.int32)
    for i in range(min(ids.shape[0], out.shape[0])):
        _, record, _ = seek(index, records, halves, ids, i)
        out[i] = np.int64(halves[record, H_MARK]) & 7 if record >= 0 else 255


@njit(cache=True)
def record_of(index, records, ids):
    """The record of the first of `ids`, or -1."""
    _, record, _ = seek(index, records, records.view(np.int32), ids, 0)
    return record


@njit(cache=True)
def agree(chains, chain_start, chain_accounts, ours, theirs):
    """Whether two views of the accounts that these chains charge are the same."""
    for i in range(chains.shape[0]):
        for k in range(chain_start[chains[i]], chain_start[chains[i] + 1]):
            account = chain_accounts[k]
            if ours[account] != theirs[account]:
                return False
    return True
