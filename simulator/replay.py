"""Replay of a worker's input journal: the same inputs at the same times must give the same bytes.

Only inputs are read; every output is made again by the same engine and compared, call by call, with the
digest that the live worker noted.
"""

import gc
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bidder.core.engine import Engine, outputs_of
from bidder.core.inbox import Inbox
from bidder.core.settings import EngineSettings
from bidder.core.warm import warm_kernels
from bidder.errors import InputError
from bidder.store.journal import Control, Decide, Journal, Output, Tick, output_digest, read_journal
from bidder.store.model import load_model
from bidder.store.seat import EXTERNAL_MODEL, versions


class Difference(NamedTuple):
    """The first call whose outputs were not the same, and what was asked in it."""

    call: int
    now_ns: int
    requests: int
    first_request: str


class Replayed(NamedTuple):
    """What a replay found.

    `calls`, `requests`: decide calls and bodies made again. `same`: calls with the very same outputs.
    `difference`: the first that differed. `broken_off`: why the replay could not go on after that: money settled
    for bids that were not made here, or made otherwise; else empty. `truncated`: whether the journal's end was
    torn. `seconds`: wall time of the engine alone. `other_versions`: libraries that were others when the journal
    was written.
    """

    calls: int
    requests: int
    same: int
    difference: Difference | None
    broken_off: str
    truncated: bool
    seconds: float
    other_versions: dict[str, tuple[str, str]]

    @property
    def identical(self) -> bool:
        """Whether there was something to compare and all of it was the same."""
        return self.calls > 0 and self.same == self.calls and not self.broken_off


def replay_journal(journal_path: Path, model_directory: Path | None, key: bytes) -> Replayed:
    """Makes the outputs of a journal again and compares them.

    Args:
        journal_path: the journal.
        model_directory: the model bundle that served, or None where scores came from outside.
        key: the key that signed the tokens; bytes depend on it, so it is not in the journal.

    Raises:
        InputError: a journal that is missing or damaged, or a model other than the one that served.
    """
    with closing(read_journal(journal_path)) as journal:
        return _Replay(journal, _engine_of(journal, journal_path, model_directory, key)).run()


def _engine_of(journal: Journal, path: Path, model_directory: Path | None, key: bytes) -> Engine:
    meta = journal.meta
    wanted = meta.get("model", EXTERNAL_MODEL)
    model = load_model(model_directory) if model_directory is not None and wanted != EXTERNAL_MODEL else None
    found = model.hash if model is not None else EXTERNAL_MODEL
    if found != wanted:
        raise InputError(
            f"model of journal {path} must be {wanted[:12]}, was {found[:12]}; name it with --model"
        )
    try:
        settings = msgspec.convert(meta["settings"], EngineSettings)
        start_id = msgspec.convert(meta["start_id"], str)
    except (KeyError, msgspec.ValidationError) as error:
        raise InputError(f"header of journal {path} must be as a bidder wrote it: {error}") from None
    # What loading costs is no part of the engine's time, and the collector need not walk it again and again.
    warm_kernels(model)
    gc.collect()
    gc.freeze()
    return Engine(settings, key, model, start_id)


class _Replay:
    """One journal on its way through an engine."""

    def __init__(self, journal: Journal, engine: Engine) -> None:
        self._journal = journal
        self._engine = engine
        self._inbox = Inbox(engine)
        self._calls = self._requests = self._same = self._spent_ns = 0
        self._difference: Difference | None = None
        self._digest = b""
        self._last: Decide | None = None

    def run(self) -> Replayed:
        broken_off = ""
        for entry in self._journal:
            if isinstance(entry, Output):
                self._compare(entry)
                continue
            began = time.perf_counter_ns()
            try:
                self._feed(entry)
            except AssertionError as error:
                # Where outputs have differed, money that settles need not fit the bids that were made here.
                if self._difference is None:
                    raise
                broken_off = str(error)
                break
            self._spent_ns += time.perf_counter_ns() - began
        return Replayed(
            calls=self._calls,
            requests=self._requests,
            same=self._same,
            difference=self._difference,
            broken_off=broken_off,
            truncated=self._journal.truncated,
            seconds=self._spent_ns / 1e9,
            other_versions=_other_versions(self._journal.meta),
        )

    def _feed(self, entry: Decide | Control | Tick) -> None:
        if isinstance(entry, Decide):
            answers = self._engine.decide(entry.bodies, entry.ages_ns, entry.now_ns)
            self._digest, self._last = output_digest(outputs_of(answers)), entry
            self._calls += 1
            self._requests += len(entry.bodies)
        elif isinstance(entry, Control):
            self._inbox.apply(entry.items, entry.now_ns)
        else:
            self._engine.tick(entry.now_ns)

    def _compare(self, entry: Output) -> None:
        assert self._last is not None, "an output follows the decide that made it"
        if self._digest == entry.digest:
            self._same += 1
        elif self._difference is None:
            self._difference = _difference(self._calls, self._last)


def _difference(call: int, asked: Decide) -> Difference:
    first = asked.bodies[0][:80].decode("utf-8", "replace") if asked.bodies else ""
    return Difference(call, asked.now_ns, len(asked.bodies), first)


def _other_versions(meta: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Libraries whose version is another than the journal's: bytes are promised for the same ones only."""
    then: dict[str, str] = meta.get("versions", {})
    return {name: (then.get(name, "?"), now) for name, now in versions().items() if then.get(name) != now}
