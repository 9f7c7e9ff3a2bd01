"""How the campaigns of an advertiser stand, for `core.portfolio_live`; and moves of their budgets, with why.

Read from what the bank keeps: campaigns and their changes, booked money, bookings of a window, and multipliers as
seats told them. A window begins anew where a budget changed, as what was before says nothing of the campaign now.
"""

import json
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from bidder.core.campaigns import Campaign, Goal, LineItem, Status
from bidder.core.messages import NoticeKind
from bidder.core.portfolio_live import Proposal, Standing
from bidder.core.status import PARTS_OF_ONE
from bidder.errors import InputError
from bidder.store.campaigns import BudgetMove, CampaignStore, unknown
from bidder.store.database import Database
from bidder.store.driver import Session

ACTOR = "portfolio"


class Wishes(NamedTuple):
    """What somebody asks of the campaigns: those that stay, and least and largest budgets, nanos by id."""

    frozen: Collection[str] = ()
    least: Mapping[str, int] = {}
    most: Mapping[str, int] = {}


class _Changed(NamedTuple):
    """The last change of a campaign's budget."""

    at_ns: int
    actor: str
    up: bool


def standings_of(
    database: Database,
    advertiser_id: str,
    now_ns: int,
    *,
    window_ns: int,
    settle_ns: int,
    wishes: Wishes | None = None,
    past: bool = False,
) -> list[Standing]:
    """Campaigns of an advertiser that have begun, not ended and are not paused, in the order of their ids.

    Args:
        database: the store. advertiser_id: whose. now_ns: the time. window_ns: how far back spend is looked at.
        settle_ns: how long a budget that a person changed is left alone. wishes: of people.
        past: whether `now_ns` is over: then what was booked after it is no spend yet. Budgets are as they now stand.

    Raises:
        InputError: no such advertiser, campaigns in several currencies, or a wish for a campaign that is not there.
    """
    wishes = wishes or Wishes()
    campaigns = CampaignStore(database).all()
    own = {key: each for key, each in campaigns.items() if each.advertiser == advertiser_id}
    if not own:
        known = sorted({each.advertiser for each in campaigns.values()})
        raise InputError(unknown("advertiser", "the store's", advertiser_id, known))
    for campaign_id in (*wishes.frozen, *wishes.least, *wishes.most):
        if campaign_id not in own:
            raise InputError(unknown("campaign", f"{advertiser_id}'s", campaign_id, [*own]))
    live = {
        key: each
        for key, each in own.items()
        if each.start_ns <= now_ns < each.end_ns and each.status is Status.ACTIVE
    }
    currencies = sorted({each.currency for each in live.values()})
    if len(currencies) > 1:
        raise InputError(
            f"campaigns of {advertiser_id} must be in one currency to share money, were in {', '.join(currencies)}"
        )
    with database.reading() as session:
        changes = _changes(session, now_ns)
        return [
            _standing(session, each, changes.get(key), now_ns, window_ns, settle_ns, wishes, past=past)
            for key, each in live.items()
        ]


def apply_proposal(
    database: Database, standings: list[Standing], proposal: Proposal, *, at_ns: int, actor: str = ACTOR
) -> int:
    """Writes the moved budgets, all or none; returns how many.

    Raises:
        InputError: a budget that somebody changed since the standings were read.
    """
    budgets = proposal.budgets(standings)
    moves = [
        BudgetMove(one.name, one.budget, budgets[one.name], why_of(one, proposal))
        for one in standings
        if one.name in budgets
    ]
    CampaignStore(database).move_budgets(moves, at_ns=at_ns, actor=actor)
    return len(moves)


def why_of(one: Standing, proposal: Proposal) -> str:
    """Why a campaign's budget moves, for its history."""
    move = next(each for each in proposal.moves if each.name == one.name)
    takes = "takes" if move.after > move.before else "gives"
    before, after = f"{move.return_before:.4g}", f"{move.return_after:.4g}"
    return f"{takes}: the next unit of its money brought {before} and would bring {after}; {move.stopped}"


def _standing(
    session: Session,
    campaign: Campaign,
    changed: _Changed | None,
    now_ns: int,
    window_ns: int,
    settle_ns: int,
    wishes: Wishes,
    *,
    past: bool,
) -> Standing:
    begin_ns = max(now_ns - window_ns, campaign.start_ns, changed.at_ns if changed else 0)
    spend, value = _window(session, campaign, begin_ns, now_ns)
    frozen = "frozen" if campaign.id in wishes.frozen else ""
    by_us = changed is not None and changed.actor == ACTOR
    if changed is not None and not by_us and now_ns - changed.at_ns < settle_ns and not frozen:
        frozen = f"{changed.actor} changed its budget lately"
    row = session.execute("SELECT booked FROM accounts WHERE account_id = ?", (campaign.id,)).fetchone()
    booked = int(row[0]) if row else 0
    return Standing(
        name=campaign.id,
        budget=campaign.budget_nanos,
        spent=booked - (_booked_after(session, campaign, now_ns) if past else 0),
        rest_ns=campaign.end_ns - now_ns,
        window_ns=now_ns - begin_ns,
        window_spend=spend,
        window_value=value,
        multiplier=_multiplier(session, campaign, begin_ns, now_ns),
        least=wishes.least.get(campaign.id, 0),
        most=wishes.most.get(campaign.id, 2**62),
        frozen=frozen,
        moved=(1 if changed.up else -1) if changed is not None and by_us else 0,
        moved_ago_ns=now_ns - changed.at_ns if changed is not None else 0,
    )


def _booked_after(session: Session, campaign: Campaign, at_ns: int) -> int:
    """Nanos of which nobody knew yet at a time."""
    (nanos,) = session.execute(
        """SELECT coalesce(sum(amount_nanos), 0) FROM bookings
           WHERE advertiser_id = ? AND campaign_id = ? AND at_ns > ?""",
        (campaign.advertiser, campaign.id, at_ns),
    ).fetchone()
    return int(nanos)


def _changes(session: Session, now_ns: int) -> dict[str, _Changed]:
    """The last change of each campaign's budget until now; one that was only stated is none."""
    rows = session.execute(
        """SELECT campaign_id, at_ns, actor, old, new FROM audit
           WHERE what = 'budget' AND campaign_id IS NOT NULL AND line_item_id IS NULL AND at_ns <= ?
           ORDER BY id""",
        (now_ns,),
    ).fetchall()
    return {
        campaign_id: _Changed(at_ns, actor, json.loads(new) > json.loads(old or "0"))
        for campaign_id, at_ns, actor, old, new in rows
    }


def _window(session: Session, campaign: Campaign, begin_ns: int, now_ns: int) -> tuple[int, int]:
    """What bids since then spent, and what the goal's events of theirs were worth, nanos."""
    rows = session.execute(
        """SELECT line_item_id, sum(amount_nanos), sum(CASE WHEN kind = ? THEN 1 ELSE 0 END),
                  sum(CASE WHEN kind = ? THEN 1 ELSE 0 END)
           FROM bookings WHERE advertiser_id = ? AND bid_at_ns >= ? AND at_ns <= ? AND campaign_id = ?
           GROUP BY line_item_id""",
        (
            int(NoticeKind.CLICK),
            int(NoticeKind.CONVERSION),
            campaign.advertiser,
            begin_ns,
            now_ns,
            campaign.id,
        ),
    ).fetchall()
    items = {item.id: item for item in campaign.line_items}
    spend = value = 0
    for line_item_id, nanos, clicks, conversions in rows:
        goal, worth = _goal(campaign, items.get(line_item_id))
        spend += int(nanos)
        value += worth * int(conversions if goal is Goal.CONVERSION else clicks)
    return spend, value


def _goal(campaign: Campaign, item: LineItem | None) -> tuple[Goal, int]:
    """The goal of a line item and what one event of it is worth, nanos."""
    if item is None:
        return campaign.goal, campaign.value_nanos
    return item.goal or campaign.goal, item.value_nanos or campaign.value_nanos


def _multiplier(session: Session, campaign: Campaign, begin_ns: int, now_ns: int) -> float | None:
    """Mean of the logarithms of what seats told since then: of the campaign's pace, else of its line items'."""
    own = [campaign.id, *(f"l/{item.id}/money" for item in campaign.line_items)]
    marks = ", ".join("?" * len(own))
    rows = session.execute(
        f"SELECT account_id, multiplier_ppb FROM paces WHERE account_id IN ({marks}) AND at_ns >= ? AND at_ns <= ?",  # noqa: S608
        (*own, begin_ns, now_ns),
    ).fetchall()
    of_campaign = [parts for account_id, parts in rows if account_id == campaign.id]
    told = [parts for parts in of_campaign or [parts for _, parts in rows] if parts > 0]
    if not told:
        return None
    return math.exp(sum(math.log(parts / PARTS_OF_ONE) for parts in told) / len(told))
