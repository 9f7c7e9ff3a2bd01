"""Replay of a worker's input journal: the same inputs at the same times must give the same bytes.

Only inputs are read; every output is made again by the same engine and compared, call by call, with the
digest that the live worker noted.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bidder.core.engine import Engine, outputs_of
from bidder.core.inbox import Inbox
from bidder.core.settings import EngineSettings
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
    `difference`: the first that differed. `truncated`: whether the journal's end was torn. `seconds`: wall
    time of the engine alone. `other_versions`: libraries that were others when the journal was written.
    """

    calls: int
    requests: int
    same: int
    difference: Difference | None
    truncated: bool
    seconds: float
    other_versions: dict[str, tuple[str, str]]

    @property
    def identical(self) -> bool:
        """Whether there was something to compare and all of it was the same."""
        return self.calls > 0 and self.same == self.calls


def replay_journal(journal_path: Path, model_directory: Path | None, key: bytes) -> Replayed:
    """Makes the outputs of a journal again and compares them.

    Args:
        journal_path: the journal.
        model_directory: the model bundle that served, or None where scores came from outside.
        key: the key that signed the tokens; bytes depend on it, so it is not in the journal.

    Raises:
        InputError: a journal that is missing or damaged, or a model other than the one that served.
    """
    journal = read_journal(journal_path)
    engine = _engine_of(journal, journal_path, model_directory, key)
    return _run(journal, engine)


def _engine_of(journal: Journal, path: Path, model_directory: Path | None, key: bytes) -> Engine:
    meta = journal.meta
    wanted = meta.get("model", EXTERNAL_MODEL)
    model = load_model(model_directory) if model_directory is not None and wanted != EXTERNAL_MODEL else None
    found = model.hash if model is not None else EXTERNAL_MODEL
    if found != wanted:
        journal.close()
        raise InputError(
            f"model of journal {path} must be {wanted[:12]}, was {found[:12]}; name it with --model"
        )
    return Engine(msgspec.convert(meta["settings"], EngineSettings), key, model, meta["start_id"])


def _run(journal: Journal, engine: Engine) -> Replayed:
    inbox = Inbox(engine)
    calls = requests = same = 0
    difference: Difference | None = None
    digest = b""
    last: Decide | None = None
    spent_ns = 0
    for entry in journal:
        if isinstance(entry, Output):
            assert last is not None, "an output follows the decide that made it"
            if digest == entry.digest:
                same += 1
            elif difference is None:
                difference = _difference(calls, last)
            continue
        began = time.perf_counter_ns()
        if isinstance(entry, Decide):
            answers = engine.decide(entry.bodies, entry.ages_ns, entry.now_ns)
            digest, last = output_digest(outputs_of(answers)), entry
            calls, requests = calls + 1, requests + len(entry.bodies)
        elif isinstance(entry, Control):
            inbox.apply(entry.items, entry.now_ns)
        elif isinstance(entry, Tick):
            engine.tick(entry.now_ns)
        spent_ns += time.perf_counter_ns() - began
    others = _other_versions(journal.meta)
    return Replayed(calls, requests, same, difference, journal.truncated, spent_ns / 1e9, others)


def _difference(call: int, asked: Decide) -> Difference:
    first = asked.bodies[0][:80].decode("utf-8", "replace") if asked.bodies else ""
    return Difference(call, asked.now_ns, len(asked.bodies), first)


def _other_versions(meta: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Libraries whose version is another than the journal's: bytes are promised for the same ones only."""
    then: dict[str, str] = meta.get("versions", {})
    return {name: (then.get(name, "?"), now) for name, now in versions().items() if then.get(name) != now}
