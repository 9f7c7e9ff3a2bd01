"""Control messages to the engine, in the order of their arrival; live and in replay alike.

A message that cannot be read or served is counted and left out, never guessed: a campaign that is not adopted
does not bid, a lease that is not taken is not spent.
"""

from collections.abc import Sequence

import msgspec

from bidder.core.campaigns import Campaign, check_campaigns
from bidder.core.engine import Engine
from bidder.core.messages import CAMPAIGNS, LEASES, SETTLEMENTS, VERSION, CampaignChange, Lease, Settlement
from bidder.errors import InputError

CONTROL_TOPICS = (CAMPAIGNS, LEASES, SETTLEMENTS)


class Inbox:
    """Applies control messages to an engine.

    Attributes:
        refused: messages left out, by cause. last_refusal: what was wrong with the last of them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._campaigns: dict[str, Campaign] = {}
        self._version = 0
        self._decoder: msgspec.json.Decoder[CampaignChange | Lease | Settlement] = msgspec.json.Decoder(
            CampaignChange | Lease | Settlement
        )
        self.refused: dict[str, int] = {}
        self.last_refusal = ""

    @property
    def campaigns(self) -> int:
        """How many campaigns it has adopted."""
        return len(self._campaigns)

    def apply(self, items: Sequence[tuple[str, bytes]], now_ns: int) -> None:
        """Applies messages, given as (topic, value), as one change of campaigns and then of money."""
        leases: list[Lease] = []
        settlements: list[Settlement] = []
        changed = False
        for topic, value in items:
            message = self._read(topic, value)
            if isinstance(message, CampaignChange):
                changed |= self._take(message)
            elif isinstance(message, Lease):
                leases.append(message)
            elif message is not None:
                settlements.append(message)
        if changed:
            self._engine.adopt_campaigns(self._campaigns, self._version, now_ns)
        if leases:
            self._engine.adopt_leases(leases, now_ns)
        if settlements:
            self._engine.settle(settlements, now_ns)

    def _read(self, topic: str, value: bytes) -> CampaignChange | Lease | Settlement | None:
        try:
            message = self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._refuse("unreadable", f"message of topic {topic} cannot be read: {error}")
            return None
        if message.v != VERSION:
            self._refuse("version", f"message of topic {topic} must have version {VERSION}, was {message.v}")
            return None
        return message

    def _take(self, change: CampaignChange) -> bool:
        if change.version <= 0 or (change.campaign is not None and change.campaign.id != change.campaign_id):
            self._refuse("inconsistent", f"change of campaign {change.campaign_id} contradicts itself")
            return False
        if change.campaign is None:
            gone = self._campaigns.pop(change.campaign_id, None) is not None
            self._version = max(self._version, change.version)
            return gone
        try:
            check_campaigns({change.campaign_id: change.campaign}, self._engine.settings.currency)
        except InputError as error:
            self._refuse("unservable", str(error))
            return self._campaigns.pop(change.campaign_id, None) is not None
        self._campaigns[change.campaign_id] = change.campaign
        self._version = max(self._version, change.version)
        return True

    def _refuse(self, cause: str, what: str) -> None:
        self.refused[cause] = self.refused.get(cause, 0) + 1
        self.last_refusal = what
