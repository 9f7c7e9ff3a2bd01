"""A plain bidder to compare with: what one writes first, with dicts, a loop and LightGBM's own predict.

It decodes, goes through all line items, scores the candidates with the very same models and calibration, takes the
highest value at or above the floor, and responds. It keeps no money, caps, log or journal, obeys no law, signs
nothing and does not pace: all of that would come on top.
"""

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.peers import LinearScan, features_by, hour_text, shown_by
from bidder.core.campaigns import Creative, Goal
from bidder.core.lines import Line
from bidder.core.scoring import campaign_features
from models.artifact import ModelBundle

FIRST_PRICE_SHARE = 0.7


class NaiveBidder:
    """Answers one request at a time.

    Args:
        bundle: the models. lines: all line items. at_ns: the time, the same for all requests.
    """

    def __init__(self, bundle: ModelBundle, lines: Sequence[Line], at_ns: int) -> None:
        self._lines = lines
        self._scan = LinearScan(lines)
        self._names = bundle.spec.names
        self._encoders = bundle.spec.encoders()
        self._kinds = [feature.kind for feature in bundle.spec.features]
        self._boosters = {name: lgb.Booster(model_str=text) for name, text in bundle.texts.items()}
        self._knots = {
            name: (np.array(table.raw), np.array(table.probability))
            for name, table in bundle.calibration.items()
        }
        self._shown_hour = hour_text(at_ns)
        self._at_ns = at_ns

    def answer(self, body: bytes) -> bytes:
        """The response to one request, JSON."""
        request = orjson.loads(body)
        imp = request["imp"][0]
        found = [self._lines[row] for row in self._scan.candidates(shown_by(request, self._shown_hour))]
        if not found:
            return orjson.dumps({"id": request["id"], "seatbid": []})
        rows = self.rows(request, imp, found)
        ctr = self.probabilities("ctr", rows).tolist()
        cvr = self.probabilities("cvr", rows).tolist()
        best, price = -1, 0.0
        for place, line in enumerate(found):
            worth = ctr[place] * line.value_nanos / 1e6
            if line.goal is Goal.CONVERSION:
                worth *= cvr[place]
            if request["at"] == 1:
                worth *= FIRST_PRICE_SHARE
            worth = min(worth, line.max_bid_cpm_micros / 1e6)
            if worth >= imp.get("bidfloor", 0.0) and worth > price:
                best, price = place, worth
        if best < 0:
            return orjson.dumps({"id": request["id"], "seatbid": []})
        return orjson.dumps(_response(request["id"], imp["id"], found[best], price))

    def rows(
        self, request: dict[str, Any], imp: dict[str, Any], lines: Sequence[Line]
    ) -> NDArray[np.float64]:
        """The models' features, float64[lines, features]."""
        values = features_by(request, imp, self._at_ns)
        out = np.zeros((len(lines), len(self._names)))
        for row, line in enumerate(lines):
            values.update(campaign_features(line.campaign, line.line_item_id))
            for place, name in enumerate(self._names):
                value = values.get(name)
                if self._kinds[place] == "categorical":
                    out[row, place] = self._encoders[place].get(value or "", 0.0)
                else:
                    out[row, place] = value or 0.0
        return out

    def probabilities(self, name: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities of one model, float64[rows]."""
        raw = self._boosters[name].predict(rows, raw_score=True, num_threads=1)
        return np.asarray(np.interp(np.asarray(raw), *self._knots[name]))


def _response(request_id: str, imp_id: str, line: Line, price: float) -> dict[str, Any]:
    creative: Creative = line.creatives[0]
    at = f"http://127.0.0.1:8080/win?r={request_id}&c={line.id}"
    bid = {
        "id": f"{request_id}-{line.id}",
        "impid": imp_id,
        "price": round(price, 6),
        "nurl": at,
        "burl": at.replace("win", "bill"),
        "lurl": at.replace("win", "loss"),
        "adm": f'<a href="{creative.landing_url}"><img src="{creative.image_url}"></a>',
        "adomain": line.campaign.adomain,
        "cid": line.campaign.id,
        "crid": creative.id,
        "w": creative.w,
        "h": creative.h,
    }
    return {"id": request_id, "cur": "USD", "seatbid": [{"seat": "naive", "bid": [bid]}]}
