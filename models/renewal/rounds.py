"""One round of renewal: train and judge a challenger, or judge one that has shadowed the champion for a while.

Every step is a line of the registry's audit log with its numbers. What a round does not know it says and keeps the
champion: too few rows are no reason to change anything.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from models.artifact import ModelBundle
from models.dataset import TrainingTable
from models.errors import ModelError
from models.pages.text import counted
from models.registry import CHALLENGER, CHAMPION, ModelRegistry
from models.renewal.drift import DriftReport, drift_of
from models.renewal.gate import Check, Rivals, drifted
from models.renewal.settings import RenewalSettings
from models.renewal.tables import between
from models.schema import Declaration
from models.scorer import Scorer
from models.spans import span_ns
from models.train import Progress, train_bundle

Outcome = Literal["promoted", "kept", "challenging", "waiting", "failed"]

_WAS_ROLLED_BACK = "this model was rolled back: only who promotes it by hand makes it the champion again"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """How a round ended.

    Attributes:
        outcome: `promoted`; `kept`, the champion stays; `challenging`, a challenger passed the gate and shadows now;
            `waiting`, for rows; `failed`, the round could not be done.
        words: why. champion, challenger: hashes after it, empty where there is none.
        checks: in order. drift: of the fresh rows, None where it came to none.
    """

    outcome: Outcome
    words: str
    champion: str
    challenger: str
    checks: tuple[Check, ...] = ()
    drift: DriftReport | None = None


class Renewal:
    """Renews the champion of a registry.

    Args:
        registry: whose. read: the rows as they are now, with lost bids left out.
        declarations: the features that a challenger is trained on. settings: what it goes by.
        progress: of the training.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        read: Callable[[], TrainingTable],
        declarations: Sequence[Declaration],
        settings: RenewalSettings,
        progress: Progress | None = None,
    ) -> None:
        self._registry = registry
        self._read = read
        self._declarations = declarations
        self._settings = settings.check()
        self._progress = progress

    def round(self) -> Round:
        """One round; what goes wrong is written to the log before it is raised.

        Raises:
            ModelError: a table or model that cannot be used.
        """
        try:
            return self._round()
        except ModelError as error:
            self._registry.record("fail", str(error))
            raise
        except Exception as error:
            self._registry.record("fail", f"{type(error).__name__}: {error}")
            raise

    def _round(self) -> Round:
        held = self._registry.held()
        if held is not None:
            return self._end(
                "kept",
                f"rolled back by hand ({held.reason}); promote a model, or the champion itself, to go on",
                model=held.model,
            )
        table = self._window(self._read())
        champion = self._scorer(CHAMPION)
        challenger = self._scorer(CHALLENGER)
        if challenger is not None and champion is not None:
            return self._shadow(table, champion, challenger)
        return self._train(table, champion)

    def _scorer(self, alias: str) -> Scorer | None:
        found = self._registry.aliases().get(alias)
        return Scorer(self._registry.bundle(found)) if found is not None else None

    def _window(self, table: TrainingTable) -> TrainingTable:
        settings = self._settings
        end_ns = int(table.at_ns[-1]) + 1 - span_ns(settings.settle, "settle", may_be_nothing=True)
        found = between(table, end_ns - span_ns(settings.window, "window"), end_ns)
        numbers = {"rows": len(found), "table": table.source, "sha256": table.sha256}
        if len(found):
            numbers |= {"from_ns": int(found.at_ns[0]), "until_ns": int(found.at_ns[-1])}
        self._registry.record(
            "window", f"{counted(len(found), 'row')} of the last {settings.window}", numbers=numbers
        )
        return found

    # -- train and judge ------------------------------------------------------------------------------------

    def _train(self, table: TrainingTable, champion: Scorer | None) -> Round:
        settings = self._settings
        begin_ns = self._gate_begin(table, champion)
        taught, rows = between(table, 0, begin_ns), between(table, begin_ns, 2**63 - 1)
        clicks = int(rows.click.sum())
        if clicks < settings.min_positives or not len(taught):
            return self._end(
                "kept",
                f"{counted(len(rows), 'row')} with {counted(clicks, 'click')} are later than all that the champion "
                f"has seen, {counted(settings.min_positives, 'click is', 'clicks are')} needed to judge another",
            )
        bundle = self._teach(taught)
        if champion is not None and bundle.hash == champion.bundle.hash:
            return self._end("kept", "the same rows gave the same model", model=bundle.hash)
        if bundle.hash in self._registry.rolled_back():
            return self._end("kept", _WAS_ROLLED_BACK, model=bundle.hash)
        challenger = Scorer(bundle)
        return self._gate(champion, challenger, taught, rows)

    def _gate(
        self, champion: Scorer | None, challenger: Scorer, taught: TrainingTable, rows: TrainingTable
    ) -> Round:
        """All checks on rows that neither has seen; who passes is challenger, or champion where nothing shadows."""
        settings, bundle = self._settings, challenger.bundle
        drift = drift_of(challenger, taught, rows, settings.drift)
        checks = Rivals(champion, challenger, rows, settings).gate(drift)
        passed = self._judged("gate", bundle, checks, rows)
        if not passed:
            self._registry.archive(bundle.hash, _failures(checks))
            return self._end("kept", _failures(checks), model=bundle.hash, checks=checks, drift=drift)
        why = f"passed the gate: {checks[1].words}"
        if champion is None or settings.shadow_rows == 0:
            return self._promoted(champion, bundle, why, checks, drift)
        numbers = {"gated_until_ns": int(rows.at_ns[-1]), "over": champion.bundle.hash}
        self._registry.challenge(bundle.hash, why, numbers)
        return self._end(
            "challenging",
            f"{why}; it shadows the champion until {counted(settings.shadow_rows, 'later row')} can be judged",
            checks=checks,
            drift=drift,
        )

    def _gate_begin(self, table: TrainingTable, champion: Scorer | None) -> int:
        """Rows from here on judge: the latest share, and none that the champion was trained on."""
        if not len(table):
            return 0
        place = min(int(len(table) * (1.0 - self._settings.gate_share)), len(table) - 1)
        begin_ns = int(table.at_ns[place])
        return max(begin_ns, champion.bundle.manifest.window_ns[1] + 1) if champion else begin_ns

    def _teach(self, taught: TrainingTable) -> ModelBundle:
        registry = self._registry
        with tempfile.TemporaryDirectory(prefix="clearbid-renew-") as folder:
            bundle = train_bundle(
                taught,
                self._declarations,
                Path(folder) / "model",
                seed=self._settings.seed,
                params=self._settings.train,
                progress=self._progress,
            )
            wanted = registry.add(bundle.path, f"trained on {counted(len(taught), 'row')} of {taught.source}")
        return registry.bundle(wanted)

    # -- shadow ---------------------------------------------------------------------------------------------

    def _shadow(self, table: TrainingTable, champion: Scorer, challenger: Scorer) -> Round:
        settings, bundle = self._settings, challenger.bundle
        if bundle.hash in self._registry.rolled_back():
            self._registry.archive(bundle.hash, _WAS_ROLLED_BACK)
            return self._end("kept", _WAS_ROLLED_BACK, model=bundle.hash)
        seen_ns = max(scorer.bundle.manifest.window_ns[1] for scorer in (champion, challenger))
        gated_ns = self._gated_until(champion, challenger)
        since_ns = max(seen_ns, gated_ns or 0) + 1
        before, rows = between(table, 0, since_ns), between(table, since_ns, 2**63 - 1)
        clicks = int(rows.click.sum())
        fewest = max(settings.shadow_rows, 1) if gated_ns is not None else 1
        if len(rows) < fewest or clicks < settings.min_positives or not len(before):
            there, wanted = (
                f"{counted(len(rows), 'row')} with {counted(clicks, 'click')}",
                f"{counted(settings.min_positives, 'click is', 'clicks are')} needed",
            )
            words = f"the challenger has shadowed {there}, {counted(fewest, 'row')} with {wanted}"
            if gated_ns is None:
                words = f"the challenger has yet to pass the gate: {there} are new to both models, {wanted}"
            return self._end("waiting", words, model=bundle.hash)
        if gated_ns is None:  # set by hand, or judged against another champion
            return self._gate(champion, challenger, before, rows)
        rivals = Rivals(champion, challenger, rows, settings)
        drift = drift_of(challenger, before, rows, settings.drift)
        checks = [rivals.features(), rivals.change(), rivals.entropy(must_win=False), *rivals.calibration()]
        checks.append(drifted(drift))
        if self._judged("shadow", bundle, checks, rows):
            why = f"stood beside the champion on {counted(len(rows), 'later row')}: {checks[2].words}"
            return self._promoted(champion, bundle, why, checks, drift)
        self._registry.archive(bundle.hash, _failures(checks))
        return self._end("kept", _failures(checks), model=bundle.hash, checks=checks, drift=drift)

    def _gated_until(self, champion: Scorer, challenger: Scorer) -> int | None:
        """Time of the last row of its gate against this champion; None where it passed none."""
        found = [
            int(entry.numbers["gated_until_ns"])
            for entry in self._registry.log()
            if entry.event == "challenge"
            and entry.model == challenger.bundle.hash
            and entry.numbers.get("over") == champion.bundle.hash
            and "gated_until_ns" in entry.numbers
        ]
        return max(found) if found else None

    def _promoted(
        self, champion: Scorer | None, bundle: ModelBundle, why: str, checks: list[Check], drift: DriftReport
    ) -> Round:
        # Judging takes minutes, in which somebody may have promoted another, or rolled back.
        over = champion.bundle.hash if champion else None
        self._registry.promote(bundle.hash, why, numbers=_numbers(checks), over=over)
        return self._end("promoted", why, checks=checks, drift=drift)

    # -- the log --------------------------------------------------------------------------------------------

    def _judged(self, step: str, bundle: ModelBundle, checks: list[Check], rows: TrainingTable) -> bool:
        passed = all(check.passed for check in checks)
        words = "passed" if passed else _failures(checks)
        numbers = _numbers(checks) | {"rows": len(rows), "until_ns": int(rows.at_ns[-1])}
        self._registry.record(step, words, model=bundle.hash, numbers=numbers)
        return passed

    def _end(
        self,
        outcome: Outcome,
        words: str,
        *,
        model: str = "",
        checks: Sequence[Check] = (),
        drift: DriftReport | None = None,
    ) -> Round:
        if outcome in {"kept", "waiting"}:  # the others changed an alias, and that has its line
            self._registry.record("keep" if outcome == "kept" else "wait", words, model=model)
        aliases = self._registry.aliases()
        return Round(
            outcome=outcome,
            words=words,
            champion=aliases.get(CHAMPION, ""),
            challenger=aliases.get(CHALLENGER, ""),
            checks=tuple(checks),
            drift=drift,
        )


def _failures(checks: Sequence[Check]) -> str:
    return "did not pass: " + "; ".join(
        f"{check.name} ({check.words})" for check in checks if not check.passed
    )


def _numbers(checks: Sequence[Check]) -> dict[str, object]:
    return {check.name: {"passed": check.passed, "words": check.words, **check.numbers} for check in checks}
