"""Replay of a worker's input journal: the same inputs at the same times must give the same bytes.

Only inputs are read; every output is made again by the same engine and compared, call by call, with the
digest that the live worker noted. Tables and models, which the worker makes beside its loop, are adopted where it
adopted them.
"""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bidder.core.call import Answer, outputs_of
from bidder.core.engine import Engine
from bidder.core.inbox import Inbox
from bidder.core.prepared import Prepared
from bidder.core.scoring import NATIVE_MARK, Model
from bidder.core.settings import EngineSettings
from bidder.core.warm import warm_kernels
from bidder.errors import InputError
from bidder.store.journal import (
    Adopt,
    Control,
    Decide,
    Entry,
    Journal,
    LandscapeChange,
    ModelChange,
    Output,
    Tick,
    output_digest,
    read_journal,
)
from bidder.store.landscape import Landscapes
from bidder.store.model import load_model
from bidder.store.seat import EXTERNAL_MODEL, versions
from models.aliases import is_registry
from models.registry import ModelRegistry
from simulator.parity import FieldDifference, LiveLog, first_field


class Difference(NamedTuple):
    """The first call whose outputs were not the same, and what was asked; `field` if a live log was compared."""

    call: int
    now_ns: int
    requests: int
    first_request: str
    field: FieldDifference | None = None


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


def replay_journal(
    journal_path: Path,
    model_directories: Sequence[Path],
    key: bytes,
    live: LiveLog | None = None,
    landscapes: Sequence[Path] = (),
) -> Replayed:
    """Makes the outputs of a journal again and compares them.

    Args:
        journal_path: the journal.
        model_directories: the model bundles that served, in any order; none where scores came from outside.
        key: the key that signed the tokens; bytes depend on it, so it is not in the journal.
        live: what the bidder said then, to name the first field that differs.
        landscapes: that priced and are not beside the journal.

    Raises:
        InputError: a journal that is missing or damaged, or models or landscapes other than those that served.
    """
    with closing(read_journal(journal_path)) as journal:
        models, priced = Models(journal_path, model_directories), Landscapes(journal_path.parent, landscapes)
        engine = engine_of(journal, journal_path, models, key, priced)
        return _Replay(journal, engine, models, priced, live).run()


class Models:
    """The bundles that a replay was given, by their hashes; read when the first is asked for.

    Args:
        journal_path: for errors. directories: of the bundles, or registries, which are asked for one by its hash.
    """

    def __init__(self, journal_path: Path, directories: Sequence[Path]) -> None:
        self._path = journal_path
        self._directories = directories
        self._models: dict[bool, dict[str, Model]] = {}

    def named(self, wanted: str) -> Model:
        """The bundle of a hash.

        Raises:
            InputError: it is not among them, or one of them cannot be read.
        """
        # What LightGBM itself scored is scored by it again, even where the compiled form would do here.
        native = wanted.endswith(NATIVE_MARK)
        if native not in self._models:
            plain = [each for each in self._directories if not is_registry(each)]
            loaded = [load_model(each, native=native) for each in plain]
            self._models[native] = {model.hash: model for model in loaded}
        known = self._models[native]
        for each in filter(is_registry, self._directories):
            # Champion or not: a registry keeps every model that ever decided.
            name = wanted.removesuffix(NATIVE_MARK)
            if wanted not in known and (each / name).is_dir():
                kept = load_model(ModelRegistry(each).resolve(name), native=native)
                known[kept.hash] = kept
        model = known.get(wanted)
        if model is None:
            found = " and ".join(sorted(name[:12] for name in known))
            was = f"was {found}" if found else f"there is none in {self._path.parent / 'model'}"
            raise InputError(
                f"model of journal {self._path} must be {wanted[:12]}, {was}; name it with --model"
            )
        return model


def engine_of(
    journal: Journal, path: Path, models: Models, key: bytes, landscapes: Landscapes | None = None
) -> Engine:
    """An engine as the journal's own was when it began; `landscapes` are by default those beside the journal.

    Raises:
        InputError: the header is not as a bidder wrote it, or its model is not there.
    """
    meta = journal.meta
    wanted = meta.get("model", EXTERNAL_MODEL)
    model = models.named(wanted) if wanted != EXTERNAL_MODEL else None
    try:
        settings = msgspec.convert(meta["settings"], EngineSettings)
        start_id = msgspec.convert(meta["start_id"], str)
    except (KeyError, msgspec.ValidationError) as error:
        raise InputError(f"header of journal {path} must be as a bidder wrote it: {error}") from None
    # What loading costs is no part of the engine's time, and the collector need not walk it again and again.
    warm_kernels(model)
    gc.collect()
    gc.freeze()
    priced = meta.get("landscape")
    shading = (landscapes or Landscapes(path.parent)).named(priced) if priced else None
    return Engine(settings, key, model, start_id, shading)


class ControlReplay:
    """Control messages and tables, taken and adopted where a worker did.

    Args:
        engine: of the replay.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inbox = Inbox(engine)
        self._controls = 0
        self._changes: dict[int, Callable[[], Prepared]] = {}

    def take(self, entry: Control) -> None:
        """Applies messages but for the change of campaigns that they come to, which waits for its adoption."""
        self._controls += 1
        if self._inbox.take(entry.items, entry.now_ns):
            self._changes[self._controls] = self._inbox.preparing()

    def adopt(self, entry: Adopt) -> None:
        """Adopts the table of the campaigns as they were at the control entry that `entry` names.

        Raises:
            InputError: no campaigns had changed by then.
        """
        known = [number for number in self._changes if number <= entry.controls]
        if not known:
            raise InputError(
                f"table adopted at {entry.now_ns} must follow a change of campaigns in the first {entry.controls} "
                "control entries of the journal, there is none"
            )
        self._engine.adopt(self._changes[known[-1]](), entry.now_ns)
        for number in known:
            del self._changes[number]


class _Replay:
    """One journal on its way through an engine."""

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        models: Models,
        landscapes: Landscapes,
        live: LiveLog | None = None,
    ) -> None:
        self._live = live
        self._answers: list[Answer] = []
        self._journal = journal
        self._landscapes = landscapes
        self._engine = engine
        self._models = models
        self._control = ControlReplay(engine)
        self._calls = self._requests = self._same = self._spent_ns = 0
        self._difference: Difference | None = None
        self._digest = b""
        self._last: Decide | None = None

    def run(self) -> Replayed:
        broken_off = ""
        entry: Entry | None = None
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
        # A writer that was stopped in between has noted no outputs of its last call: there is nothing to compare.
        unnoted = entry if isinstance(entry, Decide) and not broken_off else None
        return Replayed(
            calls=self._calls - (unnoted is not None),
            requests=self._requests - (len(unnoted.bodies) if unnoted is not None else 0),
            same=self._same,
            difference=self._difference,
            broken_off=broken_off,
            truncated=self._journal.truncated or unnoted is not None,
            seconds=self._spent_ns / 1e9,
            other_versions=_other_versions(self._journal.meta),
        )

    def _feed(self, entry: Entry) -> None:
        if isinstance(entry, Decide):
            answers = self._engine.decide(entry.bodies, entry.ages_ns, entry.now_ns)
            self._digest, self._last, self._answers = output_digest(outputs_of(answers)), entry, answers
            self._calls += 1
            self._requests += len(entry.bodies)
        elif isinstance(entry, Control):
            self._control.take(entry)
        elif isinstance(entry, Adopt):
            self._control.adopt(entry)
        elif isinstance(entry, ModelChange):
            self._engine.adopt_model(self._models.named(entry.hash), entry.now_ns)
        elif isinstance(entry, LandscapeChange):
            self._engine.adopt_shading(self._landscapes.named(entry.hash), entry.now_ns)
        elif isinstance(entry, Tick):
            self._engine.tick(entry.now_ns)

    def _compare(self, entry: Output) -> None:
        assert self._last is not None, "an output follows the decide that made it"
        if self._digest == entry.digest:
            self._same += 1
        elif self._difference is None:
            found = _difference(self._calls, self._last)
            if self._live is not None:
                found = found._replace(field=first_field(self._answers, found.now_ns, self._live))
            self._difference = found


def _difference(call: int, asked: Decide) -> Difference:
    first = asked.bodies[0][:80].decode("utf-8", "replace") if asked.bodies else ""
    return Difference(call, asked.now_ns, len(asked.bodies), first)


def _other_versions(meta: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Libraries whose version is another than the journal's: bytes are promised for the same ones only."""
    then: dict[str, str] = meta.get("versions", {})
    return {name: (then.get(name, "?"), now) for name, now in versions().items() if then.get(name) != now}
