"""What a bid needs of the budgets that it would be charged to, and whether it may hold that much."""

from math import ceil

import msgspec

from bidder.core.decision_columns import FIXED_PRICE, GUARANTEED, R_FLAGS, R_SEED
from bidder.core.draw_kernels import takes_part
from bidder.core.explain_state import Accounts, State
from bidder.core.explain_trial import Stage
from bidder.core.explain_words import instant
from bidder.core.pacing_kernels import G_LEAST, G_MULTIPLIER
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal

Verdict = tuple[bool | None, str, str]
"""Whether it passed, what is wanted and what is shown."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One budget: nanos, or millionths of an impression where `unit` says so."""

    account_id: str
    unit: str
    limit: int
    available: int
    needed: int
    lease_until_ns: int
    leased: bool
    enough: bool


def accounts_asked(
    stage: Stage, line: int, now_ns: int, amount: int | None, quantity: int, state: State, accounts: Accounts
) -> tuple[Account, ...]:
    """Each budget that a bid would be charged to, as it stands at an opportunity.

    Args:
        stage: with the table. line: its row. now_ns: the day of daily budgets. amount: nanos of the bid, None without
            one. quantity: millionths of impressions. state, accounts: before the opportunity.
    """
    chain = int(accounts.chains[line])
    begin, end = int(accounts.chain_start[chain]), int(accounts.chain_start[chain + 1])
    budgets = stage.budgets(line, now_ns)
    found: list[Account] = []
    for budget, number in zip(budgets, accounts.chain_accounts[begin:end].tolist(), strict=True):
        money = int(accounts.unit[number]) == 0
        needed = (amount or 0) if money else quantity
        available, until_ns = int(state.available[number]), int(accounts.lease_until[number])
        found.append(
            Account(
                account_id=budget.account_id,
                unit="nanos" if money else "millionths of impressions",
                limit=budget.limit,
                available=available,
                needed=needed,
                lease_until_ns=until_ns,
                leased=now_ns < until_ns,
                enough=available >= needed,
            )
        )
    return tuple(found)


def least_of(stage: Stage, line: int, r: int, state: State) -> float:
    """Nanos of the least bid of a line item in row `r` while money is short; 0 where a deal sets the price."""
    if stage.batch.columns[r, R_FLAGS] & (FIXED_PRICE | GUARANTEED) == FIXED_PRICE:
        return 0.0
    return max(float(state.paces[group, G_LEAST]) for group in stage.engine.wallet.groups_of(line))


def left_out(stage: Stage, line: int, r: int, state: State) -> float | None:
    """The share of a deal's opportunities that is taken, where this one is not of it; else None."""
    row = stage.batch.columns[r]
    if row[R_FLAGS] & (FIXED_PRICE | GUARANTEED) != FIXED_PRICE:
        return None
    share = min(float(state.paces[group, G_MULTIPLIER]) for group in stage.engine.wallet.groups_of(line))
    return None if takes_part(int(row[R_SEED]), share) else share


def lease_words(money: tuple[Account, ...]) -> Verdict:
    """Whether all budgets are leased."""
    missing = [one.account_id for one in money if not one.leased]
    until = min((one.lease_until_ns for one in money), default=0)
    shows = f"none of {', '.join(missing)}" if missing else f"until {instant(until)}"
    return not missing, "leases of all its budgets", shows


def budget_words(
    money: tuple[Account, ...], amount: int | None, least: float, share: float | None = None
) -> Verdict:
    """Whether every budget has the amount of a bid free, and the bid is worth holding so much.

    Args:
        money: its budgets. amount: nanos, None without a bid. least: nanos. share: see `left_out`.
    """
    short = [one for one in money if not one.enough]
    if amount is None:
        return None, _WANTS, "no bid to pay for"
    if amount < least:
        wants = f"at least {format_decimal(ceil(least), NANOS_PER_UNIT)}, as bids under way hold most of what is left"
        return False, wants, format_decimal(amount, NANOS_PER_UNIT)
    if share is not None:
        return False, f"{share:.1%} of the deal's opportunities, by pacing", "not one of them"
    return not short, _WANTS, ", ".join(f"{one.account_id}: {_units(one)}" for one in short or money)


def _units(account: Account) -> str:
    """What an account has free against what is needed."""
    scale = NANOS_PER_UNIT if account.unit == "nanos" else MICROS_PER_UNIT
    free, needed = (format_decimal(amount, scale) for amount in (account.available, account.needed))
    return f"{free} free, {needed} needed"


_WANTS = "the amount of the bid in every budget"
