"""The engine: `decide`, `settle`, `tick`, `adopt`. Pure: inputs and the time in, answers and effects out.

The live worker and the replay are two shells round this one class. The same calls with the same arguments give
the same bytes (for one artifact, library versions and CPU family), and where a list of requests is split into
calls of the same time changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.batch import CAPACITY, Batch, Row
from bidder.core.call import Answer, Call, Decision, floor_of
from bidder.core.campaigns import Campaign, check_campaigns
from bidder.core.kernels import P_CTR, P_CVR, P_MULTIPLIER, decide_rows
from bidder.core.ledger import Ledger, Result
from bidder.core.messages import Lease, Settlement, SettlementKind, SliceReport, SliceRow
from bidder.core.opportunity import hour_of_week
from bidder.core.pacing import Pacer, TrafficShape
from bidder.core.scoring import Model, empty_table
from bidder.core.settings import NS_PER_SECOND, EngineSettings
from bidder.core.table import CampaignTable
from bidder.core.templates import Templates
from bidder.core.token import TokenFields, bid_id, bid_id_bytes, bid_id_text, sign_pair
from bidder.openrtb.reasons import Reason

FUNNEL = ("eligible", "flight", "unscored", "no_lease", "no_value", "below_floor", "budget", "outbid", "bid")


def outputs_of(answers: Sequence[Answer]) -> list[bytes]:
    """The exact bytes of one `decide`, for a digest: the same inputs must give the same."""
    return [part for answer in answers for part in (answer.response, answer.decisions)]


class Status(NamedTuple):
    """Figures of one campaign at this seat, for reports."""

    granted_nanos: int
    reserved_nanos: int
    posted_nanos: int
    late_nanos: int
    multiplier: float
    seen: int
    planned_share: float
    funnel: dict[str, int]


_REASONS = {reason.value: reason for reason in Reason}
_BID = int(Reason.BID)


class Engine:
    """One seat's decisions and money.

    Args:
        settings: fixed for its life.
        key: signs the tokens of its bids.
        model: compiled models, or None where requests bring their scores.
        start_id: unique for this start; the bank answers it with leases of a new epoch.
    """

    def __init__(self, settings: EngineSettings, key: bytes, model: Model | None, start_id: str) -> None:
        self.settings = settings
        self.start_id = start_id
        self.epoch = 0
        self._rival_epoch = 0
        self.reasons: dict[int, int] = {}
        self.opportunities = 0
        self.repaired = 0
        self.late_wins = 0
        # A repeat comes soon; remembered for days, hundreds of bids a second would be gigabytes.
        self.ledger = Ledger(settings.longest_wait_ns)
        self.table = CampaignTable({}, 0)
        self._key = key
        self._model = model
        self._forest = model.table if model is not None else empty_table()
        self._request_features = model.encoder.indices if model is not None else np.zeros(0, dtype=np.int32)
        self._model_name = model.hash[:12] if model is not None else "external"
        self._batch = Batch(model.encoder if model is not None else None, settings.external_scores)
        self._shape = TrafficShape(settings.pacing.traffic_shape)
        self._leases: dict[str, Lease] = {}
        self._sequence = 0
        self._templates = Templates(key, settings.public_url)
        self._scratch_mask = np.zeros(max(1, self._forest.masks.shape[1]), dtype=np.uint64)
        self._scratch_rows = np.zeros(max(1, len(self._request_features)), dtype=np.int64)
        self._pacer: Pacer
        self._funnel: NDArray[np.int64]
        self._install(self.table, 0)

    @property
    def superseded(self) -> bool:
        """Whether a later start took this seat: the bank hears this one no more, it will not bid again."""
        return 0 < self.epoch < self._rival_epoch

    # -- decide ---------------------------------------------------------------------------------------------

    def decide(self, bodies: Sequence[bytes], ages_ns: Sequence[int], now_ns: int) -> list[Answer]:
        """Answers bid requests, in order.

        Args:
            bodies: OpenRTB BidRequests, JSON.
            ages_ns: for each, wall nanoseconds since the exchange sent it.
            now_ns: the time.

        Returns:
            An answer for each body.
        """
        # Rows that a failed call left behind are not of this one.
        self._batch.clear()
        settings = self.settings
        calls = [Call(body, age_ns, now_ns, settings) for body, age_ns in zip(bodies, ages_ns, strict=True)]
        hour = hour_of_week(now_ns)
        for call in calls:
            self._gather(call, now_ns, hour)
        self._run(now_ns)
        for call in calls:
            self._count(call)
        return [call.answer(settings.buyer, settings.currency) for call in calls]

    def _gather(self, call: Call, now_ns: int, hour: int) -> None:
        """Writes the impressions of one request into the batch, running it where it is full."""
        request = call.request
        if request is None:
            return
        settings, batch = self.settings, self._batch
        for imp in request.imp:
            floor = floor_of(imp, settings)
            if isinstance(floor, Reason):
                call.end(imp.id, floor)
                continue
            bid = bid_id(call.exchange, request.id, imp.id, self.epoch, settings.seat)
            # A repeat inside the batch must meet what its first occurrence did, as if split there.
            if len(batch.rows) >= CAPACITY or bid in batch.ids:
                self._run(now_ns)
            if self.ledger.knows(bid):
                call.end(imp.id, Reason.DUPLICATE)
                continue
            batch.add(call, imp, bid, floor, self.table, hour)

    def _run(self, now_ns: int) -> None:
        """Decides the batch's rows and takes their money."""
        batch = self._batch
        count = len(batch.rows)
        if not count:
            return
        available = self.ledger.available[self._accounts]
        forest = self._forest
        table = self.table
        pacer = self._pacer
        decide_rows(
            now_ns, count,
            batch.values, batch.starts(), batch.value_ids(), batch.floors, batch.flags, batch.shades, batch.external,
            table.active, table.base, table.include, table.exclude, table.columns, self._lease_until,
            self._request_features, forest.feature_kind, forest.first_row, forest.thr_start, forest.thresholds,
            forest.cat_start, forest.category_rows, forest.masks, forest.leaf_values, forest.tree_start,
            forest.knots_start, forest.knots_raw, forest.knots_probability, self._campaign_masks,
            available, pacer.multipliers, pacer.drift, pacer.seen, self._funnel,
            batch.chosen, batch.bids, batch.reasons, batch.logged,
            self._scratch_left, self._scratch_mask, self._scratch_rows,
        )  # fmt: skip
        # Plain lists: reading an array number by number costs more than all of it at once.
        chosen, bids = batch.chosen[:count].tolist(), batch.bids[:count].tolist()
        reasons, logged = batch.reasons[:count].tolist(), batch.logged[:count].tolist()
        for number, row in enumerate(batch.rows):
            if chosen[number] < 0:
                row.call.end(row.imp_id, _REASONS[reasons[number]], row.floor_cpm_micros)
            else:
                self._bid(row, chosen[number], bids[number], logged[number], now_ns)
        # Pair assertion: the kernel's view of what is left and the ledger's own must agree after every batch.
        assert np.array_equal(available, self.ledger.available[self._accounts]), "kernel and ledger disagree"
        batch.clear()

    def _bid(self, row: Row, campaign_row: int, bid_nanos: int, logged: list[float], now_ns: int) -> None:
        """Reserves a bid's money, signs its tokens and writes it."""
        call = row.call
        result_ns = now_ns + int(call.rules.result_seconds * NS_PER_SECOND)
        liable_ns = result_ns + int(call.rules.billing_seconds * NS_PER_SECOND)
        if not call.test:
            account = int(self._accounts[campaign_row])
            done = self.ledger.reserve(row.bid_id, account, bid_nanos, result_ns, liable_ns)
            assert done is Result.OK, f"reservation of a bid that the kernel allowed ended in {done.name}"
        template = self._templates.of(self.table, campaign_row, row.sizes)
        campaign_id, settings = self.table.ids[campaign_row], self.settings
        # Nothing is set aside for a bid on test traffic, so nothing of it may ever be booked.
        cap_nanos = 0 if call.test else bid_nanos
        fields = TokenFields(
            row.bid_id,
            campaign_id,
            settings.seat,
            self.epoch,
            -1,
            cap_nanos,
            settings.currency,
            result_ns,
            liable_ns,
        )
        text = bid_id_text(row.bid_id)
        token, browser_token = sign_pair(fields, self._key)
        call.bids.append(template.banner.bid(text, row.imp_id, bid_nanos, token, browser_token))
        call.decisions.append(
            Decision(
                at_ns=now_ns,
                reason=_BID,
                request_id=call.request_id,
                imp_id=row.imp_id,
                exchange=call.exchange,
                campaign_id=campaign_id,
                creative_id=template.creative_id,
                bid_id=text,
                bid_cpm_micros=bid_nanos,
                floor_cpm_micros=row.floor_cpm_micros,
                pctr=logged[P_CTR],
                pcvr=logged[P_CVR],
                multiplier=logged[P_MULTIPLIER],
                table_version=self.table.version,
                model=self._model_name,
                test=call.test,
            )
        )

    def _count(self, call: Call) -> None:
        self.repaired += call.repaired
        if call.test:
            return
        for decision in call.decisions:
            self.opportunities += 1
            self.reasons[decision.reason] = self.reasons.get(decision.reason, 0) + 1

    # -- settle, tick, adopt --------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement], now_ns: int) -> None:
        """Takes over what the bank booked of this seat's bids; of another epoch only pacing hears, by leases."""
        for settlement in settlements:
            if settlement.seat != self.settings.seat or settlement.epoch != self.epoch:
                continue
            bid = bid_id_bytes(settlement.bid_id)
            if settlement.kind is SettlementKind.WON:
                self.ledger.win(bid)
            elif settlement.kind is SettlementKind.VOIDED:
                self.ledger.void(bid, now_ns)
            else:
                self._post(bid, settlement, now_ns)

    def _post(self, bid: bytes, settlement: Settlement, now_ns: int) -> None:
        account = self.ledger.account(settlement.campaign_id)
        done = self.ledger.post(bid, account, settlement.amount_nanos, now_ns)
        assert done is not Result.EXCEEDS, f"the bank booked {settlement} above its reservation"
        if done is Result.EXISTS:
            return
        if done is Result.LATE:
            self.late_wins += 1
        row = self.table.index.get(settlement.campaign_id)
        if row is not None:
            self._pacer.spend(row, settlement.amount_nanos, int(self._shares[row]))
            self._spent[row] = max(self._spent[row], self.ledger.posted(account))

    def tick(self, now_ns: int) -> SliceReport:
        """Ends what time ends, solves the plan again, and says how this seat's slices stand."""
        self.ledger.expire(now_ns)
        self._pacer.refresh(now_ns, self._budgets, self._spent)
        self._sequence += 1
        rows = tuple(self._slice_row(campaign_id) for campaign_id in self._leases)
        seq = self._sequence if self.epoch else 0
        return SliceReport(
            seat=self.settings.seat,
            epoch=self.epoch,
            seq=seq,
            start_id=self.start_id,
            at_ns=now_ns,
            rows=rows,
        )

    def _slice_row(self, campaign_id: str) -> SliceRow:
        account = self.ledger.account(campaign_id)
        ledger = self.ledger
        return SliceRow(
            campaign_id, ledger.granted(account), ledger.reserved(account), ledger.posted(account)
        )

    def adopt_leases(self, leases: Sequence[Lease], now_ns: int) -> None:
        """Takes leases of this start; one of another seat or start is not ours to spend."""
        for lease in leases:
            if lease.seat != self.settings.seat:
                continue
            if lease.start_id != self.start_id:
                # One that has ended may be of books that were replaced since, where epochs began anew.
                if lease.bid_until_ns > now_ns:
                    self._rival_epoch = max(self._rival_epoch, lease.epoch)
                continue
            assert self.epoch in (0, lease.epoch), (
                f"epoch of a start changed from {self.epoch} to {lease.epoch}"
            )
            self.epoch = lease.epoch
            held = self._leases.get(lease.account_id)
            if held is not None and lease.bid_until_ns < held.bid_until_ns:
                continue  # of the past: money that a later one took back is not given again
            self._grant(lease, renewed=held is not None and lease.bid_until_ns > held.bid_until_ns)
            self._leases[lease.account_id] = lease
            self._take_lease(lease)
        self._pacer.refresh(now_ns, self._budgets, self._spent)

    def _grant(self, lease: Lease, *, renewed: bool) -> None:
        """Takes a lease's total: a higher one, and a lower one only where the lease was renewed by it."""
        account = self.ledger.account(lease.account_id)
        if renewed:
            self.ledger.lower(account, lease.granted_nanos)
        self.ledger.grant(account, lease.granted_nanos)

    def _take_lease(self, lease: Lease) -> None:
        row = self.table.index.get(lease.account_id)
        if row is None:
            return
        self._lease_until[row] = lease.bid_until_ns
        self._budgets[row] = lease.budget_nanos
        self._shares[row] = lease.budget_nanos // max(lease.seats, 1)
        self._spent[row] = max(lease.spent_nanos, self.ledger.posted(int(self._accounts[row])))

    def adopt_campaigns(self, campaigns: Mapping[str, Campaign], version: int, now_ns: int) -> None:
        """Replaces the campaigns as a whole; money, multipliers and funnels go on where ids stay.

        Raises:
            InputError: a campaign that this engine cannot serve; nothing changes then.
        """
        check_campaigns(campaigns, self.settings.currency)
        self._install(CampaignTable(campaigns, version), now_ns)

    def _install(self, table: CampaignTable, now_ns: int) -> None:
        pacing = self.settings.pacing
        pacer = Pacer(table, self._shape, pacing.eta, pacing.start, pacing.weekly_opportunities)
        funnel = np.zeros((len(table), len(FUNNEL)), dtype=np.int64)
        old = self.table.index
        kept = [(row, old[campaign_id]) for campaign_id, row in table.index.items() if campaign_id in old]
        if kept:
            pacer.adopt(self._pacer, kept)
        for row, old_row in kept:
            funnel[row] = self._funnel[old_row]
        self.table = table
        self._pacer = pacer
        self._funnel = funnel
        self._accounts: NDArray[np.int64] = np.array(
            [self.ledger.account(campaign_id) for campaign_id in table.ids], dtype=np.int64
        )
        self._lease_until: NDArray[np.int64] = np.zeros(len(table), dtype=np.int64)
        self._budgets: NDArray[np.int64] = np.zeros(len(table), dtype=np.int64)
        # This seat's part: what it spends is to be balanced by the traffic that it sees alone.
        self._shares: NDArray[np.int64] = np.zeros(len(table), dtype=np.int64)
        self._spent: NDArray[np.int64] = np.zeros(len(table), dtype=np.int64)
        self._scratch_left: NDArray[np.uint64] = np.zeros(table.words, dtype=np.uint64)
        masks = self._model.campaign_masks(table.campaigns) if self._model is not None else None
        self._campaign_masks = masks if masks is not None else np.zeros((len(table), 0), dtype=np.uint64)
        for lease in self._leases.values():
            self._take_lease(lease)
        pacer.refresh(now_ns, self._budgets, self._spent)

    # -- what it knows, for reports -------------------------------------------------------------------------

    def status(self, now_ns: int) -> dict[str, Status]:
        """Figures of each campaign at this seat."""
        plan = self._pacer.plan(now_ns)
        return {
            campaign_id: self._status(row, campaign_id, plan)
            for row, campaign_id in enumerate(self.table.ids)
        }

    def _status(self, row: int, campaign_id: str, plan: NDArray[np.float64]) -> Status:
        account = self.ledger.account(campaign_id)
        return Status(
            granted_nanos=self.ledger.granted(account),
            reserved_nanos=self.ledger.reserved(account),
            posted_nanos=self.ledger.posted(account),
            late_nanos=self.ledger.late(account),
            multiplier=float(self._pacer.multipliers[row]),
            seen=int(self._pacer.seen[row]),
            planned_share=float(plan[row]),
            funnel=dict(zip(FUNNEL, self._funnel[row].tolist(), strict=True)),
        )
