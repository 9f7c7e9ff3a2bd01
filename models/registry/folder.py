"""`ModelRegistry`: bundles by hash, aliases on them, and the log of every change.

Every change is made under the lock in one order: the bundle's files, the line of the log, the alias files. Before it,
what a writer that died has left is made good: aliases that the log's last line names but the files do not, and a
copy that was not finished.
"""

import getpass
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.aliases import (
    ALIASES,
    CHALLENGER,
    CHAMPION,
    HASH,
    MARK_FILE,
    alias_text,
    hash_at,
    is_registry,
)
from models.artifact import MANIFEST_FILE, Manifest, ModelBundle, load_bundle
from models.errors import ArtifactError
from models.registry.audit import AuditLog, Entry
from models.registry.files import (
    locked,
    remove_file,
    rename_directory,
    replace_file,
    sync_directory,
    write_synced,
)
from models.registry.schema import check_follows
from models.registry.whole import check_files
from models.schema import check_servable

ARCHIVED, CANDIDATE = "archived", "candidate"

LOG_FILE = "audit.jsonl"
LOCK_FILE = "lock"
_MARK = b'{"format":1}\n'
_INCOMING = "incoming-"
_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_WAIT_S = 30.0


class Kept(NamedTuple):
    """A model of a registry.

    status: `champion`, `challenger`, `archived` (it was one of them) or `candidate` (it never was).
    manifest: None where it is damaged, and `damage` says how.
    """

    hash: str
    status: str
    manifest: Manifest | None
    damage: str


class ModelRegistry:
    """A registry.

    Args:
        path: of the folder; the first `add` makes it.
        by: who changes it, for the log; the user of the process where not given.
        now_ns: the time, for the log.
    """

    def __init__(
        self, path: Path | str, *, by: str | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.path = Path(path)
        self._by = by or _user()
        self._now_ns = now_ns
        self._log = AuditLog(self.path / LOG_FILE)

    # -- reading --------------------------------------------------------------------------------------------

    def aliases(self) -> dict[str, str]:
        """Hash by alias, of those that are set.

        Raises:
            ArtifactError: the folder is no registry, or an alias file does not hold a hash.
        """
        self._check_is_one()
        found = {alias: hash_at(self.path, alias) for alias in ALIASES}
        return {alias: each for alias, each in found.items() if each is not None}

    def hash_of(self, name: str) -> str:
        """The hash that an alias, a hash or the first digits (4 or more) of one stand for.

        Raises:
            ArtifactError: it stands for none, or for several.
        """
        if name in ALIASES:
            found = self.aliases().get(name)
            if found is None:
                raise ArtifactError(
                    f"registry {self.path} must have a {name}, has none: see `clearbid models registry list`"
                )
            return found
        self._check_is_one()
        kept = self._hashes()
        fits = [each for each in kept if each.startswith(name)] if _PREFIX.fullmatch(name) else []
        if len(fits) != 1:
            what = f"fits {len(fits)} of them" if fits else "is none of them"
            raise ArtifactError(
                f"model must be {CHAMPION}, {CHALLENGER} or 4 or more digits of a hash in {self.path}, "
                f"{name!r} {what}; it has {', '.join(each[:12] for each in kept) or 'no models'}"
            )
        return fits[0]

    def bundle(self, name: str = CHAMPION) -> ModelBundle:
        """The bundle of an alias or hash, every byte checked.

        Raises:
            ArtifactError: there is none, or it is not as it was when it was added.
        """
        wanted = self.hash_of(name)
        bundle = load_bundle(self.path / wanted)
        if bundle.hash != wanted:
            raise ArtifactError(
                f"model {bundle.path} must have the hash of its folder's name, was {bundle.hash}: add it again"
            )
        check_files(bundle)
        return bundle

    def resolve(self, name: str = CHAMPION) -> Path:
        """The folder of `bundle`, which is checked too."""
        return self.bundle(name).path

    def models(self) -> list[Kept]:
        """All models: champion, challenger, candidates, archived ones; of each the latest end of data first.

        Raises:
            ArtifactError: no registry, or a log that was altered.
        """
        aliases = {each: alias for alias, each in reversed(self.aliases().items())}
        placed = self._placed()
        found = [
            self._kept(each, aliases.get(each, ARCHIVED if each in placed else CANDIDATE))
            for each in self._hashes()
        ]
        order = (*ALIASES, CANDIDATE, ARCHIVED)
        return sorted(
            found,
            key=lambda one: (
                order.index(one.status),
                -(one.manifest.window_ns[1] if one.manifest else 0),
                one.hash,
            ),
        )

    def status_of(self, wanted: str) -> str:
        """What a model is, see `Kept`.

        Args:
            wanted: its hash.

        Raises:
            ArtifactError: as `models`.
        """
        named = [alias for alias, each in self.aliases().items() if each == wanted]
        return named[0] if named else ARCHIVED if wanted in self._placed() else CANDIDATE

    def _placed(self) -> set[str]:
        """Hashes of the models that an alias ever named."""
        return {each for entry in self.log() for each in entry.aliases.values()}

    def _kept(self, wanted: str, status: str) -> Kept:
        try:
            return Kept(wanted, status, self.bundle(wanted).manifest, "")
        except ArtifactError as error:
            return Kept(wanted, status, None, str(error))

    def log(self) -> list[Entry]:
        """The audit log, checked line by line.

        Raises:
            ArtifactError: no registry, or a log that was altered.
        """
        self._check_is_one()
        return self._log.entries()

    def _hashes(self) -> list[str]:
        return sorted(each.name for each in self.path.iterdir() if HASH.fullmatch(each.name))

    def _check_is_one(self) -> None:
        if not is_registry(self.path):
            why = "is a file" if self.path.is_file() else "has none" if self.path.is_dir() else "is not there"
            raise ArtifactError(
                f"registry {self.path} must be a folder with {MARK_FILE}, {why}: make one with "
                f"`clearbid models registry add {self.path} DIR`"
            )

    # -- changing -------------------------------------------------------------------------------------------

    def add(self, directory: Path | str, reason: str, *, challenger: bool = False) -> str:
        """Copies a bundle into the registry, which is made where it is not there; a copy that is there stays.

        Args:
            directory: of the bundle. reason: why, for the log. challenger: whether it becomes the challenger.

        Returns:
            Its hash.

        Raises:
            ArtifactError: the bundle does not pass its checks, or the folder is neither new nor a registry.
        """
        source = load_bundle(directory)
        with self._writing(create=True):
            target = self.path / source.hash
            known = self._is_whole(source.hash)
            if not known:
                event = "restore" if target.exists() else "add"
                self._copy(source, target)
                self._record(event, source.hash, reason, {"from": str(directory)}, self.aliases())
            elif all(entry.model != source.hash for entry in self._log.entries()):
                # It was copied by one who died before writing so.
                self._record("add", source.hash, reason, {"from": str(directory)}, self.aliases())
            if challenger and self.aliases().get(CHALLENGER) != source.hash:
                self._challenge(source.hash, reason, {})
        return source.hash

    def challenge(self, name: str, reason: str, numbers: Mapping[str, Any] | None = None) -> str:
        """Makes a model the challenger; the one before is archived.

        Raises:
            ArtifactError: it is not there, is damaged, or is the champion.
        """
        with self._writing():
            found = self.bundle(name).hash
            self._challenge(found, reason, dict(numbers or {}))
        return found

    def _challenge(self, wanted: str, reason: str, numbers: dict[str, Any]) -> None:
        aliases = self.aliases()
        if aliases.get(CHAMPION) == wanted:
            raise ArtifactError(
                f"model {wanted[:12]} must be another than the champion to challenge it, is it"
            )
        self._record("challenge", wanted, reason, numbers, aliases | {CHALLENGER: wanted})

    def promote(
        self,
        name: str,
        reason: str,
        *,
        new_schema: bool = False,
        numbers: Mapping[str, Any] | None = None,
        over: str | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> str:
        """Makes a model the champion; the one before is archived. One that is champion already stays, unlogged.

        After a rollback it is logged even so: it says that the champion is meant, and renewals go on.

        Args:
            name: alias, hash, or its first digits. reason: why, for the log.
            new_schema: whether its features and its goal may be others than the champion's.
            numbers: what was measured, for the log.
            over: hash of the champion that it was judged against, None where there was none; not asked where unset.

        Raises:
            ArtifactError: it is not there or damaged, no bidder has its features, these are not those of the champion
                or the champion's cannot be read, or the champion is another than `over`.
        """
        with self._writing():
            bundle = self.bundle(name)
            aliases = self.aliases()
            champion = aliases.get(CHAMPION)
            if over is not msgspec.UNSET and champion != over:
                raise ArtifactError(
                    f"model {bundle.hash[:12]} must take the place of the champion that it was judged against, "
                    f"{_short(over)}, the champion is {_short(champion)} now: judge it again"
                )
            check_servable(bundle.spec)
            if champion == bundle.hash and self.held() is None:
                return bundle.hash
            if champion is not None and not new_schema:
                check_follows(self._readable(champion), bundle)
            self._record("promote", bundle.hash, reason, dict(numbers or {}), _crowned(aliases, bundle.hash))
        return bundle.hash

    def rollback(self, reason: str) -> str:
        """Makes the champion before the champion again; once more goes one further back.

        Raises:
            ArtifactError: there was none before, or it is damaged.
        """
        with self._writing():
            before = self._champions()[:-1]
            if not before:
                raise ArtifactError(
                    f"registry {self.path} must have had a champion before to roll back to, had none: "
                    f"promote another model instead"
                )
            bundle = self.bundle(before[-1])
            self._record("rollback", bundle.hash, reason, {}, _crowned(self.aliases(), bundle.hash))
        return bundle.hash

    def _readable(self, champion: str) -> ModelBundle:
        try:
            return self.bundle(champion)
        except ArtifactError as error:
            raise ArtifactError(
                f"champion {champion[:12]} must be whole for its features to be compared: {error}; or promote with "
                f"--new-schema once every bidder has the features of the new model"
            ) from error

    def held(self) -> Entry | None:
        """The rollback that gave the champion its place; None where a promotion did, or nothing yet.

        Raises:
            ArtifactError: as `log`.
        """
        places = [entry for entry in self.log() if entry.event in {"promote", "rollback"}]
        return places[-1] if places and places[-1].event == "rollback" else None

    def rolled_back(self) -> set[str]:
        """Hashes of the models that a rollback took away and nobody promoted again.

        Raises:
            ArtifactError: as `log`.
        """
        return self._history()[1]

    def _champions(self) -> list[str]:
        """Champions one after the other, without those that were rolled back; the last decides."""
        return self._history()[0]

    def _history(self) -> tuple[list[str], set[str]]:
        """Champions one after the other, and what was rolled back."""
        found: list[str] = []
        taken: set[str] = set()
        for entry in self.log():
            if entry.event == "promote" and found[-1:] != [entry.model]:
                found.append(entry.model)
            elif entry.event == "rollback" and found:
                taken.add(found.pop())
            if entry.event in {"promote", "rollback"}:
                taken.discard(entry.model)
        return found, taken

    def archive(self, name: str, reason: str) -> str:
        """Takes a model out of the challenger's place; what is archived already stays, unlogged.

        Raises:
            ArtifactError: it is not there, or is the champion, which only another can replace.
        """
        with self._writing():
            wanted = self.hash_of(name)
            aliases = self.aliases()
            if aliases.get(CHAMPION) == wanted:
                raise ArtifactError(
                    f"model {wanted[:12]} must not be the champion to be archived: promote another, or roll back"
                )
            if aliases.get(CHALLENGER) == wanted:
                rest = {alias: each for alias, each in aliases.items() if alias != CHALLENGER}
                self._record("archive", wanted, reason, {}, rest)
        return wanted

    def record(
        self, event: str, reason: str, *, model: str = "", numbers: Mapping[str, Any] | None = None
    ) -> None:
        """Writes a line that changes no alias: a step of a renewal.

        Raises:
            ArtifactError: no registry, or a log that was altered.
        """
        with self._writing():
            self._record(event, model, reason, dict(numbers or {}), self.aliases())

    def _record(
        self, event: str, model: str, reason: str, numbers: dict[str, Any], aliases: dict[str, str]
    ) -> None:
        self._log.append(
            event,
            model=model,
            reason=reason,
            numbers=numbers,
            aliases=aliases,
            by=self._by,
            at_ns=self._now_ns(),
        )
        self._set_aliases(aliases)

    def _set_aliases(self, aliases: Mapping[str, str]) -> None:
        for alias in ALIASES:
            wanted = aliases.get(alias)
            if wanted is None:
                remove_file(self.path / alias)
            elif alias_text(self.path, alias) != wanted:
                replace_file(self.path / alias, f"{wanted}\n".encode())

    # -- under the lock -------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[None]:
        if not create:
            self._check_is_one()
        try:
            if create:
                self._create()
            with locked(self.path / LOCK_FILE, wait_s=_WAIT_S, said="wait for it, or end it"):
                if not is_registry(self.path):
                    replace_file(self.path / MARK_FILE, _MARK)
                self._make_good()
                yield
        except OSError as error:
            raise ArtifactError(f"registry {self.path} must be writable: {error.strerror}") from error

    def _create(self) -> None:
        if is_registry(self.path):
            return
        # What a writer leaves that died while it made the folder, or another that makes it now, is no obstacle.
        own = {LOCK_FILE, MARK_FILE, f"{MARK_FILE}.part"}
        if self.path.exists() and (
            not self.path.is_dir() or any(each.name not in own for each in self.path.iterdir())
        ):
            if is_registry(self.path):
                return
            what = "holds something else" if self.path.is_dir() else "is a file"
            raise ArtifactError(
                f"registry {self.path} must be new, empty, or a folder with {MARK_FILE}, {what}: "
                f"name another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        sync_directory(self.path.parent)

    def _make_good(self) -> None:
        """Ends what a writer that died began."""
        for left in self.path.glob(f"{_INCOMING}*"):
            shutil.rmtree(left)
        entries = self._log.entries()
        if entries:
            self._set_aliases(entries[-1].aliases)

    def _is_whole(self, wanted: str) -> bool:
        try:
            return self.bundle(wanted).hash == wanted
        except ArtifactError:
            return False

    def _copy(self, source: ModelBundle, target: Path) -> None:
        """Copies a bundle beside its place, checks the copy, and puts it there."""
        check_files(source)
        part = self.path / f"{_INCOMING}{source.hash[:12]}"
        part.mkdir()
        for name in (*source.manifest.files, MANIFEST_FILE):
            write_synced(part / name, (source.path / name).read_bytes())
        sync_directory(part)
        copied = load_bundle(part)
        if copied.hash != source.hash:
            raise ArtifactError(
                f"model {source.path} must stay as it is while it is copied, was {source.hash[:12]} and then "
                f"{copied.hash[:12]}: add it again"
            )
        check_files(copied)
        if target.exists():
            # Damaged: what reads it now is refused before and after.
            shutil.rmtree(target)
        rename_directory(part, target)


def _crowned(aliases: Mapping[str, str], champion: str) -> dict[str, str]:
    """The aliases after `champion` has become it; what was its challenger is none any more."""
    rest = {alias: each for alias, each in aliases.items() if alias != CHAMPION and each != champion}
    return {CHAMPION: champion} | rest


def _short(wanted: str | None) -> str:
    return wanted[:12] if wanted else "none"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return f"uid {os.getuid()}"
