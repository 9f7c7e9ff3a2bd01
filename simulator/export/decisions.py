"""The bids of a decision log: JSON rows of `bidder.core.call.Decision`, one a line."""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from bidder.core.call import Decision
from bidder.openrtb.reasons import Reason

FAR_NS = 2**63 - 1
_BID = b'"bid_id":"'
_BID_REASON = int(Reason.BID)
_read = msgspec.json.Decoder(Decision).decode


def read_bids(
    lines: Iterable[bytes], left_out: Counter[str], since_ns: int = 0, until_ns: int = FAR_NS
) -> Iterator[Decision]:
    """The bids among the rows of a log, in its order.

    Args:
        lines: of the log. left_out: counts `unreadable` lines and bids on `test` traffic, which nobody paid for.
        since_ns, until_ns: bids from the first time and before the second.
    """
    for line in lines:
        if _BID not in line:  # the row of an opportunity without a bid, which is quicker not read
            continue
        try:
            row = _read(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            left_out["unreadable"] += 1
            continue
        if not row.bid_id or row.reason != _BID_REASON or not since_ns <= row.at_ns < until_ns:
            continue
        if row.test:
            left_out["test"] += 1
        else:
            yield row
