"""Campaigns as they are, and who changed what and when.

Every changed campaign takes the next number of one version for the whole store, so that a bank asks for what
changed since the version it has. A change that changes nothing takes no number and leaves no audit row.
"""

import difflib
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from bidder.core.campaigns import Campaign, Status
from bidder.core.messages import CampaignChange
from bidder.errors import InputError
from bidder.store.database import Database

_decoder = msgspec.json.Decoder(Campaign)


class PutResult(NamedTuple):
    """Ids of a put, by what became of them."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


class AuditRow(NamedTuple):
    """One change: `what` is `create`, `replace`, `budget` or `status`; `old` and `new` are JSON."""

    version: int
    at_ns: int
    actor: str
    campaign_id: str
    what: str
    old: str | None
    new: str


class CampaignStore:
    """Campaigns in a database.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, Campaign]:
        """Every campaign by its id, in the order of ids."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, body FROM campaigns ORDER BY id").fetchall()
        return {campaign_id: _decode(campaign_id, body) for campaign_id, body in rows}

    def get(self, campaign_id: str) -> Campaign | None:
        """One campaign, or None where there is none of that id."""
        with self._database.reading() as connection:
            return _find(connection, campaign_id)

    def version(self) -> int:
        """Number of the latest change; 0 before the first."""
        with self._database.reading() as connection:
            return _version(connection)

    def changes_since(self, version: int) -> list[CampaignChange]:
        """Campaigns that changed after `version`, as they now are, in the order of their last change."""
        with self._database.reading() as connection:
            if _version(connection) <= version:
                return []
            rows = connection.execute(
                "SELECT version, id, body FROM campaigns WHERE version > ? ORDER BY version", (version,)
            ).fetchall()
        return [
            CampaignChange(version=number, campaign_id=campaign_id, campaign=_decode(campaign_id, body))
            for number, campaign_id, body in rows
        ]

    def put(self, campaigns: Iterable[Campaign], *, at_ns: int, actor: str = "cli") -> PutResult:
        """Adds campaigns or replaces those of the same id: all of them or none."""
        added: list[str] = []
        changed: list[str] = []
        unchanged: list[str] = []
        with self._database.transaction() as connection:
            for campaign in campaigns:
                old = _find(connection, campaign.id)
                if old == campaign:
                    unchanged.append(campaign.id)
                    continue
                (added if old is None else changed).append(campaign.id)
                what = "create" if old is None else "replace"
                body = None if old is None else _encode(old)
                _write(connection, campaign, at_ns, actor, (what, body, _encode(campaign)))
        return PutResult(tuple(added), tuple(changed), tuple(unchanged))

    def set_budget(self, campaign_id: str, budget_nanos: int, *, at_ns: int, actor: str = "cli") -> Campaign:
        """Sets the budget for the whole flight.

        Raises:
            InputError: if there is no such campaign or the budget is not > 0.
        """
        if budget_nanos <= 0:
            raise InputError(f"budget of campaign {campaign_id} must be > 0, was {budget_nanos} nanos")
        return self._change(campaign_id, "budget", "budget_nanos", budget_nanos, at_ns, actor)

    def set_status(self, campaign_id: str, status: Status, *, at_ns: int, actor: str = "cli") -> Campaign:
        """Pauses a campaign or lets it bid again.

        Raises:
            InputError: if there is no such campaign.
        """
        return self._change(campaign_id, "status", "status", status, at_ns, actor)

    def audit(self, campaign_id: str | None = None) -> list[AuditRow]:
        """Changes of one campaign, or of all, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT version, at_ns, actor, campaign_id, what, old, new FROM audit
                   WHERE campaign_id = coalesce(?, campaign_id) ORDER BY id""",
                (campaign_id,),
            ).fetchall()
        return [AuditRow(*row) for row in rows]

    def _change(
        self, campaign_id: str, what: str, field: str, value: int | Status, at_ns: int, actor: str
    ) -> Campaign:
        with self._database.transaction() as connection:
            old = _find(connection, campaign_id)
            if old is None:
                raise InputError(_unknown(connection, campaign_id))
            new = msgspec.structs.replace(old, **{field: value})
            if new != old:
                texts = (what, _encode(getattr(old, field)), _encode(value))
                _write(connection, new, at_ns, actor, texts)
        return new


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(campaign_id: str, body: str) -> Campaign:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise InputError(
            f"campaign {campaign_id} in the store cannot be read, was it written by a newer Clearbid? {error}"
        ) from error


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("SELECT value FROM numbers WHERE name = 'campaigns_version'").fetchone()
    return int(version)


def _find(connection: sqlite3.Connection, campaign_id: str) -> Campaign | None:
    row = connection.execute("SELECT body FROM campaigns WHERE id = ?", (campaign_id,)).fetchone()
    return None if row is None else _decode(campaign_id, row[0])


def _write(
    connection: sqlite3.Connection,
    campaign: Campaign,
    at_ns: int,
    actor: str,
    change: tuple[str, str | None, str],
) -> None:
    """Keeps a campaign under the next version, with its audit row of (what, old, new)."""
    (version,) = connection.execute(
        "UPDATE numbers SET value = value + 1 WHERE name = 'campaigns_version' RETURNING value"
    ).fetchone()
    connection.execute(
        """INSERT INTO campaigns (id, version, body) VALUES (?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET version = excluded.version, body = excluded.body""",
        (campaign.id, version, _encode(campaign)),
    )
    connection.execute(
        "INSERT INTO audit (version, at_ns, actor, campaign_id, what, old, new) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (version, at_ns, actor, campaign.id, *change),
    )


def _unknown(connection: sqlite3.Connection, campaign_id: str) -> str:
    """Says that there is no such campaign, and what there is."""
    ids = [row[0] for row in connection.execute("SELECT id FROM campaigns ORDER BY id")]
    near = difflib.get_close_matches(campaign_id, ids, n=3) or ids[:5]
    known = f"; nearest: {', '.join(near)}" if near else "; there are none: import a sheet first"
    return f"campaign must be one of the store's, was {campaign_id!r}{known}"
