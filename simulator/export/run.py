"""The folder of a run as a training table: `clearbid export`."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from bidder.core.hindsight import Hindsight
from bidder.errors import InputError
from bidder.store.database import Database, is_url
from bidder.store.journal import read_journal
from bidder.store.seat import JOURNAL
from simulator.export.columns import TableFile
from simulator.export.decisions import FAR_NS, read_bids
from simulator.export.inputs import journals_of, losses_told, moments, settings_of
from simulator.export.join import Join, Joined
from simulator.export.outcomes import BookedEvents, Losses
from simulator.export.rows import ALWAYS_NULL, SCHEMA, Tally, table_rows

DECISION_LOG, DATABASE = "decisions.jsonl", "clearbid.db"
_TOLD_BYTES = 4 << 20
Progress = Callable[[int, int], None]
"""Called with the bytes of journals that were read, and all of them."""


class Source(NamedTuple):
    """Where a run's parts are.

    Attributes:
        folder: with its journals. decisions: the decision log. place: of the bank's database, a file or the
            URL of a PostgreSQL, as `Database` opens it; not to be printed.
    """

    folder: Path
    decisions: Path
    place: str


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote.

    Attributes:
        table: path of the file. rows: impressions and lost bids. users: rows with a user's key.
        first_ns, last_ns: times of the first and the last bid. known_until_ns: the end of the bank's books.
        models: rows by the model that scored them. left_out: bids that are no rows, by cause.
        truncated: journals whose end a crash tore off.
        always_null: columns without any value.
        seconds: wall time of the whole.
    """

    table: str
    rows: int
    impressions: int
    lost: int
    clicks: int
    conversions: int
    value_nanos: int
    users: int
    first_ns: int
    last_ns: int
    known_until_ns: int
    models: dict[str, int]
    left_out: dict[str, int]
    truncated: tuple[str, ...]
    always_null: tuple[str, ...]
    seconds: float


def source_of(folder: Path, decisions: Path | None = None, place: str | None = None) -> Source:
    """Where the parts of a run are: in its folder, but for those that are named.

    Raises:
        InputError: one is not there.
    """
    source = Source(folder, decisions or folder / DECISION_LOG, place or str(folder / DATABASE))
    files = [source.decisions] if is_url(source.place) else [source.decisions, Path(source.place)]
    missing = [] if journals_of(folder) else [JOURNAL]
    missing += [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(
            f"{folder} must be the folder of a run, with {JOURNAL}, {DECISION_LOG} and {DATABASE}, has no "
            f"{' and no '.join(missing)}; name what is elsewhere with --decisions and --db"
        )
    return source


def export_run(
    source: Source,
    out: Path,
    *,
    with_lost: bool = False,
    since_ns: int = 0,
    until_ns: int = FAR_NS,
    progress: Progress | None = None,
) -> Exported:
    """Writes the bids of a run as a training table, see `simulator.export.rows`.

    Args:
        source: the run. out: the Parquet file, made new.
        with_lost: bids that lost are rows too.
        since_ns, until_ns: bids from the first time and before the second.
        progress: hears how far it is, if there is one.

    Raises:
        InputError: a part that is damaged, parts of different runs, or a run without a row to write.
    """
    began_s = time.monotonic()
    _check_out(out)
    tally = Tally()
    with RunBids(source, tally.left_out, since_ns, until_ns, progress) as bids:
        rows = table_rows(
            bids.joined(),
            bids.events.of,
            bids.losses(),
            bids.events.known_until_ns,
            tally,
            with_lost=with_lost,
        )
        with TableFile(out, SCHEMA) as table:
            for row in rows:
                table.add(row)
            check_rows(tally, source, with_lost=with_lost)
    return Exported(
        table=str(out),
        rows=tally.rows,
        impressions=tally.impressions,
        lost=tally.lost,
        clicks=tally.clicks,
        conversions=tally.conversions,
        value_nanos=tally.value_nanos,
        users=tally.users,
        first_ns=tally.first_ns,
        last_ns=tally.last_ns,
        known_until_ns=bids.events.known_until_ns,
        models=_sorted(tally.models),
        left_out=_sorted(tally.left_out),
        truncated=tuple(bids.truncated),
        always_null=ALWAYS_NULL,
        seconds=time.monotonic() - began_s,
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.most_common() if count}


def _losses(folder: Path) -> Iterator[str]:
    """They come after their bids, in a later journal maybe, so all are read before the first row is written."""
    for path in journals_of(folder):
        with closing(read_journal(path)) as journal:
            yield from losses_told(journal)


class RunBids:
    """The bids of a run with what the bidder saw of each: journals one after the other, joined with the decision log.

    Args:
        source: the run. left_out: counts bids that are not joined, by cause.
        since_ns, until_ns: bids from the first time and before the second.
        progress: hears of bytes of the journals, if there is one.

    Attributes:
        events: the bank's books. truncated: journals whose end a crash tore off.

    Raises:
        InputError: nothing is booked.
    """

    def __init__(
        self,
        source: Source,
        left_out: Counter[str],
        since_ns: int = 0,
        until_ns: int = FAR_NS,
        progress: Progress | None = None,
    ) -> None:
        self._source, self._left_out, self._between = source, left_out, (since_ns, until_ns)
        self._journals: Sequence[Path] = journals_of(source.folder)
        self._total = sum(path.stat().st_size for path in self._journals)
        self._progress = progress
        self._read = self._told = 0
        self._open = ExitStack()
        self.truncated: list[str] = []
        try:
            self.events = BookedEvents(self._open.enter_context(Database(source.place)))
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the books."""
        self._open.close()

    def losses(self) -> Losses:
        """The bids that were told to be lost."""
        return Losses(_losses(self._source.folder))

    def joined(self) -> Iterator[Joined]:
        """All of them, in the order of time."""
        since_ns, until_ns = self._between
        with self._source.decisions.open("rb") as log:
            join = Join(read_bids(log, self._left_out, since_ns, until_ns), self._left_out)
            yield from self._of(join, since_ns, until_ns)

    def _of(self, join: Join, since_ns: int, until_ns: int) -> Iterator[Joined]:
        for path in self._journals:
            with closing(read_journal(path)) as journal:
                # A bidder that starts anew hears all profiles anew.
                hindsight = Hindsight(settings_of(journal, path))
                for moment in moments(journal):
                    hindsight.hear(moment.profiles)
                    self._tell(journal.bytes_read)
                    if since_ns <= moment.now_ns < until_ns:
                        yield from join.of(moment, hindsight)
            if journal.truncated:
                self.truncated.append(path.name)
            self._read += path.stat().st_size
        join.end()
        self._tell(0)

    def _tell(self, bytes_read: int) -> None:
        done = self._read + bytes_read
        if self._progress is not None and (done - self._told >= _TOLD_BYTES or done == self._total):
            self._told = done
            self._progress(done, self._total)


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".parquet":
        raise InputError(f"table {out} must end in .parquet, was {out.suffix!r}")
    if not out.parent.is_dir():
        raise InputError(f"folder {out.parent} of the table must be there; make it, or name another")
    if out.is_dir():
        raise InputError(f"table {out} must be a file, is a folder")


def check_rows(tally: Tally, source: Source, *, with_lost: bool) -> None:
    """Raises `InputError` where a run gave no row, and says why."""
    if tally.rows:
        return
    left = +tally.left_out
    if not left:
        raise InputError(f"decision log {source.decisions} must have a bid in the time asked for, had none")
    strange = left["no_body"] + left["unlike"]
    if strange and strange == sum(left.values()) - left["unreadable"] - left["test"]:
        raise InputError(
            f"decision log {source.decisions} must be of the run of {source.folder / JOURNAL}: none of its {strange} "
            "bids has its request there"
        )
    causes = ", ".join(f"{count} {name}" for name, count in _sorted(left).items())
    what = "a bid whose outcome is known" if with_lost else "an impression"
    raise InputError(
        f"run {source.folder} must have {what} in the time asked for, had none; bids left out: {causes}"
    )
