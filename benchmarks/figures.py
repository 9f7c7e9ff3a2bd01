"""Records of a run to figures: rates, quantiles, batch sizes, spreads over rounds. Pure."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from benchmarks.load import NOT_YET, Records


class BatchSizes(msgspec.Struct, frozen=True):
    """Requests decided at once: mean over batches, quantiles over batches, batches."""

    mean: float
    p10: int
    p50: int
    p90: int
    batches: int


class Cpu(msgspec.Struct, frozen=True):
    """CPU seconds a second of the wall; None where the system does not tell of other processes."""

    worker: float | None
    broker: float | None
    generator: float | None


class Saturated(msgspec.Struct, frozen=True, kw_only=True):
    """A closed loop: as many answers as come while a fixed number of requests is outstanding.

    per_core: requests for each CPU second of the worker. bid_rate: share of answers that bid.
    """

    seconds: float
    window: int
    requests_per_s: float
    per_core: float | None
    bid_rate: float
    cpu: Cpu
    batches: BatchSizes


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True):
    """An open loop: latencies in milliseconds from the scheduled sending to the answer.

    late: share of requests answered after `tmax`, or never. unanswered: those that never were.
    """

    seconds: float
    offered_per_s: float
    requests: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late: float
    unanswered: int
    bid_rate: float
    cpu: Cpu
    batches: BatchSizes


class Round(msgspec.Struct, frozen=True):
    """Both loops, one after the other, and what was measured beside them in the same minute.

    floor_us: CPU of typed decode and scores alone, a request. alone_us: of the worker without a transport, a request.
    batch_ms: p50 and p99 of a micro-batch in the open loop, from its requests in hand to its answers handed on.
    None where it is not measured.
    """

    saturated: Saturated
    open_loop: OpenLoop
    floor_us: float | None = None
    alone_us: float | None = None
    batch_ms: tuple[float, float] | None = None

    @property
    def of_floor(self) -> float | None:
        """Share of the worker's CPU time that the floor would take."""
        per_core = self.saturated.per_core
        return self.floor_us * per_core / 1e6 if self.floor_us is not None and per_core else None

    @property
    def client_share(self) -> float | None:
        """Share of the worker's CPU time that goes to the broker's client and the event loop."""
        per_core = self.saturated.per_core
        return 1.0 - self.alone_us * per_core / 1e6 if self.alone_us is not None and per_core else None


class Spread(msgspec.Struct, frozen=True):
    """One figure over rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of at least one value."""
    return Spread(float(np.median(values)), min(values), max(values))


def saturated(
    records: Records, begin_ns: int, end_ns: int, *, window: int, cpu: Cpu, batches: BatchSizes
) -> Saturated:
    """Figures of a closed loop whose measured part is [begin, end) on the monotonic clock."""
    seconds = (end_ns - begin_ns) / 1e9
    inside = records.answers(begin_ns, end_ns)
    answers, bids = int(inside.sum()), int((inside & records.bid).sum())
    rate = answers / seconds
    return Saturated(
        seconds=seconds,
        window=window,
        requests_per_s=rate,
        per_core=rate / cpu.worker if cpu.worker else None,
        bid_rate=bids / max(answers, 1),
        cpu=cpu,
        batches=batches,
    )


def open_loop(
    records: Records, begin_ns: int, end_ns: int, *, tmax_ms: float, cpu: Cpu, batches: BatchSizes
) -> OpenLoop:
    """Figures of an open loop over the requests due in [begin, end); at least one of them answered.

    A request without an answer has no latency, but it counts as late.
    """
    inside = (records.due_ns >= begin_ns) & (records.due_ns < end_ns)
    known = inside & (records.answered_ns != NOT_YET)
    latencies_ms = (records.answered_ns[known] - records.due_ns[known]) / 1e6
    requests, answered = int(inside.sum()), int(known.sum())
    seconds = (end_ns - begin_ns) / 1e9
    p50, p99, p999 = np.quantile(latencies_ms, (0.5, 0.99, 0.999))
    late = requests - answered + int((latencies_ms > tmax_ms).sum())
    return OpenLoop(
        seconds=seconds,
        offered_per_s=requests / seconds,
        requests=requests,
        p50_ms=float(p50),
        p99_ms=float(p99),
        p999_ms=float(p999),
        max_ms=float(latencies_ms.max()),
        late=late / requests,
        unanswered=requests - answered,
        bid_rate=int(records.bid[inside].sum()) / max(answered, 1),
        cpu=cpu,
        batches=batches,
    )


def batch_sizes(sizes: Counter[int]) -> BatchSizes:
    """The distribution of batch sizes from counts of batches by size."""
    values = np.repeat(list(sizes), list(sizes.values()))
    if not len(values):
        return BatchSizes(0.0, 0, 0, 0, 0)
    p10, p50, p90 = np.quantile(values, (0.1, 0.5, 0.9), method="inverted_cdf")
    return BatchSizes(float(values.mean()), int(p10), int(p50), int(p90), len(values))
