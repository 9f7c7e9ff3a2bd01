"""Switches of rules 30 to 41: what a slot takes, native ads, pods and deals."""

from typing import Any

import msgspec
import numpy as np

import bidder.core.lines
import bidder.core.specs
import bidder.core.templates
from bidder.core.batch import Batch, Opportunity
from bidder.core.creatives import ALL_BITS, C
from bidder.core.deals import Deal, DealBook
from bidder.core.decision_columns import FIRST_PRICE, R_CHOSEN_DEAL, R_FLAGS, R_POD_FIRST, R_POD_S
from bidder.core.showing import Showing
from bidder.core.specs import S, SlotBook
from bidder.openrtb.request import Banner, Linear
from tests.scenarios.switch_request import ALL_PLACEMENTS, NO_PLACEMENTS
from tests.scenarios.switch_tools import (
    Switch,
    around,
    bids,
    creatives,
    facts,
    kernel,
    rows,
    slot,
    slots,
)

_SPECS = bidder.core.specs
_FAR = 2**31


# -- 30: media ----------------------------------------------------------------------------------------------


def _offered(*banners: bytes, videos: bool = False) -> Switch:
    """Offers other media too."""

    def media(old: Any, book: SlotBook, imp: Any, at: Any, rate: int) -> Any:
        found = old(book, imp, at, rate)
        return (
            found
            + [book.banner(banner, at) for banner in banners if not imp.banner or imp.video]
            + [book.video(b'{"mimes":["video/mp4"]}', rate, at)] * (videos and not imp.video)
        )

    return around(SlotBook, "media", media)


def _banners_alone(old: Any, *args: Any) -> Any:
    found = old(*args)
    return [slot for slot in found if slot.media == 1] or found


def _no_banner_beside(old: Any, *args: Any) -> Any:
    found = old(*args)
    return [slot for slot in found if slot.media != 1] or found


# -- 31 and 32: banners -------------------------------------------------------------------------------------


def _sizes(change: Any) -> Switch:
    def sizes(old: Any, banner: Banner) -> Any:
        return old(change(banner))

    return around(_SPECS, "_sizes_of", sizes)


def _one_size_fits_all(banner: Banner) -> Banner:
    return Banner(w=300, h=250)


def _w_and_h_first(banner: Banner) -> Banner:
    return msgspec.structs.replace(banner, format=None) if banner.w else banner


def _first_format(banner: Banner) -> Banner:
    return msgspec.structs.replace(banner, format=banner.format[:1]) if banner.format else banner


def _no_format(banner: Banner) -> Banner:
    return Banner() if banner.format else banner


def _any_list_bars(old: Any, book: SlotBook, values: list[int], battr: Any, *args: Any) -> None:
    old(book, values, battr, *args)
    if battr:
        values[S.ATTR_BLOCKED] = ALL_BITS


def _any_type_barred(values: list[int]) -> None:
    values[S.BTYPE_BLOCKED] = values[S.BTYPE_BLOCKED] and ALL_BITS


def _any_list_of_types_bars(values: list[int]) -> None:
    values[S.MIME_OK] = ALL_BITS if values[S.MIME_OK] == ALL_BITS else 0


def _as_the_worst(column: int) -> Switch:
    """Each creative has what any of them has."""
    return creatives(column, np.bitwise_or.reduce)


def _stretched(old: Any, *args: Any) -> Any:
    return tuple(msgspec.structs.replace(one, flex=True) for one in old(*args))


def _fixed(old: Any, *args: Any) -> Any:
    return tuple(msgspec.structs.replace(one, flex=False) for one in old(*args))


# -- 33 to 37: video and audio ------------------------------------------------------------------------------


def _linear(**changes: Any) -> Switch:
    """Changes a video or audio slot before it is read; a value may be made of the slot."""

    def read(old: Any, book: SlotBook, linear: Linear, *args: Any) -> Any:
        own = {
            name: value(linear) if callable(value) else value
            for name, value in changes.items()
            if hasattr(linear, name)
        }
        return old(book, msgspec.structs.replace(linear, **own), *args)

    return around(SlotBook, "_linear", read)


def _no_exact_lengths(given: dict[str, Any]) -> None:
    own = given["slots"]
    own[:, S.RQD_END] = own[:, S.RQD]


def _any_length(given: dict[str, Any]) -> None:
    _no_exact_lengths(given)
    given["slots"][:, S.MIN_S], given["slots"][:, S.MAX_S] = 0, _FAR


def _no_pod_end(given: dict[str, Any]) -> None:
    given["slots"][:, S.MAX_S] = _FAR
    given["batch"][: given["n"], R_POD_S] = _FAR


def _first_protocol(old: Any, *args: Any, **named: Any) -> Any:
    return old(*args, **{**named, "protocol": 0})


def _kept(**changes: Any) -> Switch:
    """Changes what is kept of each video or audio slot."""

    def read(old: Any, *args: Any) -> Any:
        found = old(*args)
        return found and msgspec.structs.replace(found, **changes)

    return around(SlotBook, "_linear", read)


def _always_a_place(bid: dict[str, Any]) -> None:
    bid["slotinpod"] = 1


def _no_place(bid: dict[str, Any]) -> None:
    bid.pop("slotinpod", None)


# -- 38: native ---------------------------------------------------------------------------------------------


def _asks(change: Any) -> Switch:
    def native_ask(old: Any, request: str) -> Any:
        ask, error = old(request)
        return (None if ask is None else change(ask)), error

    return around(_SPECS, "native_ask", native_ask)


def _assets(**changes: Any) -> Switch:
    def change(ask: Any) -> Any:
        assets = tuple(msgspec.structs.replace(one, **changes) for one in ask.assets)
        return msgspec.structs.replace(ask, assets=assets)

    return _asks(change)


def _numbered_anew(ask: Any) -> Any:
    assets = tuple(msgspec.structs.replace(one, id=number) for number, one in enumerate(ask.assets))
    return msgspec.structs.replace(ask, assets=assets)


def _readable(old: Any, request: str) -> Any:
    ask, error = old(request)
    return old('{"ver":"1.2","assets":[{"id":1,"title":{"len":90}}]}') if ask is None else (ask, error)


# -- 39 to 41: deals ----------------------------------------------------------------------------------------


def _pmp(private: bool) -> Switch:
    def read(old: Any, *args: Any) -> Any:
        return msgspec.structs.replace(old(*args), private=private)

    return around(DealBook, "_read", read)


def _deal(change: Any) -> Switch:
    """Changes each deal before it is read."""

    def deal(old: Any, book: DealBook, offered: Any, *args: Any) -> Deal:
        own = msgspec.structs.replace(offered)
        change(own)
        made: Deal = old(book, own, *args)
        return made

    return around(DealBook, "_deal", deal)


def _set(**changes: Any) -> Switch:
    def change(offered: Any) -> None:
        for name, value in changes.items():
            setattr(offered, name, value)

    return _deal(change)


def _no_fixed_price(offered: Any) -> None:
    offered.at = None if offered.at == 3 else offered.at


def _no_wseat_at_all(offered: Any) -> None:
    offered.wseat = ["rival"] if offered.wseat else None


def _any_price(offered: Any) -> None:
    offered.at = 2 if (offered.at or 0) > 3 else offered.at


def _no_floor(offered: Any) -> None:
    offered.bidfloor = 0.5


def _gathered(keep: Any) -> Switch:
    def gather(old: Any, *args: Any) -> Any:
        found = old(*args)
        kept = [one for one in found if keep(one, found)]
        for one in found:
            if one not in kept:
                one.call.end(one.place, one.imp_json, 305)
        return kept

    return around(Batch, "gather", gather)


def _deal_outside(old: Any, showing: Showing, parts: Any, deal: str, wadomain: Any) -> Any:
    return old(showing, parts, deal, ("nobody.example",) if wadomain else ())


def _shaded(given: dict[str, Any]) -> None:
    own = given["batch"][: given["n"]]
    own[own[:, R_CHOSEN_DEAL] >= 0, R_FLAGS] |= FIRST_PRICE


def _one_id(old: Any, pending: Opportunity, *args: Any) -> Any:
    deal, pending.deal = pending.deal, None
    found = old(pending, *args)
    pending.deal = deal
    return found


SWITCHES: dict[int, tuple[Switch, ...]] = {
    30: (
        _offered(b'{"w":300,"h":250}'),
        _offered(b'{"w":640,"h":360}'),
        _offered(videos=True),
        around(SlotBook, "media", _banners_alone),
        around(SlotBook, "media", _no_banner_beside),
    ),
    31: (
        slot(S.ATTR_BLOCKED, 0),
        slot(S.BTYPE_BLOCKED, 0),
        slots(_any_type_barred),
        slot(S.MIME_OK, ALL_BITS),
        slots(_any_list_of_types_bars),
        around(SlotBook, "_bars", _any_list_bars),
        _as_the_worst(C.ATTR),
        _sizes(_one_size_fits_all),
        _sizes(_w_and_h_first),
        _sizes(_first_format),
        _sizes(_no_format),
        NO_PLACEMENTS,
        ALL_PLACEMENTS,
    ),
    32: (
        around(bidder.core.lines, "_creatives", _stretched),
        around(bidder.core.lines, "_creatives", _fixed),
        _sizes(_one_size_fits_all),
    ),
    33: (
        _linear(mimes=["video/mp4", "video/webm", "audio/mpeg", "audio/ogg"]),
        _linear(protocol=None, protocols=None),
        around(bidder.core.templates, "template_of", _first_protocol),
        kernel(_any_length),
        kernel(_no_exact_lengths),
        slot(S.MIN_KBPS, 0),
        slot(S.MAX_KBPS, _FAR),
        slot(S.MAX_KBPS, 0),
        slot(S.LINEARITY, 0),
        slot(S.DELIVERY_OK, ALL_BITS),
        slot(S.ATTR_BLOCKED, 0),
        creatives(C.DURATION_S, lambda own: own.max()),
    ),
    34: (slot(S.API_OK, ALL_BITS), slot(S.API_OK, 0)),
    35: (
        slot(S.ATTR_BLOCKED, 0),
        facts(attr=()),
        _linear(maxduration=lambda linear: 1 if linear.skip else linear.maxduration),
    ),
    36: (
        _linear(plcmt=lambda linear: linear.placement),
        ALL_PLACEMENTS,
        _linear(slotinpod=lambda linear: linear.sequence or 0),
    ),
    37: (
        kernel(_no_pod_end),
        rows(R_POD_FIRST, lambda column: -1),
        _kept(slots=8),
        bids(_always_a_place),
        bids(_no_place),
    ),
    38: (
        _asks(lambda ask: msgspec.structs.replace(ask, rooted=not ask.rooted)),
        _asks(_numbered_anew),
        _assets(required=False),
        _assets(required=True),
        _assets(length=0),
        around(_SPECS, "native_ask", _readable),
        kernel(lambda given: given["native_ok"].fill(0)),
        slot(S.API_OK, ALL_BITS),
        _as_the_worst(C.API),
    ),
    39: (_pmp(private=False), _pmp(private=True)),
    40: (
        bids(lambda bid: bid.pop("dealid", None)),
        bids(lambda bid: bid.update(dealid="d1")),
        _set(wseat=None),
        _deal(_no_wseat_at_all),
        _set(wadomain=None),
        around(Showing, "for_deal", _deal_outside),
        _set(at=None),
        _set(at=2),
        _deal(_any_price),
        _deal(_no_floor),
        _set(guar=0),
        _set(guar=1),
    ),
    41: (
        _gathered(lambda one, found: one.deal is None or all(other.deal is not None for other in found)),
        _gathered(lambda one, found: one.deal is found[-1].deal),
        kernel(_shaded),
        around(Opportunity, "name", _one_id),
    ),
}
