"""How long things take, counted in integers: the same events give the same quantiles, live and in replay."""

_BITS = 3
_PER_OCTAVE = 1 << _BITS
_OCTAVES = 60
_MILLION = 1_000_000


class DelayHistogram:
    """Counts delays in buckets of which eight make an octave, so that a bound is at most an eighth too high.

    Args:
        most: from so many events on all counts are halved, so that old ones fade; 0 for never.

    Attributes:
        count: events that count, halved with the others. total_ns: of all delays, never halved.
    """

    __slots__ = ("_buckets", "_most", "count", "total_ns")

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._buckets = [0] * (_OCTAVES * _PER_OCTAVE)
        self.count = 0
        self.total_ns = 0

    def add(self, delay_ns: int) -> None:
        """Counts one event; a delay below 0, as of clocks that differ, is none."""
        delay_ns = max(delay_ns, 0)
        self._buckets[_bucket(delay_ns)] += 1
        self.count += 1
        self.total_ns += delay_ns
        if self._most and self.count >= self._most:
            self._buckets = [count // 2 for count in self._buckets]
            self.count = sum(self._buckets)

    def within(self, bound_ns: int) -> int:
        """How many events took at most `bound_ns`, to the precision of the buckets."""
        return sum(self._buckets[: _bucket(bound_ns + 1)])

    def quantile_ns(self, share_ppm: int) -> int:
        """The least bound of a bucket that so many millionths of the events stayed within; 0 where there are none."""
        wanted = -(-self.count * share_ppm // _MILLION)
        passed = 0
        for bucket, count in enumerate(self._buckets):
            passed += count
            if count and passed >= wanted:
                return _upper(bucket)
        return 0


def _bucket(value: int) -> int:
    """Values below eight have a bucket each; above, the three bits after the highest tell them apart."""
    shift = max(0, value.bit_length() - _BITS - 1)
    return min((shift << _BITS) + (value >> shift), _OCTAVES * _PER_OCTAVE - 1)


def _upper(bucket: int) -> int:
    """The largest value of a bucket."""
    shift = max(0, (bucket >> _BITS) - 1)
    return ((bucket - (shift << _BITS) + 1) << shift) - 1
