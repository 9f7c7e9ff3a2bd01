"""The engine: `decide`, `settle`, `tick`, `adopt`. Pure: inputs and the time in, answers and effects out.

The live worker and the replay are two shells round this one class. The same calls with the same arguments give
the same bytes (for one artifact, library versions and CPU family), and where a list of requests is split into
calls of the same time changes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bidder.core.batch import CAPACITY, Batch, Columns, places_after
from bidder.core.brakes import Brakes
from bidder.core.call import Answer, Call
from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.caps import CapBook
from bidder.core.decision_columns import KNOWN, O_AMOUNT, O_REASON, R_FLAGS, R_QUANTITY, R_RESULT_NS
from bidder.core.delays import DelayHistogram
from bidder.core.exploration import ExplorationBook
from bidder.core.exposures import Exposure
from bidder.core.funnel import STAGES, Funnel
from bidder.core.gate import Gate
from bidder.core.kernels import decide_rows
from bidder.core.matches import encode_match
from bidder.core.messages import (
    Brake,
    CreativeCounts,
    Lease,
    Settlement,
    SettlementKind,
    SettlementRow,
    Settlements,
    SliceReport,
)
from bidder.core.opportunity import hour_of_week
from bidder.core.pacing import Pacer
from bidder.core.prepared import Prepared
from bidder.core.profiles import Profile
from bidder.core.scoring import Model, Own, kernel_arrays, value_arrays
from bidder.core.settings import EngineSettings
from bidder.core.shading import Shading, law_of
from bidder.core.showing import Showing
from bidder.core.shown import Shown
from bidder.core.specs import SlotBook
from bidder.core.status import Status, paces_of, statuses
from bidder.core.table import FAR_NS
from bidder.core.targets import TargetBook
from bidder.core.traffic_shape import TrafficLearner, TrafficShape, overrides
from bidder.core.valuing import ValueBook
from bidder.core.waits import Waits
from bidder.core.wallet import Wallet, tag_of
from bidder.core.writer import Writer
from bidder.errors import RequestError
from bidder.openrtb.reasons import Reason
from bidder.openrtb.response import json_text

FUNNEL = STAGES
_TICKS_A_WHOLE_REPORT = 100
_DUPLICATE = int(Reason.DUPLICATE)


class Engine:
    """One seat's decisions and money.

    Args:
        settings: fixed for its life.
        key: signs the tokens of its bids.
        model: compiled models, or None where requests bring their scores.
        start_id: unique for this start; the bank answers it with leases of a new epoch.
        shading: prices bids at first price, or None for the constant share of each exchange.

    Attributes:
        waits: how long wins took to be heard of. loop: from a billing at the tracker to the multiplier that it moved.
        traffic: of the week, as it came.
        matches: records of the last `decide` (`core.matches`), where settings leave targeting's refusals out.
    """

    def __init__(
        self, settings: EngineSettings, key: bytes, model: Model | None, start_id: str,
        shading: Shading | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.start_id = start_id
        self.epoch = 0
        self._rival_epoch = 0
        self.reasons: dict[int, int] = {}
        self.opportunities = 0
        self.repaired = self.late_wins = 0
        self.matches: list[bytes] = []
        # A repeat comes soon; remembered for days, hundreds of bids a second would be gigabytes.
        self.wallet = Wallet(settings.longest_wait_ns)
        self.caps = CapBook(settings.users)
        self.funnel = Funnel(settings.funnel)
        self.gate = Gate(settings)
        self.waits = Waits(settings, self.gate)
        self.loop = DelayHistogram()
        self.targets = TargetBook(settings.targets, settings.longest_wait_ns)
        self.brakes = Brakes(settings.brakes)
        self.values = ValueBook()
        self._shape = TrafficShape(settings.pacing.traffic_shape, overrides(settings.pacing.holidays))
        self.traffic = TrafficLearner()
        self._sequence = self._told_epoch = 0
        self._writer = Writer(settings, key)
        self._buyer_json = json_text(settings.buyer)
        self._shades = np.array(self.gate.shades, dtype=np.float64)
        self._discrepancies = np.array(self.gate.discrepancies, dtype=np.int64)
        self._shown = Shown()
        self._pacer = Pacer((), self._shape, settings.pacing)
        self._edge_ns = FAR_NS
        self._turned_ns = 0
        self._law = law_of(settings.shading)
        self.explored = ExplorationBook(settings.shading)
        self.shading = shading or Shading.none()
        self._use_model(model)
        self._install(self.prepare({}, 0), 0)

    def _use_model(self, model: Model | None) -> None:
        self._model = model
        self._writer.model_name = model.hash[:12] if model is not None else "external"
        self._batch = Batch(model.encoder if model else None, self.settings, self.gate, self.shading)
        self.values.use(value_arrays(model))
        self._model_arrays = arrays = kernel_arrays(model)
        self._scratch_mask = np.zeros(max(1, arrays.masks.shape[1]), dtype=arrays.masks.dtype)
        self._scratch_rows = np.zeros(max(1, len(arrays.request_features)), dtype=np.int64)

    @property
    def model_hash(self) -> str:
        """Names the model that decides; empty where scores come from outside."""
        return self._model.hash if self._model is not None else ""

    @property
    def fallback(self) -> bool:
        """Whether LightGBM itself scores, because its compiled form did not prove equal."""
        return self._model is not None and self._model.fallback

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
        self.matches.clear()
        self._turn(now_ns)
        settings, gate, hour = self.settings, self.gate, hour_of_week(now_ns)
        calls = []
        for body, age_ns in zip(bodies, ages_ns, strict=True):
            call = Call(body, age_ns, now_ns, settings, gate)
            calls.append(call)
            if call.request is not None:
                self._gather(call, now_ns, hour)
        self._run(now_ns)
        self._count(calls, now_ns)
        buyer = self._buyer_json
        return [call.answer(buyer) for call in calls]

    def _turn(self, now_ns: int) -> None:
        """Follows the clock: flights that begin or end, days that end."""
        if now_ns >= self._edge_ns or now_ns < self._turned_ns:
            self._wake(now_ns)
        if self.wallet.turn(now_ns):
            self._pacer.turn(now_ns)
        self.brakes.turn(now_ns)

    def _wake(self, now_ns: int) -> None:
        self._base[0], self._edge_ns = self.table.in_flight(now_ns)
        self._turned_ns = now_ns

    def _gather(self, call: Call, now_ns: int, hour: int) -> None:
        """Writes the opportunities of one request into the batch, running it where it is full."""
        if self._batch.crowded(len(call.body)):
            self._run(now_ns)
            self._batch.forget()
        batch, seat, epoch = self._batch, self.settings.seat, self.epoch
        try:
            found = batch.gather(call)
            call.insist()
        except RequestError as error:
            call.refuse(error)
            return
        if not found:
            return
        request = call.request
        assert request is not None, "what was gathered is of a request"
        if not call.test and self.gate.offered(request, call.exchange, now_ns):
            for pending in found:
                call.end(pending.place, pending.imp_json, Reason.SAME_OPPORTUNITY)
            return
        first = -1
        for number, pending in enumerate(found):
            bid = pending.name(epoch, seat)
            room = places_after(found, number) if pending.pod_s and not pending.number else 1
            # A repeat inside the batch must meet what its first occurrence did, as if split there.
            if len(batch.rows) + room > CAPACITY or bid in batch.ids:
                self._run(now_ns)
            if pending.pod_s and not pending.number:
                first = len(batch.rows)
            batch.add(pending, hour, first if pending.pod_s else -1)

    def _run(self, now_ns: int) -> None:
        """Decides the batch's rows and takes their money."""
        batch, writer = self._batch, self._writer
        rows, count = batch.rows, len(batch.rows)
        if not count:
            return
        writer.epoch = self.epoch
        ids = np.frombuffer(bytearray(b"".join([row.bid_id for row in rows])), dtype=np.uint8)
        ids = ids.reshape(count, 12)
        self._choose(batch, ids, count, now_ns)
        self._conclude(ids, count, now_ns)

    def _choose(self, batch: Columns, ids: NDArray[np.uint8], count: int, now_ns: int) -> None:
        """Lets the kernel decide: bids are written to `out` and `logged`, their money is off what is available."""
        wallet, table, slots, pacer = self.wallet, self.table, self._slots, self._pacer
        purse = wallet.purse
        columns = batch.columns
        known = purse.known_rows(ids)
        if known.any():
            columns[:count, R_FLAGS] |= known * KNOWN
        funnel, counting = self.funnel, self.funnel.counting
        funnel.room(count)
        creatives = table.creatives
        decide_rows(
            now_ns, count,
            batch.values(), columns, batch.record(), batch.external, batch.row_blocks(),
            table.active, self._base, table.rows, table.refusals, table.columns, table.caps,
            wallet.paces.starts, wallet.paces.places, table.modifier_rows, table.modifier_factors, self._shades,
            self._discrepancies, self.brakes.reasons, table.aims,
            creatives.columns, creatives.starts, creatives.rows, creatives.blocks, self._shown.impressions,
            self._shown.clicks, slots.columns, slots.lists, slots.durations, slots.native_ok,
            *self._model_arrays, self._prepared.line_masks, *self.values.arrays().in_order(),
            self._law, batch.codes(), *self.shading.arrays(), self.explored.left,
            wallet.available, wallet.lease_until, purse.unit, wallet.chains, purse.chain_start, purse.chain_accounts,
            *self.caps.arrays(),
            pacer.rows, pacer.counts, self.targets.rows, wallet.offered, funnel.stages, funnel.counters, counting,
            batch.out, batch.logged,
            self._scratch_left, self._scratch_mask, self._scratch_rows,
        )  # fmt: skip

    def _conclude(self, ids: NDArray[np.uint8], count: int, now_ns: int) -> None:
        """Writes the bids of the batch, counts, and sets money aside."""
        batch, writer, table, funnel = self._batch, self._writer, self.table, self.funnel
        rows = batch.rows
        # Plain lists: reading an array number by number costs more than all of it at once.
        out = batch.out[:count].tolist()
        asked, reserved, tags = 0, list[int](), list[int]()
        logged: list[list[float]] = []
        for number, row in enumerate(rows):
            line = out[number][0]
            call = row.call
            asked += not call.test and out[number][2] != _DUPLICATE
            if line < 0:
                row.end(out[number][O_REASON])
                continue
            if not logged:
                logged = batch.logged[:count].tolist()
            if not call.test:
                reserved.append(number)
                tags.append(tag_of(self.caps.tag(line, call.visitor.user), call.exchange.index))
            writer.bid(row, out[number], logged[number], now_ns)
        if funnel.counting:
            funnel.counted(asked)
        elif asked:
            counted = [n for n, row in enumerate(rows) if not row.call.test and out[n][2] != _DUPLICATE]
            record = batch.record_of(counted)
            self.matches.append(
                encode_match(table, self._prepared.fingerprint, self._base[0], asked, record, now_ns)
            )
        if reserved:
            self._reserve(reserved, tags, ids, now_ns)
            self.targets.made(batch, reserved, now_ns)
        batch.clear()

    def _reserve(self, numbers: list[int], tags: list[int], ids: NDArray[np.uint8], now_ns: int) -> None:
        """Sets the money of the batch's bids aside; the kernel has seen that it is there."""
        batch, wallet = self._batch, self.wallet
        picked = np.array(numbers, dtype=np.int64)
        out, columns = batch.out[picked], batch.columns[picked]
        result_ns = columns[:, R_RESULT_NS].copy()
        calls = [batch.rows[n].call for n in numbers]
        # Once won a bid's money waits as long as its token says, however soon its result was expected.
        liable_ns = [call.now_ns + call.exchange.result_ns + call.exchange.billing_ns for call in calls]
        wallet.reserve(ids[picked], out, columns[:, R_QUANTITY], tags, result_ns, liable_ns)
        for row, amount in zip(out[:, 0].tolist(), out[:, O_AMOUNT].tolist(), strict=True):
            self.brakes.reserve(row, amount, now_ns)
        groups = wallet.paces.first[out[:, 0]]
        self.explored.take(ids[picked], batch.logged[picked], groups, out, max(liable_ns), now_ns)

    def _count(self, calls: Sequence[Call], now_ns: int) -> None:
        """Counts what became of the opportunities of some requests."""
        self.repaired += sum([call.repaired for call in calls])
        ended = [reason for call in calls if not call.test for reason in call.reasons]
        self.opportunities += len(ended)
        if ended and self.traffic.count(len(ended), now_ns) and self.settings.pacing.learn_shape:
            self._shape = self.traffic.shape(self._shape)
            self._pacer.reshape(self._shape, now_ns)
        reasons = self.reasons
        for reason, count in Counter(ended).items():
            reasons[reason] = reasons.get(reason, 0) + count

    # -- settle, tick, adopt --------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement], now_ns: int) -> None:
        """Takes over what the bank booked of this seat's bids; of another epoch only pacing hears, by leases."""
        seat, epoch = self.settings.seat, self.epoch
        self._settle([one for one in settlements if one.seat == seat and one.epoch == epoch], now_ns)

    def settle_records(self, records: Sequence[Settlements], now_ns: int) -> None:
        """`settle` of records of many rows, without an object a row."""
        seat, epoch = self.settings.seat, self.epoch
        ours = [record for record in records if record.seat == seat and record.epoch == epoch]
        own = [record.rows for record in ours]
        self._settle(own[0] if len(own) == 1 else [row for rows in own for row in rows], now_ns)
        for record in ours:
            self.wallet.hear(record)

    def _settle(self, own: Sequence[Settlement | SettlementRow], now_ns: int) -> None:
        if not own:
            return
        settled = self.wallet.settle(own, self.table.index, self._pacer, now_ns)
        self.late_wins += settled.late
        for exchange, first, billed, delay_ns in settled.heard:
            if first:
                self.waits.heard[exchange].add(delay_ns)
            if billed:
                self.waits.billed[exchange].add(delay_ns)
        for row in own:
            if row.kind is SettlementKind.POSTED and row.at_ns:
                self.loop.add(now_ns - row.at_ns)
        self.targets.settle(own)
        for line, nanos, bid_at_ns in settled.spent:
            self.brakes.spend(line, nanos, bid_at_ns or now_ns)
        self.explored.settle(own)
        self.caps.won(settled.won_tags, now_ns, now_ns + self.settings.longest_wait_ns)
        self.caps.shown(settled.posted_tags)
        self.caps.freed(settled.freed_tags)

    def expose(self, exposures: Sequence[Exposure], now_ns: int) -> None:
        """Counts what users were shown, for caps; each bid once."""
        self.caps.take(exposures, now_ns)

    def brake(self, brakes: Sequence[Brake], now_ns: int) -> None:
        """Stops what may not bid any more, and lets go what may again, from the next batch on."""
        self.brakes.take(brakes, now_ns)

    def profile(self, profiles: Sequence[Profile]) -> None:
        """Takes user profiles: segments of our own knowledge."""
        for one in profiles:
            self.gate.profiles.take(one)

    def count_creatives(self, counts: Sequence[CreativeCounts]) -> None:
        """Takes how often creatives were shown and clicked, for the choice between them."""
        self._shown.take(counts)

    def tick(self, now_ns: int) -> SliceReport:
        """Ends what time ends, solves the plan again, and says how this seat's slices stand."""
        self._turn(now_ns)
        wallet = self.wallet
        self.caps.freed(wallet.expire(now_ns))
        self.caps.tidy(now_ns)
        self.targets.expire(now_ns)
        self.waits.refresh()
        self._refresh(now_ns)
        self._sequence += 1
        # Whole at the begin of an epoch and now and then, for a bank that has just started.
        due = self.epoch != self._told_epoch or self._sequence % _TICKS_A_WHOLE_REPORT == 0
        self._told_epoch = self.epoch
        whole, rows = wallet.rows(now_ns, whole=due)
        return SliceReport(
            seat=self.settings.seat,
            epoch=self.epoch,
            seq=self._sequence if self.epoch else 0,
            start_id=self.start_id,
            at_ns=now_ns,
            rows=rows,
            whole=whole,
            trips=self.brakes.untold(now_ns),
            paces=paces_of(self._pacer) if whole and self._pacer is not None else (),
        )

    def _refresh(self, now_ns: int) -> None:
        wallet = self.wallet
        self._pacer.refresh(now_ns, wallet.budgets, wallet.shares, wallet.spent, wallet.group_books())
        self.explored.refresh(now_ns, wallet.shares)
        self.targets.refresh(now_ns, self._pacer.plan(now_ns))

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
            self.wallet.lease(lease)
        self.wallet.sync()
        self._refresh(now_ns)

    def prepare(
        self,
        campaigns: Mapping[str, Campaign],
        version: int,
        advertisers: Mapping[str, Advertiser] | None = None,
    ) -> Prepared:
        """Makes the table of campaigns; reads nothing of the engine that changes, so a thread may do it.

        Raises:
            InputError: a campaign that this engine cannot serve.
        """
        return Prepared.of(campaigns, version, advertisers, self.settings, self._model)

    def adopt_campaigns(
        self,
        campaigns: Mapping[str, Campaign],
        version: int,
        now_ns: int,
        advertisers: Mapping[str, Advertiser] | None = None,
    ) -> None:
        """Replaces the campaigns as a whole; money, multipliers, caps and funnels go on where ids stay.

        Raises:
            InputError: a campaign that this engine cannot serve; nothing changes then.
        """
        self._install(self.prepare(campaigns, version, advertisers), now_ns)

    def open_accounts(self, prepared: Prepared, begin: int, end: int, now_ns: int) -> None:
        """Opens the accounts of some rows ahead of `adopt`, which is quick then; otherwise changes nothing."""
        self.wallet.open(prepared.charges, begin, end, now_ns)

    def adopt(self, prepared: Prepared, now_ns: int) -> None:
        """Goes on with what `prepare` made."""
        self._install(prepared, now_ns)

    def adopt_model(self, model: Model, now_ns: int, own: Own | None = None) -> None:
        """Goes on with other models; the campaigns stay. `own` is what line items bring, where made."""
        self._use_model(model)
        self._install(self._prepared.scored_by(model, own), now_ns)

    def adopt_shading(self, shading: Shading, now_ns: int) -> None:
        """Goes on with another landscape; model and campaigns stay."""
        self.shading = shading
        self._use_model(self._model)
        self._install(self._prepared, now_ns)

    def _install(self, prepared: Prepared, now_ns: int) -> None:
        table = prepared.table
        pacing = self.settings.pacing
        self._prepared = prepared
        self.brakes.install(prepared.watched, now_ns)
        self.wallet.install(table, prepared.charges, now_ns)
        self.explored.install(prepared.charges.paces.groups)
        pacer = Pacer(prepared.charges.paces.groups, self._shape, pacing, now_ns)
        pacer.adopt(self._pacer)
        self._pacer = pacer
        self.table = table
        self.targets.install(table, self.wallet.paces.first)
        self._slots = SlotBook(table)
        self._batch.adopt(table, self._slots, Showing(table, self._slots))
        self._writer.adopt(table)
        self.funnel.install(table)
        self.caps.install(table)
        self.values.install(table, prepared.line_values)
        self._base = table.base.copy()
        self._wake(now_ns)
        self._scratch_left: NDArray[np.uint64] = np.zeros(table.words, dtype=np.uint64)
        self._shown.install(table.creatives)
        self._refresh(now_ns)

    # -- what it knows, for reports -------------------------------------------------------------------------

    def status(self, now_ns: int) -> dict[str, Status]:
        """Figures of each line item at this seat."""
        return statuses(self.table, self.wallet, self._pacer, self.funnel, self.targets, now_ns)

    def locked(self) -> dict[str, tuple[int, int]]:
        """Of each campaign, nanos locked in reservations and nanos spent, at this seat."""
        return self.wallet.of_campaigns(self.table)
