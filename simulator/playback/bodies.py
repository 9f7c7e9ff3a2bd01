"""Rows of a history as bid requests: what the row knows, and no more."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from simulator.logs.agents import agent_of
from simulator.logs.requests import RequestEncoder
from simulator.logs.rows import LogRow

NOMINAL_SIZE = (300, 250)
"""Of a row whose size the log does not tell: a request must have one."""
_POSITIONS = frozenset(map(str, range(1, 8)))


@lru_cache(maxsize=256)
def _encoder(currency: str, first_price: frozenset[str]) -> RequestEncoder:
    return RequestEncoder(currency, first_price=first_price, tmax_ms=1_000)


def body_of(row: Mapping[str, Any], currency: str) -> bytes:
    """The request of one row.

    Args:
        row: columns of a history by name. currency: of the history.
    """
    w, h = row["w"] or NOMINAL_SIZE[0], row["h"] or NOMINAL_SIZE[1]
    agent = agent_of(f"{row['os'] or 'other'}_{row['browser'] or 'other'}")
    known = row["os"] is not None or row["browser"] is not None
    position = row["position"]
    first_price = frozenset({row["exchange"]}) if row["first_price"] else frozenset()
    return _encoder(currency, first_price).encode(
        LogRow(
            id=row["id"],
            at_ns=row["offered_ns"],
            exchange=row["exchange"],
            user_id=None,
            ip=None,
            ua=agent.ua if known else None,
            os=row["os"],
            browser=row["browser"],
            region=row["region"],
            city=row["city"],
            domain=row["domain"],
            page=None,
            tag_id=row["placement"],
            w=w,
            h=h,
            position=int(position) if position in _POSITIONS else 0,
            floor_cpm_micros=row["floor_nanos"],
            segments=tuple(row["segments"] or ()),
            market_cpm_micros=None,
            campaign=row["campaign"],
            clicked=None,
            converted=None,
            value_nanos=0,
            pctr=row["click_probability"],
        )
    )
