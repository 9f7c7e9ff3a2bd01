"""Conversions that wait for their touch: a click and what came of it may reach the bank the other way round."""

import msgspec

from bidder.core.bookings import HeldRow
from bidder.core.effects import Draft
from bidder.core.messages import Conversion, encode

MAX_HELD_AN_ADVERTISER = 1_000
"""What an advertiser may have waiting; with more of it its pixel is misused, and none of it need be found."""

_read = msgspec.json.Decoder(Conversion)


class Held:
    """Waiting conversions by the text of their message, so that one that is delivered twice waits once.

    Args:
        rows: those that waited when the bank ended.
    """

    def __init__(self, rows: tuple[HeldRow, ...] = ()) -> None:
        self._of: dict[str, tuple[int, Conversion]] = {}
        self._by_user: dict[tuple[str, str], set[str]] = {}
        self._by_advertiser: dict[str, int] = {}
        self._stirred: set[str] = set()
        for row in sorted(rows, key=lambda row: (row.until_ns, row.message)):
            self._put(row, _read.decode(row.message))
        self.stir_all()

    def __len__(self) -> int:
        """Conversions that wait."""
        return len(self._of)

    def __contains__(self, conversion: object) -> bool:
        """Whether it waits already."""
        return isinstance(conversion, Conversion) and encode(conversion).decode() in self._of

    def put(self, conversion: Conversion, until_ns: int, draft: Draft) -> bool:
        """Lets one wait; False where its advertiser has no room left."""
        if self._by_advertiser.get(conversion.advertiser_id, 0) >= MAX_HELD_AN_ADVERTISER:
            return False
        row = HeldRow(encode(conversion).decode(), until_ns)
        self._put(row, conversion)
        draft.held[row.message] = row
        return True

    def stir(self, advertiser_id: str, user: str) -> None:
        """Notes that there is a new touch of a user: those that wait for it are looked at again."""
        self._stirred |= self._by_user.get((advertiser_id, user), set())

    def stir_all(self) -> None:
        """Notes that all may have changed."""
        self._stirred |= self._of.keys()

    def coming(self, seen_ns: int) -> list[Conversion]:
        """Those that `due` will give, in no order."""
        return [self._of[text][1] for text in self._over(seen_ns) | self._stirred]

    def due(self, seen_ns: int) -> list[tuple[Conversion, bool]]:
        """Those to look at again, in the order in which they came, and whether their time is over."""
        over = self._over(seen_ns)
        found = sorted((self._of[text][0], text) for text in over | self._stirred)
        self._stirred = set()
        return [(self._of[text][1], text in over) for _, text in found]

    def _over(self, seen_ns: int) -> set[str]:
        """Texts of those whose time is over: they came in the order of their ends."""
        over = set()
        for text, (until_ns, _) in self._of.items():
            if until_ns > seen_ns:
                break
            over.add(text)
        return over

    def drop(self, conversion: Conversion, draft: Draft) -> None:
        """Ends the wait of one."""
        text = encode(conversion).decode()
        del self._of[text]
        self._stirred.discard(text)
        self._by_advertiser[conversion.advertiser_id] -= 1
        for user in conversion.users:
            waiting = self._by_user[conversion.advertiser_id, user]
            waiting.discard(text)
            if not waiting:
                del self._by_user[conversion.advertiser_id, user]
        if draft.held.pop(text, None) is None:
            draft.released.append(text)

    def _put(self, row: HeldRow, conversion: Conversion) -> None:
        self._of[row.message] = (row.until_ns, conversion)
        advertiser_id = conversion.advertiser_id
        self._by_advertiser[advertiser_id] = self._by_advertiser.get(advertiser_id, 0) + 1
        for user in conversion.users:
            self._by_user.setdefault((advertiser_id, user), set()).add(row.message)
