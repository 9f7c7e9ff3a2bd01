"""The supply side of the benchmark market: exchanges, publishers, placements, devices and users, drawn by a seed.

What repeats in real traffic repeats here: a placement sends the same `banner`, a publisher the same blocklists, a
user the same agent. What does not, such as page addresses and consent strings, is of each request or user alone.
"""

from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

from tests.support.consent import Tcf, gpp, us

EXCHANGES = ("amber", "birch", "cedar", "dune", "ember", "flint")
FIRST_PRICE = frozenset({"amber", "birch", "dune", "flint"})
EURO = frozenset({"cedar", "ember"})
"""Exchanges some of whose floors are in EUR."""
VENDOR = 612
PUBLISHERS = 200
PLACEMENTS = 2_000
USERS = 9_000
SEGMENTS = tuple(f"seg-{number}" for number in range(400))
DEALS = tuple(f"deal-{number:03d}" for number in range(40))
SIZES = ((300, 250), (728, 90), (320, 50), (160, 600), (300, 600), (970, 250), (320, 100), (336, 280))
CATEGORIES = tuple(f"IAB{number}" for number in range(1, 24))
WORDS = (
    *("sport", "football", "travel", "recipes", "garden", "finance", "markets", "weather", "cinema", "music"),
    *("science", "health", "running", "cars", "fashion", "gaming", "phones", "housing", "jobs", "culture"),
)
CARRIERS = ("Northwave", "Telvia", "Orbis Mobile", "Lumen Cell", "Kestrel")
_PLACES: tuple[tuple[str, str, tuple[tuple[str, str, float, float], ...]], ...] = (
    ("USA", "en", (
        ("CA", "Los Angeles", 34.05, -118.24), ("NY", "New York", 40.71, -74.01), ("TX", "Houston", 29.76, -95.37),
        ("IL", "Chicago", 41.88, -87.63), ("FL", "Miami", 25.76, -80.19), ("WA", "Seattle", 47.61, -122.33),
        ("GA", "Atlanta", 33.75, -84.39), ("CO", "Denver", 39.74, -104.99),
    )),
    ("DEU", "de", (("BE", "Berlin", 52.52, 13.4), ("BY", "Munich", 48.14, 11.58), ("HH", "Hamburg", 53.55, 9.99))),
    ("FRA", "fr", (("IDF", "Paris", 48.86, 2.35), ("ARA", "Lyon", 45.76, 4.84))),
    ("GBR", "en", (("ENG", "London", 51.51, -0.13), ("SCT", "Glasgow", 55.86, -4.25))),
    ("BRA", "pt", (("SP", "Sao Paulo", -23.55, -46.63),)),
    ("CAN", "en", (("ON", "Toronto", 43.65, -79.38), ("QC", "Montreal", 45.5, -73.57))),
    ("JPN", "ja", (("13", "Tokyo", 35.68, 139.69),)),
)  # fmt: skip
_COUNTRY_WEIGHTS = (56, 10, 8, 9, 6, 6, 5)
EUROPE = frozenset({"DEU", "FRA"})
_STATE_SECTIONS = {"CA": 8, "TX": 16, "CO": 10}
"""Regions whose own section of GPP is sent; the others send the national one."""
_NATIONAL = 7
_VIDEO_API, _BANNER_API = (1, 2, 7), (3, 5, 6, 7)


class Publisher(NamedTuple):
    """A seller of impressions: a site or an app; `lists` are its blocklists, `floor_cpm` its usual floor."""

    number: int
    app: bool
    domain: str
    categories: list[str]
    keywords: list[str]
    exchanges: list[str]
    lists: dict[str, list[str]]
    floor_cpm: float
    store_id: str


class Placement(NamedTuple):
    """A slot: `media` is `banner`, `video`, `native` or `several`; `parts` are its objects in `imp`."""

    publisher: Publisher
    tag: str
    media: str
    parts: dict[str, Any]


class Agent(NamedTuple):
    """A device model with its browser: what `device` says of it, and whether apps run on it."""

    mobile: bool
    fields: dict[str, Any]


class User(NamedTuple):
    """Somebody: where and with what; `ids` is `user` but for the ids, which `id_kind` and `number` make."""

    number: int
    id_kind: str
    agent: Agent
    country: str
    language: str
    region: str
    city: str
    lat: float
    lon: float
    data: list[dict[str, Any]]
    regs: dict[str, Any]
    consent: str
    limited: bool
    carrier: str
    connection: int


class Inventory:
    """Everything that requests are drawn from.

    Args:
        seed: of all of it.
    """

    def __init__(self, seed: int) -> None:
        random = Random(f"{seed}-inventory")
        self.advertised = [f"brand-{number:03d}.example" for number in range(300)]
        """Domains that publishers bar; line items advertise some of the first ones."""
        self.publishers = [self._publisher(random, number) for number in range(PUBLISHERS)]
        self.placements = [self._placement(random, number) for number in range(PLACEMENTS)]
        self._weights = _zipf(PLACEMENTS, 0.8)
        self.agents = [_agent(random, number) for number in range(300)]
        self._tails = [_tcf_tail(random) for _ in range(40)]
        self.users = [self._user(random, number) for number in range(USERS)]
        self._mobile = [user for user in self.users if user.agent.mobile]
        self._user_weights, self._mobile_weights = _zipf(USERS, 0.6), _zipf(len(self._mobile), 0.6)

    def draw(self, random: Random) -> tuple[Placement, User]:
        """Whose page or app is opened, and by whom; popular ones come more often."""
        placement = random.choices(self.placements, cum_weights=self._weights)[0]
        if placement.publisher.app:
            return placement, random.choices(self._mobile, cum_weights=self._mobile_weights)[0]
        return placement, random.choices(self.users, cum_weights=self._user_weights)[0]

    # -- publishers and placements --------------------------------------------------------------------------

    def _publisher(self, random: Random, number: int) -> Publisher:
        app = random.random() < 0.35
        word, other = random.sample(WORDS, 2)
        domain = f"com.{word}.{other}.app{number}" if app else f"{word}-{other}-{number}.example"
        barred = random.sample(CATEGORIES[6:], random.randint(3, 7))
        return Publisher(
            number,
            app,
            domain,
            random.sample(CATEGORIES, random.randint(1, 3)),
            [word, other, f"title-{number}", *random.sample(WORDS, random.randint(1, 4))],
            random.sample(EXCHANGES, random.randint(1, 3)),
            {
                "bcat": [f"{one}-{random.randint(1, 9)}" for one in barred],
                "badv": random.sample(self.advertised, round(random.triangular(5, 30, 6))),
            },
            random.lognormvariate(0.0, 0.5),
            f"{1_000_000_000 + number * 7_919}",
        )

    def _placement(self, random: Random, number: int) -> Placement:
        publisher = self.publishers[number % PUBLISHERS]
        media = random.choices(("banner", "video", "native", "several"), (75, 15, 5, 5))[0]
        parts: dict[str, Any] = {}
        if media in {"banner", "several"}:
            parts["banner"] = _banner(random, app=publisher.app)
        if media in {"video", "several"}:
            parts["video"] = _video(random)
        if media == "native":
            parts["native"] = _native(random)
        if publisher.app and random.random() < 0.1:
            parts["instl"] = 1
        if media == "video" and publisher.app and random.random() < 0.3:
            parts["rwdd"] = 1
        if random.random() < 0.15:
            parts["pmp"] = _pmp(random, private=random.random() < 0.2)
        return Placement(
            publisher, f"/2170{publisher.number:04d}/{publisher.keywords[0]}/slot-{number}", media, parts
        )

    # -- users ----------------------------------------------------------------------------------------------

    def _user(self, random: Random, number: int) -> User:
        country, language, places = random.choices(_PLACES, _COUNTRY_WEIGHTS)[0]
        region, city, lat, lon = random.choice(places)
        kind = random.choices(("buyeruid", "eids", "id", "none"), (50, 30, 10, 10))[0]
        data = []
        if random.random() < 0.5:
            for name in random.sample(("datahub", "audiences", "panel"), random.randint(1, 2)):
                segments = random.sample(SEGMENTS, random.randint(2, 6))
                data.append({"id": name, "segment": [{"id": segment} for segment in segments]})
        regs, consent = self._law(random, country, region, number)
        agent = random.choice(self.agents)
        return User(
            number, kind, agent, country, language, region, city,
            lat + random.uniform(-0.2, 0.2), lon + random.uniform(-0.2, 0.2), data, regs, consent,
            random.random() < 0.06, random.choice(CARRIERS), random.choice((2, 2, 6, 7) if agent.mobile else (1, 2)),
        )  # fmt: skip

    def _law(self, random: Random, country: str, region: str, number: int) -> tuple[dict[str, Any], str]:
        regs: dict[str, Any] = {"coppa": int(random.random() < 0.01)}
        if country in EUROPE:
            # Time of consent is of the user alone, as in real strings; what follows it repeats.
            head = Tcf(
                created_ms=1_760_000_000_000 + number * 91_700, updated_ms=1_760_000_900_000 + number * 91_700
            )
            return regs | {"gdpr": 1}, head.text[:13] + random.choice(self._tails)
        if country != "USA":
            return regs | {"gdpr": 0}, ""
        out = random.random() < 0.08
        section = _STATE_SECTIONS.get(region, _NATIONAL)
        signal = gpp({section: us(section, [1, 1, 1, *[1 if out else 2] * 2])})
        return regs | {"us_privacy": "1YYN" if out else "1YNN", "gpp": signal, "gpp_sid": [section]}, ""


def _zipf(count: int, power: float) -> list[float]:
    """Cumulated weights of ranks."""
    return list(accumulate(1 / (rank + 1) ** power for rank in range(count)))


def _tcf_tail(random: Random) -> str:
    """What follows the two times in a TC string: most people agree to all, some to nothing."""
    everything = random.random() < 0.8
    vendors = sorted({VENDOR, *random.sample(range(1, 1_200), 60)}) if everything else []
    purposes = range(1, 12) if everything else []
    tcf = Tcf(purposes=tuple(purposes), vendors=vendors, features=(1,) if everything else (), as_ranges=True)
    return tcf.text[13:]


def _pmp(random: Random, *, private: bool) -> dict[str, Any]:
    deals = [
        {
            "id": deal,
            "bidfloor": 1.0 + int(deal[-2:]) % 7 * 0.25,
            "bidfloorcur": "USD",
            "at": 1 + int(deal[-1]) % 3,
        }
        for deal in random.sample(DEALS, random.randint(1, 3))
    ]
    return {"private_auction": int(private), "deals": deals}


def _banner(random: Random, *, app: bool) -> dict[str, Any]:
    allowed = (SIZES[0], SIZES[2], SIZES[6], SIZES[7]) if app else SIZES
    sizes = random.sample(allowed, random.randint(1, 3))
    banner: dict[str, Any] = {
        "format": [{"w": w, "h": h} for w, h in sizes], "w": sizes[0][0], "h": sizes[0][1],
        "pos": random.choice((0, 1, 3)),
        "battr": random.choice(([], [1, 3, 8], [3, 13], [1, 2, 5, 8, 9])), "btype": random.choice(([], [1], [4])),
        "api": list(random.sample(_BANNER_API, random.randint(1, 4))), "topframe": 1,
    }  # fmt: skip
    if random.random() < 0.3:
        banner["mimes"] = ["image/jpeg", "image/png", "image/gif", "text/html"]
    return {name: value for name, value in banner.items() if value != []}


def _video(random: Random) -> dict[str, Any]:
    return {
        "mimes": random.choice((["video/mp4"], ["video/mp4", "video/webm"])), "minduration": 5,
        "maxduration": random.choice((15, 30, 60)), "protocols": [2, 3, 5, 6, 7, 8], "w": 640, "h": 360,
        "startdelay": 0,
        "plcmt": random.choice((1, 2)), "linearity": 1, "skip": random.choice((0, 1)),
        "playbackmethod": [1, 6], "delivery": [2], "pos": 1, "api": list(_VIDEO_API), "maxbitrate": 5_000,
        "battr": random.choice(([1, 3], [8])),
    }  # fmt: skip


def _native(random: Random) -> dict[str, Any]:
    most = random.choice((60, 80, 90))
    request = (
        '{"ver":"1.2","context":1,"plcmttype":1,"plcmtcnt":1,"assets":['
        f'{{"id":1,"required":1,"title":{{"len":{most}}}}},'
        '{"id":2,"required":1,"img":{"type":3,"wmin":600,"hmin":314}},{"id":3,"img":{"type":1,"w":80,"h":80}},'
        '{"id":4,"required":1,"data":{"type":1}},{"id":5,"data":{"type":2,"len":120}}],'
        '"eventtrackers":[{"event":1,"methods":[1]}]}'
    )
    return {"request": request, "ver": "1.2", "api": [7], "battr": [1, 3]}


_PHONES = (
    *(
        "SM-S921B",
        "SM-A546B",
        "SM-G991U",
        "Pixel 8",
        "Pixel 7a",
        "moto g84",
        "2201117TY",
        "CPH2551",
        "M2101K6G",
    ),
    *("SM-A156U", "XQ-DC54", "V2250", "RMX3710", "TECNO KJ5", "SM-S911U"),
)


def _agent(random: Random, number: int) -> Agent:
    chrome = random.randint(118, 142)
    safe = "AppleWebKit/537.36 (KHTML, like Gecko)"
    kind = random.choices(("android", "iphone", "windows", "mac", "ipad", "firefox"), (38, 24, 20, 8, 5, 5))[
        0
    ]
    if kind == "android":
        model = random.choice(_PHONES)
        system, build = random.randint(11, 15), random.randint(1, 220)
        fields = {
            "ua": f"Mozilla/5.0 (Linux; Android {system}; {model}) {safe} Chrome/{chrome}.0.{number}.{build} "
            "Mobile Safari/537.36",
            "devicetype": 4, "os": "Android", "osv": str(system), "make": "samsung", "model": model,
            "w": 412, "h": 915,
        }  # fmt: skip
        return Agent(True, _hinted(fields, chrome, "Android", model, random.random() < 0.4))
    if kind in {"iphone", "ipad"}:
        name, cpu = ("iPhone", "iPhone OS") if kind == "iphone" else ("iPad", "OS")
        major, minor = random.randint(15, 18), random.randint(0, 6)
        webkit = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
        text = f"Mozilla/5.0 ({name}; CPU {cpu} {major}_{minor} like Mac OS X) {webkit}"
        ending = (
            "" if random.random() < 0.4 else f" Version/{major}.{minor} Mobile/15E{100 + number} Safari/604.1"
        )
        fields = {
            "ua": text + (ending or f" Mobile/15E{100 + number}"),
            "devicetype": 4 if kind == "iphone" else 5,
        }
        return Agent(
            True,
            fields
            | {"os": "iOS", "osv": f"{major}.{minor}", "make": "Apple", "model": name, "w": 390, "h": 844},
        )
    if kind == "windows":
        fields = {
            "ua": f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {safe} Chrome/{chrome}.0.{number}.0 Safari/537.36",
            "devicetype": 2, "os": "Windows", "osv": "10", "w": 1920, "h": 1080,
        }  # fmt: skip
        return Agent(False, _hinted(fields, chrome, "Windows", "", random.random() < 0.5))
    version = random.randint(15, 18)
    text = (
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_{number % 8}) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    )
    text += f" Version/{version}.{number % 7} Safari/605.1.15"
    system, name = ("10.15", "macOS")
    if kind == "firefox":
        text = f"Mozilla/5.0 (X11; Linux x86_64; rv:{chrome}.0) Gecko/20100101 Firefox/{chrome}.{number}"
        system, name = "6.8", "Linux"
    return Agent(False, {"ua": text, "devicetype": 2, "os": name, "osv": system, "w": 1512, "h": 982})


def _hinted(fields: dict[str, Any], chrome: int, platform: str, model: str, hinted: bool) -> dict[str, Any]:
    if not hinted:
        return fields
    brands = [{"brand": name, "version": [str(chrome)]} for name in ("Chromium", "Google Chrome")]
    sua = {"browsers": brands, "platform": {"brand": platform}, "mobile": int(bool(model)), "source": 2}
    return fields | {"sua": sua | ({"model": model} if model else {})}
