"""The scalar steps of dual pacing, compiled once: the engine, the pacer and the measuring of quality call these.

One group is one row `f`, float64[G_COLUMNS], and one row `k`, int64[N_COLUMNS]; `bidder.core.pacing` has the formulas
and where they come from. Numbers go one at a time, so that a step gives the same bits wherever it is called from.
Nothing is allocated; divisions are few, as they and exponentials are most of what a step costs.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import math

from numba import njit

(G_MULTIPLIER, G_DRIFT, G_MOST, G_LEAST, G_TIED, G_UNITS, G_PULL, G_CHARGED, G_UNIT, G_TRAFFIC, G_PLANNED, G_OVER,
 G_GAP, G_RECENT_SEEN, G_RECENT_OVER, G_ENDED, G_POSTED, G_OFFERED, G_TURNS, G_SPENDS,
 G_PRICES) = range(21)  # fmt: skip
G_COLUMNS = 24
"""Multiplier; its factor at each opportunity, and its highest; the least bid that is made while money is short; 1
where its line items have the same budgets, all of them; 1 where impressions are counted and not nanos; exponent of a
nano set aside, and the exponent that it is lowered by for bids under way: what deciding reads is one line of the
cache. Exponent of a nano spent; opportunities of a whole plan at the recent rate, and those foreseen; the plan at the
last tick and since the last opportunity; decayed sums of opportunities and of the plan that went by with them; of
amounts of bids that ended, of what was spent on them, of amounts that were bid, and of opportunities; of spends and
their nanos. Then room to the end of a line."""
KEPT = (G_MULTIPLIER, G_UNIT, G_PULL, G_CHARGED, G_ENDED, G_POSTED, G_OFFERED, G_TURNS, G_SPENDS, G_PRICES)
"""What goes on where a flight or its foreseen traffic changes: all but what is counted in shares of the plan."""

N_SEEN, N_TOLD_SEEN, N_TOLD_ENDED, N_TOLD_POSTED, N_TOLD_OFFERED, N_EARLIER = range(6)
N_COLUMNS = 6
"""Opportunities so far of this plan; those, and nanos of bids that ended, spend and bids, at the last tick;
opportunities of plans before it."""

MAX_RATE = 4.0
MAX_SPEND_STEP = 0.5
MAX_CHARGE = 3.0
"""Bids under way lower a multiplier by a factor of e^3 at most."""
MIN_MULTIPLIER = 1e-6
PRIOR_SHARE = 0.02
"""Weight of the expected traffic, as a share of the flight, against the traffic counted so far."""
RECENT = 2_000.0
"""Opportunities that the recent rate of traffic is of: its error is some 2 %, and minutes at ordinary rates."""
LONGEST_GAP = 200.0
"""Mean distances of opportunities; no chance makes a longer gap, so what lies beyond is an outage and no rate."""
MAX_CHANGE = 20.0
"""Bound of the recent rate of traffic over its mean from the begin, and of the mean over it."""
SETTLED = 10_000.0
"""Opportunities that the share of bids' amounts which is spent is learned over."""
PRIOR_RATIO, PRIOR_TURNS = 0.3, 200.0
"""That share before a bid has ended, and its weight: in opportunities, at the mean amount of one."""
FIRST_HALF = 300.0
"""Opportunities with known results after which half of the first steps' addition is left."""
STEP_TIMES_LAG = 0.5
"""A loop with dead time is stable only where step times delay is small."""
WOUND_UP = 2.0
"""A multiplier that does not bind is at most so many times the one that does."""
HELD_FREELY = 0.3
"""Share of unspent money that bids under way may hold before the least bid rises from nothing."""
LEAST_OF_PRICE = 0.3
"""The least bid over the mean spend where as much money is free as is held beyond that share."""
SPENDABLE = 0.7
"""Share of what bids under way come to spend that the plan asks for at most; who asks for all winds itself up."""
_PRICES_ONE = 0.999
"""What a spend counts for in the mean price beside the next one."""
_RECENT_ONE, _SETTLED_ONE = RECENT / (RECENT + 1.0), SETTLED / (SETTLED + 1.0)
_1_6, _1_24, _1_120, _1_720, _1_5040, _1_40320 = 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5_040, 1 / 40_320


@njit(cache=True)
def power_of_e(x):
    """E to the power of x: near 0, where most steps lie, by its series to within the rounding of doubles."""
    if -0.0625 < x < 0.0625:
        tail = _1_6 + x * (_1_24 + x * (_1_120 + x * (_1_720 + x * (_1_5040 + x * _1_40320))))
        return 1.0 + x * (1.0 + x * (0.5 + x * tail))
    return math.exp(x)


@njit(cache=True)
def begin_group(f, k, start, planned):
    """A group without history: its first multiplier, and the opportunities that are foreseen in its flight."""
    f[:] = 0.0
    k[:] = 0
    f[G_MULTIPLIER] = start
    f[G_DRIFT] = f[G_MOST] = f[G_TIED] = 1.0
    f[G_OVER] = -1.0
    f[G_PLANNED] = f[G_TRAFFIC] = planned
    weight = min(PRIOR_SHARE * planned, RECENT)
    f[G_RECENT_SEEN] = weight
    f[G_RECENT_OVER] = weight / planned if planned > 0.0 else 1.0


@njit(cache=True)
def lifted(multiplier, drift, most):
    """The multiplier after an eligible opportunity, at most `most`."""
    return min(most, multiplier * drift)


@njit(cache=True)
def meet(f, k, groups, begin, end, counted):
    """The multiplier of a line item at an eligible opportunity, the least of its groups; moves them up if it counts.

    Where a budget does not bind, its multiplier would wind itself up to 1, and be late where it binds one day: it is
    held below twice the least. That holds of budgets of the same line items; one that others share is theirs too.

    Args:
        f, k: of all groups. groups: int32[], those of the line item from `begin` to `end`.
        counted: whether it counts.
    """
    first = groups[begin]
    least = f[first, G_MULTIPLIER]
    if end - begin == 1:
        if counted:
            k[first, N_SEEN] += 1
            f[first, G_MULTIPLIER] = lifted(least, f[first, G_DRIFT], f[first, G_MOST])
        return least
    for place in range(begin + 1, end):
        least = min(least, f[groups[place], G_MULTIPLIER])
    if counted:
        for place in range(begin, end):
            group = groups[place]
            most = f[group, G_MOST]
            if f[group, G_TIED] != 0.0:
                most = min(most, WOUND_UP * least)
            k[group, N_SEEN] += 1
            f[group, G_MULTIPLIER] = lifted(f[group, G_MULTIPLIER], f[group, G_DRIFT], most)
    return least


@njit(cache=True)
def reshaped(f, over):
    """Goes on with a plan of another shape, of which `over` is over: the traffic of all of it is the same."""
    f[G_OVER] = over
    f[G_GAP] = 0.0
    if f[G_TRAFFIC] > 0.0:
        f[G_RECENT_OVER] = f[G_RECENT_SEEN] / f[G_TRAFFIC]


@njit(cache=True)
def next_plan(f, k):
    """Goes on to a plan of the same kind, such as the next day's: what was learned of bids and prices stays.

    Until it is solved nothing moves the multiplier. What it was lowered by for bids under way is of the last plan.
    """
    set_aside(f, 0)
    f[G_UNIT] = f[G_PULL] = f[G_LEAST] = 0.0
    f[G_DRIFT] = 1.0
    seen, planned = k[N_SEEN], f[G_PLANNED]
    if f[G_OVER] > 0.0:
        planned = mean_traffic(planned, seen, f[G_OVER])
    earlier = k[N_EARLIER] + seen
    k[:] = 0
    k[N_EARLIER] = earlier
    f[G_OVER] = -1.0
    f[G_GAP] = 0.0
    f[G_PLANNED] = f[G_TRAFFIC] = planned
    weight = min(PRIOR_SHARE * planned, RECENT)
    f[G_RECENT_SEEN] = weight
    f[G_RECENT_OVER] = weight / planned if planned > 0.0 else 1.0


@njit(cache=True)
def spent_on(f, nanos):
    """Lowers the multiplier for a spend of `nanos`."""
    step = min(f[G_UNIT] * nanos, MAX_SPEND_STEP)
    f[G_MULTIPLIER] = max(f[G_MULTIPLIER] * power_of_e(-step), MIN_MULTIPLIER)
    f[G_SPENDS] = f[G_SPENDS] * _PRICES_ONE + 1.0
    f[G_PRICES] = f[G_PRICES] * _PRICES_ONE + nanos


@njit(cache=True)
def set_aside(f, reserved):
    """Lowers the multiplier for what bids under way, `reserved` nanos in all, are expected to cost; or lifts it."""
    charge = min(f[G_PULL] * reserved, MAX_CHARGE)
    if charge != f[G_CHARGED]:
        moved = f[G_MULTIPLIER] * power_of_e(f[G_CHARGED] - charge)
        f[G_MULTIPLIER] = max(min(1.0, moved), MIN_MULTIPLIER)
        f[G_CHARGED] = charge


@njit(cache=True)
def charged(f, nanos):
    """Lowers the multiplier for what a new bid of `nanos` is expected to cost."""
    charge = min(f[G_CHARGED] + f[G_PULL] * nanos, MAX_CHARGE)
    if charge != f[G_CHARGED]:
        f[G_MULTIPLIER] = max(f[G_MULTIPLIER] * power_of_e(f[G_CHARGED] - charge), MIN_MULTIPLIER)
        f[G_CHARGED] = charge


@njit(cache=True)
def mean_traffic(planned, seen, over):
    """Opportunities of the whole flight, of the `planned` ones and those `seen` by the share `over` of the plan."""
    return (planned * PRIOR_SHARE + seen) / (PRIOR_SHARE + over)


@njit(cache=True)
def count_traffic(f, k, over):
    """Counts opportunities and plan since the last tick, and solves what a plan would see at the recent rate."""
    if f[G_OVER] < 0.0:
        f[G_OVER] = over
    more = float(k[N_SEEN] - k[N_TOLD_SEEN])
    f[G_GAP] += max(over - f[G_OVER], 0.0)
    f[G_OVER] = over
    if more > 0.0:
        kept = _RECENT_ONE if more == 1.0 else RECENT / (RECENT + more)
        longest = (LONGEST_GAP + more) * f[G_RECENT_OVER]
        if f[G_GAP] * f[G_RECENT_SEEN] > longest:
            f[G_GAP] = longest / f[G_RECENT_SEEN]
        f[G_RECENT_SEEN] = f[G_RECENT_SEEN] * kept + more
        f[G_RECENT_OVER] = f[G_RECENT_OVER] * kept + f[G_GAP]
        f[G_GAP] = 0.0
    mean = mean_traffic(f[G_PLANNED], k[N_SEEN], over)
    recent = f[G_RECENT_SEEN] / max(f[G_RECENT_OVER], 1e-300)
    f[G_TRAFFIC] = min(max(recent, mean * (1.0 / MAX_CHANGE)), mean * MAX_CHANGE)


@njit(cache=True)
def count_money(f, k, reserved, posted, offered):
    """Counts what was bid, ended and spent since the last tick."""
    ended = offered - reserved
    more = float(k[N_SEEN] - k[N_TOLD_SEEN])
    kept = _SETTLED_ONE if more == 1.0 else SETTLED / (SETTLED + more)
    f[G_ENDED] = f[G_ENDED] * kept + max(ended - k[N_TOLD_ENDED], 0)
    f[G_POSTED] = f[G_POSTED] * kept + max(posted - k[N_TOLD_POSTED], 0)
    f[G_OFFERED] = f[G_OFFERED] * kept + max(offered - k[N_TOLD_OFFERED], 0)
    f[G_TURNS] = f[G_TURNS] * kept + more
    k[N_TOLD_SEEN], k[N_TOLD_ENDED], k[N_TOLD_POSTED], k[N_TOLD_OFFERED] = k[N_SEEN], ended, posted, offered


@njit(cache=True)
def solve(
    f, k, eta, first_eta, fixed, budget, share, spent, reserved, posted, offered, over, urge, most_rate
):
    """Solves the plan of a group again, from what is left of money and traffic.

    Args:
        f, k: the group. eta: step. first_eta: what is added to it at first. fixed: whether the plan stays as it is.
        budget, share: nanos, whole and this seat's part, 0 where not known. spent: nanos, over all seats.
        reserved, posted, offered: nanos of this seat: of bids under way, spent, and bid since it began.
        over: share of the plan's traffic that is over. urge: factor of the even rate. most_rate: highest rate.
    """
    count_traffic(f, k, over)
    count_money(f, k, reserved, posted, offered)
    f[G_LEAST] = 0.0
    if budget <= 0 or share <= 0:
        f[G_UNIT], f[G_PULL], f[G_DRIFT] = 0.0, 0.0, 1.0
        set_aside(f, 0)
        return
    if fixed:
        f[G_UNIT], f[G_PULL] = eta * f[G_PLANNED] / share, 0.0
        f[G_DRIFT] = power_of_e(eta)
        set_aside(f, 0)
        return
    # Both over what an opportunity bids, which is `offered / turns`.
    prior = PRIOR_TURNS * f[G_OFFERED]
    weight = f[G_ENDED] * f[G_TURNS] + prior
    ratio = PRIOR_RATIO
    if weight > 0.0:
        ratio = min((f[G_POSTED] * f[G_TURNS] + PRIOR_RATIO * prior) / weight, 1.0)
    lag = reserved * f[G_TURNS] / f[G_OFFERED] if reserved > 0 and f[G_OFFERED] > 0.0 else 0.0
    step = eta + first_eta * FIRST_HALF / (FIRST_HALF + max(k[N_EARLIER] + k[N_SEEN] - lag, 0.0))
    if step * lag > STEP_TIMES_LAG:
        step = STEP_TIMES_LAG / lag
    each = 1.0 / share
    unit = step * f[G_TRAFFIC] * each
    # In another unit the same bids are charged another exponent: that alone moves nothing.
    if f[G_CHARGED] > 0.0:
        f[G_CHARGED] = min(f[G_CHARGED] * (unit / f[G_UNIT]), MAX_CHARGE) if f[G_UNIT] > 0.0 else 0.0
    f[G_UNIT], f[G_PULL] = unit, unit * ratio
    set_aside(f, reserved)
    whole = each if budget == share else 1.0 / budget
    unspent, held = max((budget - spent) * whole, 0.0), reserved * each
    left = max(unspent - ratio * held, 0.0)
    rate = min(left / max(1.0 - over, 1e-9) * urge, most_rate)
    if lag > 0.0:
        rate = min(rate, SPENDABLE * ratio * unspent * f[G_TRAFFIC] / lag)
    f[G_DRIFT] = power_of_e(step * rate)
    if held > HELD_FREELY * unspent and f[G_SPENDS] > 0.0 and f[G_UNITS] == 0.0:
        least = LEAST_OF_PRICE * f[G_PRICES] / f[G_SPENDS]
        f[G_LEAST] = least * (held - HELD_FREELY * unspent) / max(unspent - held, 1e-6)


@njit(cache=True)
def refresh_groups(
    f,
    k,
    eta,
    first_eta,
    fixed,
    first_wins,
    first_most,
    asap,
    budgets,
    shares,
    spent,
    books,
    over,
    urge,
    most_rate,
):
    """Solves the plan of each group again.

    Args:
        f, k: float64[groups, G_COLUMNS], int64[groups, N_COLUMNS]. eta, first_eta, fixed: see `solve`.
        first_wins, first_most: wins until which a multiplier is at most so high.
        asap: bool[groups], not paced. budgets, shares, spent: int64[groups], nanos.
        books: int64[groups, 3], reserved, posted and offered nanos. over, urge, most_rate: float64[groups].
    """
    for group in range(f.shape[0]):
        if asap[group]:
            continue
        solve(
            f[group], k[group], eta, first_eta, fixed, budgets[group], shares[group], spent[group], books[group, 0],
            books[group, 1], books[group, 2], over[group], urge[group], most_rate[group],
        )  # fmt: skip
        f[group, G_MOST] = first_most if f[group, G_SPENDS] < first_wins else 1.0
        f[group, G_MULTIPLIER] = min(f[group, G_MULTIPLIER], f[group, G_MOST])


@njit(cache=True)
def release_groups(f, asap, reserved):
    """Takes over what bids under way hold: `reserved`, int64[groups], nanos."""
    for group in range(f.shape[0]):
        if not asap[group]:
            set_aside(f[group], reserved[group])
