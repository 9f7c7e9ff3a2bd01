"""What the compiled loop of deciding reads and writes: flags, columns and reasons, as the numbers that they are."""

FIRST_PRICE, FIXED_PRICE, GUARANTEED, TEST, EXTERNAL, SECURE, KNOWN = 1, 2, 4, 8, 16, 32, 64
BY_LANDSCAPE, ONLY = 128, 256
"""Bits of an opportunity's flags; with the last only the line item of R_OUTSIDE is asked, see `core.columnar`."""

(
    R_FLAGS, R_FLOOR, R_EXCHANGE, R_EXCHANGE_BIT, R_USER, R_QUANTITY, R_RATE, R_RESULT_NS, R_SEED, R_BANNER, R_VIDEO,
    R_AUDIO, R_NATIVE, R_PER_SECOND, R_FLOORS, R_FLOORS_END, R_BLOCKS, R_BLOCKS_END, R_LANGUAGE_OK,
    R_POD_FIRST, R_POD_S, R_OUTSIDE, R_CHOSEN_DEAL, R_VIEWABLE, R_COMPLETED,
) = range(25)  # fmt: skip
ROW_COLUMNS = 25
"""Columns of an opportunity, see `bidder.core.batch`."""

(MAX_BID_NANOS, VALUE_NANOS, GOAL, MIN_BID_NANOS, CAP_START, CAP_END, REFUSE_UNKNOWN, MODIFIER_START,
 MODIFIER_END, FEE_PPM, FEE_NANOS, WANTS_CVR, AIM_START, AIM_END, VALUE_LEAST, VALUE_MOST) = range(16)  # fmt: skip
"""Columns of a line item, `bidder.core.table.Column`."""

GOAL_CLICK, GOAL_CONVERSION, GOAL_VIEW, GOAL_COMPLETE = range(4)
"""Goals as the kernel knows them; value is a conversion's."""

A_GROUP, A_KIND, A_NANOS, A_BASE = range(4)
AIM_COLUMNS = 4
"""Of a line item's target, float64: its row among the targets; what it counts (`core.lines.Aim`, a return as the
goal's event); nanos that one may cost; and what its room is a part of, over the value: 0 where that is the worth
itself."""
AIM_CPM, AIM_CLICK, AIM_CONVERSION, AIM_VALUE = range(4)
"""With the last, of a return where the model says what a conversion is worth, A_NANOS is the share of a conversion's
value that may be spent on it."""

O_LINE, O_CREATIVE, O_REASON, O_BID, O_PRICE, O_AMOUNT, O_CAP = range(7)
OUT_COLUMNS = 7
"""What became of an opportunity: line item and creative (-1: none), the reason, the bid in account nanos for one
impression, its price in micros of the currency that it is made in, what is set aside for it, and how much of that is
for the exchange: the rest is for fees."""

(F_ELIGIBLE, F_STOPPED, F_CREATIVE, F_POD, F_CAPPED, F_NO_LEASE, F_UNSCORED, F_NO_VALUE, F_BELOW_FLOOR, F_BUDGET,
 F_OUTBID, F_BID) = range(12)  # fmt: skip
"""Columns of the funnel in the order of the stages: each eligible candidate ends in exactly one of the others."""

P_CTR, P_CVR, P_MULTIPLIER, P_ARM, P_STRATUM, P_WORTH, P_CHANCE, P_FACTOR, P_DENSITY, P_VALUE = range(10)
LOG_COLUMNS = 10
"""What is logged of the chosen candidate: its probabilities and multiplier; the arm that priced it; where a landscape
knows its auction the stratum, what a win is worth in nanos and the chance to win; where its bid might have been moved
by chance the factor (0 where it was not) and the logarithm of the density; and where the model was asked what a
conversion is worth, the nanos that it was taken to be."""

R_BID, R_DUPLICATE, R_NO_CAMPAIGNS = 0, 110, 200
R_UNSCORED, R_NO_LEASE, R_BELOW_FLOOR, R_BUDGET, R_NO_VALUE, R_CAPPED, R_POD = (
    302,
    303,
    304,
    305,
    306,
    307,
    308,
)
"""`bidder.openrtb.reasons.Reason`."""

ONE = 1_000_000_000
"""Rate of the account's own currency."""
MOST_FOREIGN_NANOS = 9_000_000_000
"""Highest bid in another currency: times a rate it must fit 64 bits. Nine thousand units CPM."""

MOST_NANOS = 9_000_000_000_000_000_000
"""`bidder.money.MAX_NANOS`."""

ARMS = ("", "landscape", "held")
"""The arms of `bidder.core.exploration_kernels` as logs call them."""
