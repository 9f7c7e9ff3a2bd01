"""Campaigns and advertisers as they are, and who changed what and when.

Every changed campaign or advertiser takes the next number of one version for the whole store, so that a bank asks
for what changed since the version it has. A change that changes nothing takes no number and leaves no audit row.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from bidder.core.campaigns import Advertiser, Budgets, Campaign, LineItem, Status
from bidder.core.messages import AdvertiserChange, CampaignChange
from bidder.errors import InputError
from bidder.store.database import Database
from bidder.store.driver import Session

Stated = TypeVar("Stated", Campaign, Advertiser)
_TABLES: dict[type[msgspec.Struct], str] = {Campaign: "campaigns", Advertiser: "advertisers"}


class PutResult(NamedTuple):
    """Ids of a put, by what became of them."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


class AuditRow(NamedTuple):
    """One change of a campaign, of one of its line items, or of an advertiser; ids that do not apply are empty.

    `what` is `create`, `replace`, `budget`, `daily_budget` or `status`; `old` and `new` are JSON. `why` is said where
    a program made the change.
    """

    version: int
    at_ns: int
    actor: str
    campaign_id: str
    what: str
    old: str | None
    new: str
    line_item_id: str = ""
    advertiser_id: str = ""
    why: str = ""


class BudgetMove(NamedTuple):
    """A campaign's budget for its flight that becomes another one: nanos, and why."""

    campaign_id: str
    old_nanos: int
    new_nanos: int
    why: str


class _Actor(NamedTuple):
    """Who changes something, when, and why where that is known."""

    name: str
    at_ns: int
    why: str = ""


class CampaignStore:
    """Campaigns and advertisers in a database.

    Args:
        database: where they are.

    Attributes:
        database: the same.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self) -> dict[str, Campaign]:
        """Every campaign by its id, in the order of ids."""
        with self.database.reading() as connection:
            return all_of(connection, Campaign)

    def advertisers(self) -> dict[str, Advertiser]:
        """Every advertiser that is stated, by its id, in the order of ids."""
        with self.database.reading() as connection:
            return all_of(connection, Advertiser)

    def get(self, campaign_id: str) -> Campaign | None:
        """One campaign, or None where there is none of that id."""
        with self.database.reading() as connection:
            return _find(connection, Campaign, campaign_id)

    def version(self) -> int:
        """Number of the latest change; 0 before the first."""
        with self.database.reading() as connection:
            return _version(connection)

    def changes_since(self, version: int) -> list[CampaignChange | AdvertiserChange]:
        """What changed after `version`, as it now is, in the order of each one's last change."""
        with self.database.reading() as connection:
            if _version(connection) <= version:
                return []
            rows = connection.execute(
                """SELECT version, 0, id, body FROM campaigns WHERE version > ? UNION ALL
                   SELECT version, 1, id, body FROM advertisers WHERE version > ? ORDER BY 1""",
                (version, version),
            ).fetchall()
        return [
            AdvertiserChange(version=number, advertiser_id=own, advertiser=_decode(Advertiser, own, body))
            if of_advertiser
            else CampaignChange(version=number, campaign_id=own, campaign=_decode(Campaign, own, body))
            for number, of_advertiser, own, body in rows
        ]

    def put(self, campaigns: Iterable[Campaign], *, at_ns: int, actor: str = "cli") -> PutResult:
        """Adds campaigns or replaces those of the same id: all of them or none.

        Raises:
            InputError: if two line items of the store would have one id.
        """
        return self.put_all(campaigns, (), at_ns=at_ns, actor=actor)[0]

    def put_advertisers(
        self, advertisers: Iterable[Advertiser], *, at_ns: int, actor: str = "cli"
    ) -> PutResult:
        """Adds advertisers or replaces those of the same id: all of them or none."""
        return self.put_all((), advertisers, at_ns=at_ns, actor=actor)[1]

    def put_all(
        self,
        campaigns: Iterable[Campaign],
        advertisers: Iterable[Advertiser],
        *,
        at_ns: int,
        actor: str = "cli",
    ) -> tuple[PutResult, PutResult]:
        """Both as one: what `put` and `put_advertisers` return.

        Raises:
            InputError: if two line items of the store would have one id.
        """
        who = _Actor(actor, at_ns)
        with self.database.transaction() as connection:
            # Advertisers first: who follows the changes has the time zone before the campaign that bids by it.
            of_advertisers = _put(connection, Advertiser, advertisers, who)
            of_campaigns = _put(connection, Campaign, campaigns, who)
            if of_campaigns.added or of_campaigns.changed:
                check_line_ids(all_of(connection, Campaign).values())
        return of_campaigns, of_advertisers

    def set_budget(
        self,
        campaign_id: str,
        budget_nanos: int,
        *,
        at_ns: int,
        actor: str = "cli",
        line_item_id: str | None = None,
        daily: bool = False,
    ) -> Campaign:
        """Sets the budget of a campaign or of one of its line items, for the whole flight or for each day.

        Args:
            campaign_id: of whom.
            budget_nanos: 0 takes a limit away; a campaign's budget for its flight cannot be.
            at_ns: when. actor: by whom.
            line_item_id: the line item, or None for the campaign itself.
            daily: whether it is for each day.

        Raises:
            InputError: if there is no such campaign or line item, or the budget is not > 0 where it must be.
        """
        whole = line_item_id is None and not daily
        if budget_nanos < 0 or (whole and budget_nanos == 0):
            of = f"campaign {campaign_id}" if line_item_id is None else f"line item {line_item_id}"
            raise InputError(f"budget of {of} must be > 0, was {budget_nanos} nanos")
        what = "daily_budget" if daily else "budget"
        field = "budget_nanos" if whole else "daily_nanos" if daily else "lifetime_nanos"
        return self._change(campaign_id, line_item_id, (what, field, budget_nanos), _Actor(actor, at_ns))

    def move_budgets(self, moves: Iterable[BudgetMove], *, at_ns: int, actor: str) -> None:
        """Changes budgets of several campaigns as one: all, or none where one is no longer what it was.

        Raises:
            InputError: no such campaign, a budget that somebody changed since, or a new one that is not > 0.
        """
        with self.database.transaction() as connection:
            for move in moves:
                old = _find(connection, Campaign, move.campaign_id)
                if old is None:
                    raise InputError(_no_campaign(move.campaign_id, all_of(connection, Campaign)))
                if old.budget_nanos != move.old_nanos:
                    raise InputError(
                        f"budget of campaign {move.campaign_id} must still be {move.old_nanos} nanos, was "
                        f"{old.budget_nanos}: nothing was changed; ask again with the budget as it is"
                    )
                if move.new_nanos <= 0:
                    raise InputError(
                        f"budget of campaign {move.campaign_id} must be > 0, was {move.new_nanos} nanos"
                    )
                new = msgspec.structs.replace(old, budget_nanos=move.new_nanos)
                change = ("budget", _encode(move.old_nanos), _encode(move.new_nanos))
                _write(connection, new, _Actor(actor, at_ns, move.why), change)

    def set_status(
        self,
        campaign_id: str,
        status: Status,
        *,
        at_ns: int,
        actor: str = "cli",
        line_item_id: str | None = None,
    ) -> Campaign:
        """Pauses a campaign, or one of its line items, or lets it bid again.

        Raises:
            InputError: if there is no such campaign or line item.
        """
        return self._change(campaign_id, line_item_id, ("status", "status", status), _Actor(actor, at_ns))

    def set_advertiser_budget(
        self, advertiser_id: str, budget_nanos: int, *, at_ns: int, actor: str = "cli", daily: bool = False
    ) -> Advertiser:
        """Sets what all campaigns of an advertiser may spend, in all or on each day; 0 takes the limit away.

        Raises:
            InputError: if there is no such advertiser and no campaign names it, or the budget is negative.
        """
        if budget_nanos < 0:
            raise InputError(f"budget of advertiser {advertiser_id} must be >= 0, was {budget_nanos} nanos")
        what, field = ("daily_budget", "daily_nanos") if daily else ("budget", "lifetime_nanos")
        return self._change_advertiser(advertiser_id, (what, field, budget_nanos), _Actor(actor, at_ns))

    def set_advertiser_status(
        self, advertiser_id: str, status: Status, *, at_ns: int, actor: str = "cli"
    ) -> Advertiser:
        """Pauses all campaigns of an advertiser or lets them bid again.

        Raises:
            InputError: if there is no such advertiser and no campaign names it.
        """
        return self._change_advertiser(advertiser_id, ("status", "status", status), _Actor(actor, at_ns))

    def audit(self, campaign_id: str | None = None, *, advertiser_id: str | None = None) -> list[AuditRow]:
        """Changes of one campaign and its line items, or of one advertiser, or of all, oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(
                """SELECT version, at_ns, actor, coalesce(campaign_id, ''), what, old, new,
                          coalesce(line_item_id, ''), coalesce(advertiser_id, ''), why
                   FROM audit WHERE (CAST(? AS TEXT) IS NULL OR campaign_id = ?)
                     AND (CAST(? AS TEXT) IS NULL OR advertiser_id = ?)
                   ORDER BY id""",
                (campaign_id, campaign_id, advertiser_id, advertiser_id),
            ).fetchall()
        return [AuditRow(*row) for row in rows]

    def _change(
        self, campaign_id: str, line_item_id: str | None, change: tuple[str, str, int | Status], who: _Actor
    ) -> Campaign:
        """Sets one field; `change` is what the audit calls it, the field, and its value."""
        what, field, value = change
        with self.database.transaction() as connection:
            old = _find(connection, Campaign, campaign_id)
            if old is None:
                raise InputError(_no_campaign(campaign_id, all_of(connection, Campaign)))
            item = None if line_item_id is None else _line_item(old, line_item_id)
            before = _field_of(item or old, field)
            if item is None:
                new = _with_field(old, field, value)
            else:
                changed = _with_field(item, field, value)
                items = tuple(changed if each is item else each for each in old.line_items)
                new = msgspec.structs.replace(old, line_items=items)
            if new != old:
                _write(connection, new, who, (what, _encode(before), _encode(value)), line_item_id)
        return new

    def _change_advertiser(
        self, advertiser_id: str, change: tuple[str, str, int | Status], who: _Actor
    ) -> Advertiser:
        """As `_change`, of an advertiser; it need not have been stated before."""
        what, field, value = change
        with self.database.transaction() as connection:
            old = _find(connection, Advertiser, advertiser_id)
            if old is None:
                known = {campaign.advertiser for campaign in all_of(connection, Campaign).values()}
                known |= all_of(connection, Advertiser).keys()
                if advertiser_id not in known:
                    raise InputError(unknown("advertiser", "the store's", advertiser_id, sorted(known)))
            before = old or Advertiser(id=advertiser_id)
            new = _with_field(before, field, value)
            if new != before:
                change_made = (what, _encode(_field_of(before, field)), _encode(value))
                _write(connection, new, who, change_made)
        return new


def _line_item(campaign: Campaign, line_item_id: str) -> LineItem:
    for item in campaign.line_items:
        if item.id == line_item_id:
            return item
    if not campaign.line_items:
        raise InputError(
            f"line item must be one of campaign {campaign.id}, was {line_item_id!r}: the campaign states none and "
            "is its own"
        )
    ids = [item.id for item in campaign.line_items]
    raise InputError(unknown("line item", f"campaign {campaign.id}'s", line_item_id, ids))


_Changed = TypeVar("_Changed", Campaign, LineItem, Advertiser)


def _field_of(record: Campaign | LineItem | Advertiser, field: str) -> int | Status:
    holder = record.budgets if field in Budgets.__struct_fields__ else record
    value: int | Status = getattr(holder, field)
    return value


def _with_field(record: _Changed, field: str, value: int | Status) -> _Changed:
    """A record with one of its fields, or of its budgets', set."""
    if field in Budgets.__struct_fields__:
        return msgspec.structs.replace(
            record, budgets=msgspec.structs.replace(record.budgets, **{field: value})
        )
    return msgspec.structs.replace(record, **{field: value})


def check_line_ids(campaigns: Iterable[Campaign]) -> None:
    """No two line items of all campaigns may have one id: bidders tell them apart by it.

    Raises:
        InputError: if two have one; a campaign without line items is one of its own id.
    """
    owners: dict[str, str] = {}
    for campaign in campaigns:
        for line_id in [item.id for item in campaign.line_items] or [campaign.id]:
            other = owners.setdefault(line_id, campaign.id)
            if other != campaign.id:
                raise InputError(
                    f"ids of line items must be of their own in the whole store, was {line_id!r} in campaigns "
                    f"{other} and {campaign.id}"
                )


def _put(connection: Session, kind: type[Stated], records: Iterable[Stated], who: _Actor) -> PutResult:
    added: list[str] = []
    changed: list[str] = []
    unchanged: list[str] = []
    for record in records:
        old = _find(connection, kind, record.id)
        if old == record:
            unchanged.append(record.id)
            continue
        if isinstance(old, Campaign) and isinstance(record, Campaign):
            _check_advertiser(old, record)
        (added if old is None else changed).append(record.id)
        what, before = ("create", None) if old is None else ("replace", _encode(old))
        _write(connection, record, who, (what, before, _encode(record)))
    return PutResult(tuple(added), tuple(changed), tuple(unchanged))


def _check_advertiser(old: Campaign, new: Campaign) -> None:
    """What a campaign spent is its advertiser's, in whose shard of the books it stands (`core.shards`)."""
    if old.advertiser != new.advertiser:
        raise InputError(
            f"advertiser of campaign {old.id} must stay {old.advertiser!r}, was {new.advertiser!r}: its spend is "
            "booked there; state a campaign of another id"
        )


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(kind: type[Stated], own_id: str, body: str) -> Stated:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{kind.__name__.lower()} {own_id} in the store cannot be read, was it written by a newer Clearbid? "
            f"{error}"
        ) from error


def _version(connection: Session) -> int:
    (version,) = connection.execute("SELECT value FROM numbers WHERE name = 'campaigns_version'").fetchone()
    return int(version)


def next_version(session: Session) -> int:
    """Takes the next number of the store's one version."""
    (version,) = session.execute(
        "UPDATE numbers SET value = value + 1 WHERE name = 'campaigns_version' RETURNING value"
    ).fetchone()
    return int(version)


def all_of(connection: Session, kind: type[Stated]) -> dict[str, Stated]:
    """Every campaign or advertiser that is stated, by its id, in the order of ids."""
    rows = connection.execute(f"SELECT id, body FROM {_TABLES[kind]} ORDER BY id")  # noqa: S608 - one of two names
    return {own_id: _decode(kind, own_id, body) for own_id, body in rows}


def _find(connection: Session, kind: type[Stated], own_id: str) -> Stated | None:
    query = f"SELECT body FROM {_TABLES[kind]} WHERE id = ?"  # noqa: S608 - one of two names
    row = connection.execute(query, (own_id,)).fetchone()
    return None if row is None else _decode(kind, own_id, row[0])


def _write(
    connection: Session,
    record: Campaign | Advertiser,
    who: _Actor,
    change: tuple[str, str | None, str],
    line_item_id: str | None = None,
) -> None:
    """Keeps a record under the next version, with its audit row of (what, old, new)."""
    version = next_version(connection)
    connection.execute(
        f"""INSERT INTO {_TABLES[type(record)]} (id, version, body) VALUES (?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET version = excluded.version, body = excluded.body""",  # noqa: S608
        (record.id, version, _encode(record)),
    )
    ids = (record.id, None) if isinstance(record, Campaign) else (None, record.id)
    connection.execute(
        """INSERT INTO audit (version, at_ns, actor, campaign_id, advertiser_id, line_item_id, what, old, new, why)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (version, who.at_ns, who.name, *ids, line_item_id, *change, who.why),
    )


def _no_campaign(own_id: str, campaigns: Mapping[str, Campaign]) -> str:
    """Says that no campaign has that id, and who has it."""
    for campaign in campaigns.values():
        if own_id == campaign.advertiser:
            return (
                f"campaign must be one of the store's, was {own_id!r}, an advertiser: name it by --advertiser"
            )
        if any(own_id == item.id for item in campaign.line_items):
            return (
                f"campaign must be one of the store's, was {own_id!r}, a line item: name it as "
                f"{campaign.id} --line-item {own_id}"
            )
    return unknown("campaign", "the store's", own_id, [*campaigns])


def unknown(what: str, of: str, own_id: str, ids: Sequence[str]) -> str:
    """Says that there is none of that id, and what there is."""
    near = difflib.get_close_matches(own_id, ids, n=3) or ids[:5]
    known = f"; nearest: {', '.join(near)}" if near else "; there are none: import a sheet first"
    return f"{what} must be one of {of}, was {own_id!r}{known}"
