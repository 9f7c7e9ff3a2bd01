"""Who was stopped and let go, by whom, when and why; see `core.brakes`.

A row is written once and never changed: the last of a name holds, all of them are the audit. Numbers are of the one
version of the store that changes of campaigns have too.
"""

from collections.abc import Mapping
from typing import NamedTuple

from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.messages import ALL, Brake, Trip
from bidder.errors import InputError
from bidder.store.campaigns import all_of, next_version, unknown
from bidder.store.database import Database
from bidder.store.driver import Session


class BrakeRow(NamedTuple):
    """One time that a name was stopped or let go: `actor` is `breaker` where `tripped`."""

    version: int
    name: str
    stopped: int
    at_ns: int
    until_ns: int
    tripped: int
    actor: str
    reason: str


class _Act(NamedTuple):
    """What is done to a name."""

    stopped: bool
    at_ns: int
    actor: str
    reason: str
    until_ns: int = 0


class BrakeStore:
    """Brakes in a database.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, Brake]:
        """What was last said of each name that was ever stopped."""
        with self._database.reading() as session:
            return _last(session, 0)

    def since(self, version: int) -> list[Brake]:
        """What was last said of each name of which anything was said after `version`, in the order of its saying.

        Those that were let go are told too: somebody may still hold them.
        """
        with self._database.reading() as session:
            return list(_last(session, version).values())

    def stop(self, name: str, *, at_ns: int, actor: str = "cli", reason: str = "") -> Brake:
        """Stops a name (`core.brakes`) until it is let go.

        Raises:
            InputError: if there is nobody of that name.
        """
        return self._set(name, _Act(True, at_ns, actor, reason))

    def go(self, name: str, *, at_ns: int, actor: str = "cli", reason: str = "") -> Brake:
        """Lets a name bid again, whoever stopped it.

        Raises:
            InputError: if there is nobody of that name.
        """
        return self._set(name, _Act(False, at_ns, actor, reason))

    def trip(self, trip: Trip) -> Brake:
        """Stops what a breaker found, for its time."""
        reason = f"{trip.nanos} nanos in a minute, allowed are {trip.limit}"
        with self._database.transaction() as session:
            return _write(session, trip.name, _Act(True, trip.at_ns, "breaker", reason, trip.until_ns))

    def history(self, name: str | None = None) -> list[BrakeRow]:
        """Each time that a name, or any, was stopped or let go, oldest first."""
        with self._database.reading() as session:
            rows = session.execute(
                "SELECT version, name, stopped, at_ns, until_ns, tripped, actor, reason FROM brakes ORDER BY version"
            ).fetchall()
        return [BrakeRow(*row) for row in rows if name is None or row[1] == name]

    def check(self, name: str) -> None:
        """Raises `InputError` if there is nobody of that name."""
        with self._database.reading() as session:
            _check_name(name, all_of(session, Campaign), all_of(session, Advertiser))

    def _set(self, name: str, act: _Act) -> Brake:
        with self._database.transaction() as session:
            _check_name(name, all_of(session, Campaign), all_of(session, Advertiser))
            return _write(session, name, act)


def _last(session: Session, version: int) -> dict[str, Brake]:
    rows = session.execute(
        """SELECT version, name, stopped, at_ns, until_ns, tripped FROM brakes
           WHERE version IN (SELECT max(version) FROM brakes WHERE version > ? GROUP BY name) ORDER BY version""",
        (version,),
    )
    return {
        name: Brake(
            version=version,
            name=name,
            stopped=bool(stopped),
            at_ns=at_ns,
            until_ns=until_ns,
            tripped=bool(tripped),
        )
        for version, name, stopped, at_ns, until_ns, tripped in rows
    }


def _write(session: Session, name: str, act: _Act) -> Brake:
    version, tripped = next_version(session), act.until_ns > 0
    session.execute(
        """INSERT INTO brakes (version, name, stopped, at_ns, until_ns, tripped, actor, reason)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (version, name, int(act.stopped), act.at_ns, act.until_ns, int(tripped), act.actor, act.reason),
    )
    return Brake(
        version=version,
        name=name,
        stopped=act.stopped,
        at_ns=act.at_ns,
        until_ns=act.until_ns,
        tripped=tripped,
    )


def _check_name(name: str, campaigns: Mapping[str, Campaign], advertisers: Mapping[str, Advertiser]) -> None:
    """Raises `InputError` where nobody has that name: a stop that stops nobody is worse than an error."""
    level, _, own_id = name.partition("/")
    known: set[str] = set()
    if level == "a":
        known = {campaign.advertiser for campaign in campaigns.values()} | advertisers.keys()
    elif level == "c":
        known = set(campaigns)
    elif level == "l":
        known = {item.id for campaign in campaigns.values() for item in campaign.line_items}
    if level != ALL and own_id not in known:
        called = {"a": "advertiser", "c": "campaign", "l": "line item"}[level]
        raise InputError(unknown(called, "the store's", own_id, sorted(known)))
