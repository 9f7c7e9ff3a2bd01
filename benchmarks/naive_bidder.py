"""A plain bidder to compare with: what one writes first, with dicts, numpy and LightGBM's own predict.

It decodes, scores with the very same models and calibration, takes the highest value at or above the floor, and
responds. It keeps no money, no log, no journal, signs nothing, does not pace and targets by size alone: all of
that would come on top.
"""

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import orjson
from numpy.typing import NDArray

from bidder.core.campaigns import Campaign, Creative, Goal
from bidder.core.opportunity import browser_of, hour_of_week
from bidder.core.scoring import campaign_features
from models.artifact import ModelBundle
from models.schema import SEGMENT_PREFIX

FIRST_PRICE_SHARE = 0.7


class NaiveBidder:
    """Answers one request at a time.

    Args:
        bundle: the models. campaigns: all of them. hour: of the week, the same for all requests.
    """

    def __init__(self, bundle: ModelBundle, campaigns: Sequence[Campaign], at_ns: int) -> None:
        self._campaigns = campaigns
        self._names = bundle.spec.names
        self._encoders = bundle.spec.encoders()
        self._kinds = [feature.kind for feature in bundle.spec.features]
        self._boosters = {name: lgb.Booster(model_str=text) for name, text in bundle.texts.items()}
        self._knots = {
            name: (np.array(table.raw), np.array(table.probability))
            for name, table in bundle.calibration.items()
        }
        self._weekday, self._hour = divmod(hour_of_week(at_ns), 24)

    def answer(self, body: bytes) -> bytes:
        """The response to one request, JSON."""
        request = orjson.loads(body)
        imp = request["imp"][0]
        fitting = self._fitting(imp)
        if not fitting:
            return orjson.dumps({"id": request["id"], "seatbid": []})
        rows = self.rows(request, imp, [campaign for campaign, _ in fitting])
        ctr = self.probabilities("ctr", rows).tolist()
        selling = any(campaign.goal is Goal.CONVERSION for campaign, _ in fitting)
        cvr = self.probabilities("cvr", rows).tolist() if selling else ctr
        best, price = -1, 0.0
        for place, (campaign, _) in enumerate(fitting):
            worth = ctr[place] * campaign.value_nanos / 1e6
            if campaign.goal is Goal.CONVERSION:
                worth *= cvr[place]
            if request["at"] == 1:
                worth *= FIRST_PRICE_SHARE
            worth = min(worth, campaign.max_bid_cpm_micros / 1e6)
            if worth >= imp["bidfloor"] and worth > price:
                best, price = place, worth
        if best < 0:
            return orjson.dumps({"id": request["id"], "seatbid": []})
        return orjson.dumps(self._response(request["id"], imp["id"], *fitting[best], price))

    def _fitting(self, imp: dict[str, Any]) -> list[tuple[Campaign, Creative]]:
        sizes = [(size["w"], size["h"]) for size in imp["banner"]["format"]]
        return [
            (campaign, creative)
            for campaign in self._campaigns
            for creative in campaign.creatives
            if (creative.w, creative.h) in sizes
        ]

    def rows(
        self, request: dict[str, Any], imp: dict[str, Any], campaigns: Sequence[Campaign]
    ) -> NDArray[np.float64]:
        """The models' features, float64[campaigns, features]."""
        values = self._values(request, imp)
        out = np.zeros((len(campaigns), len(self._names)))
        for row, campaign in enumerate(campaigns):
            values.update(campaign_features(campaign))
            for place, name in enumerate(self._names):
                value = values.get(name)
                if self._kinds[place] == "categorical":
                    out[row, place] = self._encoders[place].get(value or "", 0.0)
                else:
                    out[row, place] = value or 0.0
        return out

    def _values(self, request: dict[str, Any], imp: dict[str, Any]) -> dict[str, Any]:
        device, geo = request.get("device", {}), request.get("device", {}).get("geo", {})
        segments = [
            segment["id"] for data in request.get("user", {}).get("data", []) for segment in data["segment"]
        ]
        size = imp["banner"]["format"][0]
        values: dict[str, Any] = {
            "exchange": request["ext"]["exchange"],
            "region": geo.get("region"),
            "city": geo.get("city"),
            "domain": request.get("site", {}).get("domain"),
            "tag_id": imp.get("tagid"),
            "size": f"{size['w']}x{size['h']}",
            "position": str(imp["banner"]["pos"]),
            "os": device.get("os"),
            "browser": browser_of(device["ua"]) if "ua" in device else None,
            "device_type": str(device["devicetype"]) if "devicetype" in device else None,
            "hour": str(self._hour),
            "weekday": str(self._weekday),
            "floor_cpm": imp["bidfloor"],
            "segment_count": float(len(segments)),
        }
        for segment in segments:
            values[SEGMENT_PREFIX + segment] = 1.0
        return values

    def probabilities(self, name: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities of one model, float64[rows]."""
        raw = self._boosters[name].predict(rows, raw_score=True, num_threads=1)
        return np.asarray(np.interp(np.asarray(raw), *self._knots[name]))

    def _response(
        self, request_id: str, imp_id: str, campaign: Campaign, creative: Creative, price: float
    ) -> dict[str, Any]:
        at = f"http://127.0.0.1:8080/win?r={request_id}&c={campaign.id}"
        bid = {
            "id": f"{request_id}-{campaign.id}",
            "impid": imp_id,
            "price": round(price, 6),
            "nurl": at,
            "burl": at.replace("win", "bill"),
            "lurl": at.replace("win", "loss"),
            "adm": f'<a href="{creative.landing_url}"><img src="{creative.image_url}"></a>',
            "adomain": campaign.adomain,
            "cid": campaign.id,
            "crid": creative.id,
            "w": creative.w,
            "h": creative.h,
        }
        return {"id": request_id, "cur": "USD", "seatbid": [{"seat": "naive", "bid": [bid]}]}
