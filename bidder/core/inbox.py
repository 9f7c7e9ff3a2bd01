"""Control messages to the engine, in the order of their arrival; live and in replay alike.

A message that cannot be read or served is counted and left out, never guessed: a campaign that is not adopted
does not bid, a lease that is not taken is not spent. A change of a campaign or advertiser that is older than what
was heard of it is left out too: a bank that lost its shard and does not know it yet may still send one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from bidder.core.campaigns import Advertiser, Campaign, Status
from bidder.core.creatives import Words
from bidder.core.engine import Engine
from bidder.core.exposures import Exposure
from bidder.core.messages import (
    CAMPAIGNS,
    CREATIVES,
    EXPOSURES,
    LEASES,
    PROFILES,
    SETTLEMENTS,
    VERSION,
    AdvertiserChange,
    Brake,
    CampaignChange,
    CreativeCounts,
    Lease,
    LineCounts,
    Settlement,
    Settlements,
)
from bidder.core.prepared import Prepared
from bidder.core.profiles import Profile
from bidder.core.servable import check_campaigns
from bidder.core.table import LineTable
from bidder.errors import InputError
from bidder.zones import is_zone

CONTROL_TOPICS = (CAMPAIGNS, LEASES, SETTLEMENTS, CREATIVES, EXPOSURES, PROFILES)

ControlMessage = (
    CampaignChange
    | AdvertiserChange
    | Brake
    | Lease
    | Settlement
    | Settlements
    | Exposure
    | Profile
    | CreativeCounts
    | LineCounts
)


class Inbox:
    """Applies control messages to an engine.

    Attributes:
        refused: messages left out, by cause. last_refusal: what was wrong with the last of them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._campaigns: dict[str, Campaign] = {}
        self._advertisers: dict[str, Advertiser] = {}
        self._lines: dict[str, str] = {}
        self._words = Words()
        self._version = 0
        self._heard: dict[tuple[str, str], int] = {}
        self._decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)
        # Most messages are of these; a decoder of one type is three times as fast as one that must choose.
        self._settlements = msgspec.json.Decoder(Settlements)
        self._exposure = msgspec.json.Decoder(Exposure)
        self.refused: dict[str, int] = {}
        self.last_refusal = ""

    @property
    def campaigns(self) -> int:
        """How many campaigns it has adopted."""
        return len(self._campaigns)

    def apply(self, items: Sequence[tuple[str, bytes]], now_ns: int) -> None:
        """Applies messages, given as (topic, value), as one change of campaigns and then of money."""
        if self.take(items, now_ns):
            self._engine.adopt(self.prepare(), now_ns)

    def take(self, items: Sequence[tuple[str, bytes]], now_ns: int) -> bool:
        """Applies messages but for the change of campaigns that they come to; whether there is one."""
        mail: dict[type[object], list[Any]] = {}
        changed = False
        for topic, value in items:
            message = self._read(topic, value)
            if isinstance(message, CampaignChange):
                changed |= self._take(message)
            elif isinstance(message, AdvertiserChange):
                changed |= self._take_advertiser(message)
            elif message is not None:
                kind = Settlements if isinstance(message, Settlement) else type(message)
                mail.setdefault(kind, []).append(message)
        self._deliver(mail, now_ns)
        return changed

    def _deliver(self, mail: dict[type[object], list[Any]], now_ns: int) -> None:
        """Hands messages to the engine by their kind, brakes first, then money."""
        engine = self._engine
        if Brake in mail:
            engine.brake(mail[Brake], now_ns)
        if Lease in mail:
            engine.adopt_leases(mail[Lease], now_ns)
        if Settlements in mail:
            self._settle(mail[Settlements], now_ns)
        if Exposure in mail:
            engine.expose(mail[Exposure], now_ns)
        if Profile in mail:
            engine.profile(mail[Profile])
        if CreativeCounts in mail:
            engine.count_creatives(mail[CreativeCounts])
        if LineCounts in mail:
            engine.targets.take(mail[LineCounts])

    def prepare(self) -> Prepared:
        """The table of the campaigns as they now are."""
        return self.preparing()()

    def preparing(self) -> Callable[[], Prepared]:
        """What makes the table of the campaigns as they now are, to be called in a thread of its own."""
        return partial(self._engine.prepare, dict(self._campaigns), self._version, dict(self._advertisers))

    def _settle(self, settlements: Sequence[Settlements | Settlement], now_ns: int) -> None:
        """In the order of their coming, runs of one kind at once."""
        bulk = [one for one in settlements if isinstance(one, Settlements)]
        if len(bulk) == len(settlements):
            self._engine.settle_records(bulk, now_ns)
            return
        for one in settlements:
            if isinstance(one, Settlements):
                self._engine.settle_records([one], now_ns)
            else:
                self._engine.settle([one], now_ns)

    def _read(self, topic: str, value: bytes) -> ControlMessage | None:
        try:
            message: ControlMessage
            if topic == SETTLEMENTS and value.startswith(b'{"type":"settlements"'):
                message = self._settlements.decode(value)
            elif topic == EXPOSURES:
                message = self._exposure.decode(value)
            else:
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
        if self._is_old("campaign", change.campaign_id, change.version):
            return False
        if change.campaign is None:
            return self._drop(change.campaign_id, change.version)
        try:
            self._check(change.campaign)
        except InputError as error:
            self._refuse("unservable", str(error))
            return self._drop(change.campaign_id, change.version)
        self._drop(change.campaign_id, change.version)
        self._campaigns[change.campaign_id] = change.campaign
        self._lines.update(dict.fromkeys(_line_ids(change.campaign), change.campaign_id))
        return self._changed(change.version)

    def _is_old(self, kind: str, name: str, version: int) -> bool:
        """Whether a newer version was heard of, be it that there is none any more; else notes this one."""
        heard = self._heard.get((kind, name), 0)
        if version < heard:
            self._refuse(
                "older",
                f"change of {kind} {name} must have version {heard} or later, was {version}: "
                "start bidders again if the store was replaced",
            )
            return True
        self._heard[kind, name] = version
        return False

    def _changed(self, version: int) -> bool:
        """Notes that the campaigns are those of a version. One that changes nothing must leave no trace either.

        How messages come in batches is chance, and a table is made only where a batch changes something.
        """
        self._version = max(self._version, version)
        return True

    def _drop(self, campaign_id: str, version: int) -> bool:
        """Forgets a campaign; whether there was one."""
        campaign = self._campaigns.pop(campaign_id, None)
        if campaign is None:
            return False
        self._changed(version)
        for line_id in _line_ids(campaign):
            del self._lines[line_id]
        return True

    def _check(self, campaign: Campaign) -> None:
        """Raises `InputError` where this campaign cannot be served, by itself or beside the others."""
        settings = self._engine.settings
        check_campaigns({campaign.id: campaign}, settings.currency)
        LineTable({campaign.id: campaign}, 0, settings, self._advertisers)
        for line_id in _line_ids(campaign):
            other = self._lines.get(line_id, campaign.id)
            if other != campaign.id:
                raise InputError(
                    f"line item {line_id} of campaign {campaign.id} is one of campaign {other} already"
                )
        self._learn(campaign)

    def _learn(self, campaign: Campaign) -> None:
        """Raises `InputError` where the words of all campaigns are too many; those of former ones do not count."""
        try:
            self._words.learn(campaign)
        except InputError:
            words = Words()
            for other in self._campaigns.values():
                if other.id != campaign.id:
                    words.learn(other)
            words.learn(campaign)
            self._words = words

    def _take_advertiser(self, change: AdvertiserChange) -> bool:
        if change.version <= 0 or (
            change.advertiser is not None and change.advertiser.id != change.advertiser_id
        ):
            self._refuse("inconsistent", f"change of advertiser {change.advertiser_id} contradicts itself")
            return False
        if self._is_old("advertiser", change.advertiser_id, change.version):
            return False
        if change.advertiser is None:
            gone = self._advertisers.pop(change.advertiser_id, None) is not None
            return gone and self._changed(change.version)
        if not is_zone(change.advertiser.time_zone):
            self._refuse("unservable", f"time zone of advertiser {change.advertiser_id} is unknown")
            # Whose days cannot be told must not bid by the wrong ones.
            self._advertisers[change.advertiser_id] = Advertiser(
                id=change.advertiser_id, status=Status.PAUSED
            )
            return self._changed(change.version)
        self._advertisers[change.advertiser_id] = change.advertiser
        return self._changed(change.version)

    def _refuse(self, cause: str, what: str) -> None:
        self.refused[cause] = self.refused.get(cause, 0) + 1
        self.last_refusal = what


def _line_ids(campaign: Campaign) -> list[str]:
    return [item.id for item in campaign.line_items] or [campaign.id]
