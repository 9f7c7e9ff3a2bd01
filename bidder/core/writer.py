"""Writes what came of an opportunity that is bid on: the bid with its tokens, and its row in the log."""

from bidder.core.batch import Opportunity
from bidder.core.decision_columns import (
    ARMS,
    P_ARM,
    P_CHANCE,
    P_DENSITY,
    P_FACTOR,
    P_STRATUM,
    P_VALUE,
    P_WORTH,
)
from bidder.core.settings import EngineSettings
from bidder.core.table import LineTable
from bidder.core.templates import Templates
from bidder.core.token import Signer, bid_id_text, standing_part
from bidder.money import MICROS_PER_UNIT, format_decimal
from bidder.openrtb.reasons import Reason

_BID = int(Reason.BID)


class Writer:
    """Writes the bids of one seat.

    Args:
        settings: of the engine. key: signs the tokens.

    Attributes:
        epoch: of the seat. model_name: stands in every row.
    """

    def __init__(self, settings: EngineSettings, key: bytes) -> None:
        self._settings = settings
        self._signer = Signer(key)
        self._templates = Templates(key, settings.public_url)
        self._table = LineTable({}, 0, settings)
        self.epoch = 0
        self.model_name = "external"

    def adopt(self, table: LineTable) -> None:
        """Goes on with another table."""
        self._table = table
        self._templates.adopt(table)

    def bid(self, row: Opportunity, out: list[int], logged: list[float], now_ns: int) -> None:
        """Signs the tokens of a bid and writes it.

        Args:
            row: what is bid on. out: what became of it, by O_ column. logged: by P_ column. now_ns: the time.
        """
        line_row, creative_row, _, _, price_micros, _, cap_nanos = out
        call, table = row.call, self._table
        exchange, visitor, line = call.exchange, call.visitor, table.lines[line_row]
        campaign, creative = table.creatives.owners[creative_row]
        media = int(table.creatives.columns[creative_row, 0])
        slots = row.slots
        slot = slots[0] if len(slots) == 1 else next(one for one in slots if one.media == media)
        template = self._templates.of(line_row, creative_row, slot, exchange.exp_s, exchange.billing)
        line_item_id = line.line_item_id
        result_ns = now_ns + exchange.result_ns
        text = bid_id_text(row.bid_id)
        # Nothing is set aside for a bid on test traffic, so nothing of it may ever be booked.
        token, browser_token = self._signer.pair(
            row.bid_id,
            standing_part(
                campaign.id,
                line_item_id,
                creative.id,
                self._settings.seat,
                campaign.advertiser,
                exchange.label,
                exchange.money,
                line.fee_ppm + exchange.rules.discrepancy_ppm,
                line.fee_cpm_micros,
            ),
            self.epoch,
            -1,
            0 if call.test else cap_nanos,
            visitor.currency.encode(),
            result_ns,
            result_ns + exchange.billing_ns,
            now_ns,
            visitor.rate_nanos,
            row.quantity,
            visitor.user,
        )
        price = format_decimal(price_micros, MICROS_PER_UNIT)
        deal = f',"dealid":{row.deal.json}' if row.deal is not None else ""
        # One place of a pod alone may claim the position that was asked for.
        place = f',"slotinpod":{0 if row.number else slot.slotinpod}' if slot.pod_s else ""
        call.bids.append(template.bid(text, row.imp_json, price, token, browser_token, deal, place))
        call.first_bid = call.first_bid or text
        call.reasons[row.place] = _BID
        call.rows[row.place] = self._log(row, text, out, logged, campaign.id, line_item_id, creative.id)

    def _log(
        self,
        row: Opportunity,
        bid_id: str,
        out: list[int],
        logged: list[float],
        campaign_id: str,
        line_item_id: str,
        creative_id: str,
    ) -> str:
        """The log row of a bid; the same bytes as `Decision` would make."""
        call = row.call
        deal = f',"deal_id":{row.deal.json}' if row.deal is not None else ""
        line = f',"line_item_id":"{line_item_id}"' if line_item_id else ""
        floor = f',"floor_cpm_micros":{row.floor}' if row.floor else ""
        foreign = ""
        if call.visitor.currency != self._settings.currency:
            foreign = f',"currency":"{call.visitor.currency}","price_micros":{out[4]}'
        pctr, pcvr, multiplier = logged[:3]
        scores = f',"pctr":{pctr!r}' if pctr else ""
        if pcvr:
            scores += f',"pcvr":{pcvr!r}'
        if logged[P_VALUE]:
            scores += f',"conversion_value_nanos":{int(logged[P_VALUE])}'
        price = _priced(logged) if logged[P_ARM] or logged[P_DENSITY] else ""
        version = f',"table_version":{self._table.version}' if self._table.version else ""
        test = ',"test":true' if call.test else ""
        return (
            f'{{"at_ns":{call.now_ns},"reason":0{call.head}{row.imp_json},"exchange":{call.exchange.json}'
            f'{deal},"campaign_id":"{campaign_id}"{line},"creative_id":"{creative_id}","bid_id":"{bid_id}",'
            f'"bid_cpm_micros":{out[3]}{floor}{foreign}{scores},"multiplier":{multiplier!r}{price}{version},'
            f'"model":"{self.model_name}"{test}}}'
        )


def _priced(logged: list[float]) -> str:
    """What the log says of a bid that a landscape priced, or that chance might have moved."""
    text = ""
    if logged[P_ARM]:
        stratum, chance = int(logged[P_STRATUM]), logged[P_CHANCE]
        text = f',"arm":"{ARMS[int(logged[P_ARM])]}"'
        text += f',"stratum":{stratum}' if stratum else ""
        text += f',"worth_cpm_micros":{int(logged[P_WORTH])}' if logged[P_WORTH] >= 1.0 else ""
        text += f',"win_probability":{chance!r}' if chance else ""
    if logged[P_FACTOR]:
        text += f',"explore_factor":{logged[P_FACTOR]!r}'
    return text + (f',"log_density":{logged[P_DENSITY]!r}' if logged[P_DENSITY] else "")
