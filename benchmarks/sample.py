"""Requests of a market with what the engine made of them: the candidates that it scored, and their features.

Rivals get the very same candidates and the very same numbers, so that only the way of scoring differs.
"""

from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.market import Market
from benchmarks.peers import features_by
from bidder.core.engine import Engine
from bidder.core.funnel import STAGES
from bidder.core.scoring import Model, campaign_features

SCORED = [STAGES.index(name) for name in ("no_value", "below_floor", "budget", "outbid", "bid")]
"""Stages in which a line item ends that was scored."""


class Scored(NamedTuple):
    """One opportunity: request-side codes float64[request features] and rows of the line items that were scored."""

    codes: NDArray[np.float64]
    lines: NDArray[np.int64]


class Sample(NamedTuple):
    """Requests and their scored opportunities.

    Attributes:
        bodies: as they were asked. requests: for each body its opportunities.
    """

    bodies: list[bytes]
    requests: list[list[Scored]]

    @property
    def candidates(self) -> float:
        """Candidates scored, mean a request."""
        return sum(len(one.lines) for each in self.requests for one in each) / len(self.requests)

    @property
    def opportunities(self) -> float:
        """Opportunities that had a candidate, mean a request."""
        return sum(map(len, self.requests)) / len(self.requests)


def take_sample(market: Market, model: Model, count: int) -> Sample:
    """Asks an engine of its own for the first `count` requests, one at a time, and looks where line items ended."""
    engine = market.engine(model)
    bodies = market.bodies.bodies(0, count)
    codes = RequestCodes(model, market.origin_ns)
    requests = []
    for body in bodies:
        before = engine.funnel.stages.copy()
        engine.decide([body], [0], market.origin_ns)
        times = (engine.funnel.stages - before)[:, SCORED].sum(axis=1)
        requests.append(_opportunities(codes.of(body), times))
    return Sample(bodies, requests)


def _opportunities(codes: NDArray[np.float64], times: NDArray[np.int64]) -> list[Scored]:
    """The candidates of a request by opportunity: one scored twice was so in two of them."""
    return [Scored(codes, np.flatnonzero(times > row)) for row in range(int(times.max(initial=0)))]


class RequestCodes:
    """Reads the request's features of a body as the numbers that models take.

    Args:
        model: whose features. at_ns: the time, the same for all.
    """

    def __init__(self, model: Model, at_ns: int) -> None:
        spec, encoders = model.spec, model.spec.encoders()
        self._features = [(spec.features[place], encoders[place]) for place in model.encoder.indices.tolist()]
        self._at_ns = at_ns

    def of(self, body: bytes) -> NDArray[np.float64]:
        """float64[request features], in the order of the model's own encoder."""
        request = orjson.loads(body)
        values = features_by(request, request["imp"][0], self._at_ns)
        return np.array(
            [
                encoder.get(values.get(feature.name) or "", 0.0)
                if feature.kind == "categorical"
                else values.get(feature.name) or 0.0
                for feature, encoder in self._features
            ],
            dtype=np.float64,
        )


class FullRows:
    """Features of candidates as LightGBM's own predict takes them: float64[candidates, features].

    Args:
        model: whose features. engine: whose line items.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        spec = model.spec
        encoders = spec.encoders()
        self._request = model.encoder.indices
        self._blank = np.zeros((len(engine.table), len(spec)))
        for row, line in enumerate(engine.table.lines):
            values = campaign_features(line.campaign, line.line_item_id)
            for place in spec.campaign.tolist():
                self._blank[row, place] = encoders[place].get(values[spec.names[place]], 0.0)

    def of(self, scored: Scored) -> NDArray[np.float64]:
        """The rows of one opportunity's candidates."""
        rows = self._blank[scored.lines]
        rows[:, self._request] = scored.codes
        return np.ascontiguousarray(rows)
