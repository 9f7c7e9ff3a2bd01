"""The compiled inner loop of deciding. Plain arrays and scalars in, out-arrays written; no Python objects.

`decide_rows` takes opportunities one after another, each against the state that the one before left, so that
where a batch is split changes nothing. Its slow twin is `tests/support/naive_engine.py`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np
from numba import njit

from models.kernels import and_rows, calibrated, feature_row, raw_score, raw_score_pair

FIRST_PRICE = 1
TEST = 2
EXTERNAL = 4
"""Bits of an opportunity's flags."""

START_NS, END_NS, MAX_BID_NANOS, VALUE_NANOS, GOAL, ASAP = range(6)
"""Columns of a campaign, `bidder.core.table.Column`."""

(F_ELIGIBLE, F_FLIGHT, F_UNSCORED, F_NO_LEASE, F_NO_VALUE, F_BELOW_FLOOR, F_BUDGET, F_OUTBID, F_BID) = range(
    9
)
"""Columns of the funnel: each eligible candidate ends in exactly one of the others."""

P_CTR, P_CVR, P_MULTIPLIER = range(3)
"""Columns of what is logged of the chosen candidate."""

R_BID, R_NO_CAMPAIGNS, R_DIMENSION = 0, 200, 201
R_FLIGHT, R_UNSCORED, R_NO_LEASE, R_BELOW_FLOOR, R_BUDGET, R_NO_VALUE = 301, 302, 303, 304, 305, 306
"""`bidder.openrtb.reasons.Reason`."""


_ZERO = np.uint64(0)
_ONE = np.uint64(1)
"""Typed, because Numba mixes uint64 and a plain int into a signed number and the shift would drag the sign."""


@njit(cache=True)
def eligible(active, base, include, exclude, row, starts, value_ids, left):
    """Writes the campaigns that targeting leaves for one row into `left`; returns 0 or the refusing reason."""
    words = active.shape[0]
    some = False
    for w in range(words):
        left[w] = active[w]
        some |= left[w] != _ZERO
    if not some:
        return R_NO_CAMPAIGNS
    for d in range(base.shape[0]):
        some = False
        begin, end = starts[row, d], starts[row, d + 1]
        for w in range(words):
            admit = base[d, w]
            refuse = _ZERO
            for k in range(begin, end):
                admit |= include[value_ids[k], w]
                refuse |= exclude[value_ids[k], w]
            left[w] &= admit & ~refuse
            some |= left[w] != _ZERO
        if not some:
            return R_DIMENSION + d
    return 0


@njit(cache=True)
def request_mask(
    values, row, request_features, feature_kind, first_row, thr_start, thresholds, cat_start, category_rows,
    masks, rows, mask,
):  # fmt: skip
    """ANDs the leaf rows of one opportunity's features into `mask`, once for all its candidates."""
    n = request_features.shape[0]
    for k in range(n):
        rows[k] = feature_row(
            values[row, k], request_features[k], feature_kind, first_row, thr_start, thresholds, cat_start,
            category_rows,
        )  # fmt: skip
    and_rows(masks, rows, n, mask)


@njit(cache=True)
def decide_rows(
    now_ns,
    n,
    # opportunities
    values, starts, value_ids, floors, flags, shades, external,
    # campaigns
    active, base, include, exclude, columns, lease_until,
    # model
    request_features, feature_kind, first_row, thr_start, thresholds, cat_start, category_rows, masks,
    leaf_values, tree_start, knots_start, knots_raw, knots_probability, campaign_masks,
    # state, changed
    available, multipliers, drift, seen, funnel,
    # out
    chosen, bids, reasons, logged,
    # scratch
    left, mask, rows,
):  # fmt: skip
    """Decides `n` opportunities in order.

    Args:
        now_ns: time of the batch.
        n: opportunities in the columns below.
        values: float64[n, request features], codes of `RowEncoder`.
        starts: int32[n, dimensions + 1], where each dimension's values begin in `value_ids`.
        value_ids: int32[], rows of include and exclude.
        floors: int64[n], least price of one impression, nanos.
        flags: int64[n], FIRST_PRICE, TEST, EXTERNAL.
        shades: float64[n], share of the value to bid where the first price is paid.
        external: float64[n, 2], campaign row and click probability where EXTERNAL.
        active, base, include, exclude, columns: see `bidder.core.table.CampaignTable`.
        lease_until: int64[campaigns], end of bidding on the slice.
        request_features to knots_probability: the compiled models, see `models.compile.LeafMaskTable`;
            `campaign_masks` uint64[campaigns, trees] are ANDed from the campaigns' own features. Model 0
            gives clicks, model 1 conversions of clicks.
        available: int64[campaigns], nanos that may still be reserved; reduced by each bid.
        multipliers: float64[campaigns], share of the value to bid, the dual variable's inverse.
        drift: float64[campaigns], factor on the multiplier for each eligible opportunity.
        seen: int64[campaigns], eligible opportunities so far.
        funnel: int64[campaigns, 9], counts by F_ column.
        chosen: int32[n], campaign row or -1. bids: int64[n], nanos for one impression. reasons: int32[n].
        logged: float64[n, 3], by P_ column.
        left, mask, rows: scratch of uint64[words], uint64[trees], int64[request features].
    """
    for r in range(n):
        chosen[r] = -1
        bids[r] = 0
        refused = eligible(active, base, include, exclude, r, starts, value_ids, left)
        if refused != 0:
            reasons[r] = refused
            continue
        outside = flags[r] & EXTERNAL != 0
        modelled = not outside and masks.shape[1] > 0
        if modelled:
            request_mask(
                values, r, request_features, feature_kind, first_row, thr_start, thresholds, cat_start,
                category_rows, masks, rows, mask,
            )  # fmt: skip
        test = flags[r] & TEST != 0
        count = 0 if test else 1
        first_price = flags[r] & FIRST_PRICE != 0
        worst = R_FLIGHT
        best = -1
        best_worth = 0.0
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
                if now_ns < columns[c, START_NS] or now_ns >= columns[c, END_NS]:
                    funnel[c, F_FLIGHT] += count
                    continue
                pctr = 0.0
                pcvr = 0.0
                scored = modelled
                if outside:
                    scored = c == int(external[r, 0])
                    pctr = external[r, 1]
                elif modelled:
                    own = campaign_masks[c]
                    if columns[c, GOAL] == 1:
                        raw, second = raw_score_pair(
                            mask, own, leaf_values, tree_start[0], tree_start[1], tree_start[2]
                        )
                        pcvr = calibrated(
                            second, knots_raw, knots_probability, knots_start[1], knots_start[2]
                        )
                    else:
                        raw = raw_score(mask, own, leaf_values, tree_start[0], tree_start[1])
                    pctr = calibrated(raw, knots_raw, knots_probability, knots_start[0], knots_start[1])
                if not scored:
                    funnel[c, F_UNSCORED] += count
                    worst = max(worst, R_UNSCORED)
                    continue
                if now_ns >= lease_until[c]:
                    funnel[c, F_NO_LEASE] += count
                    worst = max(worst, R_NO_LEASE)
                    continue
                multiplier = multipliers[c]
                if not test:
                    seen[c] += 1
                    multipliers[c] = min(1.0, multiplier * drift[c])
                value = pctr * columns[c, VALUE_NANOS]
                if columns[c, GOAL] == 1:
                    value *= pcvr
                worth = value * multiplier
                if first_price:
                    worth *= shades[r]
                # Asked this way round, NaN of a model without calibration is worth nothing too.
                if not worth >= 1.0:
                    funnel[c, F_NO_VALUE] += count
                    worst = max(worst, R_NO_VALUE)
                    continue
                bid = min(int(worth), columns[c, MAX_BID_NANOS])
                if bid < floors[r]:
                    funnel[c, F_BELOW_FLOOR] += count
                    worst = max(worst, R_BELOW_FLOOR)
                    continue
                if bid > available[c]:
                    funnel[c, F_BUDGET] += count
                    worst = max(worst, R_BUDGET)
                    continue
                if best >= 0 and worth <= best_worth:
                    funnel[c, F_OUTBID] += count
                    continue
                if best >= 0:
                    funnel[best, F_OUTBID] += count
                best = c
                best_worth = worth
                bids[r] = bid
                logged[r, P_CTR] = pctr
                logged[r, P_CVR] = pcvr
                logged[r, P_MULTIPLIER] = multiplier
        if best < 0:
            reasons[r] = worst
            continue
        chosen[r] = best
        reasons[r] = R_BID
        funnel[best, F_BID] += count
        if not test:
            available[best] -= bids[r]
