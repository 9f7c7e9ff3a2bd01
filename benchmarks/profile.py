"""Which stage of a decision the CPU time goes to, by samples of where the interpreter stands.

A timer of the process's own CPU time looks every few milliseconds which Python function runs; a call into
compiled code counts for the function that makes it. Timers inside would cost as much as what they time, and
would have to be moved with every change.
"""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import FrameType
from typing import Any

INTERVAL_S = 0.003
"""Longer than the longest call into compiled code: a signal waits for its end, and two that wait are one."""

STAGES = (
    "decode", "gate", "showing", "columns", "kernel", "reserve", "tokens", "answer", "log", "other",
)  # fmt: skip
_BY_FUNCTION = {
    ("engine", "_run"): "kernel",
    ("engine", "_reserve"): "reserve",
    ("engine", "_bid"): "answer",
    ("engine", "_log"): "log",
    ("engine", "_gather"): "columns",
    ("engine", "_count"): "log",
    ("call", "answer"): "answer",
    ("call", "end"): "log",
    ("opportunity", "audience_of"): "gate",
    ("opportunity", "_segments"): "gate",
    ("opportunity", "agent_of_device"): "gate",
    ("token", "bid_id"): "columns",
}
_BY_FILE = {
    "decode": ("codec", "mending", "request"),
    "gate": ("gate", "traffic", "users", "devices", "permissions", "gpp", "tcf", "us", "canada", "bits", "schain",
             "networks", "rates", "profiles", "currency"),
    "showing": ("showing", "parts", "taxonomy", "circles", "expressions", "specs", "deals"),
    "columns": ("batch", "opportunity"),
    "reserve": ("purse", "wallet", "caps", "funnel"),
    "tokens": ("token",),
    "answer": ("templates", "templatebook", "response", "banner", "vast", "native", "pieces", "money", "urls"),
    "log": ("call", "reasons"),
}  # fmt: skip
_STAGE_OF = {name: stage for stage, names in _BY_FILE.items() for name in names}
_OURS = "bidder"


def stage_of(frame: FrameType | None) -> str | None:
    """The stage that a stack stands in: that of the innermost function that has one; None outside of `decide`."""
    stage: str | None = None
    while frame is not None:
        path = PurePath(frame.f_code.co_filename)
        name = frame.f_code.co_name
        if stage is None and _OURS in path.parts:
            stage = _BY_FUNCTION.get((path.stem, name)) or _STAGE_OF.get(path.stem)
        if path.stem == "engine" and name == "decide":
            return stage or "other"
        frame = frame.f_back
    return None


class Profile:
    """Samples by stage; `outside` are those beside a decision."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()
        self.outside = 0

    @property
    def shares(self) -> dict[str, float]:
        """Share of each stage in the CPU time of decisions."""
        total = max(sum(self.samples.values()), 1)
        return {stage: self.samples[stage] / total for stage in STAGES}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Samples the main thread."""
        old = signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.signal(signal.SIGPROF, old)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        stage = stage_of(frame)
        if stage is None:
            self.outside += 1
        else:
            self.samples[stage] += 1


def count_bytecodes(work: Callable[[], object], requests: int) -> dict[str, float]:
    """Bytecodes of Python that decisions execute, a request, by stage: the same on any machine however busy.

    Args:
        work: decides so many `requests`. The tracer that counts makes it many times slower.
    """
    counts: Counter[str] = Counter()

    def begin(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        stage = stage_of(frame)
        if event != "call" or stage is None:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def count(_frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
            counts[stage] += event == "opcode"
            return count

        return count

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        work()
    finally:
        sys.settrace(before)
    return {stage: counts[stage] / requests for stage in STAGES if counts[stage]}
