"""Bytes to `BidRequest`: fast for a well-formed body, patient with a sloppy one, clear about a bad one.

What patience means stands in `openrtb.mending`; parts that repeat are left as they came, see `openrtb.parts`.
"""

import sys
from typing import NamedTuple

import msgspec

from bidder.errors import RequestError
from bidder.openrtb.mending import read_typed
from bidder.openrtb.request import BidRequest

MAX_BODY_BYTES = 256 * 1024
"""Bodies above this are refused: real requests are 1 to 4 kB (2.6 gives no limit)."""
MAX_DEPTH = 2_000
"""Arrays and objects inside each other. Decoders recurse, and how deep they can depends on who calls them; this
bound does not, so that a replay refuses what the live bidder refused. It is so high that only bodies of twice as many
bytes can pass it: counting brackets costs a request of 2 kB a tenth of its time."""
_RECURSION = 5_000
MAX_IMPS = 128
MAX_ID_LENGTH = 256
"""Bounds on what an answer repeats: without them a small body makes records that no broker takes."""
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_decoder = msgspec.json.Decoder(BidRequest)
_decode = _decoder.decode
# Room for the deepest body that is read, whoever reads it.
sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION))


class Decoded(NamedTuple):
    """A request, and how many values of it had to be mended or dropped."""

    request: BidRequest
    repaired: int


def decode(body: bytes) -> Decoded:
    """Reads one BidRequest and checks its structure.

    Args:
        body: JSON, UTF-8.

    Returns:
        The request, with the number of values that were mended or dropped.

    Raises:
        RequestError: not JSON, too large, a hard field that cannot be read, or a structure that section 3.2
            forbids; with the JSON path.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(f"body must be at most {MAX_BODY_BYTES} bytes, was {len(body)}")
    if len(body) > 2 * MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise RequestError(f"body must nest at most {MAX_DEPTH} deep")
    repaired = 0
    try:
        request = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        request, repaired = read_typed(_decoder, body)
    _check(request)
    return Decoded(request, repaired)


def _depth(body: bytes) -> int:
    """How deep arrays and objects nest, up to where the body stops being JSON; 0 where it cannot be too deep."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    # Without escaped marks, every other piece between quotation marks lies outside of the strings.
    outside = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    depth = deepest = 0
    for bracket in b"".join(outside).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check(request: BidRequest) -> None:
    """Structure rules of sections 3.2.1 and 3.2.4."""
    if not 0 < len(request.id) <= MAX_ID_LENGTH:
        raise _bad_id(request.id, "$.id")
    ext = request.ext
    if ext is not None and ext.exchange and len(ext.exchange) > MAX_ID_LENGTH:
        raise _bad_id(ext.exchange, "$.ext.exchange")
    imps = request.imp
    if not 0 < len(imps) <= MAX_IMPS:
        raise RequestError(f"must hold 1 to {MAX_IMPS} impressions, was {len(imps)}", "$.imp")
    site, app = request.site, request.app
    if (site is not None and app is not None) or (
        request.dooh is not None and (site is not None or app is not None)
    ):
        places = [name for name in ("site", "app", "dooh") if getattr(request, name) is not None]
        raise RequestError("at most one of site, app and dooh may be there", f"$.{places[1]}")
    if len(imps) > 1 and len({imp.id for imp in imps}) != len(imps):
        raise RequestError("ids must be unique in the request", "$.imp[*].id")
    for index, imp in enumerate(imps):
        if not 0 < len(imp.id) <= MAX_ID_LENGTH:
            raise _bad_id(imp.id, f"$.imp[{index}].id")
        if not (imp.banner or imp.video or imp.audio or imp.native):
            raise RequestError("must have a banner, video, audio or native", f"$.imp[{index}]")


def _bad_id(text: str, path: str) -> RequestError:
    return RequestError(f"must have 1 to {MAX_ID_LENGTH} characters, was {len(text)}", path)
