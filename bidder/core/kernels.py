"""The compiled inner loop of deciding. Plain arrays and scalars in, out-arrays written; no Python objects.

`decide_rows` takes opportunities one after another, each against the state that the one before left, so that
where a batch is split changes nothing. Its slow twin is `tests/support/naive_engine.py`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

from bidder.core.creative_kernels import choose_creative, first_fitting
from bidder.core.decision_columns import (
    AIM_END,
    AIM_START,
    BY_LANDSCAPE,
    CAP_END,
    CAP_START,
    EXTERNAL,
    F_BELOW_FLOOR,
    F_BID,
    F_BUDGET,
    F_CAPPED,
    F_CREATIVE,
    F_ELIGIBLE,
    F_NO_LEASE,
    F_NO_VALUE,
    F_OUTBID,
    F_POD,
    F_STOPPED,
    F_UNSCORED,
    FEE_NANOS,
    FEE_PPM,
    FIRST_PRICE,
    FIXED_PRICE,
    GOAL,
    GOAL_CONVERSION,
    GOAL_VIEW,
    GUARANTEED,
    KNOWN,
    MAX_BID_NANOS,
    MIN_BID_NANOS,
    MODIFIER_END,
    MODIFIER_START,
    O_AMOUNT,
    O_BID,
    O_CAP,
    O_CREATIVE,
    O_LINE,
    O_PRICE,
    O_REASON,
    ONLY,
    P_FACTOR,
    R_AUDIO,
    R_BANNER,
    R_BELOW_FLOOR,
    R_BID,
    R_BUDGET,
    R_CAPPED,
    R_DUPLICATE,
    R_EXCHANGE,
    R_FLAGS,
    R_NO_CAMPAIGNS,
    R_NO_LEASE,
    R_NO_VALUE,
    R_OUTSIDE,
    R_POD,
    R_QUANTITY,
    R_RATE,
    R_RESULT_NS,
    R_SEED,
    R_UNSCORED,
    R_USER,
    R_VIDEO,
    REFUSE_UNKNOWN,
    TEST,
    VALUE_MOST,
    VALUE_NANOS,
    WANTS_CVR,
)
from bidder.core.draw_kernels import takes_part
from bidder.core.exploration_kernels import A_HELD, A_LANDSCAPE, L_SHARE, arm_of, explored, is_moved
from bidder.core.frequency_kernels import C_OWNER, first_refusal_marked, mark_of, pend_one
from bidder.core.pacing_kernels import (
    G_DRIFT,
    G_LEAST,
    G_MOST,
    G_MULTIPLIER,
    G_UNITS,
    N_SEEN,
    charged,
    lifted,
    meet,
)
from bidder.core.price_kernels import MILLION, amount_of, note, priced_at
from bidder.core.score_kernels import request_mask, whole_row
from bidder.core.shading_kernels import shaded_worth, stratum_of
from bidder.core.slot_kernels import chance_of, floor_of, in_pod, pod_left
from bidder.core.target_kernels import aimed_at, allowed_by
from bidder.core.targeting_kernels import eligible, narrow, shows
from bidder.core.value_kernels import conversion_value
from models.kernels import calibrated, lightgbm_raw, raw_score, raw_score_pair
from models.landscape.kernels import win_probability

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
"""Typed, because Numba mixes uint64 and a plain int into a signed number and the shift would drag the sign."""


@njit(cache=True)
def decide_rows(
    now_ns,
    n,
    # opportunities
    values, batch, record, external, row_blocks,
    # line items
    active, base, rows, refusals, columns, caps, pace_starts, pace_groups, modifier_rows, modifier_factors,
    shades, discrepancies, stopped, aims,
    # creatives and slots
    creatives, creative_starts, creative_rows, creative_blocks, shown, clicked, slots, slot_lists, durations,
    native_ok,
    # model
    request_features, feature_kind, first_row, thr_start, thresholds, cat_start, category_rows, masks,
    leaf_values, tree_start, knots_start, knots_raw, knots_probability, handles, line_features, whole, line_masks,
    # value of a conversion
    value_bins, value_thresholds, value_categories, value_masks, value_leaves, value_start, value_knots_raw,
    value_knots_probability, value_scale, line_values, valued_mask, value_counts,
    # first price
    law, codes, prediction, edges, child_start, child_code, child_place, others, shade_start, shade_worth,
    shade_segment, prices, survival, explorable,
    # money
    available, lease_until, unit, chain_of, chain_start, chain_accounts,
    # users
    cap_users, cap_rows, cap_state,
    # state, changed
    paces, pace_counts, targets, offered, funnel, counters, counting,
    # out
    out, logged,
    # scratch
    left, mask, scratch,
):  # fmt: skip
    """Decides `n` opportunities in order.

    Args:
        now_ns: time of the batch.
        n: opportunities in the columns below.
        values: float64[n, request features], codes of `RowEncoder`.
        batch: int64[n, 23], by R_ column.
        record: int32[], for each row and each used dimension the rows of the values that it shows, then END.
        external: float64[n], click probability where EXTERNAL, for line item R_OUTSIDE.
        row_blocks: int32[], what rows bar of single creatives, see R_BLOCKS.
        active to modifier_factors: see `bidder.core.table.LineTable`; `base` with what is in flight in row 0.
        pace_starts, pace_groups: see `bidder.core.pacing_groups`.
        shades: float64[exchanges], share of the value bid at first price.
        discrepancies: int64[exchanges], millionths by which an exchange's bill exceeds our count.
        stopped: int32[lines], the reason with which a brake refuses a line item, 0 where none does.
        creatives to creative_blocks: see `bidder.core.creatives.Creatives`.
        shown, clicked: float64[creatives], for the choice between creatives.
        slots to native_ok: see `bidder.core.specs.SlotBook`.
        request_features to knots_probability: the compiled models, see `models.compile.LeafMaskTable`;
            `line_masks` [lines, trees] of the type of `masks` are ANDed from the line items' own features. Model 0
            gives clicks, model 1 conversions of clicks.
        handles: int64[], empty unless LightGBM itself scores, see `models.native`; `line_masks` then holds the codes
            of the line items' own features, whose places in a row are `line_features`; `whole` has space for a row.
        value_bins to value_scale: see `bidder.core.valuing.ValueArrays`. line_values: uint64[lines, its trees].
            valued_mask: uint64[its trees], scratch. value_counts: int64[lines, V_COLUMNS], what became of them.
        law: float64[3], see `exploration_kernels`. codes: int32[n, levels], of each opportunity in the landscape.
        prediction to survival: see `bidder.core.shading.Shading`. explorable: int64[groups], nanos that may still be
            set aside for explored bids; lowered by each.
        available: int64[accounts], what may still be reserved; reduced by each bid.
        lease_until: int64[accounts], end of bidding on the slice. unit, chain_start, chain_accounts: see `Purse`.
        chain_of: int32[lines].
        cap_users, cap_rows, cap_state: see `bidder.core.frequency_kernels`.
        paces, pace_counts: float64[groups, G_COLUMNS], int64[groups, N_COLUMNS], see `bidder.core.pacing_kernels`.
        aims: float64[], targets of line items by A_ column. targets: float64[targets, T_COLUMNS] of `target_kernels`.
        offered: int64[accounts], all that was bid so far; raised by each bid.
        funnel: int64[lines, 12], counts by F_ column. counters: see `funnel_kernels`.
        out: int64[n, 7], by O_ column. logged: float64[n, 10], by P_ column.
        left, mask, scratch: uint64[words], [trees] of the type of `masks`, int64[request features].
    """
    record_end = 0
    for r in range(n):
        row = batch[r]
        flags = row[R_FLAGS]
        out[r, O_LINE] = -1
        out[r, O_CREATIVE] = -1
        out[r, O_BID] = 0
        known = flags & KNOWN != 0
        test = flags & TEST != 0
        count = 0 if test else 1
        record_begin = record_end
        refused, record_end = eligible(
            active, base, rows, refusals, record, record_begin, left, counters,
            counting and not test and not known,
        )  # fmt: skip
        if known:
            out[r, O_REASON] = R_DUPLICATE
            continue
        if refused != 0:
            out[r, O_REASON] = refused
            continue
        outside = flags & EXTERNAL != 0
        modelled = not outside and masks.shape[1] > 0
        native = handles.shape[0] > 0
        masked = valued = False
        first_price = flags & FIRST_PRICE != 0
        fixed = flags & FIXED_PRICE != 0
        guaranteed = flags & GUARANTEED != 0
        by_landscape = flags & BY_LANDSCAPE != 0
        arm = arm_of(row[R_SEED], by_landscape, law)
        explores = law[L_SHARE] > 0.0 and arm != A_HELD and not fixed and not guaranteed
        moved = explores and is_moved(row[R_SEED], law)
        user = np.uint64(row[R_USER])
        quantity = row[R_QUANTITY]
        marks = mark_of(cap_state, user)
        seconds_left = pod_left(batch, out, creatives, r)
        furthest, worst = 0, R_NO_CAMPAIGNS
        best, best_surplus, best_choices = -1, 0.0, 0
        if flags & ONLY != 0:
            narrow(left, row[R_OUTSIDE])
        for w in range(left.shape[0]):
            word = left[w]
            bit = 0
            while word != _ZERO:
                while word & _ONE == _ZERO:
                    word >>= _ONE
                    bit += 1
                c = w * 64 + bit
                word >>= _ONE
                bit += 1
                funnel[c, F_ELIGIBLE] += count
                # -- brakes
                if stopped[c] != 0:
                    funnel[c, F_STOPPED] += count
                    if furthest <= F_STOPPED:
                        furthest, worst = F_STOPPED, max(worst, stopped[c])
                    continue
                # -- a creative that fits
                creative, choices, fault = first_fitting(
                    row, flags, creative_rows, creative_starts[c], creative_starts[c + 1], creatives,
                    creative_blocks, slots, slot_lists, native_ok, row_blocks, seconds_left,
                )  # fmt: skip
                if creative < 0:
                    funnel[c, F_CREATIVE] += count
                    if furthest < F_CREATIVE:
                        furthest, worst = F_CREATIVE, fault
                    worst = max(worst, fault) if furthest == F_CREATIVE else worst
                    continue
                if in_pod(batch, out, r, c):
                    funnel[c, F_POD] += count
                    if furthest < F_POD:
                        furthest, worst = F_POD, R_POD
                    continue
                # -- the user's caps
                begin, end = columns[c, CAP_START], columns[c, CAP_END]
                if begin < end:
                    if user == _ZERO:
                        capped = columns[c, REFUSE_UNKNOWN] != 0
                    else:
                        capped = (
                            first_refusal_marked(cap_users, cap_rows, marks, caps, begin, end, user, now_ns)
                            >= 0
                        )
                    if capped:
                        funnel[c, F_CAPPED] += count
                        if furthest < F_CAPPED:
                            furthest, worst = F_CAPPED, R_CAPPED
                        continue
                # -- leases of all its budgets
                chain = chain_of[c]
                leased = True
                for k in range(chain_start[chain], chain_start[chain + 1]):
                    leased &= now_ns < lease_until[chain_accounts[k]]
                if not leased:
                    funnel[c, F_NO_LEASE] += count
                    if furthest < F_NO_LEASE:
                        furthest, worst = F_NO_LEASE, R_NO_LEASE
                    continue
                # -- scores
                pctr = 0.0
                pcvr = 0.0
                scored = modelled
                if outside:
                    scored = c == row[R_OUTSIDE]
                    pctr = external[r] if scored else 0.0
                elif modelled:
                    if not masked and not native:
                        request_mask(
                            values, r, request_features, feature_kind, first_row, thr_start, thresholds, cat_start,
                            category_rows, masks, scratch, mask,
                        )  # fmt: skip
                        masked = True
                    own = line_masks[c]
                    if native:
                        whole_row(values, r, request_features, line_features, own, whole)
                        raw = lightgbm_raw(handles, 0, whole)
                        if columns[c, WANTS_CVR] != 0:
                            second = lightgbm_raw(handles, 1, whole)
                            pcvr = calibrated(
                                second, knots_raw, knots_probability, knots_start[1], knots_start[2]
                            )
                    elif columns[c, WANTS_CVR] != 0:
                        raw, second = raw_score_pair(
                            mask, own, leaf_values, tree_start[0], tree_start[1], tree_start[2]
                        )
                        pcvr = calibrated(
                            second, knots_raw, knots_probability, knots_start[1], knots_start[2]
                        )
                    else:
                        raw = raw_score(mask, own, leaf_values, tree_start[0], tree_start[1])
                    pctr = calibrated(raw, knots_raw, knots_probability, knots_start[0], knots_start[1])
                goal = columns[c, GOAL]
                # How likely a view is, is what was measured of the slot and no model's to say.
                if not scored and (goal < GOAL_VIEW or columns[c, AIM_START] < columns[c, AIM_END]):
                    funnel[c, F_UNSCORED] += count
                    if furthest < F_UNSCORED:
                        furthest, worst = F_UNSCORED, R_UNSCORED
                    continue
                if choices > 1 and (row[R_VIDEO] >= 0 or row[R_AUDIO] >= 0):
                    # A floor may depend on the duration, a goal on the media: the choice comes before the price.
                    creative = choose_creative(
                        row, flags, c, creatives, creative_starts, creative_rows, creative_blocks, slots, slot_lists,
                        native_ok, row_blocks, seconds_left, shown, clicked,
                    )  # fmt: skip
                    choices = 1
                # -- value, pace, price
                pace_begin, pace_end = pace_starts[c], pace_starts[c + 1]
                group = pace_groups[pace_begin]
                if pace_end - pace_begin == 1:
                    # As `meet` does it, without the cost of a call.
                    multiplier = paces[group, G_MULTIPLIER]
                    if not test:
                        pace_counts[group, N_SEEN] += 1
                        paces[group, G_MULTIPLIER] = lifted(
                            multiplier, paces[group, G_DRIFT], paces[group, G_MOST]
                        )
                else:
                    multiplier = meet(paces, pace_counts, pace_groups, pace_begin, pace_end, not test)
                event, by_model = columns[c, VALUE_NANOS], 0
                if modelled and columns[c, VALUE_MOST] > 0:
                    event = by_model = conversion_value(
                        values, r, valued, value_bins, value_thresholds, value_categories, value_masks, value_leaves,
                        value_start, value_knots_raw, value_knots_probability, value_scale, line_values[c],
                        valued_mask, scratch, handles, whole, columns[c], value_counts[c], count,
                    )  # fmt: skip
                    valued = True
                value = chance_of(row, goal, pctr, creatives[creative, 0]) * event
                if goal == GOAL_CONVERSION:
                    value *= pcvr
                factor = 1.0
                for k in range(columns[c, MODIFIER_START], columns[c, MODIFIER_END]):
                    if shows(record, record_begin, record_end, modifier_rows[k]):
                        value *= modifier_factors[k]
                        factor *= modifier_factors[k]
                # A fixed price is not ours to lower: its share of opportunities is; a guarantee is always bid on.
                by_share, share = fixed and not guaranteed, multiplier
                paced = value if by_share else value * multiplier
                begin, end = columns[c, AIM_START], columns[c, AIM_END]
                if begin < end:
                    allowed = allowed_by(
                        aims[begin:end], targets, pctr, pcvr, event, factor, value, paced, test
                    )
                    if allowed < paced:
                        paced, multiplier = allowed, allowed / value
                media = creatives[creative, 0]
                floor = floor_of(
                    row, row[R_BANNER + media - 1], slots, durations, media, creatives[creative, 7]
                )
                # What is left for the price: value covers the price and its fees.
                fee_ppm = columns[c, FEE_PPM] + discrepancies[row[R_EXCHANGE]]
                gross = 1.0 + fee_ppm / MILLION
                paced -= columns[c, FEE_NANOS]
                most = paced / gross
                worth = most
                stratum = -1
                if first_price:
                    worth *= shades[row[R_EXCHANGE]]
                    if by_landscape:
                        stratum = stratum_of(
                            pctr, codes, r, prediction, edges, child_start, child_code, child_place, others
                        )
                    if arm == A_LANDSCAPE:
                        worth = shaded_worth(
                            most, worth, floor, stratum, shade_start, shade_worth, shade_segment, prices, survival
                        )  # fmt: skip
                if guaranteed:
                    worth = max(worth, float(max(floor, 1)))
                # Asked this way round, NaN of a model without calibration is worth nothing too.
                if not worth >= 1.0:
                    funnel[c, F_NO_VALUE] += count
                    if furthest < F_NO_VALUE:
                        furthest, worst = F_NO_VALUE, R_NO_VALUE
                    continue
                # Not `min` of the two: worth may be beyond what an integer holds.
                bid = columns[c, MAX_BID_NANOS]
                if worth < bid:
                    bid = int(worth)
                if bid < columns[c, MIN_BID_NANOS]:
                    funnel[c, F_NO_VALUE] += count
                    if furthest < F_NO_VALUE:
                        furthest, worst = F_NO_VALUE, R_NO_VALUE
                    continue
                if bid < floor:
                    funnel[c, F_BELOW_FLOOR] += count
                    if furthest < F_BELOW_FLOOR:
                        furthest, worst = F_BELOW_FLOOR, R_BELOW_FLOOR
                    continue
                if fixed:
                    bid = max(floor, 1)
                factor, density = 0.0, 0.0
                if explores:
                    bid, factor, density = explored(
                        bid, row[R_SEED], moved, max(floor, columns[c, MIN_BID_NANOS]), columns[c, MAX_BID_NANOS],
                        most, gross, quantity, columns[c, FEE_NANOS], row[R_RATE], explorable[group], law,
                    )  # fmt: skip
                bid, price, cost = priced_at(bid, floor, row[R_RATE], columns[c, MAX_BID_NANOS])
                if cost < 0:
                    funnel[c, F_NO_VALUE] += count
                    if furthest < F_NO_VALUE:
                        furthest, worst = F_NO_VALUE, R_NO_VALUE
                    continue
                amount, spent = amount_of(cost, quantity, fee_ppm, columns[c, FEE_NANOS])
                paid = amount >= 0
                # -- while money is short no bid that would hold it for little; a deal's price is not ours to choose
                for k in range(pace_begin, pace_end):
                    least = paces[pace_groups[k], G_LEAST]
                    if by_share:
                        paid &= least < 0.0 or takes_part(row[R_SEED], share)
                    else:
                        paid &= amount >= least
                # -- every budget that it is charged to
                for k in range(chain_start[chain], chain_start[chain + 1]):
                    account = chain_accounts[k]
                    need = amount if unit[account] == 0 else quantity
                    paid &= available[account] >= need
                if not paid:
                    funnel[c, F_BUDGET] += count
                    if furthest < F_BUDGET:
                        furthest, worst = F_BUDGET, R_BUDGET
                    continue
                # -- the best by expected surplus; the price to beat may be anything with equal chance, unless a
                # landscape knows better
                whole_bid = bid * gross
                chance = win_probability(bid, stratum, prices, survival) if stratum >= 0 else 0.0
                if fixed:
                    surplus = paced - whole_bid
                elif arm == A_LANDSCAPE:
                    surplus = (paced - whole_bid) * chance
                elif first_price:
                    surplus = (paced - whole_bid) * bid
                else:
                    surplus = (paced - 0.5 * whole_bid) * bid
                if best >= 0 and surplus <= best_surplus:
                    funnel[c, F_OUTBID] += count
                    continue
                if best >= 0:
                    funnel[best, F_OUTBID] += count
                best = c
                best_surplus = surplus
                best_choices = choices
                out[r, O_CREATIVE] = creative
                out[r, O_BID] = bid
                out[r, O_PRICE] = price
                out[r, O_AMOUNT] = amount
                out[r, O_CAP] = spent
                note(logged, r, pctr, pcvr, multiplier, arm, stratum, most, chance, factor, density, by_model)
        if best < 0:
            out[r, O_CREATIVE] = -1
            out[r, O_REASON] = worst
            continue
        if best_choices > 1:
            out[r, O_CREATIVE] = choose_creative(
                row, flags, best, creatives, creative_starts, creative_rows, creative_blocks, slots, slot_lists,
                native_ok, row_blocks, seconds_left, shown, clicked,
            )  # fmt: skip
        out[r, O_LINE] = best
        out[r, O_REASON] = R_BID
        funnel[best, F_BID] += count
        if test:
            continue
        chain = chain_of[best]
        for k in range(chain_start[chain], chain_start[chain + 1]):
            account = chain_accounts[k]
            need = out[r, O_AMOUNT] if unit[account] == 0 else quantity
            available[account] -= need
            offered[account] += need
        for k in range(pace_starts[best], pace_starts[best + 1]):
            group = pace_groups[k]
            charged(paces[group], out[r, O_AMOUNT] if paces[group, G_UNITS] == 0.0 else quantity)
        if logged[r, P_FACTOR] > 0.0:
            explorable[pace_groups[pace_starts[best]]] -= out[r, O_AMOUNT]
        begin, end = columns[best, AIM_START], columns[best, AIM_END]
        if begin < end:
            aimed_at(aims[begin:end], targets, logged[r], quantity, out[r])
        if user != _ZERO:
            begin, end = columns[best, CAP_START], columns[best, CAP_END]
            for k in range(begin, end):
                if k == begin or caps[k, C_OWNER] != caps[k - 1, C_OWNER]:
                    pend_one(cap_users, cap_rows, cap_state, user, caps[k, C_OWNER], now_ns, row[R_RESULT_NS])
