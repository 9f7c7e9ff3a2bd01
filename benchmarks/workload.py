"""What the worker is measured with: seeded requests, campaigns, settings, models, all as the demo makes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bidder.config import Config, load_config
from bidder.core.campaigns import Campaign
from bidder.core.messages import BID_REQUESTS
from bidder.core.settings import NS_PER_SECOND, EngineSettings
from bidder.runtime.partitioner import partition_of
from bidder.runtime.transport import Outbound
from models.dataset import read_table
from models.schema import DEFAULT_DECLARATIONS
from models.train import train_bundle
from simulator.demo.plan import TMAX_MS, Plan, synthetic_plan, take
from simulator.logs.requests import RequestEncoder
from simulator.logs.rows import LogRow
from simulator.logs.training import write_training_table

SEED = 7
BODIES = 20_000
"""Different bodies; they come again with other ids."""
PATIENT_TMAX_MS = 60_000
"""Time for an answer where saturation is measured: nothing must be refused for being old, that is no work."""
NOON_NS = 12 * 3_600 * NS_PER_SECOND
KEY = bytes(range(32))
SEAT = "seat-1"
AMPLE_NANOS = 10**15
"""A budget that no run can spend: a million units."""
_ID_DIGITS = 12
_HEAD = b'{"id":"'


class Workload(NamedTuple):
    """Everything that all parts of a measurement share.

    Attributes:
        plan: the demo's synthetic market.
        campaigns: its campaigns with ample budgets.
        patient, hurried: the same requests with `PATIENT_TMAX_MS` and with the demo's own `tmax`.
        origin_ns: what the clock shows at the start of a run: noon of the flight, when all campaigns are awake.
    """

    plan: Plan
    campaigns: tuple[Campaign, ...]
    patient: "Bodies"
    hurried: "Bodies"
    origin_ns: int


class Bodies:
    """Encoded requests of which each can be sent many times, under a new id every time.

    Args:
        rows: what they ask. encoder: writes them.

    Raises:
        ValueError: the encoder does not write the id first.
    """

    def __init__(self, rows: Iterable[LogRow], encoder: RequestEncoder) -> None:
        self._keys: list[bytes] = []
        self._tails: list[bytes] = []
        for row in rows:
            head, tail = split_id(encoder.encode(row))
            if head != row.id:
                raise ValueError(f"a body must begin with its row's id {row.id}, began with {head}")
            self._keys.append((row.user_id or row.id).encode())
            self._tails.append(tail)

    def __len__(self) -> int:
        return len(self._tails)

    @property
    def mean_bytes(self) -> float:
        """Mean size of a body as it is sent."""
        return sum(map(len, self._tails)) / len(self._tails) + len(_HEAD) + _ID_DIGITS

    def body(self, number: int) -> bytes:
        """The request of a number from 0 on; its id is that number."""
        return b'{"id":"%012d%b' % (number, self._tails[number % len(self._tails)])

    def key(self, number: int) -> bytes:
        """The message key of that request: its user."""
        return self._keys[number % len(self._keys)]

    def outbound(self, number: int, partitions: int) -> Outbound:
        """The request of a number as a message."""
        key = self.key(number)
        return Outbound(BID_REQUESTS, key, self.body(number), partition_of(key, partitions))


def split_id(body: bytes) -> tuple[str, bytes]:
    """The id of an encoded request and all that follows the id, from its closing quotation mark on.

    Raises:
        ValueError: the id is not the first attribute.
    """
    if not body.startswith(_HEAD):
        raise ValueError(f"a request must begin with its id, began with {body[:20]!r}")
    end = body.index(b'"', len(_HEAD))
    return body[len(_HEAD) : end].decode(), body[end:]


def make_workload(seed: int = SEED, bodies: int = BODIES) -> Workload:
    """Draws the market and encodes its first requests."""
    plan = synthetic_plan(seed)
    rows = take(plan.rows(), bodies)
    campaigns = tuple(
        msgspec.structs.replace(campaign, budget_nanos=AMPLE_NANOS) for campaign in plan.campaigns.values()
    )
    return Workload(
        plan,
        campaigns,
        Bodies(rows, _encoder(plan, PATIENT_TMAX_MS)),
        Bodies(rows, _encoder(plan, TMAX_MS)),
        plan.start_ns + NOON_NS,
    )


def _encoder(plan: Plan, tmax_ms: int) -> RequestEncoder:
    return RequestEncoder(plan.currency, first_price=plan.first_price, tmax_ms=tmax_ms)


def train_model(plan: Plan, folder: Path) -> Path:
    """The model directory in `folder`, trained there on the plan's first part where it is not there yet."""
    directory = folder / "model"
    if (directory / "manifest.json").exists():
        return directory
    assert plan.training is not None, "the synthetic market has a part to learn from"
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "training.parquet"
    settings = EngineSettings(currency=plan.currency)
    write_training_table(plan.training(), plan.campaigns, plan.encoder(), settings, table)
    train_bundle(read_table(table, DEFAULT_DECLARATIONS), DEFAULT_DECLARATIONS, directory, seed=plan.seed)
    table.unlink()
    return directory


def write_config(path: Path, plan: Plan, bootstrap: str, prefix: str) -> Config:
    """Writes the configuration of a worker as `clearbid bid` reads it, and reads it back.

    Args:
        path: of the file.
        plan: whose exchanges and traffic it is to expect.
        bootstrap: the broker. prefix: of topics and groups.
    """
    lines = [
        "[kafka]",
        f'bootstrap = "{bootstrap}"',
        f'prefix = "{prefix}"',
        "[account]",
        f'currency = "{plan.currency}"',
        "[bid]",
        f'seat = "{SEAT}"',
        "[track]",
        f'secret = "{KEY.hex()}"',
        "[pacing]",
        f"weekly_opportunities = {plan.pacing.weekly_opportunities!r}",
        f"traffic_shape = {list(plan.pacing.traffic_shape)}",
    ]
    for name, rules in plan.exchange_rules(patience_seconds=60.0).items():
        lines.append(f"[exchanges.{name}]")
        lines += [f"{key} = {value}" for key, value in msgspec.structs.asdict(rules).items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_config(path, env={})


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0.0 of nothing."""
    return sum(values) / len(values) if values else 0.0
