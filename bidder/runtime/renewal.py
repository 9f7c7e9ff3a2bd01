"""Tables and models made beside the loop, and adopted between two batches.

A table of ten thousand line items takes about a second to make: a thread makes it while requests go on. Threads share
the interpreter, so requests are slower meanwhile, by some milliseconds each, but none waits for the end. A model is
read, checked and compiled in a process of its own (`store.model_apart`), which a thread waits for. One thing is made
at a time; a change that comes meanwhile starts another, of the newest campaigns.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bidder.core.scoring import Model
from bidder.core.shading import Shading
from bidder.core.valuing import wanting
from bidder.errors import ClearbidError
from bidder.runtime.clock import Clock
from bidder.runtime.worker import Worker
from models.errors import ModelError
from models.saying import few

_log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 300.0
"""Between two tries to load a model that failed for a reason which may pass."""
LINES_A_STEP = 500
"""Line items whose accounts are opened in one go, at some 10 us each."""


class ModelFolder(NamedTuple):
    """Where new models appear.

    directory: of the bundle. load: reads, checks and compiles it; what it raises beside `ClearbidError` and
    `ModelError` may pass, and it is asked again. mark: tells states of the directory apart, None where no bundle is
    whole. seen: mark of what decides already. every_s: wall seconds between looks.
    """

    directory: Path
    load: Callable[[Path], Model]
    mark: Callable[[Path], str | None]
    seen: str | None
    every_s: float = 5.0


class LandscapeFile(NamedTuple):
    """Where new landscapes appear.

    path: of the file. load: reads and checks it. mark: tells states of the file apart, None where it is not there.
    seen: mark of what prices already. every_s: wall seconds between looks.
    """

    path: Path
    load: Callable[[Path], Shading]
    mark: Callable[[Path], str | None]
    seen: str | None
    every_s: float = 5.0


class _Again(NamedTuple):
    """A state of the folder that is tried again; nothing was wrong with the model itself.

    tries: so far. not_before_s: monotonic.
    """

    mark: str
    tries: int = 0
    not_before_s: float = 0.0

    def later(self, first_s: float) -> "_Again":
        """After one more try that failed: pauses double from twice `first_s` on."""
        pause_s = min(first_s * 2.0 ** min(self.tries + 1, 32), LONGEST_PAUSE_S)
        return _Again(self.mark, self.tries + 1, time.monotonic() + pause_s)


class Renewal:
    """Renews what a worker decides with.

    Args:
        worker: whose table and model. clock: the shared clock, for when they are adopted.
        models: where new models appear, or None. landscapes: where new landscapes do, or None.

    Attributes:
        on_adopted: called after each table.
        tables: adopted. models: adopted. refused_models: that did not load or fit. last_refusal: what was wrong.
        landscapes: adopted. refused_landscapes: that did not load; the one before goes on.
    """

    def __init__(
        self,
        worker: Worker,
        clock: Clock,
        models: ModelFolder | None = None,
        landscapes: LandscapeFile | None = None,
    ) -> None:
        self.tables = self.models = self.refused_models = self.landscapes = self.refused_landscapes = 0
        self._landscape_file = landscapes
        self.last_refusal = ""
        self._unvalued: list[str] = []
        self._worker = worker
        self._clock = clock
        self._folder = models
        self._mark = models.seen if models is not None else None
        self._again: _Again | None = None
        self._changed = asyncio.Event()
        self._making = asyncio.Lock()
        self.on_adopted: Callable[[], None] = lambda: None

    def table_changed(self) -> None:
        """There is another table to be made."""
        self._changed.set()

    async def run_tables(self, stop: asyncio.Event) -> None:
        """Makes and adopts tables until `stop` is set."""
        while not stop.is_set():
            await self._changed.wait()
            self._changed.clear()
            async with self._making:
                await self._renew_table()

    async def _renew_table(self) -> None:
        worker = self._worker
        prepare, controls = worker.preparing()
        prepared = await asyncio.to_thread(prepare)
        for begin in range(0, len(prepared.table), LINES_A_STEP):
            worker.engine.open_accounts(prepared, begin, begin + LINES_A_STEP, self._clock.now_ns())
            await asyncio.sleep(0)
        worker.adopt(prepared, controls, self._clock.now_ns())
        self.tables += 1
        self._tell_unvalued()
        self.on_adopted()

    async def run_models(self, stop: asyncio.Event) -> None:
        """Looks for models, where there is a folder to look at, until `stop` is set."""
        while self._folder is not None and not stop.is_set():
            await asyncio.sleep(self._folder.every_s)
            mark = await asyncio.to_thread(self._folder.mark, self._folder.directory)
            if mark is None or mark == self._mark:
                continue
            again = self._again if self._again is not None and self._again.mark == mark else _Again(mark)
            if again.not_before_s <= time.monotonic():
                settled = await self._renew_model(self._folder)
                self._again = None if settled else again.later(self._folder.every_s)
                self._mark = mark if settled else self._mark

    async def _renew_model(self, folder: ModelFolder) -> bool:
        """Loads and adopts a model; the one before goes on where it is refused.

        Returns:
            Whether all is said of it; False where it is worth another try.
        """
        engine = self._worker.engine
        try:
            model = await asyncio.to_thread(folder.load, folder.directory)
            if model.hash == engine.model_hash:
                return True
            # No table may be adopted between: what is made is of this one.
            async with self._making:
                own = await asyncio.to_thread(model.own, engine.table.lines)
                self._worker.adopt_model(model, own, self._clock.now_ns())
        except (ClearbidError, ModelError) as error:
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, a worker must go on bidding with the model before
            self._refuse(f"{type(error).__name__}: {error}")
            return False
        else:
            self.models += 1
            _log.warning("model %s decides from now on", model.hash[:12])
            self._tell_unvalued()
        return True

    def _tell_unvalued(self) -> None:
        """Says which line items want a value that the model does not know, where that has changed."""
        engine = self._worker.engine
        found = [] if engine.values.known else wanting(engine.table.lines)
        if found and found != self._unvalued:
            _log.warning(
                "model %s does not know what conversions are worth, line items %s want it: they bid by what they "
                "state; train it on a table with value_nanos, or state value_source = stated",
                engine.model_hash[:12] or "(none)",
                few(found),
            )
        self._unvalued = found

    async def run_landscapes(self, stop: asyncio.Event) -> None:
        """Looks for landscapes, where there is a file to look at, until `stop` is set."""
        file = self._landscape_file
        seen = file.seen if file is not None else None
        while file is not None and not stop.is_set():
            await asyncio.sleep(file.every_s)
            mark = await asyncio.to_thread(file.mark, file.path)
            if mark is None or mark == seen:
                continue
            # What is wrong with a file stays so until it is another: no state of it is tried twice.
            seen = mark
            await self._renew_landscape(file)

    async def _renew_landscape(self, file: LandscapeFile) -> None:
        engine = self._worker.engine
        try:
            shading = await asyncio.to_thread(file.load, file.path)
        except Exception as error:  # noqa: BLE001 - whatever it is, a worker must go on bidding as before
            self.refused_landscapes += 1
            self.last_refusal = f"{type(error).__name__}: {error}"
            _log.warning("landscape refused, the one before goes on: %s", self.last_refusal)
            return
        if shading.hash != engine.shading.hash:
            self._worker.adopt_shading(shading, self._clock.now_ns())
            self.landscapes += 1
            _log.warning("landscape %s prices from now on", shading.hash[:12])

    def _refuse(self, why: str) -> None:
        self.refused_models += 1
        self.last_refusal = why
        _log.warning("model refused, the one before goes on: %s", why)
