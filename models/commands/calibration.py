"""`clearbid models calibration`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from models.commands.options import Json, Model, Page, TableFile, check_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.artifact import ModelBundle
    from models.dataset import TrainingTable
    from models.landscape.curves import Landscape
    from models.reliability.change import TableChange
    from models.reliability.page import Shown
    from models.reliability.report import ModelReliability, Sample

    Floats = NDArray[np.float64]

_NOTES = (
    "Of a hundred groups that are right, up to five have an interval that leaves 1 out.",
    "Rows that the model or its calibration was fitted to look better than new ones will.",
    "What was always lost is in no row: no weight speaks for it, and clipped weights speak too softly.",
    "Groups by price are told apart after the auction: a bid can use no more than the mean over the prices it beats.",
)


def calibration(
    directory: Model,
    table: TableFile,
    landscape: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Landscape for the weights; else the table's lost bids give one."),
    ] = None,
    clip: Annotated[float, typer.Option(metavar="W", help="Largest weight of a won row.")] = 20.0,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the calibration again on the earlier 70 % of the rows.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory for the model that was fitted again.")
    ] = None,
    target: Annotated[
        Literal["won", "bids"],
        typer.Option(help="Fit for what is won, or (weighted) for all that is bid on."),
    ] = "won",
    price_factor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Fit a factor by price for clicks too, and write it here; nothing in the bidder reads it yet.",
        ),
    ] = None,
    page: Page = None,
    json: Json = False,
) -> None:
    """Measure whether predictions are right where money is spent; fit the calibration again if asked.

    A calibration that was fitted again is compared with the one before on the later rows: exit code 1 where it is
    worse beyond chance.
    """
    from models.artifact import load_bundle
    from models.errors import ArtifactError, TableError
    from models.pages.write import check_page

    check_page(page)
    check_out(out, folder=True)
    check_out(price_factor, folder=False, name="--price-factor")
    if refit != (out is not None):
        raise ArtifactError("--refit and --out DIR belong together: DIR takes the model fitted again")
    if out is not None and out.resolve() == directory.resolve():
        raise ArtifactError(f"--out must be another directory than {directory}, which stays as it is")
    bundle = load_bundle(directory)
    rows = _read(table, bundle, landscape)
    curves = _landscape(landscape, rows)
    if target == "bids" and curves is None:
        raise TableError(f"--target bids needs lost bids: {table} has none, and no --landscape was named")
    job = _Job(bundle, rows, curves, clip)
    if not refit and price_factor is None:
        states = [[job.measure(name, sample)] for name, sample in job.samples.items()]
    else:
        states = job.fit(out, price_factor, weighted=target == "bids")
    if not job.changes:
        _warn_of_learned(bundle, rows)
    _say(directory, rows, states, job.changes, page, json=json)
    raise typer.Exit(1 if any(change.is_surely_worse for change in job.changes) else 0)


class _Job:
    """A bundle on a table: samples, raw scores, chances to win, made once."""

    def __init__(
        self, bundle: "ModelBundle", rows: "TrainingTable", curves: "Landscape | None", clip: float
    ) -> None:
        from models.artifact import MODEL_NAMES
        from models.reliability.report import chances_of, samples_of
        from models.ripe import horizon_of
        from models.scorer import Scorer

        self.bundle, self.rows, self.clip = bundle, rows, clip
        self.changes: list[TableChange] = []
        scored = Scorer(bundle).score_rows(bundle.spec.encode_table(rows.columns))
        self.samples = samples_of(rows, horizon_of(bundle))
        self.raw = {
            name: scored[self.samples[name].rows, place].copy() for place, name in enumerate(MODEL_NAMES)
        }
        self.chances = None if curves is None else chances_of(rows, curves)

    def measure(self, name: str, sample: "Sample", tables: Any = None, begin: int = 0) -> "Shown":
        """How right one model is on the rows of its sample from `begin` on."""
        from models.calibration import calibrate

        old = self.bundle.calibration[name]
        table = (tables or self.bundle.calibration)[name]
        p = calibrate(table, self.raw[name][begin:])
        state = "as it is" if tables is None else "kept, too few events" if table is old else "fitted again"
        return self._shown(state, name, sample.part(begin, len(sample.rows)), p)

    def fit(self, out: Path | None, price_factor: Path | None, *, weighted: bool) -> "list[list[Shown]]":
        """Fits on the earlier rows, writes what was asked for, and measures on the later ones."""
        from models.reliability.refit import cut_of, refit_bundle, refit_tables

        cuts = {name: cut_of(sample, self.rows) for name, sample in self.samples.items()}
        earlier = {name: sample.part(0, cuts[name]) for name, sample in self.samples.items()}
        raw = {name: scores[: cuts[name]] for name, scores in self.raw.items()}
        states = [[self.measure(name, sample, None, cuts[name])] for name, sample in self.samples.items()]
        tables, served = None, self.bundle
        if out is not None:
            tables = refit_tables(
                self.bundle.calibration, earlier, raw, self.chances if weighted else None, self.clip
            )
            later = {
                name: (self.raw[name][cut:], self.samples[name].part(cut, len(self.samples[name].rows)))
                for name, cut in cuts.items()
            }
            until_ns = max(
                int(self.rows.at_ns[sample.rows[-1]]) for sample in earlier.values() if len(sample.rows)
            )
            note = self._note(earlier, weighted=weighted)
            served = refit_bundle(self.bundle, out, tables, later, note, until_ns)
            for shown, (name, sample) in zip(states, self.samples.items(), strict=True):
                shown.append(self.measure(name, sample, tables, cuts[name]))
                self.changes.append(
                    self._change(name, sample.part(cuts[name], len(sample.rows)), tables, weighted=weighted)
                )
        if price_factor is not None:
            states[0].append(self._factor(served, tables, cuts["ctr"], price_factor))
        return states

    def _change(self, name: str, later: "Sample", tables: Any, *, weighted: bool) -> "TableChange":
        """The table before beside the new one on rows later than those of the fit."""
        import msgspec

        from models.calibration import calibrate
        from models.reliability.change import change_of
        from models.reliability.won import won_weights

        old, raw = self.bundle.calibration[name], self.raw[name]
        before, after = (calibrate(table, raw[len(raw) - len(later.rows) :]) for table in (old, tables[name]))
        learned = int((self.rows.at_ns[later.rows] <= self.bundle.manifest.window_ns[1]).sum())
        kept = tables[name] is old
        if not weighted or self.chances is None:
            return change_of(name, later, before, after, kept=kept, learned=learned)
        winning, _ = won_weights(self.chances[later.rows], self.clip)
        weights = winning if later.sampling is None else winning * later.sampling
        judged = msgspec.structs.replace(later, sampling=weights)
        return change_of(name, judged, before, after, kept=kept, learned=learned, target="bids")

    def _factor(self, served: "ModelBundle", tables: Any, cut: int, path: Path) -> "Shown":
        from models.calibration import calibrate
        from models.errors import TableError
        from models.reliability.factor import fit_price_factor
        from models.reliability.report import price_of
        from models.reliability.store import save_factor

        sample = self.samples["ctr"]
        price = price_of(self.rows, sample)
        if price is None:
            raise TableError(f"--price-factor needs the column price_cpm_micros, {self.rows.source} has none")
        p = calibrate((tables or self.bundle.calibration)["ctr"], self.raw["ctr"])
        sampling = None if sample.sampling is None else sample.sampling[:cut]
        factor = fit_price_factor(p[:cut], sample.labels[:cut], price[:cut], sampling)
        save_factor(path, served.hash, "ctr", factor)
        later = sample.part(cut, len(sample.rows))
        return self._shown("with the factor by price", "ctr", later, factor.apply(p[cut:], price[cut:]))

    def _note(self, earlier: "Mapping[str, Sample]", *, weighted: bool) -> dict[str, object]:
        return {
            "table_sha256": self.rows.sha256,
            "created_from": self.rows.source,
            "rows": {name: len(sample.rows) for name, sample in earlier.items()},
            "target": "bids" if weighted else "won",
            "clip": self.clip if weighted else None,
        }

    def _shown(self, state: str, name: str, sample: "Sample", p: "Floats") -> "Shown":
        from models.reliability.page import Shown
        from models.reliability.report import reliability

        return Shown(state, reliability(name, self.rows, sample, p, self.chances, self.clip))


def _read(table: Path, bundle: "ModelBundle", landscape: Path | None) -> "TrainingTable":
    from models.commands.landscape import read_bids
    from models.landscape.curves import DEFAULT_BY
    from models.landscape.store import load_landscape

    levels = load_landscape(landscape).strata.by if landscape else DEFAULT_BY
    return read_bids(table, levels, bundle.spec.declarations())


def _warn_of_learned(bundle: "ModelBundle", rows: "TrainingTable") -> None:
    """Says how many rows the model may have learned from: on these it looks better than on any to come."""
    begin_ns, end_ns = bundle.manifest.window_ns
    learned = int(((rows.at_ns >= begin_ns) & (rows.at_ns <= end_ns)).sum())
    if learned:
        typer.echo(
            f"warning: {learned:,} of {len(rows):,} rows ({learned / len(rows):.0%}) lie in the training window: the "
            "model may have learned from them, so this calibration is too kind. Judge it by a later table",
            err=True,
        )


def _landscape(path: Path | None, rows: "TrainingTable") -> "Landscape | None":
    """The one that was named, else one of the table itself; None where it has no lost bids to learn from."""
    from models.landscape.curves import fit_landscape
    from models.landscape.store import load_landscape

    if path is not None:
        return load_landscape(path)
    won, bid = rows.extras.get("won"), rows.extras.get("bid_cpm_micros")
    if won is None or bid is None or all(won):
        return None
    levels = [
        level
        for level, there in (("prediction", "pctr" in rows.extras), ("placement", "tag_id" in rows.columns))
        if there
    ]
    return fit_landscape(rows, levels)


def _say(
    directory: Path,
    rows: "TrainingTable",
    states: "list[list[Shown]]",
    changes: "list[TableChange]",
    page: Path | None,
    *,
    json: bool,
) -> None:
    from models.pages.text import counted, moment
    from models.pages.write import write_page
    from models.reliability.change import change_words
    from models.reliability.page import render

    when = (
        f"Model {directory.name} on {rows.source}, {counted(len(rows), 'row')}, {moment(int(rows.at_ns[0]))} to "
        f"{moment(int(rows.at_ns[-1]))}"
    )
    said = [change_words(change) for change in changes]
    if page:
        write_page(page, render(f"Calibration of {directory.name}", when, states, _NOTES, said))
    for words in (words for change, words in zip(changes, said, strict=True) if change.is_worse):
        typer.echo(f"warning: {words}", err=True)
    if json:
        import msgspec

        found = {
            shown[0].found.name: {state.name: msgspec.to_builtins(state.found) for state in shown}
            for shown in states
        }
        report = {"path": str(directory), "table": rows.source, "models": found}
        if changes:
            report["refit"] = {change.name: msgspec.to_builtins(change) for change in changes}
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    from rich.console import Console

    console = Console()
    console.print(when, *(_table(state) for shown in states for state in shown))
    for words in said:
        console.print(words, highlight=False, markup=False)
    if page:
        typer.echo(f"Page: {page}")


def _table(state: "Shown") -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    from models.reliability.page import interval, sentence, value_text, verdict

    found: ModelReliability = state.found
    if found.overall.positives == 0:
        return sentence(found)
    shown = Table(
        title=f"{found.name}, {state.name}", caption=_caption(found), box=SIMPLE_HEAD, pad_edge=False
    )
    for head in ("rows", "up to", "events", "predicted / happened", "as if all were won"):
        shown.add_column(head, justify="left" if head == "rows" else "right")

    def cells(group: Any) -> tuple[str, str]:
        return f"{group.positives:,}", interval(group)

    weighted = interval(found.weighted) if found.weighted else "-"
    shown.add_row("all", "", *cells(found.overall), weighted, end_section=True)
    for key, tenths in found.tenths.items():
        for place, tenth in enumerate(tenths, start=1):
            weighted = interval(tenth.weighted) if tenth.weighted else "-"
            shown.add_row(
                f"{key} {place}",
                value_text(key, tenth.end),
                *cells(tenth.plain),
                weighted,
                end_section=place == len(tenths),
            )
    return Group(f"{sentence(found)} {verdict(found)}.", shown)


def _caption(found: "ModelReliability") -> str:
    from models.pages.text import counted

    won = found.won
    if won is None:
        return "no weights: the table has no lost bids and no landscape was named"
    return (
        f"weights 1 / P(win | bid), clipped at {won.clip:g} in {won.clipped:,} of {counted(won.rows, 'row')}, worth "
        f"{counted(won.effective_rows, 'equal row')}; least chance {won.least_chance:.3g}"
    )
