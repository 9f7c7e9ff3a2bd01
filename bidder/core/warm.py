"""Compiles every kernel of the decision path before traffic comes, by one throw-away decision."""

import msgspec
import numpy as np

from bidder.core.campaigns import Campaign, Creative
from bidder.core.engine import Engine
from bidder.core.messages import Lease
from bidder.core.pacing import Pacer
from bidder.core.plans import Group
from bidder.core.scoring import Model
from bidder.core.settings import EngineSettings, PacingSettings
from bidder.core.targets import warm_targets
from bidder.core.traffic_shape import TrafficShape
from bidder.errors import InvariantError
from bidder.openrtb.reasons import Reason

_FAR_NS = 2**62
_ID = "warm-up"


def warm_kernels(model: Model | None) -> None:
    """Runs one request through an engine of its own; the first time on a machine takes about half a minute.

    Raises:
        InvariantError: the request was refused before it reached the kernels.
    """
    settings = EngineSettings(external_scores=model is None)
    engine = Engine(settings, bytes(32), model, _ID)
    engine.adopt_campaigns({_ID: _campaign()}, 1, 0)
    lease = Lease(
        seat=settings.seat, epoch=1, start_id=_ID, account_id=_ID, granted_nanos=10**9, bid_until_ns=_FAR_NS,
        budget_nanos=10**9, spent_nanos=0, seats=1,
    )  # fmt: skip
    engine.adopt_leases([lease], 0)
    scored = {"ext": {"clearbid": {"campaign": _ID, "pctr": 0.5}}}
    body = msgspec.json.encode({"id": _ID, "imp": [{"id": "1", "banner": {"w": 300, "h": 250}} | scored]})
    engine.decide([body], [0], 1)
    pacer = Pacer([Group(_ID, ((0, _FAR_NS),))], TrafficShape(), PacingSettings())
    pacer.spend(0, 1)  # notices of the first bids must not wait for a compiler
    nothing = np.zeros(0, dtype=np.int64)
    engine.wallet.spend(nothing, nothing, nothing, nothing, pacer)
    pacer.release(np.zeros(1, dtype=np.int64))
    warm_targets()
    if not engine.reasons.keys() <= {Reason.BID, Reason.NO_VALUE}:
        raise InvariantError(f"warming up must end in a bid, ended in {engine.reasons}")


def _campaign() -> Campaign:
    creative = Creative(
        id=_ID, w=300, h=250, image_url="https://warm.example/i.png", landing_url="https://warm.example/"
    )
    return Campaign(
        id=_ID, name=_ID, advertiser=_ID, adomain=("warm.example",), budget_nanos=10**9, start_ns=0, end_ns=_FAR_NS,
        value_nanos=10**9, target_cpc_nanos=10**9, max_bid_cpm_micros=10**6, creatives=(creative,),
    )  # fmt: skip
