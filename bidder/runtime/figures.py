"""What a bidder counted, for whoever asks; as a file where it is another process."""

from pathlib import Path

import msgspec

from bidder.core.status import Status
from bidder.errors import InputError
from bidder.openrtb.reasons import Reason
from bidder.runtime.worker import Worker


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the bidder counted; from its own process, by file, where it has one.

    Latencies in milliseconds of wall time; `reasons` by number.
    """

    requests: int
    opportunities: int
    bids: int
    late_wins: int
    p50_ms: float
    p99_ms: float
    reasons: dict[int, int]
    campaigns: dict[str, Status]


def figures_of(worker: Worker, now_ns: int) -> Figures:
    """A worker's counts as they stand."""
    engine, latency = worker.engine, worker.latency
    return Figures(
        requests=worker.requests,
        opportunities=engine.opportunities,
        bids=engine.reasons.get(Reason.BID, 0),
        late_wins=engine.late_wins,
        p50_ms=latency.quantile_ms(0.5),
        p99_ms=latency.quantile_ms(0.99),
        reasons={int(reason): count for reason, count in engine.reasons.items()},
        campaigns=engine.status(now_ns),
    )


def write_figures(path: Path, figures: Figures) -> None:
    """Writes figures as JSON."""
    path.write_bytes(msgspec.json.encode(figures))


def read_figures(path: Path) -> Figures:
    """Figures as `write_figures` wrote them; raises `InputError` where there are none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Figures)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"figures {path} must be as a bidder wrote them: {error}") from error
