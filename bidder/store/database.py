"""One database, SQLite or PostgreSQL: transactions, and the migrations that make its schema.

Each commit of a `durable` store is on the disk before it counts: the bank needs that, since epochs that were
handed out and notices whose offsets were committed must survive a power cut and not only a crash. Without it a
power cut may take back the last commits, never a part of one.

Statements are the same for both (`store.driver`); no library stands between that maps objects to rows, since the bank
writes batches of plain tuples and reads them whole once, at its start.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from bidder.errors import DependencyError
from bidder.store.driver import Driver, Session


class Migration(NamedTuple):
    """One step of the schema; once released it is never changed."""

    version: int
    name: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        1,
        "campaigns and books",
        (
            "CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
            "INSERT INTO numbers (name, value) VALUES ('campaigns_version', 0), ('bank_owner', 0)",
            """CREATE TABLE campaigns (
                id TEXT PRIMARY KEY,
                version INTEGER NOT NULL UNIQUE,
                body TEXT NOT NULL
            ) STRICT""",
            """CREATE TABLE audit (
                id INTEGER PRIMARY KEY,
                version INTEGER NOT NULL,
                at_ns INTEGER NOT NULL,
                actor TEXT NOT NULL,
                campaign_id TEXT NOT NULL REFERENCES campaigns (id),
                what TEXT NOT NULL,
                old TEXT,
                new TEXT NOT NULL
            ) STRICT""",
            "CREATE INDEX audit_by_campaign ON audit (campaign_id, id)",
            """CREATE TABLE bookings (
                bid_id TEXT NOT NULL,
                kind INTEGER NOT NULL,
                event_id TEXT NOT NULL,
                campaign_id TEXT NOT NULL,
                seat TEXT NOT NULL,
                epoch INTEGER NOT NULL,
                price_nanos INTEGER NOT NULL,
                amount_nanos INTEGER NOT NULL CHECK (amount_nanos >= 0),
                value_nanos INTEGER NOT NULL CHECK (value_nanos >= 0),
                at_ns INTEGER NOT NULL,
                booked_ns INTEGER NOT NULL,
                late INTEGER NOT NULL,
                unbilled INTEGER NOT NULL,
                keep_until_ns INTEGER NOT NULL,
                PRIMARY KEY (bid_id, kind, event_id)
            ) STRICT, WITHOUT ROWID""",
            # A bid's money is booked once, whatever kind of notice did it.
            "CREATE UNIQUE INDEX spend_once ON bookings (bid_id) WHERE amount_nanos > 0",
            """CREATE TABLE accounts (
                campaign_id TEXT PRIMARY KEY,
                booked_nanos INTEGER NOT NULL CHECK (booked_nanos >= 0),
                late_nanos INTEGER NOT NULL,
                uncovered_nanos INTEGER NOT NULL,
                wins INTEGER NOT NULL,
                impressions INTEGER NOT NULL,
                clicks INTEGER NOT NULL,
                conversions INTEGER NOT NULL,
                value_nanos INTEGER NOT NULL,
                late_wins INTEGER NOT NULL,
                unbilled INTEGER NOT NULL
            ) STRICT""",
            """CREATE TABLE refusals (
                campaign_id TEXT NOT NULL,
                rule TEXT NOT NULL,
                times INTEGER NOT NULL,
                PRIMARY KEY (campaign_id, rule)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE grants (
                campaign_id TEXT NOT NULL,
                seat TEXT NOT NULL,
                epoch INTEGER NOT NULL,
                granted_nanos INTEGER NOT NULL CHECK (granted_nanos >= 0),
                posted_nanos INTEGER NOT NULL CHECK (posted_nanos >= 0),
                bid_until_ns INTEGER NOT NULL,
                freed INTEGER NOT NULL,
                PRIMARY KEY (campaign_id, seat, epoch)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE epochs (
                seat TEXT NOT NULL,
                epoch INTEGER NOT NULL CHECK (epoch > 0),
                start_id TEXT NOT NULL,
                PRIMARY KEY (seat, epoch),
                UNIQUE (seat, start_id)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE offsets (
                topic TEXT NOT NULL,
                partition INTEGER NOT NULL,
                next_offset INTEGER NOT NULL,
                PRIMARY KEY (topic, partition)
            ) STRICT, WITHOUT ROWID""",
            "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, messages BLOB NOT NULL) STRICT",
        ),
    ),
    Migration(
        2,
        "advertisers and line items",
        (
            """CREATE TABLE advertisers (
                id TEXT PRIMARY KEY,
                version INTEGER NOT NULL UNIQUE,
                body TEXT NOT NULL
            ) STRICT""",
            # A row of the audit is about a campaign, or one line item of it, or about an advertiser. SQLite cannot
            # make a column nullable, so the table is written again.
            """CREATE TABLE changes (
                id INTEGER PRIMARY KEY,
                version INTEGER NOT NULL,
                at_ns INTEGER NOT NULL,
                actor TEXT NOT NULL,
                campaign_id TEXT REFERENCES campaigns (id),
                advertiser_id TEXT REFERENCES advertisers (id),
                line_item_id TEXT,
                what TEXT NOT NULL,
                old TEXT,
                new TEXT NOT NULL,
                CHECK ((campaign_id IS NULL) <> (advertiser_id IS NULL)),
                CHECK (line_item_id IS NULL OR campaign_id IS NOT NULL)
            ) STRICT""",
            """INSERT INTO changes (id, version, at_ns, actor, campaign_id, what, old, new)
               SELECT id, version, at_ns, actor, campaign_id, what, old, new FROM audit""",
            "DROP TABLE audit",
            "ALTER TABLE changes RENAME TO audit",
            "CREATE INDEX audit_by_campaign ON audit (campaign_id, id)",
            "CREATE INDEX audit_by_advertiser ON audit (advertiser_id, id)",
        ),
    ),
    Migration(
        3,
        "budgets at every level",
        (
            # What was counted of a campaign was counted of its only line item, which has its id.
            """CREATE TABLE tallies (
                campaign_id TEXT NOT NULL,
                line_item_id TEXT NOT NULL,
                spend_nanos INTEGER NOT NULL CHECK (spend_nanos >= 0),
                late_nanos INTEGER NOT NULL,
                wins INTEGER NOT NULL,
                impressions INTEGER NOT NULL,
                clicks INTEGER NOT NULL,
                conversions INTEGER NOT NULL,
                value_nanos INTEGER NOT NULL,
                late_wins INTEGER NOT NULL,
                unbilled INTEGER NOT NULL,
                PRIMARY KEY (campaign_id, line_item_id)
            ) STRICT, WITHOUT ROWID""",
            """INSERT INTO tallies SELECT campaign_id, campaign_id, booked_nanos, late_nanos, wins, impressions,
               clicks, conversions, value_nanos, late_wins, unbilled FROM accounts""",
            """CREATE TABLE creatives (
                campaign_id TEXT NOT NULL,
                creative_id TEXT NOT NULL,
                impressions INTEGER NOT NULL,
                clicks INTEGER NOT NULL,
                PRIMARY KEY (campaign_id, creative_id)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE budgets (
                account_id TEXT PRIMARY KEY,
                unit INTEGER NOT NULL,
                limit_units INTEGER NOT NULL CHECK (limit_units >= 0),
                begin_ns INTEGER NOT NULL,
                end_ns INTEGER NOT NULL,
                booked INTEGER NOT NULL CHECK (booked >= 0),
                late INTEGER NOT NULL,
                uncovered INTEGER NOT NULL,
                keep_until_ns INTEGER NOT NULL
            ) STRICT""",
            # 9000000000000000000 is `MAX_NANOS`: a campaign's money is kept for ever.
            """INSERT INTO budgets SELECT campaign_id, 0, 0, 0, 9000000000000000000, booked_nanos, late_nanos,
               uncovered_nanos, 9000000000000000000 FROM accounts""",
            "DROP TABLE accounts",
            "ALTER TABLE budgets RENAME TO accounts",
            "CREATE INDEX accounts_by_end ON accounts (keep_until_ns)",
            "ALTER TABLE grants RENAME COLUMN campaign_id TO account_id",
            "ALTER TABLE grants RENAME COLUMN granted_nanos TO granted",
            "ALTER TABLE grants RENAME COLUMN posted_nanos TO posted",
            "ALTER TABLE bookings ADD COLUMN line_item_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE bookings ADD COLUMN creative_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE bookings ADD COLUMN bid_at_ns INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE bookings ADD COLUMN impressions INTEGER NOT NULL DEFAULT 1000000",
            "ALTER TABLE bookings ADD COLUMN accounts TEXT NOT NULL DEFAULT ''",
            "UPDATE bookings SET line_item_id = campaign_id, bid_at_ns = at_ns",
        ),
    ),
    Migration(
        4,
        "exchanges and fees of bookings",
        (
            "ALTER TABLE bookings ADD COLUMN exchange TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE bookings ADD COLUMN advertiser_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE bookings ADD COLUMN fees_nanos INTEGER NOT NULL DEFAULT 0",
        ),
    ),
    Migration(
        5,
        "views",
        (
            "ALTER TABLE tallies ADD COLUMN views INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE creatives ADD COLUMN views INTEGER NOT NULL DEFAULT 0",
        ),
    ),
    Migration(
        6,
        "attribution",
        (
            "ALTER TABLE bookings ADD COLUMN user_key TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE bookings ADD COLUMN touch INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE bookings ADD COLUMN touch_at_ns INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE bookings ADD COLUMN goal TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE tallies ADD COLUMN view_conversions INTEGER NOT NULL DEFAULT 0",
            # What was booked before counts for the click of its bid: 5 and 6 are CLICK and CONVERSION.
            "UPDATE bookings SET touch = 5, touch_at_ns = bid_at_ns WHERE kind = 6",
            """CREATE TABLE orders (
                advertiser_id TEXT NOT NULL,
                order_id TEXT NOT NULL,
                bid_id TEXT NOT NULL,
                keep_until_ns INTEGER NOT NULL,
                PRIMARY KEY (advertiser_id, order_id)
            ) STRICT, WITHOUT ROWID""",
            "CREATE INDEX orders_by_end ON orders (keep_until_ns)",
            "CREATE TABLE held (message TEXT PRIMARY KEY, until_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID",
            """CREATE TABLE unattributed (
                advertiser_id TEXT NOT NULL,
                reason TEXT NOT NULL,
                times INTEGER NOT NULL,
                value_nanos INTEGER NOT NULL,
                PRIMARY KEY (advertiser_id, reason)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        7,
        "late spend by hour",
        (
            # By advertiser, the root of all budgets, so that banks that share the work write no row of another's.
            """CREATE TABLE lateness (
                advertiser_id TEXT NOT NULL,
                hour INTEGER NOT NULL,
                spent_nanos INTEGER NOT NULL CHECK (spent_nanos >= 0),
                uncovered_nanos INTEGER NOT NULL CHECK (uncovered_nanos >= 0),
                wins INTEGER NOT NULL,
                PRIMARY KEY (advertiser_id, hour)
            ) STRICT, WITHOUT ROWID""",
            "CREATE INDEX lateness_by_hour ON lateness (hour)",
        ),
    ),
    Migration(
        8,
        "brakes",
        (
            # One row for each time that something was stopped or let go; the last of a name holds.
            """CREATE TABLE brakes (
                version INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                stopped INTEGER NOT NULL,
                at_ns INTEGER NOT NULL,
                until_ns INTEGER NOT NULL,
                tripped INTEGER NOT NULL,
                actor TEXT NOT NULL,
                reason TEXT NOT NULL
            ) STRICT""",
            "CREATE INDEX brakes_by_name ON brakes (name, version)",
        ),
    ),
    Migration(
        9,
        "shards",
        (
            # Who may write of which advertisers: see `core.shards`. `bank_shards` is how many there are.
            "CREATE TABLE owners (shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT",
            "INSERT INTO numbers (name, value) VALUES ('bank_shards', 1)",
            # A bank from before there were shards must not write any more.
            "UPDATE numbers SET value = value + 1 WHERE name = 'bank_owner'",
            "ALTER TABLE accounts ADD COLUMN advertiser_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE outbox ADD COLUMN shard INTEGER NOT NULL DEFAULT 0",
            # What all shards read, each reads up to a place of its own.
            """CREATE TABLE places (
                topic TEXT NOT NULL,
                partition INTEGER NOT NULL,
                shard INTEGER NOT NULL,
                next_offset INTEGER NOT NULL,
                PRIMARY KEY (topic, partition, shard)
            ) STRICT, WITHOUT ROWID""",
            "INSERT INTO places SELECT topic, partition, 0, next_offset FROM offsets",
            "DROP TABLE offsets",
            "ALTER TABLE places RENAME TO offsets",
        ),
    ),
    Migration(
        10,
        "bookings by the time of their bids",
        (
            # What a bank that starts reads of them, see `store.loading`.
            "CREATE INDEX bookings_by_bid ON bookings (advertiser_id, bid_at_ns)",
            "CREATE INDEX clicks_by_bid ON bookings (advertiser_id, bid_at_ns) WHERE kind = 5",
        ),
    ),
    Migration(
        11,
        "why budgets move, multipliers of seats",
        (
            "ALTER TABLE audit ADD COLUMN why TEXT NOT NULL DEFAULT ''",
            # How each seat paces a budget by hour of the week, so that there are at most 168 rows of it.
            """CREATE TABLE paces (
                account_id TEXT NOT NULL,
                seat TEXT NOT NULL,
                week_hour INTEGER NOT NULL,
                multiplier_ppb INTEGER NOT NULL,
                at_ns INTEGER NOT NULL,
                PRIMARY KEY (account_id, seat, week_hour)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        12,
        "when starts of seats were seen to be replaced",
        (
            # 0: not seen yet, see `store.pruning`.
            "ALTER TABLE epochs ADD COLUMN replaced_ns INTEGER NOT NULL DEFAULT 0",
        ),
    ),
)


_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_versions (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT"""


class Database:
    """An open store; use it as a context manager, or close it.

    One thread at a time may use it, not always the same one.

    Args:
        place: the file of a SQLite, made where it is missing, `:memory:` for one that ends with the connection; or
            the URL of a PostgreSQL, `postgresql://...`.
        durable: whether a commit waits until the disk has it.

    Attributes:
        name: the file, or the URL without its password.

    Raises:
        InputError: if it is not such a database.
        DependencyError: if it cannot be opened, or is of a newer Clearbid.
    """

    def __init__(self, place: Path | str, *, durable: bool = True) -> None:
        self._driver = _driver(str(place), durable=durable)
        self.name = self._driver.name
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def _migrate(self) -> None:
        with self.transaction() as session:
            session.execute(self._driver.schema(_VERSIONS))
            done = {row[0] for row in session.execute("SELECT version FROM schema_versions").fetchall()}
            newest = MIGRATIONS[-1].version
            if max(done, default=0) > newest:
                raise DependencyError(
                    f"database {self.name} must have a schema of at most {newest}, was {max(done)}: "
                    "it was written by a newer Clearbid, which is needed to read it"
                )
            for migration in MIGRATIONS:
                if migration.version not in done:
                    for statement in migration.statements:
                        session.execute(self._driver.schema(statement))
                    session.execute(
                        "INSERT INTO schema_versions (version, name) VALUES (?, ?)", migration[:2]
                    )

    @contextmanager
    def transaction(self, lock: str = "store") -> Iterator[Session]:
        """All that is executed within is kept as a whole or not at all.

        Args:
            lock: transactions of one lock run one after the other; without one (empty) the rows that are
                updated must do, see `Driver.writing`.

        Raises:
            DependencyError: if the disk, the connection or another writer is in the way.
            RowRefused: if a row breaks a constraint; that is a mistake of ours.
        """
        with self._driver.writing(lock) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """All that is read within is of one moment."""
        with self._driver.reading() as session:
            yield session

    def close(self) -> None:
        """Ends the connection."""
        self._driver.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()


def is_url(place: str) -> bool:
    """Whether a place names a PostgreSQL and not a file."""
    return place.startswith(("postgresql://", "postgres://"))


def _driver(place: str, *, durable: bool) -> Driver:
    if is_url(place):
        from bidder.store.postgres import Postgres

        return Postgres(place, durable=durable)
    from bidder.store.sqlite import Sqlite

    return Sqlite(place, durable=durable)
