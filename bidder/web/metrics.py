"""A tracker's counts as Prometheus reads them: `GET /metrics`."""

from collections.abc import Iterator

from bidder.runtime.http import Reply, Request
from bidder.runtime.metrics import CONTENT_TYPE, Sample, family
from bidder.web.publish import NoticePublisher
from bidder.web.track import Tracker


class TrackMetrics:
    """What `GET /metrics` of a tracker says.

    Args:
        tracker: counted. publisher: of its notices.
    """

    def __init__(self, tracker: Tracker, publisher: NoticePublisher) -> None:
        self._tracker = tracker
        self._publisher = publisher

    def text(self) -> str:
        """All families, as they stand now."""
        return "\n".join([*self._calls(), *self._notices(), *self._spool()]) + "\n"

    def handle(self, request: Request) -> Reply:
        """Answers one request of the endpoint."""
        if request.target.partition("?")[0] != "/metrics":
            return Reply(404, (), b"GET /metrics\n")
        return Reply(200, CONTENT_TYPE, self.text().encode())

    def _calls(self) -> Iterator[str]:
        yield from family(
            "clearbid_track_calls_total",
            "counter",
            "Calls of tracking URLs, by what became of them.",
            [
                Sample({"path": path, "outcome": outcome.value}, count)
                for (path, outcome), count in sorted(self._tracker.counts.items())
            ],
        )
        yield from family(
            "clearbid_track_losses_total",
            "counter",
            "Loss notices that stated a reason, by its number in OpenRTB 2.6 list 5.25.",
            [Sample({"reason": str(n)}, count) for n, count in sorted(self._tracker.loss_reasons.items())],
        )

    def _notices(self) -> Iterator[str]:
        counts = self._publisher.counts
        for name, said in (
            ("published", "Notices that the broker acknowledged at once."),
            ("batches", "Flushes that they took."),
            ("undelivered", "Notices that the broker did not acknowledge in time."),
            ("refused", "Notices answered 503 because the spool did not take them."),
            ("overloaded", "Notices answered 503 because too many waited."),
        ):
            yield from family(f"clearbid_track_{name}_total", "counter", said, [Sample({}, counts[name])])
        pending = [Sample({}, self._publisher.pending)]
        yield from family("clearbid_track_pending", "gauge", "Calls that wait for their answer.", pending)

    def _spool(self) -> Iterator[str]:
        spool = self._publisher.spool
        if spool is None:
            return
        for name, said in (
            ("spooled", "Notices synced to the spool."),
            ("replayed", "Notices of the spool that the broker acknowledged."),
            ("full", "Notices that the spool had no room for."),
            ("failed", "Writes to the spool that failed."),
            ("torn_bytes", "Bytes of the spool that were of no notice: what a crash left half written."),
        ):
            sample = [Sample({}, spool.counts[name])]
            yield from family(f"clearbid_track_spool_{name}_total", "counter", said, sample)
        yield from family(
            "clearbid_track_spool_bytes", "gauge", "Bytes that wait in the spool.", [Sample({}, spool.bytes)]
        )
