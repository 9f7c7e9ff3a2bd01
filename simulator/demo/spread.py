"""The exchange's side of several trackers: what a load balancer in front of them does."""

import asyncio
from collections.abc import Sequence

from bidder.errors import DependencyError
from simulator.demo.http_client import NoticeClient, Response

_TOO_BUSY = 503


class SpreadClient:
    """Calls the trackers in turn; one that is silent or busy is left out for that try, and the call goes on.

    Args:
        public_url: that every notice URL begins with, without a slash at its end.
        clients: of the trackers, each made with `retries=0`.
        every_s: wall seconds between rounds over all trackers. rounds: how many before a call is given up.

    Attributes:
        retried: tries after the first, over all calls.
    """

    def __init__(
        self, public_url: str, clients: Sequence[NoticeClient], *, every_s: float = 0.2, rounds: int = 600
    ) -> None:
        self._public_url = public_url
        self._clients = list(clients)
        self._every_s = every_s
        self._rounds = rounds
        self._turn = 0
        self.retried = 0

    async def start(self) -> None:
        """Connects; raises `DependencyError` where a tracker is not there, and does not come in as many rounds."""
        for client in self._clients:
            for left in reversed(range(self._rounds)):
                try:
                    await client.start()
                    break
                except DependencyError:
                    if not left:
                        raise
                await asyncio.sleep(self._every_s)

    async def get(self, url: str) -> Response:
        """Calls `url` at one tracker after the other until one answers by something else than 503.

        Raises:
            DependencyError: no tracker did, in all rounds.
        """
        target = url.removeprefix(self._public_url)
        self._turn += 1
        first = self._turn
        for _ in range(self._rounds):
            for step in range(len(self._clients)):
                client = self._clients[(first + step) % len(self._clients)]
                try:
                    response = await client.get(f"http://{client.host}:{client.port}{target}")
                except DependencyError:
                    self.retried += 1
                    continue
                if response.status != _TOO_BUSY:
                    return response
                self.retried += 1
            await asyncio.sleep(self._every_s)
        raise DependencyError(f"one of {len(self._clients)} trackers must answer {target[:80]}, none did")

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients:
            await client.close()
