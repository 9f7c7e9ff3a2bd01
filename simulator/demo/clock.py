"""The demo's clock: affine, and patient where the machine does not keep up.

All parts of the embedded run read one clock that runs `speedup` times as fast as the wall. The exchange says
how far time may go: up to the next opportunity that it has not offered yet, and a little more. Where the machine
falls behind, time waits for it and goes on at the same speed, so that no opportunity is offered late and
pacing, leases and reservations mean what they say. How long it waited is told.
"""

import time


class PacedClock:
    """Nanoseconds since the epoch, `speedup` times as fast as the wall and never past a limit.

    Args:
        origin_ns: time shown until `start`.
        speedup: shown seconds for each second of the wall, > 0.
    """

    def __init__(self, origin_ns: int, speedup: float) -> None:
        if speedup <= 0:
            raise ValueError(f"speedup must be > 0, was {speedup}")
        self.speedup = speedup
        self.waited_s = 0.0
        self._shown_ns = origin_ns
        self._limit_ns = origin_ns
        self._read_ns = time.monotonic_ns()

    def set_limit(self, limit_ns: int) -> None:
        """Lets time go up to `limit_ns`; a lower limit than before changes nothing."""
        self.now_ns()
        self._limit_ns = max(self._limit_ns, limit_ns)

    def now_ns(self) -> int:
        """The time now."""
        read_ns = time.monotonic_ns()
        wanted_ns = self._shown_ns + int((read_ns - self._read_ns) * self.speedup)
        self._read_ns = read_ns
        if wanted_ns > self._limit_ns:
            self.waited_s += (wanted_ns - self._limit_ns) / (self.speedup * 1e9)
            wanted_ns = self._limit_ns
        self._shown_ns = wanted_ns
        return wanted_ns

    def wall_seconds_until(self, at_ns: int) -> float:
        """Wall seconds until the clock shows `at_ns` where nothing holds it up; negative when it has passed."""
        return (at_ns - self.now_ns()) / (self.speedup * 1e9)
