"""For each rule of OpenRTB 2.6 the ways to switch it off, so that its scenarios can be seen to need it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import bidder.openrtb.parts
from tests.scenarios import switch_answer, switch_media, switch_people, switch_request
from tests.scenarios.switch_tools import Switch

SWITCHES: dict[int, tuple[Switch, ...]] = {
    **switch_request.SWITCHES,
    **switch_media.SWITCHES,
    **switch_people.SWITCHES,
    **switch_answer.SWITCHES,
}
"""By rule. Each scenario of a rule must fail under one of its switches."""


@contextmanager
def switched(switch: Switch) -> Iterator[None]:
    """The bidder without a rule, or with one that is too strict."""
    _forget_parts()
    with pytest.MonkeyPatch.context() as patch:
        switch(patch)
        yield
    _forget_parts()


def _forget_parts() -> None:
    """Parts of requests are remembered for all engines; what was read with a switch must not outlast it."""
    for part in (*vars(bidder.openrtb.parts).values(), *bidder.openrtb.parts._TEXTS.values()):
        if isinstance(part, bidder.openrtb.parts.Part):
            part._known.clear()
