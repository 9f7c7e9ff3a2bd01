"""What a measurement of one transport consists of, and what must be true of it afterwards."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import BatchSizes, Cpu, OpenLoop, Saturated, batch_sizes, open_loop, saturated
from benchmarks.load import Bank, Load, Records
from benchmarks.traffic import TMAX_MS
from bidder.runtime.clock import Clock
from bidder.store.journal import Decide, read_journal

LOAD_SHARE = 0.7
"""Of the saturated rate, for the open loop."""
WARM_UP_S = 2.0
LEAD_IN_S = 1.0
"""Of the open loop, not measured: until its queues are as they stay."""
DRAIN_S = 5.0
"""How long the last answers are waited for."""


class BenchmarkError(Exception):
    """A run that is not worth a figure: something was lost, repeated or booked wrongly."""


class Stage(NamedTuple):
    """The measured part of one loop.

    Attributes:
        first: number of its first request. begin_ns, end_ns: on the monotonic clock.
        from_ns, until_ns: the same on the worker's clock, by which its journal is kept.
        cpu: what it cost.
    """

    first: int
    begin_ns: int
    end_ns: int
    from_ns: int
    until_ns: int
    cpu: Cpu


class Watch:
    """Stops time and CPU of a stage.

    Args:
        clock: of the worker. meters: CPU seconds so far of worker, broker, generator; None where not known.
    """

    def __init__(self, clock: Clock, meters: Callable[[], Cpu]) -> None:
        self._clock = clock
        self._meters = meters
        self._begin_ns = self._from_ns = self._first = 0
        self._cpu = Cpu(None, None, None)

    def begin(self, first: int) -> None:
        """The stage begins; `first` is the number of its first request."""
        self._first = first
        self._cpu = self._meters()
        self._begin_ns, self._from_ns = time.monotonic_ns(), self._clock.now_ns()

    def end(self) -> Stage:
        """The stage is over."""
        end_ns, until_ns = time.monotonic_ns(), self._clock.now_ns()
        seconds = (end_ns - self._begin_ns) / 1e9
        cpu = share_of(self._cpu, self._meters(), seconds)
        return Stage(self._first, self._begin_ns, end_ns, self._from_ns, until_ns, cpu)


def share_of(before: Cpu, after: Cpu, seconds: float) -> Cpu:
    """CPU seconds a second between two readings."""

    def one(old: float | None, new: float | None) -> float | None:
        return (new - old) / seconds if old is not None and new is not None else None

    return Cpu(
        one(before.worker, after.worker),
        one(before.broker, after.broker),
        one(before.generator, after.generator),
    )


def closed_figures(stage: Stage, records: Records, window: int, batches: BatchSizes) -> Saturated:
    """A closed loop's stage as figures."""
    return saturated(records, stage.begin_ns, stage.end_ns, window=window, cpu=stage.cpu, batches=batches)


def open_figures(stage: Stage, records: Records, batches: BatchSizes) -> OpenLoop:
    """An open loop's stage as figures."""
    return open_loop(records, stage.begin_ns, stage.end_ns, tmax_ms=TMAX_MS, cpu=stage.cpu, batches=batches)


def batches_of(journal: Path, stages: Sequence[Stage]) -> list[BatchSizes]:
    """Sizes of the batches that a worker's journal says it decided within each stage."""
    counts: list[Counter[int]] = [Counter() for _ in stages]
    for entry in read_journal(journal):
        if isinstance(entry, Decide):
            for stage, sizes in zip(stages, counts, strict=True):
                if stage.from_ns <= entry.now_ns < stage.until_ns:
                    sizes[len(entry.bodies)] += 1
    return [batch_sizes(sizes) for sizes in counts]


def check_run(load: Load, bank: Bank, requests: int, posted_nanos: Mapping[str, int]) -> None:
    """Raises `BenchmarkError` unless every request was decided once and the worker's books are the bank's."""
    if load.repeated:
        raise BenchmarkError(f"every answer must come once, {load.repeated} came again or unasked")
    if requests != load.sent or load.outstanding:
        raise BenchmarkError(
            f"all {load.sent} requests must be decided and answered once, the worker decided {requests}, "
            f"{load.outstanding} had no answer"
        )
    if dict(posted_nanos) != bank.posted_nanos:
        raise BenchmarkError(f"worker must have posted {bank.posted_nanos}, posted {dict(posted_nanos)}")
