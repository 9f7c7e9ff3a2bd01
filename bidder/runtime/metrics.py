"""A worker's counts as Prometheus reads them: `GET /metrics`, text format 0.0.4.

Everything is read from counters that stand there anyway, when it is asked for; nothing is counted for it. Series of
single line items are left out where there are more than `MOST_LINES` of them: a scrape would hold up requests, and
the topic `funnel` has the same counts.
"""

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from bidder.core.delays import DelayHistogram
from bidder.core.funnel import STAGES
from bidder.openrtb.reasons import Reason
from bidder.runtime.clock import Clock
from bidder.runtime.http import HttpServer, Reply, Request
from bidder.runtime.renewal import Renewal
from bidder.runtime.transport import TransportStats
from bidder.runtime.worker import Worker

MOST_LINES = 1_000
LATENCIES_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
"""Bounds of the histogram: below what exchanges wait for, and beyond it."""
DELAYS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Bounds of the histograms of notices: from one round of the bank to the longest wait of a bid."""
CONTENT_TYPE = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)


class Counted(Protocol):
    """A source or sink that counts."""

    @property
    def stats(self) -> TransportStats:
        """Its counters."""
        ...


class Sample(NamedTuple):
    """One value of a family, with its labels."""

    labels: Mapping[str, str]
    value: float


def family(name: str, kind: str, said: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of one family of series; none without a sample."""
    lines = [f"{name}{_labels(sample.labels)} {_number(sample.value)}" for sample in samples]
    if lines:
        yield f"# HELP {name} {said}"
        yield f"# TYPE {name} {kind}"
        yield from lines


def histogram(
    name: str, said: str, delays: Sequence[tuple[Mapping[str, str], DelayHistogram]]
) -> Iterator[str]:
    """The lines of a histogram of delays, in seconds, by labels; none without one."""
    if not delays:
        return
    yield f"# HELP {name} {said}"
    yield f"# TYPE {name} histogram"
    for labels, one in delays:
        for bound_s in DELAYS_S:
            text = _labels({**labels, "le": repr(bound_s)})
            yield f"{name}_bucket{text} {one.within(int(bound_s * 1e9))}"
        yield f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {one.count}"
        yield f"{name}_sum{_labels(labels)} {one.total_ns / 1e9!r}"
        yield f"{name}_count{_labels(labels)} {one.count}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _by(label: str, counts: Mapping[str, int]) -> list[Sample]:
    return [Sample({label: name}, count) for name, count in counts.items()]


def _one(value: float) -> list[Sample]:
    return [Sample({}, value)]


class Metrics:
    """What `GET /metrics` of a worker says.

    Args:
        worker: counted. renewal: of its tables and models. clock: the shared clock.
        transports: sources and the sink, by name.
    """

    def __init__(
        self, worker: Worker, renewal: Renewal, clock: Clock, transports: Mapping[str, Counted]
    ) -> None:
        self._worker = worker
        self._renewal = renewal
        self._clock = clock
        self._transports = transports

    def text(self) -> str:
        """All families, as they stand now."""
        parts = (
            self._requests(), self._latency(), self._lines(), self._locked(), self._delays(), self._state(),
            self._transport(),
        )  # fmt: skip
        return "\n".join(line for part in parts for line in part) + "\n"

    def handle(self, request: Request) -> Reply:
        """Answers one request of the endpoint."""
        if request.target.partition("?")[0] != "/metrics":
            return Reply(404, (), b"GET /metrics\n")
        return Reply(200, CONTENT_TYPE, self.text().encode())

    def _requests(self) -> Iterator[str]:
        worker, engine = self._worker, self._worker.engine
        yield from family(
            "clearbid_requests_total", "counter", "Bid requests decided.", _one(worker.requests)
        )
        yield from family(
            "clearbid_responses_with_bids_total", "counter", "Requests that got a bid.", _one(worker.bids)
        )
        yield from family(
            "clearbid_opportunities_total",
            "counter",
            "Opportunities, tests left out.",
            _one(engine.opportunities),
        )
        yield from family(
            "clearbid_opportunities_ended_total",
            "counter",
            "Opportunities by the reason that they ended in; 0 is a bid.",
            [
                Sample({"reason": str(int(reason)), "name": Reason(reason).name.lower()}, count)
                for reason, count in sorted(engine.reasons.items())
            ],
        )
        yield from family(
            "clearbid_values_repaired_total",
            "counter",
            "Values of requests mended or dropped.",
            _one(engine.repaired),
        )
        yield from family(
            "clearbid_conversion_values_total",
            "counter",
            "Conversions that the model was asked to value, by what became of what it said.",
            [Sample({"end": name}, count) for name, count in engine.values.totals()._asdict().items()],
        )
        yield from family(
            "clearbid_late_wins_total",
            "counter",
            "Wins after their reservation had ended.",
            _one(engine.late_wins),
        )

    def _latency(self) -> Iterator[str]:
        latency = self._worker.latency
        name = "clearbid_decide_seconds"
        yield f"# HELP {name} From a batch in hand to its answers handed over, by request."
        yield f"# TYPE {name} histogram"
        for bound_ms in LATENCIES_MS:
            yield f'{name}_bucket{{le="{bound_ms / 1e3!r}"}} {latency.within_ms(bound_ms)}'
        yield f'{name}_bucket{{le="+Inf"}} {latency.count}'
        yield f"{name}_sum {latency.total_ns / 1e9!r}"
        yield f"{name}_count {latency.count}"

    def _lines(self) -> Iterator[str]:
        engine = self._worker.engine
        stages = dict(zip(STAGES, engine.funnel.stages.sum(axis=0).tolist(), strict=True))
        yield from family(
            "clearbid_funnel_total",
            "counter",
            "Opportunities past targeting, all line items.",
            _by("stage", stages),
        )
        if len(engine.table) > MOST_LINES:
            return
        status = engine.status(self._clock.now_ns())
        for name, said, field in (
            ("granted", "leased to this seat", "granted_nanos"),
            ("reserved", "set aside for bids", "reserved_nanos"),
            ("posted", "spent", "posted_nanos"),
            ("late", "spent after a reservation had ended", "late_nanos"),
        ):
            yield from family(
                f"clearbid_line_item_{name}_nanos",
                "gauge",
                f"Money {said}, of the budget that paces the line item.",
                [Sample({"line_item": line_id}, getattr(one, field)) for line_id, one in status.items()],
            )
        yield from family(
            "clearbid_line_item_multiplier",
            "gauge",
            "Share of its value that a line item bids.",
            [Sample({"line_item": line_id}, one.multiplier) for line_id, one in status.items()],
        )
        yield from family(
            "clearbid_line_item_learning",
            "gauge",
            "1 where too few outcomes are known to go by them more than by predictions, by target.",
            [
                Sample({"line_item": line_id, "target": target.aim}, int(target.learning))
                for line_id, one in status.items()
                for target in one.targets
                if target.aim != "cpm"
            ],
        )
        yield from family(
            "clearbid_line_item_over_target_ratio",
            "gauge",
            "Spend over what it bought at target, less 1, at this seat; above 0 a target is missed.",
            [
                Sample(
                    {"line_item": line_id, "target": target.aim},
                    target.spent_nanos / target.worth_nanos - 1.0,
                )
                for line_id, one in status.items()
                for target in one.targets
                if target.worth_nanos > 0.0
            ],
        )
        yield from family(
            "clearbid_line_item_asked_total",
            "counter",
            "Opportunities asked; 0 where the funnel is counted elsewhere.",
            [Sample({"line_item": line_id}, one.asked) for line_id, one in status.items()],
        )
        yield from family(
            "clearbid_line_item_refused_total",
            "counter",
            "Opportunities that targeting refused, by the first dimension that did.",
            [
                Sample({"line_item": line_id, "dimension": name}, count)
                for line_id, one in status.items()
                for name, count in one.refused.items()
            ],
        )
        yield from family(
            "clearbid_line_item_funnel_total",
            "counter",
            "Opportunities past targeting, by where they ended.",
            [
                Sample({"line_item": line_id, "stage": name}, count)
                for line_id, one in status.items()
                for name, count in one.funnel.items()
                if count
            ],
        )

    def _locked(self) -> Iterator[str]:
        locked = self._worker.engine.locked()
        if len(locked) > MOST_LINES:
            return
        for name, said, place in (
            ("locked", "Money that open bids of a campaign hold in reservations.", 0),
            ("spent", "Money that a campaign spent at this seat.", 1),
        ):
            yield from family(
                f"clearbid_campaign_{name}_nanos",
                "gauge",
                said,
                [Sample({"campaign": each}, amounts[place]) for each, amounts in locked.items()],
            )
        yield from family(
            "clearbid_campaign_locked_ratio",
            "gauge",
            "Money locked against money spent; none where nothing was spent.",
            [Sample({"campaign": each}, held / spent) for each, (held, spent) in locked.items() if spent],
        )

    def _delays(self) -> Iterator[str]:
        engine = self._worker.engine
        waits = engine.waits
        yield from histogram(
            "clearbid_pacing_loop_seconds",
            "From a billing notice at the tracker to the multiplier that it moved, on the shared clock.",
            [({}, engine.loop)],
        )
        by_exchange = [{"exchange": name} for name in waits.names]
        for name, said, delays in (
            ("win", "From a bid to the first word of its win", waits.heard),
            ("billing", "From a bid to its billing", waits.billed),
        ):
            yield from family(
                f"clearbid_{name}_delay_seconds",
                "gauge",
                f"{said}, quantiles; old ones fade.",
                [
                    Sample({**labels, "quantile": str(ppm / 1e6)}, one.quantile_ns(ppm) / 1e9)
                    for labels, one in zip(by_exchange, delays, strict=True)
                    for ppm in (500_000, 990_000, 999_000)
                    if one.count
                ],
            )
        yield from family(
            "clearbid_result_wait_seconds",
            "gauge",
            "How long a reservation waits for its result.",
            [Sample(labels, engine.gate.waits_ns(index) / 1e9) for index, labels in enumerate(by_exchange)],
        )

    def _state(self) -> Iterator[str]:
        worker, engine, renewal = self._worker, self._worker.engine, self._renewal
        caps, profiles = engine.caps, engine.gate.profiles
        for name, said, value in (
            ("line_items", "Line items of the table that decides.", len(engine.table)),
            ("table_version", "Version of that table.", engine.table.version),
            ("open_reservations", "Bids that hold money.", engine.wallet.purse.open_reservations),
            ("epoch", "Epoch of this start; 0 before its first lease.", engine.epoch),
            ("profiles", "Users whose profile is kept.", len(profiles)),
            ("stopped_line_items", "Line items that a brake stops.", int((engine.brakes.reasons != 0).sum())),
            ("model_fallback", "1 where LightGBM itself scores, slowly.", int(engine.fallback)),
        ):
            yield from family(f"clearbid_{name}", "gauge", said, _one(value))
        for name, said, value in (
            ("breaker_trips", "Times that the breaker of this seat stopped somebody.", engine.brakes.trips),
            ("tables_adopted", "Tables adopted beside the loop.", renewal.tables),
            ("models_adopted", "Models adopted since the start.", renewal.models),
            ("models_refused", "Models that did not load or fit.", renewal.refused_models),
            ("landscapes_adopted", "Landscapes adopted since the start.", renewal.landscapes),
            ("landscapes_refused", "Landscapes that did not load or fit.", renewal.refused_landscapes),
            ("caps_evicted", "Pairs of user and cap forgotten for want of room.", caps.table.evicted),
            ("exposures_taken", "Exposures counted for caps.", caps.exposures.taken),
            ("exposures_repeated", "Exposures that came again.", caps.exposures.repeated),
            ("exposures_forgotten", "Ids of exposures dropped before their time.", caps.exposures.forgotten),
            ("profiles_evicted", "Profiles dropped for want of room.", profiles.evicted),
        ):
            yield from family(f"clearbid_{name}_total", "counter", said, _one(value))
        yield from family(
            "clearbid_model_info",
            "gauge",
            "The model that decides.",
            [Sample({"hash": engine.model_hash}, 1)],
        )
        yield from family(
            "clearbid_control_refused_total",
            "counter",
            "Control messages left out, by cause.",
            _by("cause", worker.inbox.refused),
        )

    def _transport(self) -> Iterator[str]:
        stats = {name: transport.stats for name, transport in self._transports.items()}
        for field, kind, said in (
            ("polled", "counter", "Messages read."),
            ("published", "counter", "Messages taken for delivery."),
            ("acknowledged", "counter", "Messages that the broker acknowledged."),
            ("failed", "counter", "Messages dropped: not acknowledged, or too large."),
            ("commit_failures", "counter", "Commits that did not hold."),
            ("paused", "gauge", "Partitions not read just now because their queue is full."),
        ):
            name = f"clearbid_transport_{field}" + ("_total" if kind == "counter" else "")
            yield from family(
                name, kind, said, _by("transport", {each: getattr(one, field) for each, one in stats.items()})
            )


class Told(Protocol):
    """What answers `GET /metrics`, at once or later."""

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answers one request of the endpoint."""
        ...


def metrics_server(metrics: Told, host: str, port: int) -> HttpServer:
    """The endpoint of a worker, a bank or a tracker, not started."""
    return HttpServer(metrics.handle, host, port, methods=("GET", "HEAD"))
