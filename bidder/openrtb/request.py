"""The parts of an OpenRTB 2.6 BidRequest that this bidder enforces, targets or learns from, as typed structs.

A field stands here only when something reads it; unknown fields are skipped while decoding (section 2.6).
Absent means unknown unless the specification gives a default, and then the default stands here. An absent list
is None and not an empty one: decoding a request makes a hundred fewer objects so. `gc=False` keeps these
short-lived structs away from the garbage collector; they hold no cycles.

What a slot, a deal list, a blocklist or a regulation says is the same for many requests. Such parts stay as
they came (`msgspec.Raw`: scanned for well-formed JSON, not read); `openrtb.parts` reads and remembers them.
"""

import msgspec

ABSENT = msgspec.Raw()
"""Stands for a part that is not there; false, as a part that is there is true."""


class Struct(msgspec.Struct, gc=False):
    """Base of the request's structs."""


class Format(Struct):
    """Section 3.2.10: one size that the slot takes, or for flex ads a ratio and a least width."""

    w: int | None = None
    h: int | None = None
    wratio: int | None = None
    hratio: int | None = None
    wmin: int | None = None


class Banner(Struct):
    """Section 3.2.6."""

    format: list[Format] | None = None
    w: int | None = None
    h: int | None = None
    pos: int = 0
    btype: list[int] | None = None
    battr: list[int] | None = None
    mimes: list[str] | None = None
    api: list[int] | None = None


class DurFloor(Struct):
    """Section 3.2.35: a floor for creatives whose duration lies in a range of seconds."""

    mindur: int = 0
    maxdur: int = 0
    bidfloor: float = 0.0


class Linear(Struct):
    """What video and audio have in common (sections 3.2.7 and 3.2.8)."""

    mimes: list[str] | None = None
    minduration: int = 0
    maxduration: int | None = None
    poddur: int | None = None
    protocols: list[int] | None = None
    startdelay: int | None = None
    rqddurs: list[int] | None = None
    podid: str | None = None
    podseq: int = 0
    sequence: int | None = None
    slotinpod: int = 0
    mincpmpersec: float | None = None
    durfloors: list[DurFloor] | None = None
    battr: list[int] | None = None
    minbitrate: int | None = None
    maxbitrate: int | None = None
    delivery: list[int] | None = None
    api: list[int] | None = None
    maxseq: int | None = None


class Video(Linear):
    """Section 3.2.7."""

    w: int | None = None
    h: int | None = None
    protocol: int | None = None
    placement: int | None = None
    plcmt: int | None = None
    linearity: int | None = None
    skip: int | None = None
    pos: int = 0


class Audio(Linear):
    """Section 3.2.8."""

    feed: int | None = None
    stitched: int | None = None


class Native(Struct):
    """Section 3.2.9; `request` is JSON in a string, read only where something may be bid on it."""

    request: str = ""
    ver: str | None = None
    api: list[int] | None = None
    battr: list[int] | None = None


class Deal(Struct):
    """Section 3.2.12; its floor's currency is its own and not the impression's."""

    id: str = ""
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    at: int | None = None
    wseat: list[str] | None = None
    wadomain: list[str] | None = None
    guar: int = 0
    mincpmpersec: float | None = None
    durfloors: list[DurFloor] | None = None


class Pmp(Struct):
    """Section 3.2.11."""

    private_auction: int = 0
    deals: list[Deal] | None = None


class Metric(Struct):
    """Section 3.2.5: a measured figure of the slot, of which `viewability` is read (0.0 to 1.0)."""

    type: str = ""
    value: float = 0.0


class Qty(Struct):
    """Section 3.2.31: how many impressions one bid buys, as on a screen in the street."""

    multiplier: float = 1.0


class External(Struct):
    """Our own extension of an impression: a click probability from outside, for one line item."""

    campaign: str
    pctr: float


class ImpExt(Struct):
    """`imp.ext`, of which only our own part is read."""

    clearbid: External | None = None


class Imp(Struct):
    """Section 3.2.4: one impression on offer."""

    id: str
    banner: msgspec.Raw = ABSENT
    video: msgspec.Raw = ABSENT
    audio: msgspec.Raw = ABSENT
    native: msgspec.Raw = ABSENT
    metric: list[Metric] | None = None
    pmp: msgspec.Raw = ABSENT
    instl: int = 0
    tagid: str | None = None
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    secure: int = 0
    rwdd: int = 0
    qty: Qty | None = None
    ext: ImpExt | None = None


class Content(Struct):
    """Section 3.2.16."""

    cat: list[str] | None = None
    cattax: int = 1
    genre: str | None = None
    keywords: str | None = None
    kwarray: list[str] | None = None
    language: str | None = None


class Place(Struct):
    """What site, app and dooh have in common (sections 3.2.13 to 3.2.14 and 3.2.33)."""

    domain: str | None = None
    content: msgspec.Raw = ABSENT
    keywords: str | None = None
    kwarray: msgspec.Raw = ABSENT
    cat: msgspec.Raw = ABSENT
    cattax: int = 1
    sectioncat: msgspec.Raw = ABSENT
    pagecat: msgspec.Raw = ABSENT


class Site(Place):
    """Section 3.2.13."""


class App(Place):
    """Section 3.2.14."""

    bundle: str | None = None


class Dooh(Place):
    """Section 3.2.33: a screen in the street or a shop."""

    id: str | None = None
    venuetype: list[str] | None = None


class Geo(Struct):
    """Section 3.2.19."""

    country: str | None = None
    region: str | None = None
    city: str | None = None
    lat: float | None = None
    lon: float | None = None


class BrandVersion(Struct):
    """Section 3.2.30."""

    brand: str = ""


class UserAgent(Struct):
    """Section 3.2.29: the user agent as structured client hints; preferred over `ua`."""

    browsers: list[BrandVersion] | None = None
    platform: BrandVersion | None = None
    mobile: int | None = None
    model: str | None = None


class Device(Struct):
    """Section 3.2.18."""

    ua: str | None = None
    sua: msgspec.Raw = ABSENT
    ip: str | None = None
    ipv6: str | None = None
    geo: Geo | None = None
    dnt: int = 0
    lmt: int = 0
    devicetype: int | None = None
    os: str | None = None
    language: str | None = None
    carrier: str | None = None
    connectiontype: int | None = None
    ifa: str | None = None


class Segment(Struct):
    """Section 3.2.22."""

    id: str | None = None


class Data(Struct):
    """Section 3.2.21."""

    segment: list[Segment] | None = None


class Uid(Struct):
    """Section 3.2.28."""

    id: str = ""
    atype: int | None = None


class Eid(Struct):
    """Section 3.2.27: ids of one user from one source."""

    source: str = ""
    uids: list[Uid] | None = None


class UserExt(Struct):
    """`user.ext`: where OpenRTB 2.5 senders put what 2.6 has in `user`."""

    consent: str | None = None
    eids: msgspec.Raw = ABSENT


class User(Struct):
    """Section 3.2.20."""

    id: str | None = None
    buyeruid: str | None = None
    consent: str | None = None
    eids: msgspec.Raw = ABSENT
    data: list[Data] | None = None
    ext: UserExt | None = None


class RegsExt(Struct):
    """`regs.ext`: where OpenRTB 2.5 senders put what 2.6 has in `regs`."""

    gdpr: int | None = None
    us_privacy: str | None = None
    gpp: str | None = None
    gpp_sid: list[int] | None = None


class Regs(Struct):
    """Section 3.2.3."""

    coppa: int = 0
    gdpr: int | None = None
    us_privacy: str | None = None
    gpp: str | None = None
    gpp_sid: list[int] | None = None
    ext: RegsExt | None = None


class SchainNode(Struct):
    """Section 3.2.26."""

    asi: str = ""
    sid: str = ""


class Schain(Struct):
    """Section 3.2.25: who sells this, from the publisher on."""

    complete: int | None = None
    nodes: list[SchainNode] | None = None


class SchainExt(Struct):
    """An `ext` that may hold the supply chain: `source.ext` of 2.5."""

    schain: msgspec.Raw = ABSENT


class Source(Struct):
    """Section 3.2.2."""

    fd: int | None = None
    tid: str | None = None
    schain: msgspec.Raw = ABSENT
    ext: SchainExt | None = None


class RequestExt(Struct):
    """`ext` of the request: which exchange sent it; and the third place of a supply chain."""

    exchange: str | None = None
    schain: msgspec.Raw = ABSENT


class BidRequest(Struct):
    """Section 3.2.1."""

    id: str
    imp: list[Imp]
    site: Site | None = None
    app: App | None = None
    dooh: Dooh | None = None
    device: Device | None = None
    user: User | None = None
    test: int = 0
    at: int = 2
    tmax: int | None = None
    wseat: list[str] | None = None
    bseat: list[str] | None = None
    cur: list[str] | None = None
    wlang: list[str] | None = None
    wlangb: list[str] | None = None
    acat: msgspec.Raw = ABSENT
    bcat: msgspec.Raw = ABSENT
    cattax: int = 1
    badv: msgspec.Raw = ABSENT
    bapp: msgspec.Raw = ABSENT
    source: Source | None = None
    regs: msgspec.Raw = ABSENT
    ext: RequestExt | None = None
