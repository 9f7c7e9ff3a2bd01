"""The cross-checks find what is wrong: a right answer passes, and each wrong one is named."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import catalog, crosscheck, crosslists, crossmarkup, crossread
from tests.support.crosscheck import bids_of, faults

Change = Callable[[dict[str, Any], dict[str, Any]], object]
"""Changes the request and the one bid on it."""

BANNER: dict[str, Any] = {"banner": {"w": 300, "h": 250}}
VIDEO: dict[str, Any] = {"video": {"mimes": ["video/mp4"], "protocols": [2, 3, 7], "maxduration": 30}}
AUDIO: dict[str, Any] = {"audio": {"mimes": ["audio/mp4", "audio/mpeg"]}}
ORDER = {"ver": "1.2", "assets": [{"id": 7, "required": 1, "title": {"len": 90}}]}
NATIVE: dict[str, Any] = {"native": {"request": json.dumps(ORDER)}}
DEAL: dict[str, Any] = BANNER | {
    "pmp": {"private_auction": 1, "deals": [{"id": "fixed-1", "at": 3, "bidfloor": 2.5}]}
}


def asked(imp: dict[str, Any]) -> dict[str, Any]:
    return {"id": "r", "imp": [{"id": "1"} | json.loads(json.dumps(imp))]}


def answered(request: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(request).encode()
    (answer,) = catalog.engine().decide([body], [0], catalog.NOW_NS)
    assert found(request, json.loads(answer.response)) == []
    response: dict[str, Any] = json.loads(answer.response)
    return response


def found(request: dict[str, Any], response: dict[str, Any]) -> list[str]:
    bodies = json.dumps(request).encode(), json.dumps(response).encode()
    return faults(*bodies, catalog.campaigns(), catalog.terms())


def bid_of(response: dict[str, Any]) -> dict[str, Any]:
    bid: dict[str, Any] = response["seatbid"][0]["bid"][0]
    return bid


def imp(**fields: Any) -> Change:
    return lambda request, _: request["imp"][0].update(fields)


def slot(**fields: Any) -> Change:
    return lambda request, _: next(
        value for name, value in request["imp"][0].items() if name in ("banner", "video", "audio", "native")
    ).update(fields)


def whole(**fields: Any) -> Change:
    return lambda request, _: request.update(fields)


def said(**fields: Any) -> Change:
    return lambda _, bid: bid.update(fields)


def swapped(old: str, new: str) -> Change:
    return lambda _, bid: bid.update(adm=bid["adm"].replace(old, new))


WRONG: list[tuple[dict[str, Any], Change, str]] = [
    (BANNER, said(impid="2"), "impid 2"),
    (BANNER, said(price=0), "price 0"),
    (BANNER, imp(bidfloor=5_000), "floor 5000"),
    (BANNER, imp(bidfloor=1, bidfloorcur="AUD"), "without a rate"),
    (BANNER, whole(cur=["EUR"]), "cur USD"),
    (BANNER, said(w=728, h=90), "size 728x90"),
    (BANNER, slot(w=728, h=90), "size 300x250"),
    (BANNER, slot(format=[{"wratio": 16, "hratio": 9}]), "size"),
    (BANNER, said(mtype=2), "mtype 2"),
    (BANNER, said(cid="other"), "cid other"),
    (BANNER, said(crid="other"), "crid other"),
    (BANNER, said(adomain=["other.example"]), "adomain"),
    (BANNER, said(dealid="d"), "dealid d is not offered"),
    (BANNER, said(exchange=1), "exchange 1"),
    (BANNER, said(nurl=7), "nurl 7"),
    (BANNER, said(nurl="javascript:1"), "address"),
    (BANNER, whole(wseat=["other"]), "wseat"),
    (BANNER, whole(bseat=["clearbid"]), "bseat"),
    (BANNER, whole(tmax=10), "late"),
    (BANNER, whole(at=3), "at 3"),
    (BANNER, whole(site={}, app={}), "places"),
    (BANNER, whole(acat=["IAB20"]), "acat"),
    (BANNER, whole(wlang=["de"]), "language"),
    (BANNER, slot(btype=[1, 2, 3, 4]), "btype"),
    (BANNER, slot(mimes=["image/bmp"]), "mime"),
    (BANNER, slot(battr=[1, 2, 3, 13]), "battr"),
    (BANNER, imp(pmp={"private_auction": 1}), "private auction"),
    (BANNER, imp(pmp="private"), "cannot be known: pmp"),
    (BANNER, imp(bidfloor="much"), "cannot be known: bidfloor"),
    (BANNER, imp(qty={"multiplier": 0}), "qty"),
    (BANNER, imp(qty=[]), "cannot be known: qty"),
    (BANNER, whole(regs=[{}]), "cannot be known: regs"),
    (BANNER, whole(badv={"a": 1}), "cannot be known: badv"),
    (BANNER, said(slotinpod=1), "slotinpod without a pod"),
    (BANNER, swapped("<a ", "<b "), "adm"),
    (BANNER, lambda _, bid: bid.pop("burl"), "billed"),
    (VIDEO, slot(mimes=["video/webm"]), "mime"),
    (VIDEO, slot(protocols=[8]), "protocol"),
    (VIDEO, slot(minduration=31, maxduration=60), "dur"),
    (VIDEO, slot(rqddurs=[31]), "dur"),
    (VIDEO, slot(poddur=3), "dur"),
    (VIDEO, slot(delivery=[3]), "delivery"),
    (VIDEO, slot(linearity=3), "linearity"),
    (VIDEO, slot(mincpmpersec=900), "floor"),
    (VIDEO, slot(durfloors=[{"bidfloor": 900}, {"bidfloor": 0.1}]), "floor 900"),
    (VIDEO, slot(durfloors=[{"mindur": "x"}]), "cannot be known: mindur"),
    (VIDEO, said(dur=17), "duration"),
    (VIDEO, said(protocol=11), "as protocol 11"),
    (VIDEO, said(burl="https://track.example/bill"), "billed"),
    (VIDEO, swapped("</VAST>", ""), "VAST"),
    (VIDEO, swapped('type="video/mp4"', 'type="video/ogg"'), "files of"),
    (VIDEO, swapped("<Impression>", "<Impression2>"), "VAST"),
    (AUDIO, slot(mimes=["audio/ogg"]), "mime"),
    (AUDIO, said(mtype=2), "mtype 2"),
    (NATIVE, swapped('"id":7', '"id":8'), "asset 7 is required"),
    (NATIVE, swapped("Garden", "Tea"), "title"),
    (NATIVE, slot(request=json.dumps(ORDER).replace("90", "3")), "title"),
    (NATIVE, slot(request="{"), "native"),
    (NATIVE, swapped("imptrackers", "trackers"), "pixels"),
    (DEAL, said(price=2.6), "fixed"),
    (DEAL, said(price=2.4), "floor 2.5"),
    (DEAL, lambda _, bid: bid.pop("dealid"), "private auction"),
    (DEAL, lambda request, _: request["imp"][0]["pmp"]["deals"][0].update(wseat=["other"]), "wseat"),
    (
        DEAL,
        lambda request, _: request["imp"][0]["pmp"]["deals"][0].update(wadomain=["x.example"]),
        "wadomain",
    ),
    (DEAL, lambda request, _: request["imp"][0]["pmp"]["deals"][0].update(at=7), "deal.at"),
    (DEAL, lambda request, _: request["imp"][0]["pmp"]["deals"][0].update(id="x"), "not offered"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_wrong_is_named(number: int) -> None:
    offer, change, words = WRONG[number]
    request = asked(offer)
    response = answered(request)
    change(request, bid_of(response))
    assert words in " ".join(found(request, response))


def test_a_list_that_bars_what_is_shown_is_named() -> None:
    request = asked(BANNER)
    response = answered(request)
    bid = bid_of(response)
    campaign = catalog.campaigns()[bid["cid"]]
    creative = next(one for one in campaign.creatives if one.id == bid["crid"])
    parent = bid["adomain"][0].split(".", 1)[1] if bid["adomain"][0].count(".") > 1 else bid["adomain"][0]
    assert "badv" in " ".join(found(request | {"badv": [parent.upper()]}, response))
    if bid.get("bundle"):
        assert "bapp" in " ".join(found(request | {"bapp": [bid["bundle"]]}, response))
    for category in creative.cat or campaign.cat:
        taxonomy, _, name = category.rpartition(":")
        asked_too = {"bcat": [name.split("-")[0]], "cattax": int(taxonomy or 1)}
        assert "bcat" in " ".join(found(request | asked_too, response))


def test_a_pod_is_held_to_its_seconds_and_its_ads() -> None:
    request = asked({"video": VIDEO["video"] | {"poddur": 60, "maxseq": 4}})
    response = answered(request)
    bids = response["seatbid"][0]["bid"]
    assert len(bids) > 1
    slot_ = request["imp"][0]["video"]
    assert "1 bid" not in " ".join(found(request, response))
    slot_["maxseq"] = 1
    assert f"{len(bids)} ads in a pod of 1" in found(request, response)
    slot_["maxseq"], slot_["poddur"] = 4, sum(bid["dur"] for bid in bids) - 1
    assert any("s in a pod of" in one for one in found(request, response))
    slot_["poddur"] = 60
    bids[1] |= {"ext": bids[0]["ext"], "cid": bids[0]["cid"], "crid": bids[0]["crid"]}
    assert any("line items of a pod" in one for one in found(request, response))


def test_two_bids_of_one_id_and_two_for_one_banner_are_named() -> None:
    request = asked(BANNER)
    response = answered(request)
    response["seatbid"][0]["bid"] *= 2
    said_ = " ".join(found(request, response))
    assert "ids of bids" in said_
    assert "2 bids for one impression" in said_


def test_plain_http_is_named_where_the_page_is_secure() -> None:
    request = asked(BANNER | {"secure": 1})
    response = answered(request)
    bid = bid_of(response)
    bid["adm"] = bid["adm"].replace("https://cdn", "http://cdn")
    said_ = " ".join(found(request, response))
    assert "not secure" in said_
    assert "address" in said_


@pytest.mark.parametrize(
    ("exchange", "response", "right"),
    [
        ("default", {"id": "r", "seatbid": [], "nbr": 2}, True),
        ("default", {"id": "r", "seatbid": []}, False),
        ("default", {"id": "r", "seatbid": [], "nbr": 99}, False),
        ("default", {"id": "q", "seatbid": [], "nbr": 2}, False),
        ("brief", {}, True),
        ("brief", {"id": "r"}, False),
        ("empty", {"id": "r", "seatbid": []}, True),
        ("silent", {"id": "r", "seatbid": []}, False),
    ],
)
def test_an_answer_without_bids_has_the_form_that_was_agreed(
    exchange: str, response: dict[str, Any], right: bool
) -> None:
    request = asked(BANNER) | {"ext": {"exchange": exchange}}
    assert (found(request, response) == []) == right


def test_an_answer_to_what_is_no_request_is_named() -> None:
    response = answered(asked(BANNER))
    said_ = faults(b"[1", json.dumps(response).encode(), catalog.campaigns(), catalog.terms())
    assert said_ == ["an answer to what is no request"]
    assert bids_of(b"") == []


def test_the_checks_share_no_code_with_the_bidder() -> None:
    for module in (crosscheck, crosslists, crossmarkup, crossread):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
        assert not [name for name in names if name.split(".")[0] in ("bidder", "models", "simulator")]
