"""Any signal that may forbid personal data takes it away."""

from typing import Any

import orjson
import pytest

from bidder.openrtb.codec import decode
from bidder.privacy.permissions import may_use_personal_data


def allowed(**fields: Any) -> bool:
    body = {"id": "r", "imp": [{"id": "1", "banner": {}}], **fields}
    return may_use_personal_data(decode(orjson.dumps(body)).request)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"device": {}},
        {"device": {"lmt": 0, "dnt": 0}},
        {"regs": {}},
        {"regs": {"coppa": 0, "gdpr": 0, "us_privacy": "1YNN"}},
        {"regs": {"us_privacy": "1---"}},
        {"regs": {"us_privacy": "1NNN", "ext": {"us_privacy": "1YNY"}}},
        {"regs": {"ext": {"gdpr": 0, "us_privacy": "1YNN"}}},
        {"regs": {"us_privacy": "", "gpp": ""}},
    ],
)
def test_allowed_where_nothing_may_forbid(fields: dict[str, Any]) -> None:
    assert allowed(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"device": {"lmt": 1}},
        {"device": {"dnt": 1}},
        {"device": {"lmt": "1"}},
        {"device": {"lmt": 2}},
        {"regs": {"coppa": 1}},
        {"regs": {"gdpr": 1}},
        {"regs": {"ext": {"gdpr": 1}}},
        {"regs": {"gdpr": 0, "ext": {"gdpr": 1}}},
        {"regs": {"gdpr": 1, "ext": {"gdpr": 0}}},
        {"regs": {"gpp": "DBAA"}},
        {"regs": {"ext": {"gpp": "DBAA"}}},
        {"regs": {"us_privacy": "1YYN"}},
        {"regs": {"us_privacy": "1Y"}},
        {"regs": {"us_privacy": "2YNN"}},
        {"regs": {"us_privacy": "1yyn"}},
        {"regs": {"ext": {"us_privacy": "1YYN"}}},
        {"regs": {"us_privacy": "1YNN", "ext": {"us_privacy": "1YYN"}}},
    ],
)
def test_forbidden_where_one_signal_may_forbid(fields: dict[str, Any]) -> None:
    assert not allowed(**fields)
