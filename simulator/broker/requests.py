"""One request of a client on its way through the broker, and the table of those that can be answered."""

from collections.abc import Callable
from typing import NamedTuple

from simulator.broker.codes import ApiKey
from simulator.broker.wire import Reader, Writer


class Request:
    """A request: its body to read, and the way to answer it, now or later.

    Args:
        version: version of the request, within the range of its `Api`.
        client_id: what the client calls itself; may be empty.
        reader: the body.
        answer: takes the body of the response, or None where the protocol has no response.
        drop: closes the connection; takes the reason that is counted.
    """

    __slots__ = ("_answer", "abandoned", "client_id", "drop", "reader", "version")

    def __init__(
        self,
        version: int,
        client_id: str,
        reader: Reader,
        answer: Callable[[Writer | None], None],
        drop: Callable[[str], None],
    ) -> None:
        self.version = version
        self.client_id = client_id
        self.reader = reader
        self.drop = drop
        # Set by a handler that answers later; called when the client goes away before that.
        self.abandoned: Callable[[], None] | None = None
        self._answer = answer

    def answer(self, body: Writer | None) -> None:
        """Answers; to be called exactly once."""
        self.abandoned = None
        self._answer(body)


class Api(NamedTuple):
    """One kind of request: the versions that are answered, and by whom.

    `oldest` to `newest` is what ApiVersions tells clients.
    """

    key: ApiKey
    oldest: int
    newest: int
    handle: Callable[[Request], None]
