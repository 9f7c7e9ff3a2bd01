"""Settings: a TOML file and the environment, read into frozen structs; an unknown key is an error.

    [bank]
    lease_seconds = 30

is the same as `CLEARBID_BANK_LEASE_SECONDS=30` in the environment, which wins over the file; an exchange named
`alpha` is `[exchanges.alpha]` or `CLEARBID_EXCHANGES_ALPHA_...`. Every key has a default but the tracker's
secret. To add one: a field with its type, limits and default in the section's struct; nothing else.
"""

import difflib
import os
import tomllib
import typing
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from bidder.core.settings import (
    NS_PER_SECOND,
    BrakeSettings,
    EngineSettings,
    ExchangeRules,
    PacingSettings,
    Seconds,
    ShadingSettings,
    UserSettings,
)
from bidder.core.traffic import TrafficRules
from bidder.errors import ConfigError
from bidder.openrtb.encrypted import PriceCipher
from bidder.privacy.permissions import PrivacyPolicy
from bidder.store.networks import load_networks, network_lines
from bidder.store.rates import read_rates

PREFIX = "CLEARBID_"
OTHER_VARIABLES = frozenset(
    (
        *("CLEARBID_KAFKA", "CLEARBID_REQUIRE_KAFKA", "CLEARBID_POSTGRES", "CLEARBID_REQUIRE_POSTGRES"),
        *("CLEARBID_DATA", "CLEARBID_CONFIG", "CLEARBID_MUTATIONS"),
    )
)
"""Variables with our prefix that are no settings: what the tests are told, and where the file is."""

_Bootstrap = Annotated[
    str, msgspec.Meta(pattern=r"\A[^\s,:]+:\d+(,[^\s,:]+:\d+)*\Z", description="host:port[,host:port...]")
]
_Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z", description="three capitals such as USD")]
_Seat = Annotated[
    str,
    msgspec.Meta(pattern=r"\A[A-Za-z0-9._:-]{1,64}\Z", description="1 to 64 letters, digits or ._:-"),
]
_Prefix = Annotated[
    str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]{0,64}\Z", description="at most 64 letters, digits or ._-")
]
_Url = Annotated[
    str,
    msgspec.Meta(pattern=r"\Ahttps?://[^\s]+\Z", description="a URL that begins with http:// or https://"),
]
_Secret = Annotated[
    str,
    msgspec.Meta(pattern=r"\A([0-9a-f]{2}){16,64}\Z", description="32 to 128 hex digits, lower case, even"),
]
_StoreUrl = Annotated[
    str,
    msgspec.Meta(pattern=r"\Apostgres(ql)?://[^\s]*\Z", description="a URL that begins with postgresql://"),
]
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PriceKey = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[A-Za-z0-9_-]{43}=?\Z", description="32 bytes as web-safe base64, of 43 characters"
    ),
]
_HIDDEN = frozenset({"secret", "old_secrets", "encryption", "integrity", "price_keys", "url"})
_NAMES = EngineSettings()


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class KafkaSection(_Section, frozen=True):
    """The broker.

    bootstrap: `host:port[,host:port...]`. prefix: before every topic and group, where several installations share
    a broker. partitions: of topics that we create; requests, exposures and profiles are keyed by user, so all three
    must have the same number. exposure_hours: how long a topic for exposures that we create keeps them; frequency
    caps are rebuilt from it, so it must be no shorter than the longest of them. replicas: copies of each partition of
    topics that we create, at most as many as there are brokers; money and notices are acknowledged by all copies but
    one. Three outlive the loss of a broker, one does not.
    """

    bootstrap: _Bootstrap = "127.0.0.1:9092"
    prefix: _Prefix = ""
    partitions: Annotated[int, msgspec.Meta(gt=0, le=1_000)] = 4
    exposure_hours: Annotated[int, msgspec.Meta(gt=0, le=24 * 400)] = 24 * 35
    replicas: Annotated[int, msgspec.Meta(gt=0, le=100)] = 1


class AccountSection(_Section, frozen=True):
    """Whose money.

    currency: of all campaigns, bids and books. rates_file: dated exchange rates, TOML or JSON, see `store.rates`;
    without one only the account's currency is bid in.
    """

    currency: _Currency = "USD"
    rates_file: str = ""


class StoreSection(_Section, frozen=True):
    """The database: a SQLite, or where a url is stated a PostgreSQL, for more than one machine.

    path: the file of the SQLite. url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; better without the password,
    which may be in `~/.pgpass` or `PGPASSWORD`. durable: whether a commit of the bank waits until the disk has it.
    """

    path: Annotated[str, msgspec.Meta(min_length=1)] = "clearbid.db"
    url: _StoreUrl | None = None
    durable: bool = True

    @property
    def place(self) -> str:
        """What `Database` is opened by; it may hold a password and is not to be printed."""
        return self.url or self.path

    def __repr__(self) -> str:
        """All but the URL, which may hold a password."""
        url = "..." if self.url else "None"
        return f"StoreSection(path={self.path!r}, url={url}, durable={self.durable})"


_PartShare = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class BankSection(_Section, frozen=True):
    """The bank; times on the shared clock but for the tick.

    lease_seconds: how long a seat may bid without a word from the bank. margin_seconds: for clock skew and
    notices under way, before money comes back. tracker_wait_seconds: how long money waits for a tracker that says
    nothing and may keep notices that came in time; what it brings later counts as late. tick_seconds: wall time
    between ticks. min_chunk_bids: least grant, in maximum bids; of a budget too small for that over all seats, less.
    late_event_hours: how long after its reservation a bid's notices are taken; conversion_days: and its conversions.

    late_reserve: share of what may still be spent that is kept back for wins that are told of too late, or
    `measured`. late_quantile: that the measured share is to hold at; late_start: the share while too little was
    measured; late_floor, late_ceiling: its least and most. late_window_hours: how long what was measured counts.
    late_tail_seconds: how long after a booking others of its time may still come late.
    metrics_host, metrics_port: where `GET /metrics` is answered; 0 for nowhere.
    """

    lease_seconds: Seconds = 30.0
    margin_seconds: Seconds = 5.0
    tracker_wait_seconds: Seconds = 300.0
    tick_seconds: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.1
    min_chunk_bids: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 100
    late_event_hours: Annotated[int, msgspec.Meta(gt=0, le=24 * 30)] = 72
    conversion_days: Annotated[int, msgspec.Meta(gt=0, le=365)] = 30
    late_reserve: Literal["measured"] | _PartShare = "measured"
    late_quantile: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.99
    late_start: _PartShare = 0.003
    late_floor: _PartShare = 0.001
    late_ceiling: _PartShare = 0.25
    late_window_hours: Annotated[int, msgspec.Meta(gt=0, le=1_440)] = 168
    late_tail_seconds: Seconds = 3_600.0
    metrics_host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    metrics_port: Annotated[int, msgspec.Meta(ge=0, lt=65_536)] = 0


class BidSection(_Section, frozen=True):
    """A worker.

    seat: the stable place that it holds. buyer: the seat name that exchanges know us by. default_exchange: the
    exchange that requests without a name are of. max_batch: requests decided at once. tick_seconds: wall time
    between ticks. external_scores: whether click probabilities in requests are believed; for replayed logs only.
    funnel: whether what targeting refuses is counted by line item in the bidder itself; where there are more than a
    thousand, set it to false and run `clearbid funnel` beside it. model_seconds: wall time between looks for a new
    model or landscape. landscape_file: of `clearbid models landscape`; first price is bid by it, else by the share
    of the exchange. metrics_host, metrics_port: where `GET /metrics` is answered; 0 for nowhere.
    """

    seat: _Seat = _NAMES.seat
    buyer: Annotated[str, msgspec.Meta(min_length=1, max_length=120)] = _NAMES.buyer
    default_exchange: Annotated[str, msgspec.Meta(min_length=1, max_length=120)] = _NAMES.default_exchange
    max_batch: Annotated[int, msgspec.Meta(gt=0, le=4_096)] = 128
    tick_seconds: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.05
    external_scores: bool = False
    funnel: bool = True
    model_seconds: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 5.0
    landscape_file: str = ""
    metrics_host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    metrics_port: Annotated[int, msgspec.Meta(ge=0, lt=65_536)] = 0


class TrafficSection(TrafficRules, frozen=True):
    """Which invalid traffic is refused.

    crawlers: agents that name themselves crawlers, monitors, headless browsers or scripts. data_centres: addresses
    in the networks of networks_file, a network a line, see `store.networks`. impossible_devices: devices that
    contradict themselves. user_per_minute, address_per_minute: most requests of one user or address in a minute; 0
    is no limit.
    """

    networks_file: str = ""

    def rules(self) -> TrafficRules:
        """The rules alone."""
        return TrafficRules(**{name: getattr(self, name) for name in TrafficRules.__struct_fields__})


class PriceKeys(_Section, frozen=True):
    """Keys by which an exchange encrypts its prices, as it handed them out: encryption, integrity."""

    encryption: _PriceKey
    integrity: _PriceKey

    def cipher(self) -> PriceCipher:
        """What reads such prices."""
        return PriceCipher(*(urlsafe_b64decode(f"{key:=<44}") for key in (self.encryption, self.integrity)))

    def __repr__(self) -> str:
        """Nothing of the keys, which must not reach a log."""
        return "PriceKeys(...)"


class TrackSection(_Section, frozen=True):
    """The tracker.

    host, port: where it listens. public_url: where exchanges reach it; https unless it is a loopback address,
    since markup with http is refused on secure pages (OpenRTB 2.6 section 3.2.4, `imp.secure`). secret: the key
    that signs tokens, 32 to 128 hex digits; bidder and tracker must have the same. old_secrets: keys that sign
    no more, but whose tokens are still taken: to change the secret, move the old one here until its bids are over.
    price_keys: by the name of an exchange that encrypts its prices. spool_dir: folder for notices that came while the
    broker was away, of one tracker alone; without one they are answered 503 meanwhile. spool_megabytes: what it may
    take. broker_seconds: how long a notice waits for the broker before it is spooled. metrics_host, metrics_port:
    where `GET /metrics` is answered; 0 for nowhere.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(gt=0, lt=65_536)] = 8080
    public_url: _Url = "http://127.0.0.1:8080"
    secret: _Secret | None = None
    old_secrets: tuple[_Secret, ...] = ()
    price_keys: dict[str, PriceKeys] = {}
    spool_dir: str = ""
    spool_megabytes: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 256
    broker_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    metrics_host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    metrics_port: Annotated[int, msgspec.Meta(ge=0, lt=65_536)] = 0

    def __repr__(self) -> str:
        """All but the secret, which must not reach a log."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _HIDDEN}
        return f"TrackSection({', '.join(f'{name}={value!r}' for name, value in shown.items())}, secret=...)"


class Config(_Section, frozen=True):
    """All settings."""

    kafka: KafkaSection = KafkaSection()
    account: AccountSection = AccountSection()
    store: StoreSection = StoreSection()
    bank: BankSection = BankSection()
    bid: BidSection = BidSection()
    track: TrackSection = TrackSection()
    pacing: PacingSettings = PacingSettings()
    brakes: BrakeSettings = BrakeSettings()
    privacy: PrivacyPolicy = PrivacyPolicy()
    traffic: TrafficSection = TrafficSection()
    users: UserSettings = UserSettings()
    shading: ShadingSettings = ShadingSettings()
    exchanges: dict[str, ExchangeRules] = {}

    @property
    def longest_reservation_seconds(self) -> float:
        """The longest a bid's money can wait on any exchange: for its result, then for its billing."""
        return EngineSettings(exchanges=self.exchanges).longest_wait_ns / NS_PER_SECOND

    def key(self) -> bytes:
        """The key that signs tokens.

        Raises:
            ConfigError: if none is set.
        """
        if self.track.secret is None:
            raise ConfigError(
                "secret in [track] must be set to 32 to 128 hex digits, was not: make one with "
                "`openssl rand -hex 32` and give it to bidder and tracker"
            )
        return bytes.fromhex(self.track.secret)

    def keys(self) -> list[bytes]:
        """Every key whose tokens are taken, the signing one first; raises `ConfigError` as `key` does."""
        return [self.key(), *(bytes.fromhex(secret) for secret in self.track.old_secrets)]

    def ciphers(self) -> dict[str, PriceCipher]:
        """What reads the prices of exchanges that encrypt them, by exchange."""
        return {exchange: keys.cipher() for exchange, keys in self.track.price_keys.items()}

    def check_public_url(self) -> None:
        """Raises `ConfigError` where the markup of our bids would not be secure."""
        address = urlsplit(self.track.public_url)
        if address.scheme != "https" and address.hostname not in _LOOPBACK:
            raise ConfigError(
                f"public_url in [track] must be https, or a loopback address for a trial, was {self.track.public_url}"
            )

    def engine_settings(self) -> EngineSettings:
        """What an engine must know, read from files where settings name them.

        Raises:
            InputError: a file cannot be read, or not be understood.
        """
        return EngineSettings(
            seat=self.bid.seat,
            buyer=self.bid.buyer,
            currency=self.account.currency,
            exchanges=self.exchanges,
            default_exchange=self.bid.default_exchange,
            public_url=self.track.public_url,
            external_scores=self.bid.external_scores,
            pacing=self.pacing,
            brakes=self.brakes,
            privacy=self.privacy,
            traffic=self.traffic.rules(),
            data_centres=self._networks(),
            rates=read_rates(Path(self.account.rates_file)) if self.account.rates_file else {},
            users=self.users,
            shading=self.shading,
            funnel=self.bid.funnel,
        )

    def _networks(self) -> tuple[str, ...]:
        """Networks of data centres, one a text."""
        if not self.traffic.networks_file:
            return ()
        path = Path(self.traffic.networks_file)
        load_networks(path)  # names the file and line of what is no network, where the engine could not
        stated = (line.partition("#")[0].strip() for line in network_lines(path))
        return tuple(line for line in stated if line)


def load_config(path: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Reads a configuration.

    Args:
        path: a TOML file, or None for the defaults.
        env: the environment, by default the process's own; its values win.

    Raises:
        ConfigError: naming the key, its section and the file or variable, what it was and what is allowed.
    """
    raw = {} if path is None else _read_toml(path)
    values = _check_table(raw, Config, "", str(path))
    for names, value in _variables(os.environ if env is None else env, values):
        table = values
        for name in names[:-1]:
            table = table.setdefault(name, {})
        table[names[-1]] = value
    return msgspec.convert(values, Config)


def with_setting(config: Config, section: str, key: str, value: object, source: str) -> Config:
    """The configuration with one setting changed, as by an option of the command line.

    Raises:
        ConfigError: if the value is not allowed; `source` says where it came from.
    """
    table = getattr(config, section)
    checked = _check_value(value, _types(type(table))[key], key, source)
    return msgspec.structs.replace(config, **{section: msgspec.structs.replace(table, **{key: checked})})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} must be TOML, was not: {error}") from None


def _types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Types of a struct's fields, by name."""
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _named(kind: Any) -> Any:
    """The type of the values where a field is a table of named things, else None."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is dict else None


def _check_table(table: object, kind: Any, section: str, source: str) -> dict[str, Any]:
    """A table with every key known and every value allowed, as plain values."""
    if not isinstance(table, dict):
        raise ConfigError(f"[{section}] of {source} must be a table, was {table!r}")
    named = _named(kind)
    types = dict.fromkeys(table, named) if named else _types(kind)
    checked = {}
    for key, value in table.items():
        where = f"[{section}] of {source}" if section else source
        if key not in types:
            raise ConfigError(f"{key} in {where} is no setting; {_hint(key, types)}")
        inner = f"{section}.{key}" if section else key
        if _struct(types[key]) or _named(types[key]):
            checked[key] = _check_table(value, types[key], inner, source)
        else:
            checked[key] = _check_value(value, types[key], key, where)
    return checked


def _hint(key: str, types: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, types, n=3)
    return f"nearest: {', '.join(near)}" if near else f"allowed: {', '.join(types)}"


def _check_value(value: object, kind: Any, key: str, where: str, *, strict: bool = True) -> Any:
    """A value as its type; `strict` unless it comes as text from the environment."""
    try:
        if not strict and isinstance(value, str) and typing.get_origin(kind) is tuple:
            value = [part.strip() for part in value.split(",") if part.strip()]
        return msgspec.to_builtins(msgspec.convert(value, kind, strict=strict))
    except msgspec.ValidationError as error:
        own = key.removeprefix(PREFIX).lower().partition("_")[2] if key.startswith(PREFIX) else key
        was = "not shown" if own in _HIDDEN else repr(value)
        raise ConfigError(f"{key} in {where} must be {_allowed(kind, str(error))}, was {was}") from None


def _description(kind: Any) -> str:
    own = [meta.description for meta in getattr(kind, "__metadata__", ()) if meta.description]
    inner = [_description(each) for each in typing.get_args(kind) if typing.get_origin(kind) is not Literal]
    return next(filter(None, [*own, *inner]), "")


def _allowed(kind: Any, message: str) -> str:
    """What is allowed, in the words of the type if it has any, else in msgspec's."""
    if described := _description(kind):
        return described
    if typing.get_origin(kind) is Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    return message.removeprefix("Expected ").split(", got ")[0].replace("`", "")


def _variables(env: Mapping[str, str], values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Settings of the environment: the path of each, and its value."""
    for variable, text in sorted(env.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        known = dict(_settings(Config, (), values))
        found = next((names for names in known if _variable(names) == variable), None)
        found = found or _new_exchange(variable)
        if found is None:
            near = difflib.get_close_matches(variable, map(_variable, known), n=3)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            raise ConfigError(f"{variable} in the environment is no setting{hint}")
        kind = known.get(found) or _types(ExchangeRules)[found[-1]]
        yield found, _check_value(text, kind, variable, "the environment", strict=False)


def _variable(names: tuple[str, ...]) -> str:
    return PREFIX + "_".join(names).upper().replace("-", "_").replace(".", "_")


def _settings(
    kind: Any, names: tuple[str, ...], values: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting there is, as its path and type; named tables as far as the file has them."""
    named = _named(kind)
    for key, inner in (dict.fromkeys(values, named) if named else _types(kind)).items():
        if _struct(inner) or _named(inner):
            yield from _settings(inner, (*names, key), values.get(key, {}))
        else:
            yield (*names, key), inner


def _new_exchange(variable: str) -> tuple[str, ...] | None:
    """The path of a setting of an exchange that the file does not name: its name is lower case then."""
    for key in _types(ExchangeRules):
        head, tail = f"{PREFIX}EXCHANGES_", f"_{key.upper()}"
        if variable.startswith(head) and variable.endswith(tail) and len(variable) > len(head) + len(tail):
            return "exchanges", variable[len(head) : -len(tail)].lower(), key
    return None
