"""Bid requests of the benchmark market: OpenRTB 2.6 bodies of about 2 kB, as real senders write them.

Half of what they carry nobody reads: extensions, sizes of screens, data of other bidders. Each body can be sent
many times: then with another id, another transaction and other users, so that nothing of it is a repeat.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import msgspec

from benchmarks.inventory import EURO, FIRST_PRICE, Inventory, Placement, User
from bidder.core.messages import BID_REQUESTS
from bidder.core.users import key_text
from bidder.runtime.partitioner import partition_of
from bidder.runtime.transport import Outbound

PATIENT_TMAX_MS = 60_000
"""Time for an answer where saturation is measured: nothing must be refused for being old, that is no work."""
TMAX_MS = 250
"""Time for an answer where latency is measured, as exchanges give it."""
_MARK = "~gen~"
"""Stands where a user's id names the round in which the body is sent."""


class Sent(NamedTuple):
    """One body but for what changes when it is sent again: its message key and the pieces around the user's id."""

    key: bytes
    head: bytes
    tail: bytes


class Bodies:
    """Requests of which each can be sent many times, under a new id every time and for new users every round.

    Args:
        inventory: what they are drawn from. count: different ones. seed: of the drawing. tmax_ms: written in each.
    """

    def __init__(self, inventory: Inventory, count: int, seed: int, tmax_ms: int) -> None:
        self._sent = [_cut(request) for request in requests(inventory, count, seed, tmax_ms)]

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def mean_bytes(self) -> float:
        """Mean size of a body as it is sent."""
        return sum(len(self.body(number)) for number in range(len(self))) / len(self)

    def body(self, number: int) -> bytes:
        """The request of a number from 0 on; its id is that number."""
        turn, place = divmod(number, len(self._sent))
        _, head, tail = self._sent[place]
        return b'{"id":"%012d","source":{"tid":"%012d%b%04x%b' % (number, number, head, turn, tail)

    def bodies(self, first: int, count: int) -> list[bytes]:
        """The requests of `count` numbers from `first` on."""
        return [self.body(number) for number in range(first, first + count)]

    def key(self, number: int) -> bytes:
        """The message key of that request: its user."""
        return self._sent[number % len(self._sent)].key

    def outbound(self, number: int, partitions: int) -> Outbound:
        """The request of a number as a message."""
        key = self.key(number)
        return Outbound(BID_REQUESTS, key, self.body(number), partition_of(key, partitions))


def _cut(request: tuple[int, dict[str, Any]]) -> Sent:
    """Cuts a request where its id, transaction and user stand."""
    user, fields = request
    text = msgspec.json.encode({"source": fields["source"]} | fields)
    marker = b'{"source":{"tid":"'
    assert text.startswith(marker), "a body must begin with its transaction"
    head, _, tail = text[len(marker) :].partition(_MARK.encode())
    return Sent(key_text(user + 1).encode(), head, tail.replace(_MARK.encode(), b"0000"))


def requests(
    inventory: Inventory, count: int, seed: int, tmax_ms: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Users by number and their requests without ids."""
    random = Random(f"{seed}-requests")
    for number in range(count):
        placement, user = inventory.draw(random)
        yield user.number, _request(random, number, placement, user, tmax_ms)


def _request(random: Random, number: int, placement: Placement, user: User, tmax_ms: int) -> dict[str, Any]:
    publisher = placement.publisher
    exchange = random.choice(publisher.exchanges)
    found: dict[str, Any] = {
        "source": _source(random, exchange, publisher.number),
        "at": 1 if exchange in FIRST_PRICE else 2,
        "tmax": tmax_ms,
        "cur": ["USD"] if random.random() < 0.9 else ["EUR", "USD"],
        "user": _user(user),
        "imp": [_imp(random, number, placement, exchange)],
        "device": _device(random, user),
        **publisher.lists,
        "allimps": 0,
        "regs": user.regs,
    }
    found["app" if publisher.app else "site"] = _place(random, number, placement)
    if number % 40 == 0:
        # Others are on the page too.
        found["imp"].append(_imp(random, number, placement, exchange) | {"id": "2"})
    found["ext"] = {
        "exchange": exchange, "wt": 1, "sspid": f"{exchange}-{number % 31}", "fcap": {"d": 3}, "clktrkrq": 0,
    }  # fmt: skip
    return found


def _source(random: Random, exchange: str, publisher: int) -> dict[str, Any]:
    nodes = [
        {"asi": "sellers-hub.example", "sid": f"pub-{publisher:05d}", "hp": 1},
        {
            "asi": f"{exchange}.example",
            "sid": f"{publisher * 37 + 1_000}",
            "rid": f"{random.getrandbits(48):012x}",
            "hp": 1,
        },
    ]
    return {
        "tid": f"-{random.getrandbits(64):016x}",
        "fd": 1,
        "schain": {"ver": "1.0", "complete": 1, "nodes": nodes},
    }


def _user(user: User) -> dict[str, Any]:
    name = f"{user.number:06x}{_MARK}"
    found: dict[str, Any] = {}
    if user.id_kind == "buyeruid":
        found = {"buyeruid": f"c1e{name}a7f34d", "id": f"x{user.number:08x}"}
    elif user.id_kind == "eids":
        uids = [("liveid.example", f"L{name}", 3), ("pubid.example", f"p-{user.number:010x}", 1)]
        found = {
            "eids": [{"source": source, "uids": [{"id": uid, "atype": atype}]} for source, uid, atype in uids]
        }
    elif user.id_kind == "id":
        found = {"id": f"u{name}"}
    else:
        found = {"ext": {"session": name}}
    if user.consent:
        found["consent"] = user.consent
    if user.data:
        found["data"] = user.data
    return found


def _imp(random: Random, number: int, placement: Placement, exchange: str) -> dict[str, Any]:
    found: dict[str, Any] = {"id": "1", **placement.parts, "tagid": placement.tag, "secure": 1}
    floor = placement.publisher.floor_cpm * random.uniform(0.7, 1.3)
    if random.random() < 0.92:
        found["bidfloor"] = round(floor * (2.2 if "video" in placement.parts else 1.0), 2)
        if exchange in EURO and random.random() < 0.5:
            found["bidfloorcur"] = "EUR"
    if random.random() < 0.4:
        found["metric"] = [
            {"type": "viewability", "value": round(random.uniform(0.2, 0.95), 2), "vendor": "panel"}
        ]
    found["ext"] = {"gpid": placement.tag, "ae": 1, "div": f"div-{number % 17}"}
    return found


def _place(random: Random, number: int, placement: Placement) -> dict[str, Any]:
    publisher = placement.publisher
    owner = {"id": f"pub-{publisher.number:05d}", "domain": f"owner-{publisher.number}.example"}
    common = {"cat": publisher.categories, "keywords": ",".join(publisher.keywords), "publisher": owner}
    if publisher.app:
        store = f"https://store.example/app/{publisher.store_id}"
        app = {"id": f"{publisher.number}", "bundle": publisher.domain, "storeurl": store}
        return app | common | {"ver": f"{random.randint(1, 9)}.{number % 20}", "privacypolicy": 1, "paid": 0}
    words = "-".join(random.sample(publisher.keywords, 2))
    page = (
        f"https://www.{publisher.domain}/{publisher.keywords[0]}/{words}-{random.getrandbits(40):010x}.html"
    )
    site = {"id": f"{publisher.number}", "domain": f"www.{publisher.domain}", "page": page}
    return site | common | {"pagecat": publisher.categories[:1], "mobile": 1, "privacypolicy": 1}


def _device(random: Random, user: User) -> dict[str, Any]:
    geo = {
        "country": user.country, "region": user.region, "city": user.city, "lat": round(user.lat, 4),
        "lon": round(user.lon, 4), "type": 2, "utcoffset": -300,
    }  # fmt: skip
    network, host = (
        f"{random.randint(11, 99)}.{random.randrange(256)}",
        f"{random.randrange(256)}.{random.randint(1, 254)}",
    )
    found = {
        **user.agent.fields, "ip": f"{network}.{host}",
        "geo": geo, "language": user.language, "js": 1, "connectiontype": user.connection, "carrier": user.carrier,
        "lmt": int(user.limited), "dnt": 0, "pxratio": 2,
    }  # fmt: skip
    if user.agent.mobile and user.number % 3 and not user.limited:
        text = f"{user.number * 2_654_435_761 % 2**32:08x}"
        found["ifa"] = f"{text}-4a1c-4d2e-9b3f-{text}{user.number % 65_536:04x}"
    return found
