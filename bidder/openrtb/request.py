"""The parts of an OpenRTB 2.6 BidRequest that this bidder enforces or learns from, as typed structs.

A field stands here only when something reads it; unknown fields are skipped while decoding (section 2.6).
Absent means unknown unless the specification gives a default, and then the default stands here. `gc=False`
keeps these short-lived structs away from the garbage collector; they hold no cycles.
"""

import msgspec


class Struct(msgspec.Struct, gc=False):
    """Base of the request's structs."""


class Present(Struct):
    """An object of which only the presence matters: a media type that we do not buy yet."""


class Format(Struct):
    """Section 3.2.10: one size that the slot takes."""

    w: int | None = None
    h: int | None = None


class Banner(Struct):
    """Section 3.2.6."""

    format: list[Format] = []
    w: int | None = None
    h: int | None = None
    pos: int = 0
    battr: list[int] = []


class Pmp(Struct):
    """Section 3.2.11; deals themselves are not bought yet, so only the flag matters."""

    private_auction: int = 0


class External(Struct):
    """Our own extension of an impression: a click probability from outside, for one campaign."""

    campaign: str
    pctr: float


class ImpExt(Struct):
    """`imp.ext`, of which only our own part is read."""

    clearbid: External | None = None


class Imp(Struct):
    """Section 3.2.4: one opportunity."""

    id: str
    banner: Banner | None = None
    video: Present | None = None
    audio: Present | None = None
    native: Present | None = None
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    secure: int = 0
    tagid: str | None = None
    pmp: Pmp | None = None
    ext: ImpExt | None = None


class Site(Struct):
    """Section 3.2.13."""

    domain: str | None = None


class App(Struct):
    """Section 3.2.14."""

    bundle: str | None = None
    domain: str | None = None


class Geo(Struct):
    """Section 3.2.19."""

    country: str | None = None
    region: str | None = None
    city: str | None = None


class Device(Struct):
    """Section 3.2.18."""

    ua: str | None = None
    os: str | None = None
    devicetype: int | None = None
    geo: Geo | None = None
    lmt: int = 0
    dnt: int = 0


class Segment(Struct):
    """Section 3.2.22."""

    id: str | None = None


class Data(Struct):
    """Section 3.2.21."""

    segment: list[Segment] = []


class User(Struct):
    """Section 3.2.20."""

    data: list[Data] = []


class RegsExt(Struct):
    """`regs.ext`: where OpenRTB 2.5 senders put what 2.6 has in `regs`."""

    gdpr: int | None = None
    us_privacy: str | None = None
    gpp: str | None = None


class Regs(Struct):
    """Section 3.2.3."""

    coppa: int = 0
    gdpr: int | None = None
    us_privacy: str | None = None
    gpp: str | None = None
    ext: RegsExt | None = None


class RequestExt(Struct):
    """`ext` of the request: the name of the exchange that sent it, where one topic carries several."""

    exchange: str | None = None


class BidRequest(Struct):
    """Section 3.2.1."""

    id: str
    imp: list[Imp]
    site: Site | None = None
    app: App | None = None
    dooh: Present | None = None
    device: Device | None = None
    user: User | None = None
    regs: Regs | None = None
    at: int = 2
    test: int = 0
    tmax: int | None = None
    wseat: list[str] = []
    bseat: list[str] = []
    cur: list[str] = []
    bcat: list[str] = []
    badv: list[str] = []
    ext: RequestExt | None = None
