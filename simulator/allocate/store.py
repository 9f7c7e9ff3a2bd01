"""Budgets of a store of campaigns: read as they are, and written where that was asked for."""

import time
from collections.abc import Sequence

from bidder.core.portfolio_moves import Move
from bidder.errors import InputError
from bidder.money import NANOS_PER_UNIT, format_decimal
from bidder.store.campaigns import BudgetMove, CampaignStore, unknown
from bidder.store.database import Database, is_url
from simulator.allocate.plan import Plan
from simulator.allocate.words import rate

ACTOR = "allocate"


def budgets_in(place: str, names: Sequence[str]) -> dict[str, int]:
    """Budgets for the flight of campaigns in a store, by id, nanos.

    Raises:
        InputError: no store there, or a campaign that it does not have.
    """
    _check_there(place)
    with Database(place) as database:
        campaigns = CampaignStore(database).all()
    for name in names:
        if name not in campaigns:
            raise InputError(unknown("campaign of the curves", "the store's", name, [*campaigns]))
    return {name: campaigns[name].budget_nanos for name in names}


def apply_budgets(place: str, found: Plan) -> int:
    """Writes the recommended budgets of those that move, all or none; returns how many.

    Raises:
        InputError: no store there, a budget that is another one by now, or one that would become 0.
    """
    _check_there(place)
    moves = [move for move in found.moves if move.before != move.after]
    nothing = [move.name for move in moves if move.after == 0]
    if nothing:
        raise InputError(
            f"budget of campaign {nothing[0]} must be > 0 in a store, would be 0: pause it, or state a least budget"
        )
    with Database(place) as database:
        CampaignStore(database).move_budgets(
            [
                BudgetMove(move.name, found.current[spot], move.after, _why(found, move))
                for spot, move in enumerate(found.moves)
                if move.before != move.after
            ],
            at_ns=time.time_ns(),
            actor=ACTOR,
        )
    return len(moves)


def _why(found: Plan, move: Move) -> str:
    before, after = rate(move.return_before, found.measure), rate(move.return_after, found.measure)
    amount = format_decimal(move.after - move.before, NANOS_PER_UNIT)
    return f"{amount}: a unit of money brings {before} before and {after} after; {move.stopped}"


def _check_there(place: str) -> None:
    from pathlib import Path

    if not is_url(place) and not Path(place).exists():
        raise InputError(f"database {place} must be there, was not: import a sheet first")
