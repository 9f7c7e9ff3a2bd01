"""Bid requests of every kind, made by a seed: what tests of the whole engine ask where no recorded ones are there."""

from random import Random
from typing import Any

import orjson

from tests.support.catalog import OTHER_SIZES, SIZES, SYNTHETIC_DEALS

USUAL: dict[str, tuple[Any, ...]] = {
    "battr": ([], [1], [13, 14], [3, 16], [16]),
    "btype": ([], [2], [3, 4], [1]),
    "api": ([], [1, 2, 7], [5], [3, 5, 6, 7], [2]),
    "delivery": ([], [1], [2], [1, 2], [3]),
    "linearity": (0, 1, 2),
    "skip": (0, 1),
    "minbitrate": (0, 300, 900),
    "maxbitrate": (0, 700, 1_500),
    "minduration": (0, 5, 15),
    "maxduration": (0, 15, 30, 60),
    "rqddurs": ([], [15, 30], [10]),
    "poddur": (0, 30, 60, 120),
    "maxseq": (0, 1, 2, 4),
    "protocols": ([2, 3], [3], [7, 11], [2, 3, 5, 6, 7, 8, 11]),
    "mincpmpersec": (0.0, 0.1, 0.4),
    "durfloors": (
        [{"mindur": 1, "maxdur": 15, "bidfloor": 3.0}, {"mindur": 16, "bidfloor": 6.5}],
        [{"mindur": 10, "maxdur": 30, "bidfloor": 0.123456789}],
    ),
    "secure": (0, 1),
    "bidfloor": (0, 0.5, 2.25, 6, 14.0000001, 30),
    "bidfloorcur": ("USD", "EUR", "JPY", "AUD"),
    "cur": (["USD"], ["EUR"], ["GBP", "USD"], ["JPY"], ["AUD"], []),
    "badv": ([], ["ford.com"], ["apple.com", "brand-2.example"], ["BRAND-1.example", "bad.com"]),
    "bcat": ([], ["IAB3"], ["IAB7-39", "IAB25"], ["IAB1", "IAB8-5"]),
    "acat": ([], ["IAB3", "IAB7"], ["IAB9", "IAB7-39"]),
    "bapp": ([], ["com.bad.app"], ["com.existing.blocked"]),
    "cattax": (1, 6, 9),
    "wlang": ([], ["en"], ["pt", "en"], ["fr"]),
    "wlangb": ([], ["pt-BR"], ["en-GB", "de"]),
    "wseat": ([], ["clearbid"], ["other", "clearbid"], ["other"]),
    "bseat": ([], ["other"], ["clearbid"]),
    "at": (1, 1, 2, 2, 3),
    "tmax": (10, 100, 1_000),
    "test": (0, 1),
    "instl": (0, 1),
    "mimes": (
        ["video/mp4", "image/png", "image/gif", "text/html", "audio/mp4"],
        ["audio/mpeg", "video/webm"],
    ),
    "private_auction": (0, 1),
    "wadomain": ([], ["dealer.example"], ["brand-40.example"]),
    "guar": (0, 1),
    "qty": ({"multiplier": 14.2}, {"multiplier": 0}, {"multiplier": 1.0}),
    "lmt": (0, 1),
    "gdpr": (0, 1),
    "coppa": (0, 1),
    "exchange": ("default", "silent", "brief", "empty", "picky"),
}
"""Values by attribute that change what may be bid, of the right type."""

_HERE = {"lat": 48.9, "lon": 2.4}
_SCHAIN = {"complete": 1, "ver": "1.0", "nodes": [{"asi": "a.example", "sid": "1"}]}
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Safari/604.1",
    "Mozilla/5.0 (compatible; ExampleBot/1.0; +http://bot.example)",
)


def body(seed: int) -> bytes:
    """A well-formed bid request."""
    random = Random(f"{seed}-body")
    request: dict[str, Any] = {
        "id": f"body-{seed}",
        "imp": [_imp(random, number) for number in range(random.choice((1, 1, 1, 2, 3)))],
        "device": {
            "ua": random.choice(_AGENTS[:2] if random.random() < 0.97 else _AGENTS),
            "ip": f"203.0.113.{random.randrange(256)}",
            "geo": {"country": random.choice(("USA", "DEU")), "region": "CA", "city": "Paris"} | _HERE,
            "language": "en-US",
            "connectiontype": 2,
        },
        "user": {"id": f"u{seed}", "data": [{"segment": [{"id": random.choice(("s1", "s9"))}]}]},
        "source": {"tid": f"t{seed}", "schain": _SCHAIN},
    }  # fmt: skip
    place = {
        "domain": random.choice(("news.example", "a.blog.example")),
        "cat": [random.choice(("IAB12", "IAB24"))],
        "keywords": "garden, sport",
        "publisher": {"id": "p1"},
        "content": {"language": "en", "kwarray": ["tea"]},
    }
    if random.random() < 0.4:
        request["app"] = place | {"bundle": "com.example.app"}
    else:
        request["site"] = place
    _some(
        random,
        request,
        ("cur", "badv", "bcat", "acat", "bapp", "wlang", "wlangb", "wseat", "bseat", "at", "tmax"),
    )
    _some(random, request, ("test", "cattax"), 0.05)
    if random.random() < 0.3:
        request["ext"] = {"exchange": random.choice(USUAL["exchange"])}
    if random.random() < 0.3:
        request["regs"] = {
            name: random.choice(USUAL[name]) for name in ("gdpr", "coppa") if random.random() < 0.5
        }
    return orjson.dumps(request)


def _some(random: Random, target: dict[str, Any], names: tuple[str, ...], share: float = 0.12) -> None:
    for name in names:
        if random.random() < share:
            target[name] = random.choice(USUAL[name])


def _imp(random: Random, number: int) -> dict[str, Any]:
    imp: dict[str, Any] = {"id": str(number + 1), "tagid": random.choice(("top", "x"))}
    kinds = ("banner", "banner", "video", "video", "audio", "native")
    for kind in dict.fromkeys(random.choice(kinds) for _ in range(random.choice((1, 1, 1, 2)))):
        imp[kind] = {"banner": _banner, "video": _video, "audio": _audio, "native": _native}[kind](random)
    _some(random, imp, ("bidfloor", "bidfloorcur", "secure", "instl"), 0.4)
    _some(random, imp, ("qty",), 0.05)
    if random.random() < 0.3:
        imp["pmp"] = {"deals": [_deal(random, name) for name in random.sample(SYNTHETIC_DEALS, 2)]}
        _some(random, imp["pmp"], ("private_auction",), 0.5)
    if random.random() < 0.2:
        imp["metric"] = [{"type": "viewability", "value": 0.7, "vendor": "EXCHANGE"}]
    return imp


def _deal(random: Random, name: str) -> dict[str, Any]:
    deal: dict[str, Any] = {"id": name, "at": 3 if name.startswith("fixed") else random.choice((1, 2))}
    _some(random, deal, ("bidfloor", "bidfloorcur", "wadomain", "guar"), 0.4)
    _some(random, deal, ("wseat", "mincpmpersec", "durfloors"), 0.1)
    return deal


def _banner(random: Random) -> dict[str, Any]:
    sizes = random.sample((*SIZES[:8], *OTHER_SIZES[:8]), random.choice((1, 2, 3)))
    banner: dict[str, Any] = {"format": [{"w": w, "h": h} for w, h in sizes], "pos": random.choice((0, 1, 7))}
    if random.random() < 0.2:
        banner = {"w": sizes[0][0], "h": sizes[0][1]}
    if random.random() < 0.1:
        banner["format"] = [{"wratio": 4, "hratio": 3, "wmin": 200}]
    _some(random, banner, ("battr", "btype", "api", "mimes"))
    return banner


def _video(random: Random) -> dict[str, Any]:
    video: dict[str, Any] = {
        "mimes": ["video/mp4", "video/webm"],
        "w": 640,
        "h": 360,
        "protocols": [2, 3, 7],
        "plcmt": 1,
    }
    _some(random, video, ("minduration", "maxduration", "linearity", "protocols"), 0.3)
    _some(random, video, ("battr", "api", "delivery", "skip", "minbitrate", "maxbitrate", "rqddurs", "mimes"))
    _some(random, video, ("mincpmpersec", "durfloors"), 0.1)
    if random.random() < 0.25:
        video |= {"podid": "p", "poddur": random.choice((30, 60, 120)), "maxseq": random.choice((2, 4))}
    return video


def _audio(random: Random) -> dict[str, Any]:
    audio: dict[str, Any] = {"mimes": ["audio/mp4", "audio/mpeg"], "maxduration": 60}
    _some(
        random, audio, ("battr", "protocols", "rqddurs", "poddur", "maxseq", "mincpmpersec", "durfloors"), 0.2
    )
    return audio


def _native(random: Random) -> dict[str, Any]:
    order: dict[str, Any] = {
        "ver": random.choice(("1.1", "1.2")),
        "assets": [
            {"id": 1, "required": 1, "title": {"len": random.choice((25, 90))}},
            {"id": 2, "required": random.choice((0, 1)), "img": {"type": 3, "wmin": 100, "hmin": 100}},
            {"id": 3, "required": 0, "data": {"type": random.choice((1, 2, 12)), "len": 40}},
        ],
    }
    if random.random() < 0.5:
        order["eventtrackers"] = [{"event": 1, "methods": [1, 2]}]
    wrapped = {"native": order | {"ver": "1.0"}} if random.random() < 0.2 else order
    native: dict[str, Any] = {"request": orjson.dumps(wrapped).decode(), "ver": "1.2"}
    _some(random, native, ("battr", "api"))
    return native
