"""How a bid is made, factor by factor, and why its probabilities are what they are, for `clearbid explain`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from bidder.errors import InputError
from bidder.money import MICROS_PER_UNIT, NANOS_PER_UNIT, format_decimal

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from bidder.core.explain import Explanation, Opportunity
    from bidder.core.explain_price import Price
    from models.explain.attribution import Attribution, Attributor


_VALUED = {
    "model": ", by the model",
    "raised": ", by the model, raised to its least",
    "lowered": ", by the model, lowered to its most",
    "stated": " as stated, unknown to the model",
}
"""What became of what the model says a conversion is worth."""


class Reasoner:
    """Contributions to the probabilities of the best opportunity of each request.

    Args:
        directory: of the model that the engine has. top: contributions of each model to tell apart.
        model_hash: of the engine's model, as `Engine.model_hash` tells it.
    """

    def __init__(self, directory: "Path", top: int, model_hash: str) -> None:
        self._directory, self._top = directory, top
        self._model_hash = model_hash
        self._attributor: Attributor | None = None

    def add(self, found: "Explanation") -> "Explanation":
        """The same with contributions at the opportunity with the highest bid, where it has one.

        Raises:
            InputError: the directory holds another model by now than the engine has.
        """
        priced = [
            place
            for place, one in enumerate(found.opportunities)
            if one.price is not None and one.price.features
        ]
        if not priced:
            return found
        best = max(priced, key=lambda place: _bid_of(found.opportunities[place]))
        one = found.opportunities[best]
        assert one.price is not None, "an opportunity without a price is not the best"
        changed = msgspec.structs.replace(one, contributions=self._contributions(one.price))
        opportunities = (*found.opportunities[:best], changed, *found.opportunities[best + 1 :])
        return msgspec.structs.replace(found, opportunities=opportunities)

    def _contributions(self, price: "Price") -> "tuple[Attribution, ...]":
        """Of the models that the bid rests on: a bid on clicks does not ask for conversions."""
        from bidder.core.scoring import NATIVE_MARK
        from models.artifact import load_bundle
        from models.explain.attribution import Attributor

        if self._attributor is None:
            bundle = load_bundle(self._directory)
            wanted = self._model_hash.removesuffix(NATIVE_MARK)
            if bundle.hash != wanted:
                raise InputError(
                    f"model {self._directory} must stay as it is while it is explained, was {wanted[:12]} "
                    f"and is {bundle.hash[:12]} now: run it again"
                )
            self._attributor = Attributor(bundle)
        columns = {name: [value] for name, value in price.features.items()}
        rests_on = {"ctr", "cvr"} if price.goal in ("conversion", "value") or price.pcvr else {"ctr"}
        return tuple(one for one in self._attributor.one(columns, self._top) if one.model in rests_on)


def _bid_of(one: "Opportunity") -> int:
    return one.price.bid_nanos if one.price is not None else -1


def price_table(price: "Price", *, would_be: bool = False) -> "Table":
    """From probabilities to the bid, a factor a line, with what the impression is worth so far (CPM).

    `would_be`: a rule refuses, so that the bid is what it would have been.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="the bid", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("factor", justify="right", no_wrap=True)
    table.add_column("CPM", justify="right", no_wrap=True)
    for name, factor, amount in (*_factors(price), *_bounds(price)):
        table.add_row(escape(name), factor, amount)
    said = _verdict(price) + (" (would be)" if would_be and price.offer_nanos else "")
    table.add_row(f"[bold]{said}[/]", "", f"[bold]{_cpm(price.offer_nanos)}[/]")
    return table


def _factors(price: "Price") -> Iterator[tuple[str, str, str]]:
    """What is multiplied, in the order in which the engine does."""
    at = price.chance * price.goal_value_nanos
    event = {"value": "conversion", "complete": "completion"}.get(price.goal, price.goal)
    first = event if event in ("view", "completion") else "click"
    yield f"probability of a {first}", f"{price.chance:.6g}", ""
    said = "as many as there are, so at most the max bid" if price.maximise else f"x value of a {event}"
    said += _VALUED.get(price.valued, "")
    yield said, format_decimal(price.goal_value_nanos, NANOS_PER_UNIT), _cpm(at)
    if event == "conversion":
        at *= price.pcvr
        yield "x probability of a conversion of a click", f"{price.pcvr:.6g}", _cpm(at)
    for one in price.applied:
        at *= one.factor
        yield f"x modifier {one.dimension} {one.value}", f"{one.factor:g}", _cpm(at)
    at *= price.multiplier
    yield f"x multiplier (pacing {price.pacing})", f"{price.multiplier:.6g}", _cpm(at)
    if price.share != 1.0:
        yield f"taken by a share (pacing {price.pacing})", f"{price.share:.6g}", ""
    for aimed in price.aimed:
        at = min(at, aimed.allowed_nanos)
        target = format_decimal(aimed.target_nanos, MICROS_PER_UNIT if aimed.aim == "cpm" else NANOS_PER_UNIT)
        state = ", learning" if aimed.learning else ""
        name = f"at most (target {aimed.aim}, {aimed.outcomes:.0f} outcomes known{state})"
        yield name, target, _cpm(at)
    yield from _priced(price, at)


def _priced(price: "Price", at: float) -> Iterator[tuple[str, str, str]]:
    """What becomes of the paced value `at` until it is a bid: fees, shade or landscape, exploration."""
    if price.fee_nanos:
        at -= price.fee_nanos
        yield "- fees an impression", f"{_cpm(price.fee_nanos)}", _cpm(at)
    if price.fee_ppm:
        at /= 1.0 + price.fee_ppm / MICROS_PER_UNIT
        yield "/ (1 + fees of the price)", f"{format_decimal(price.fee_ppm, 10_000)} %", _cpm(at)
    if price.arm == "landscape":
        factor = price.landscape_nanos / at if at else 0.0
        yield f"x best share by the landscape ({price.stratum})", f"{factor:.6g}", _cpm(price.landscape_nanos)
    elif price.shade != 1.0:
        at *= price.shade
        held = ", held out of the landscape" if price.arm else ""
        yield f"x shade (first price{held})", f"{price.shade:.6g}", _cpm(at)
    if price.explore_factor:
        yield "x exploration", f"{price.explore_factor:.6g}", _cpm(price.offer_nanos)
    if price.arm:
        yield "chance to win at the bid", f"{price.win_probability:.1%}", ""


def _bounds(price: "Price") -> Iterator[tuple[str, str, str]]:
    """What holds the bid down or up."""
    yield "at most (max bid)", "", _cpm(price.max_bid_nanos)
    if price.min_bid_nanos:
        yield "at least (min bid)", "", _cpm(price.min_bid_nanos)
    if price.floor_nanos or price.fixed_price or price.guaranteed:
        deal = " of a fixed price, which is bid" if price.fixed_price else ""
        yield f"floor{' that is guaranteed' if price.guaranteed else ''}{deal}", "", _cpm(price.floor_nanos)


def _verdict(price: "Price") -> str:
    """What comes out, and what made it so."""
    if price.offer_nanos == 0:
        most = min(int(price.worth_nanos), price.max_bid_nanos)
        below = max(1, price.min_bid_nanos) <= most < price.floor_nanos
        return f"no bid: {_cpm(most)} is below the floor" if below else "no bid: worth too little"
    if price.fixed_price:
        return "= bid, the fixed price"
    if price.worth_nanos > price.max_bid_nanos:
        return "= bid, cut to the max bid"
    return "= bid"


def _cpm(nanos: float) -> str:
    """Nanos for an impression, which are CPM micros, without a fraction as the engine cuts it."""
    return format_decimal(int(nanos), MICROS_PER_UNIT)
