"""A histogram of latencies: constant memory, quantiles to about 1.5 %."""

import math
from collections.abc import Sequence

_PER_OCTAVE = 32
_OCTAVES = 44


class LatencyHistogram:
    """Counts durations of 1 ns to some hours in buckets that grow by 2 ** (1 / 32)."""

    def __init__(self) -> None:
        self._counts = [0] * (_PER_OCTAVE * _OCTAVES)
        self.count = 0
        self.total_ns = 0

    def add(self, duration_ns: int, count: int = 1) -> None:
        """Counts `count` events that each took `duration_ns`."""
        bucket = int(math.log2(max(duration_ns, 1)) * _PER_OCTAVE)
        self._counts[min(bucket, len(self._counts) - 1)] += count
        self.count += count
        self.total_ns += duration_ns * count

    def within_ms(self, bound_ms: float) -> int:
        """How many events took at most `bound_ms`, to the precision of the buckets."""
        last = int(math.log2(max(bound_ms * 1e6, 1.0)) * _PER_OCTAVE)
        return sum(self._counts[:last])

    def counts(self) -> tuple[int, ...]:
        """What stands in each bucket, for `quantile_ms` of what is counted from now on."""
        return tuple(self._counts)

    def quantile_ms(self, q: float, since: Sequence[int] = ()) -> float:
        """Milliseconds that a share `q` of the events stayed within; 0.0 where there are none.

        Args:
            q: 0.0 to 1.0. since: `counts` of before; only events after that count.
        """
        counts = (
            [now - then for now, then in zip(self._counts, since, strict=True)] if since else self._counts
        )
        wanted = q * sum(counts)
        passed = 0
        for bucket, count in enumerate(counts):
            passed += count
            if count and passed >= wanted:
                return float(2 ** ((bucket + 0.5) / _PER_OCTAVE)) / 1e6
        return 0.0
