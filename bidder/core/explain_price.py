"""What a line item would bid and whether the price holds: value, pace, floor, currency, one trial of each.

The figures of `Price` are those that the kernel multiplied, in its order, so that whoever multiplies them again comes
to the same bid:

    paced = chance x goal_value [x pcvr] x each applied modifier x multiplier, at most what each target allows
    worth = (paced - fee_nanos) / (1 + fee_ppm / 10^6) x shade
    bid = worth without its fraction, at most max_bid, at least min_bid and the floor, or nothing

A guaranteed deal is worth its floor at least; at a fixed price the bid is the floor. Where a landscape prices the
auction (`arm` is `landscape`), `landscape_nanos` stands for what comes of the first line, and its `shade` is 1. Where
chance moved the bid, it is the rounded product of bid and `explore_factor`.
"""

import math

import msgspec

from bidder.core.decision_columns import (
    A_BASE,
    A_GROUP,
    ARMS,
    EXTERNAL,
    FIRST_PRICE,
    FIXED_PRICE,
    GOAL_CONVERSION,
    GUARANTEED,
    ONE,
    R_BANNER,
    R_EXCHANGE,
    R_FLAGS,
    R_FLOOR,
    R_RATE,
)
from bidder.core.explain_state import Accounts, Result, State
from bidder.core.explain_trial import (
    Stage,
    Trial,
    for_scores,
    in_account,
    without_floor,
    without_least,
)
from bidder.core.opportunity import RAW_FEATURES, hour_of_week, raw_features
from bidder.core.pacing_kernels import G_MULTIPLIER
from bidder.core.scoring import campaign_features
from bidder.core.slot_kernels import chance_of, floor_of
from bidder.core.table import Column
from bidder.core.target_kernels import T_RATIO, T_ROOM, most_of, worth_of
from bidder.core.targeting_kernels import shows
from bidder.money import MICROS_PER_UNIT, format_decimal
from bidder.openrtb.reasons import Reason
from models.schema import SEGMENTS_COLUMN

Shows = str | float | tuple[str, ...] | None
PriceRule = tuple[str, bool | None, str, str]
"""Name, whether it passed, what is wanted and what is shown."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A modifier whose value the opportunity shows."""

    dimension: str
    value: str
    factor: float


class Aimed(msgspec.Struct, frozen=True, kw_only=True):
    """A target of cost or return at this opportunity, see `core.targets`; amounts in nanos.

    aim: what it counts: cpm, cpc, cpa or roas. owner: over whose spend. target_nanos: what one may cost on average.
    worth_nanos: what the impression may cost, by prediction. ratio: observed over predicted. room: above that.
    allowed_nanos: so much may be bid, fees included. learning: whether too few outcomes are known. outcomes: known.
    """

    aim: str
    owner: str
    target_nanos: int
    worth_nanos: float
    ratio: float
    room: float
    allowed_nanos: float
    learning: bool
    outcomes: float


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a bid is made up; amounts in nanos for one impression, which are CPM micros.

    Attributes:
        pctr, pcvr: calibrated probabilities. The bid rests on `pcvr` where the `goal` is a conversion.
        goal: see `core.campaigns.Goal`. goal_value_nanos: what one of it is worth; where nothing is stated so much
            that only pacing and targets bound the bid (`maximise`). valued: what became of what the model says of it,
            see `core.valuing.OUTCOMES`; empty where not asked. chance: of a view or completion, else of a click.
        modifiers: the factor that all modifiers make together. applied: each of them, in the engine's order.
        value_nanos: what the impression is thought to be worth.
        multiplier: of pacing. pacing: its mode. share: of opportunities that are taken where the price is a deal's,
            else 1. aimed: what targets allow; the smallest of them and value x multiplier is bid.
        shade: share of the value that is bid at first price, else 1.
        fee_ppm, fee_nanos: what fees add to a price: millionths of it, the exchange's discrepancy among them, and
            nanos an impression. fees_nanos: what that makes on top of the offer, for all that the bid buys.
        arm: `landscape` or `held`, where a landscape knows the auction, see `Decision`. stratum: its name.
            landscape_nanos: the best bid of what a win is worth, at least the floor where that leaves something.
            win_probability: of the offer, by the landscape. explore_factor: what chance moved it by, else 0.
        most_nanos: the most that a win is worth: value x multiplier or what a target allows, less fees.
        worth_nanos: what may be bid: that x shade, or `landscape_nanos`.
        max_bid_nanos, min_bid_nanos: of the line item. floor_nanos: of the creative that would be shown.
        fixed_price, guaranteed: of the deal. rate_nanos: of `currency` in the account's.
        bid_nanos: without regard to the floor, 0 where nothing can be bid.
        price_micros: the same as CPM in `currency`.
        offer_nanos: with regard to floor, deal and currency: what the engine bids if caps, budgets and other line
            items let it; 0 where it cannot.
        creative_id: that is shown.
        features: what the models were shown, by name; empty where no model was asked.
    """

    pctr: float
    pcvr: float
    goal: str
    goal_value_nanos: int
    chance: float
    maximise: bool = False
    valued: str = ""
    modifiers: float
    applied: tuple[Applied, ...] = ()
    value_nanos: float
    multiplier: float
    pacing: str
    share: float = 1.0
    aimed: tuple[Aimed, ...] = ()
    shade: float
    fee_ppm: int = 0
    fee_nanos: int = 0
    fees_nanos: int = 0
    arm: str = ""
    stratum: str = ""
    landscape_nanos: float = 0.0
    win_probability: float = 0.0
    explore_factor: float = 0.0
    most_nanos: float
    worth_nanos: float
    max_bid_nanos: int
    min_bid_nanos: int
    bid_nanos: int
    floor_nanos: int
    fixed_price: bool
    guaranteed: bool
    rate_nanos: int
    offer_nanos: int
    price_micros: int
    currency: str
    creative_id: str = ""
    features: dict[str, Shows] = {}


class Pricing:
    """Trials of one line item in one row.

    Args:
        stage: with the batch. line: the line item. r: the row. now_ns: the time. state: before the row, with the
            multipliers that the line item meets. accounts: see `Accounts`.
    """

    def __init__(
        self, stage: Stage, line: int, r: int, now_ns: int, state: State, accounts: Accounts
    ) -> None:
        self._stage, self._line, self._r, self._now_ns = stage, line, r, now_ns
        self._state, self._accounts = state, accounts

    def ask(self, *, fits: bool, currency: str) -> tuple[Price | None, list[PriceRule], int | None]:
        """The price, its rules in the engine's order, and what the bid would cost; None where there is none.

        Args:
            fits: whether a creative fits; if not, one that does stands in. currency: that is bid in.
        """
        own = self._stage.trial(self._r, self._line, fits=fits)
        scores = self._try(for_scores(own, self._line))
        scored = scores.reason != Reason.UNSCORED
        unscored = ("unscored", scored, "a score", _scores(scores) if scored else "none")
        if not scored:
            unknown = (("no_value", "a value"), ("below_floor", "the floor"))
            return None, [unscored, *((name, None, wants, "no score") for name, wants in unknown)], None
        home = in_account(own)
        bare = self._try(without_floor(own))
        held = self._try(home)
        floor = self._floor(
            own, bare if bare.reason == Reason.BID else self._try(without_least(home, self._line))
        )
        whole = self._try(own)
        price = self._price(scores, bare, whole, floor, currency, fits=fits)
        rules = [unscored, self._value_rule(price, held), self._floor_rule(price, home, held)]
        if own.row[R_RATE] != ONE:
            rules.append(self._foreign_rule(own, price, held, whole))
        best = whole if whole.reason == Reason.BID else bare
        return price, rules, best.amount if best.reason == Reason.BID else None

    def _try(self, trial: Trial) -> Result:
        return self._stage.try_line(self._r, self._line, trial, self._now_ns, self._state, self._accounts)

    # -- rules ----------------------------------------------------------------------------------------------

    def _value_rule(self, price: Price, held: Result) -> PriceRule:
        least = f"at least {_cpm(max(price.min_bid_nanos, 1))} CPM"
        shown = f"worth {_cpm(int(price.value_nanos))} CPM, bid {_cpm(price.bid_nanos)}"
        return "no_value", held.reason != Reason.NO_VALUE, least, shown

    def _floor_rule(self, price: Price, home: Trial, held: Result) -> PriceRule:
        """Asked too where the value refuses already: by a trial without a least bid."""
        free = self._try(without_least(home, self._line)) if held.reason == Reason.NO_VALUE else held
        passed: bool | None = free.reason != Reason.BELOW_FLOOR
        if free.reason == Reason.NO_VALUE:
            passed = None if price.floor_nanos == 0 else False
        return (
            "below_floor",
            passed,
            f"at least {_cpm(price.floor_nanos)} CPM",
            f"bid {_cpm(price.bid_nanos)}",
        )

    def _foreign_rule(self, own: Trial, price: Price, held: Result, whole: Result) -> PriceRule:
        """A price that is nothing in the other currency, or a bid too high to be changed into it."""
        found = (
            whole if held.reason == Reason.BID else self._try(without_least(without_floor(own), self._line))
        )
        passed = found.reason != Reason.NO_VALUE
        return "foreign_price", passed, f"a price in {price.currency}", _cpm(price.price_micros)

    # -- figures --------------------------------------------------------------------------------------------

    def _price(
        self, scores: Result, bare: Result, whole: Result, floor: int, currency: str, *, fits: bool
    ) -> Price:
        table, row = self._stage.table, self._stage.batch.columns[self._r]
        columns = table.columns[self._line]
        applied = self._applied()
        known = scores.reason == Reason.BID
        pctr, pcvr = (scores.pctr, scores.pcvr) if known else (0.0, 0.0)
        goal_value, valued = int(columns[Column.VALUE_NANOS]), ""
        if columns[Column.VALUE_MOST] and self._modelled:
            goal_value, valued = self._stage.conversion_value(self._r, self._line)
        goal = int(columns[Column.GOAL])
        line = table.lines[self._line]
        shown = bare.creative if bare.creative >= 0 else scores.creative
        media = int(table.creatives.columns[shown, 0]) if shown >= 0 and fits else 1
        chance = float(chance_of(row, goal, pctr, media))
        # In the kernel's order: floats that are multiplied in another one differ in the last digit.
        value = chance * goal_value
        if goal == GOAL_CONVERSION:
            value *= pcvr
        for modifier in applied:
            value *= modifier.factor
        held = self._stage.engine.wallet.groups_of(self._line)
        pace = min(float(self._state.paces[group, G_MULTIPLIER]) for group in held)
        # The price of a deal is not ours to lower: its share of opportunities is.
        by_share = row[R_FLAGS] & (FIXED_PRICE | GUARANTEED) == FIXED_PRICE
        multiplier = 1.0 if by_share else pace
        shade = self._stage.shade(int(row[R_EXCHANGE])) if row[R_FLAGS] & FIRST_PRICE else 1.0
        fee_ppm = int(columns[Column.FEE_PPM]) + self._stage.discrepancy(int(row[R_EXCHANGE]))
        fee_nanos = int(columns[Column.FEE_NANOS])
        factor = math.prod((modifier.factor for modifier in applied), start=1.0)
        aimed = self._aimed((pctr, pcvr, float(goal_value)), factor, value)
        paced = min([value * multiplier, *(one.allowed_nanos for one in aimed)])
        most = (paced - fee_nanos) / (1.0 + fee_ppm / MICROS_PER_UNIT)
        worth, landscape = most * shade, 0.0
        arm = ARMS[int(scores.arm)] if known else ""
        if arm == "landscape":
            worth = landscape = self._stage.landscape_bid(most, worth, floor, int(scores.stratum))
            shade = 1.0
        bid = bare.reason == Reason.BID
        chosen = bid and fits
        return Price(
            pctr=pctr,
            pcvr=pcvr,
            goal=line.goal.value,
            goal_value_nanos=goal_value,
            chance=chance,
            maximise=not line.value_nanos,
            valued=valued,
            modifiers=factor,
            applied=applied,
            value_nanos=value,
            multiplier=multiplier,
            aimed=aimed,
            pacing=self._stage.table.lines[self._line].pacing.value,
            share=pace if by_share else 1.0,
            shade=shade,
            fee_ppm=fee_ppm,
            fee_nanos=fee_nanos,
            fees_nanos=whole.amount - whole.cap if whole.reason == Reason.BID else 0,
            arm=arm,
            stratum=self._stage.shading.name(int(scores.stratum)) if arm else "",
            landscape_nanos=landscape,
            win_probability=whole.chance if whole.reason == Reason.BID else 0.0,
            explore_factor=whole.factor if whole.reason == Reason.BID else 0.0,
            most_nanos=most,
            worth_nanos=worth,
            max_bid_nanos=int(columns[Column.MAX_BID_NANOS]),
            min_bid_nanos=int(columns[Column.MIN_BID_NANOS]),
            bid_nanos=bare.bid_nanos if bid else 0,
            floor_nanos=floor,
            fixed_price=bool(row[R_FLAGS] & FIXED_PRICE),
            guaranteed=bool(row[R_FLAGS] & GUARANTEED),
            rate_nanos=int(row[R_RATE]),
            offer_nanos=whole.bid_nanos if whole.reason == Reason.BID else 0,
            price_micros=bare.price_micros if bid else 0,
            currency=currency,
            creative_id=table.creatives.owners[bare.creative][1].id if chosen else "",
            features=self._features(),
        )

    @property
    def _modelled(self) -> bool:
        """Whether the engine's model scores the row."""
        outside = self._stage.batch.columns[self._r, R_FLAGS] & EXTERNAL
        return self._stage.trees > 0 and not outside

    def _aimed(self, scores: tuple[float, float, float], factor: float, value: float) -> tuple[Aimed, ...]:
        """What each target allows, with the state that the line item meets; `scores` as `worth_of` takes them."""
        table = self._stage.table
        begin, end = table.columns[self._line, [Column.AIM_START, Column.AIM_END]].tolist()
        found: list[Aimed] = []
        for aim, status in zip(
            table.aims[begin:end], self._stage.engine.targets.status(self._line), strict=True
        ):
            row = self._state.targets[int(aim[A_GROUP])]
            worth = float(worth_of(aim, *scores)) * factor
            most = most_of(row, worth, worth if aim[A_BASE] == 0.0 else float(aim[A_BASE]) * value)
            found.append(
                Aimed(
                    aim=status.aim,
                    owner=status.owner,
                    target_nanos=status.nanos,
                    worth_nanos=worth,
                    ratio=float(row[T_RATIO]),
                    room=float(row[T_ROOM]),
                    allowed_nanos=float(most),
                    learning=status.learning,
                    outcomes=status.outcomes,
                )
            )
        return tuple(found)

    def _applied(self) -> tuple[Applied, ...]:
        """The modifiers that the opportunity calls for."""
        table = self._stage.table
        record = self._stage.record_of(self._r)
        begin, end = table.columns[self._line, [Column.MODIFIER_START, Column.MODIFIER_END]].tolist()
        own = table.lines[self._line].modifiers
        return tuple(
            Applied(
                dimension=modifier.dimension,
                value=modifier.value,
                factor=float(table.modifier_factors[place]),
            )
            for place, modifier in zip(range(begin, end), own, strict=True)
            if shows(record, 0, len(record), table.modifier_rows[place])
        )

    def _features(self) -> dict[str, Shows]:
        """Raw values of the opportunity and of the line item, as training tables have them."""
        batch = self._stage.batch
        if not self._modelled:
            return {}
        pending = batch.rows[self._r]
        audience, (size, position) = pending.call.visitor.audience, pending.slots[0].features
        hour = hour_of_week(self._now_ns)
        values = raw_features(audience, pending.imp.tagid, size, position, pending.floor, hour)
        line = self._stage.table.lines[self._line]
        return {
            **dict(zip(RAW_FEATURES, values, strict=True)),
            SEGMENTS_COLUMN: audience.segments,
            **campaign_features(line.campaign, line.line_item_id),
        }

    def _floor(self, trial: Trial, found: Result) -> int:
        """The floor of the creative that would be shown; of the impression where none is chosen."""
        row = trial.row
        if found.creative < 0:
            return int(row[R_FLOOR])
        creatives = trial.creatives
        columns = creatives.columns[found.creative]
        media = int(columns[0])
        slot = row[R_BANNER + media - 1]
        return int(floor_of(row, slot, creatives.slots, creatives.durations, media, columns[7]))


def _scores(scores: Result) -> str:
    conversions = f", conversion {scores.pcvr:.4g}" if scores.pcvr else ""
    return f"click {scores.pctr:.4g}{conversions}" if scores.reason == Reason.BID else "click 0"


def _cpm(micros: int) -> str:
    return format_decimal(micros, MICROS_PER_UNIT)
