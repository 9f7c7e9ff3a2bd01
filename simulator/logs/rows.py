"""The canonical log row: one opportunity as it was, and what is known of its outcome.

Readers (`ipinyou`, `synthetic`) make these; `simulator.exchange` plays them. All prices are CPM micros in the
account's currency; `None` always means *not known*, never zero.
"""

from typing import NamedTuple


class LogRow(NamedTuple):
    """One opportunity of a log.

    Attributes:
        id: unique in the log.
        at_ns: when the exchange offered it, nanoseconds since the epoch.
        exchange: name of the exchange.
        user_id: pseudonymous user, or None.
        ip: address, IPv4 (masked in the last part by most logs), or None.
        ua: user agent string, or None.
        os: operating system, lower case (`windows`, `android`, ...), or None.
        browser: lower case (`chrome`, ...), or None.
        region: region code, or None. city: city code, or None.
        domain: site domain, or None. page: page url or its hash, or None.
        tag_id: placement, or None.
        w: width in pixels. h: height in pixels.
        position: OpenRTB ad position (AdCOM list "Placement Positions"), 0 where unknown.
        floor_cpm_micros: the exchange's floor, 0 where none.
        segments: audience segment ids.
        market_cpm_micros: highest rival price, the price to beat, or None where nobody else bid.
        campaign: the campaign that won it when it was logged, or None.
        clicked: whether that impression was clicked, or None where it was never shown.
        converted: whether a conversion followed, or None where not known.
        value_nanos: worth of that conversion, 0 where none.
        pctr: an external click probability for `campaign`, or None.
        bid_cpm_micros: what the campaign had bid, or None.
    """

    id: str
    at_ns: int
    exchange: str
    user_id: str | None
    ip: str | None
    ua: str | None
    os: str | None
    browser: str | None
    region: str | None
    city: str | None
    domain: str | None
    page: str | None
    tag_id: str | None
    w: int
    h: int
    position: int
    floor_cpm_micros: int
    segments: tuple[str, ...]
    market_cpm_micros: int | None
    campaign: str | None
    clicked: bool | None
    converted: bool | None
    value_nanos: int
    pctr: float | None
    bid_cpm_micros: int | None = None
