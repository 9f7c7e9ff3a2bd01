"""Worlds from a seed: auctions, prices and probabilities, then the log that the live controller made of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.estimate import play_kernels as kernels
from simulator.estimate.controller import Controller, swept
from simulator.history.auctions import ABOVE, AT_MOST, EXACT, Auctions
from simulator.worlds.recipe import Recipe
from simulator.worlds.truth import lot_of, market_run
from simulator.worlds.world import Hidden, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AUCTIONS = 50_000
STRATA = 20
WORTH_NANOS = 500_000_000
_DAY_NS = 86_400 * 10**9
_BEGIN_NS = 1_772_323_200 * 10**9
_LEVEL_NANOS = 1_000_000.0
_CLICK, _CONVERSION = 0.03, 0.25
_NOISE, _OVER = 0.35, 1.25
"""Deviation of the logarithm of a predicted click rate from the truth, and the factor by which all are too high."""
_EXPLORED, _SIGMA = 0.05, 0.3
_CAP_NANOS = 200_000_000
_TICK = 8
_SHADE = 0.8
_FLOOR_NANOS = 50_000
"""Where rivals learn, so that nobody is ever won for nothing."""
_WIN_SHARE = 0.12
"""Share of the auctions that the logged budget is to win, about."""


class _Drawn(NamedTuple):
    """Auctions before anyone bids: what is predicted and what is true."""

    at_ns: Ints
    user: NDArray[np.uint64]
    stratum: NDArray[np.int32]
    theta: Floats
    click: Floats
    predicted: Floats
    conversion: Floats
    price: Ints
    boost: Floats
    quality: Floats


def world_of(recipe: Recipe, seed: int, auctions: int = AUCTIONS) -> World:
    """The world of a recipe and a seed; `auctions` of them in a day."""
    rng = np.random.default_rng([seed, 71])
    drawn = _draw(recipe, rng, auctions)
    value = drawn.theta * drawn.predicted * WORTH_NANOS
    rivals, budgets = _rivals(recipe, rng, drawn)
    controller, budget = _settled(recipe, rng, drawn, value, seed)
    factor = controller.factors(auctions) * drawn.boost
    hidden = Hidden(drawn.price, drawn.click, drawn.conversion, factor, rivals, budgets)
    bare = _bare(recipe, drawn)
    world = World(
        recipe, seed, bare, hidden, budget, controller, _BEGIN_NS + _DAY_NS, recipe.delay_hours * 3.6e12
    )
    return _logged(world, rng)


def _draw(recipe: Recipe, rng: np.random.Generator, n: int) -> _Drawn:
    share = np.sort(_day(rng, n))
    stratum = rng.choice(STRATA, n, p=rng.dirichlet(np.full(STRATA, 8.0))).astype(np.int32)
    kind = rng.normal(0.0, 0.4, STRATA)
    dear = 0.5 * kind + rng.normal(0.0, 0.25, STRATA)
    quality = rng.normal(0.0, 1.0, n)
    rise = recipe.drift * (share - 0.5)
    click = np.minimum(_CLICK * np.exp(0.6 * quality - 0.18 + kind[stratum] + 0.4 * rise), 0.6)
    theta = np.minimum(click * _OVER * np.exp(_NOISE * rng.normal(0.0, 1.0, n) - _NOISE**2 / 2), 0.95)
    conversion = np.minimum(_CONVERSION * np.exp(0.3 * rng.normal(0.0, 1.0, n) - 0.045), 0.9)
    predicted = np.minimum(conversion * 1.1 * np.exp(0.2 * rng.normal(0.0, 1.0, n) - 0.02), 0.95)
    noon = np.where(share >= 0.5, recipe.price_shock, 1.0)
    kept = (rng.random(n) < 0.5).astype(np.float64)
    level = dear[stratum] + 0.25 * quality + 0.5 * rng.normal(0.0, 1.0, n) + rise + recipe.hidden * kept
    price = np.rint(_LEVEL_NANOS * noon * np.exp(level)).astype(np.int64)
    return _Drawn(
        at_ns=(_BEGIN_NS + share * _DAY_NS).astype(np.int64),
        user=_users(rng, n),
        stratum=stratum,
        theta=theta,
        click=click,
        predicted=predicted,
        conversion=conversion,
        price=np.maximum(price, 1),
        boost=np.exp(recipe.hidden * kept),
        quality=quality,
    )


def _day(rng: np.random.Generator, n: int) -> Floats:
    """Shares of the day, thinner at night."""
    found = rng.random(3 * n)
    kept = found[rng.random(3 * n) < 0.6 - 0.4 * np.cos(2 * np.pi * found)]
    return np.asarray(kept[:n])


def _users(rng: np.random.Generator, n: int) -> NDArray[np.uint64]:
    """Keys of users of whom some come often; a tenth of the rows names none."""
    many = max(n // 8, 1)
    weight = rng.gamma(0.7, 1.0, many)
    keys = rng.choice(many, n, p=weight / weight.sum()).astype(np.uint64) + np.uint64(1)
    return np.where(rng.random(n) < 0.1, np.uint64(0), keys)


def _rivals(recipe: Recipe, rng: np.random.Generator, drawn: _Drawn) -> tuple[Floats, Ints]:
    """What learning rivals think of each auction, and their budgets."""
    n = len(drawn.price)
    own = rng.normal(0.0, 0.5, (n, recipe.rivals)) + 0.25 * drawn.quality[:, None]
    values = 4.0 * _LEVEL_NANOS * np.exp(own)
    share = rng.uniform(0.06, 0.12, recipe.rivals)
    return values, (share * n * _LEVEL_NANOS).astype(np.int64)


def _settled(
    recipe: Recipe, rng: np.random.Generator, drawn: _Drawn, value: Floats, seed: int
) -> tuple[Controller, int]:
    """The controller, begun near the right multiplier, and the budget that wins about the wished share."""
    n = len(value)
    even = Controller(0.5, _CAP_NANOS, shade=_SHADE if recipe.first_price else 1.0)
    lot = lot_of(_bare(recipe, drawn), drawn.price, drawn.click, drawn.conversion, drawn.boost)
    multipliers = np.geomspace(0.005, 0.9, 60)
    outcomes = swept(lot, np.arange(n), multipliers, even)
    at = int(np.argmin([abs(one.impressions - _WIN_SHARE * n) for one in outcomes]))
    controller = even._replace(
        start=float(multipliers[at] * np.exp(rng.uniform(-0.3, 0.3))),
        tick=_TICK,
        explored=_EXPLORED,
        sigma=_SIGMA,
        seed=seed,
    )
    return controller, int(outcomes[at].spend_nanos)


def _bare(recipe: Recipe, drawn: _Drawn) -> Auctions:
    """The log before anyone bid."""
    n = len(drawn.price)
    none, unknown = np.zeros(n, dtype=np.int64), np.full(n, -1, dtype=np.int8)
    return Auctions(
        campaign=f"{recipe.name}",
        at_ns=drawn.at_ns,
        user=drawn.user,
        stratum=drawn.stratum,
        click=drawn.theta,
        conversion=drawn.predicted,
        worth_nanos=np.full(n, WORTH_NANOS, dtype=np.int64),
        bid_nanos=none,
        density=np.full(n, np.nan),
        won=np.zeros(n, dtype=np.bool_),
        price_kind=np.zeros(n, dtype=np.uint8),
        price_nanos=none,
        paid_nanos=none,
        floor_nanos=np.full(n, _FLOOR_NANOS if recipe.rivals else 0, dtype=np.int64),
        first_price=np.full(n, recipe.first_price),
        clicked=unknown,
        converted=unknown,
        value_nanos=none,
    )


def _logged(world: World, rng: np.random.Generator) -> World:
    """The world with what its bidder logged."""
    bids, price = _run(world)
    log, hidden = world.log, world.hidden
    n = len(bids)
    won = (bids >= price) & (bids > 0)
    clicked = won & (rng.random(n) < hidden.click)
    converted = clicked & (rng.random(n) < hidden.conversion)
    late = log.at_ns + rng.exponential(1.0, n) * world.delay_ns > world.known_until_ns
    value = np.where(converted & ~late, log.worth_nanos * np.exp(0.3 * rng.normal(0.0, 1.0, n) - 0.045), 0.0)
    explored = world.controller.factors(n) != 1.0
    first = log.first_price
    kind = np.where(won, np.where(first, AT_MOST, EXACT), ABOVE).astype(np.uint8)
    distance = np.log(world.controller.factors(n)) / _SIGMA
    density = np.exp(-(distance**2) / 2) / (_SIGMA * np.sqrt(2 * np.pi))
    return world._replace(
        hidden=hidden._replace(price=price),
        log=log._replace(
            bid_nanos=bids,
            density=np.where(explored & (bids > 0), density, np.nan),
            won=won,
            price_kind=kind,
            price_nanos=np.where(kind == EXACT, price, bids),
            paid_nanos=np.where(
                won, np.where(first, bids, np.where(price > log.floor_nanos, price - 1, price)), 0
            ),
            clicked=np.where(won, clicked, -1).astype(np.int8),
            converted=np.where(won, converted & ~late, -1).astype(np.int8),
            value_nanos=np.rint(value).astype(np.int64),
        ),
    )


def _run(world: World) -> tuple[Ints, Ints]:
    """Bids of the logged run, and the prices that they met."""
    if world.recipe.rivals:
        return market_run(world, world.budget_nanos)
    log, hidden, controller = world.log, world.hidden, world.controller
    n = log.opportunities
    lot = lot_of(log, hidden.price, hidden.click, hidden.conversion, hidden.factor)
    shock = world.recipe.budget_shock
    state = controller.state(int(world.budget_nanos / shock), n)
    bids: Ints = np.zeros(n, dtype=np.int64)
    ring: Ints = np.zeros((1, 2), dtype=np.int64)
    counts, gains = np.zeros(kernels.COUNTS, dtype=np.int64), np.zeros(kernels.GAINS)
    for begin, end in ((0, n // 2), (n // 2, n)):
        kernels.play(
            begin, end, np.arange(n), lot.value, lot.factor, lot.price, lot.floor, lot.known, lot.bound, lot.gain,
            lot.first_price, controller.shade, controller.cap_nanos, state.s, state.k, ring, counts, gains, bids,
        )  # fmt: skip
        state.k[_BUDGET] = world.budget_nanos
    return bids, hidden.price


_BUDGET = 0
