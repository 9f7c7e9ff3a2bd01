"""Optional columns of a training table: what is known of a row beside its features and its labels.

| column | what |
|---|---|
| `bid_id` | text, unique: names the bid |
| `user` | text: a key of the user where one may be kept, else null |
| `won` | 1 for an impression, 0 for a bid that was lost; absent: all rows are impressions |
| `first_price` | 1 where the auction was at first price |
| `weight` | how many rows this one stands for, where rows were sampled; > 0 |
| `bid_cpm_micros` | what was bid |
| `price_cpm_micros` | what was paid; null where lost |
| `min_to_win_cpm_micros` | the price that would have won, where the exchange told it |
| `pctr`, `pcvr`, `multiplier` | what the bidder believed and how it paced when it bid |
| `conversion_value_nanos` | what the bidder's model took a conversion to be worth; null where it was not asked |
| `arm` | `landscape` or `held`: how a bid at first price was made where a landscape priced it, else null |
| `worth_cpm_micros` | the most that a win was worth there, after pacing and fees |
| `explore_factor` | what chance moved the bid by; null where it did not |
| `log_density` | logarithm of the density with which this bid was made, 0 where it was certain |
| `value_nanos` | what the conversions of the row were worth, 0 where none |
| `click_at_ns`, `conversion_at_ns` | when it was clicked and first converted; null where not |
| `observed_until_ns` | until when conversions of this row were looked for |

Numbers are float64 with NaN where null, times int64 with `UNKNOWN_NS` where null, texts a list with None.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TEXTS = ("bid_id", "user", "arm")
TIMES = ("click_at_ns", "conversion_at_ns", "observed_until_ns")
NUMBERS = (
    "won",
    "first_price",
    "weight",
    "bid_cpm_micros",
    "price_cpm_micros",
    "min_to_win_cpm_micros",
    "pctr",
    "pcvr",
    "conversion_value_nanos",
    "multiplier",
    "worth_cpm_micros",
    "explore_factor",
    "log_density",
    "value_nanos",
)
UNKNOWN_NS = -1
"""Stands for a time that is null."""

Extra = Sequence[object] | NDArray[np.float64] | NDArray[np.int64]
