"""Options that several commands share, and what they stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bidder.config import Config, StoreSection
    from bidder.runtime.clock import AffineClock, SystemClock

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings.", metavar="FILE", envvar="CLEARBID_CONFIG"),
]
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="Database: a file, or a postgresql:// URL, whose password is better elsewhere; else store.url or "
        "store.path of the configuration.",
        metavar="FILE",
    ),
]
KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", help="Broker; else kafka.bootstrap of the configuration.", metavar="HOST:PORT"),
]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it; else the user of this shell.", metavar="NAME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OriginOption = Annotated[
    int | None, typer.Option("--clock-origin-ns", help="Shared clock: time shown at its start.", metavar="NS")
]
WallOption = Annotated[
    int | None, typer.Option("--clock-wall-ns", help="Shared clock: wall time of its start.", metavar="NS")
]
SpeedupOption = Annotated[
    float,
    typer.Option(
        "--speedup", help="Shared clock: seconds for each second of the wall.", min=1e-6, metavar="N"
    ),
]


def configured(path: Path | None, *, kafka: str | None = None, db: str | None = None) -> "Config":
    """The configuration, with what the command line says about it instead.

    Raises:
        ConfigError: if a setting is wrong.
    """
    from bidder.config import load_config, with_setting

    config = load_config(path)
    if kafka is not None:
        config = with_setting(config, "kafka", "bootstrap", kafka, "--kafka")
    if db is not None:
        config = with_store(config, db)
    return config


def with_store(config: "Config", db: str) -> "Config":
    """The configuration with the database that `--db` names, a file or a URL.

    Raises:
        ConfigError: if the URL is none; it is not repeated.
    """
    from bidder.config import with_setting
    from bidder.store.database import is_url

    if is_url(db):
        return with_setting(config, "store", "url", db, "--db")
    config = with_setting(config, "store", "path", db, "--db")
    return with_setting(config, "store", "url", None, "--db")


def store_is_there(store: "StoreSection") -> bool:
    """Whether there is a store to read: one at a URL is made empty where it was not."""
    return store.url is not None or Path(store.path).exists()


def existing_store(store: "StoreSection") -> str:
    """What `Database` opens, where it is there; it may hold a password and is not to be printed.

    Raises:
        InputError: if a file is not there.
    """
    from bidder.errors import InputError

    if not store_is_there(store):
        raise InputError(
            f"database {store.path} must be there, was not: import a sheet first, or name it by --db"
        )
    return store.place


def shared_clock(origin_ns: int | None, wall_ns: int | None, speedup: float) -> "AffineClock | SystemClock":
    """The clock of this process: the wall's, unless the options state one that several processes share.

    Raises:
        InputError: if only one of its two origins is given.
    """
    from bidder.errors import InputError
    from bidder.runtime.clock import AffineClock, SystemClock

    if origin_ns is None and wall_ns is None and speedup == 1.0:
        return SystemClock()
    if origin_ns is None or wall_ns is None:
        raise InputError("--clock-origin-ns and --clock-wall-ns must be given together, and with --speedup")
    return AffineClock(origin_ns, wall_ns, speedup)
