"""What the bidder reads of a request, as one typed schema and nothing left for later: the floor of decoding.

It stands apart from the bidder's own structs, so that the floor stays where it is whatever the bidder learns to
put off. Names are those of OpenRTB 2.6; a field stands here because the decision core reads it.
"""

import msgspec


class _Struct(msgspec.Struct, gc=False):
    """Base of all: without the collector, as the bidder's own."""


class _Format(_Struct):
    w: int | None = None
    h: int | None = None
    wratio: int | None = None
    hratio: int | None = None


class _Banner(_Struct):
    format: list[_Format] | None = None
    w: int | None = None
    h: int | None = None
    pos: int = 0
    btype: list[int] | None = None
    battr: list[int] | None = None
    mimes: list[str] | None = None
    api: list[int] | None = None


class _Video(_Struct):
    mimes: list[str] | None = None
    minduration: int = 0
    maxduration: int | None = None
    poddur: int | None = None
    protocols: list[int] | None = None
    rqddurs: list[int] | None = None
    w: int | None = None
    h: int | None = None
    plcmt: int | None = None
    linearity: int | None = None
    skip: int | None = None
    pos: int = 0
    battr: list[int] | None = None
    api: list[int] | None = None
    delivery: list[int] | None = None
    minbitrate: int | None = None
    maxbitrate: int | None = None
    startdelay: int | None = None


class _Native(_Struct):
    request: str = ""
    ver: str | None = None
    api: list[int] | None = None
    battr: list[int] | None = None


class _Deal(_Struct):
    id: str = ""
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    at: int | None = None
    wseat: list[str] | None = None
    wadomain: list[str] | None = None
    guar: int = 0


class _Pmp(_Struct):
    private_auction: int = 0
    deals: list[_Deal] | None = None


class _Metric(_Struct):
    type: str = ""
    value: float = 0.0


class _Imp(_Struct):
    id: str
    banner: _Banner | None = None
    video: _Video | None = None
    native: _Native | None = None
    metric: list[_Metric] | None = None
    pmp: _Pmp | None = None
    instl: int = 0
    tagid: str | None = None
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    secure: int = 0
    rwdd: int = 0


class _Publisher(_Struct):
    id: str | None = None
    domain: str | None = None


class _Place(_Struct):
    domain: str | None = None
    bundle: str | None = None
    publisher: _Publisher | None = None
    keywords: str | None = None
    cat: list[str] | None = None
    cattax: int = 1
    sectioncat: list[str] | None = None
    pagecat: list[str] | None = None


class _Geo(_Struct):
    country: str | None = None
    region: str | None = None
    city: str | None = None
    lat: float | None = None
    lon: float | None = None


class _Brand(_Struct):
    brand: str = ""


class _UserAgent(_Struct):
    browsers: list[_Brand] | None = None
    platform: _Brand | None = None
    mobile: int | None = None
    model: str | None = None


class _Device(_Struct):
    ua: str | None = None
    sua: _UserAgent | None = None
    ip: str | None = None
    ipv6: str | None = None
    geo: _Geo | None = None
    dnt: int = 0
    lmt: int = 0
    devicetype: int | None = None
    os: str | None = None
    language: str | None = None
    carrier: str | None = None
    connectiontype: int | None = None
    ifa: str | None = None


class _Segment(_Struct):
    id: str | None = None


class _Data(_Struct):
    segment: list[_Segment] | None = None


class _Uid(_Struct):
    id: str = ""
    atype: int | None = None


class _Eid(_Struct):
    source: str = ""
    uids: list[_Uid] | None = None


class _User(_Struct):
    id: str | None = None
    buyeruid: str | None = None
    consent: str | None = None
    eids: list[_Eid] | None = None
    data: list[_Data] | None = None


class _Regs(_Struct):
    coppa: int = 0
    gdpr: int | None = None
    us_privacy: str | None = None
    gpp: str | None = None
    gpp_sid: list[int] | None = None


class _Node(_Struct):
    asi: str = ""
    sid: str = ""


class _Schain(_Struct):
    complete: int | None = None
    nodes: list[_Node] | None = None


class _Source(_Struct):
    tid: str | None = None
    schain: _Schain | None = None


class _Ext(_Struct):
    exchange: str | None = None


class _Request(_Struct):
    id: str
    imp: list[_Imp]
    site: _Place | None = None
    app: _Place | None = None
    device: _Device | None = None
    user: _User | None = None
    test: int = 0
    at: int = 2
    tmax: int | None = None
    wseat: list[str] | None = None
    bseat: list[str] | None = None
    cur: list[str] | None = None
    wlang: list[str] | None = None
    bcat: list[str] | None = None
    cattax: int = 1
    badv: list[str] | None = None
    bapp: list[str] | None = None
    source: _Source | None = None
    regs: _Regs | None = None
    ext: _Ext | None = None


decode_typed = msgspec.json.Decoder(_Request).decode
"""Bytes to the whole typed request."""
