"""`clearbid models registry ...`: the models there are, which one decides, and how that came about."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.commands.options import Json, Model, Who

if TYPE_CHECKING:
    from models.registry import Entry, Kept

Folder = Annotated[Path, typer.Argument(metavar="REGISTRY", help="Folder of models.", show_default=False)]
Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="champion, challenger, or 4 or more digits of a hash.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the audit log.")]
app = typer.Typer(no_args_is_help=True, help="Keep models, say which one decides, and go back.")


@app.command("list")
def list_(registry: Folder, json: Json = False) -> None:
    """List the models: champion, challenger, archived (had a place once) and candidate (never had one)."""
    from models.registry import ModelRegistry

    found = ModelRegistry(registry).models()
    if json:
        _out({"path": str(registry), "models": [_described(one) for one in found]})
        return
    from rich.console import Console

    Console().print(_listed(found))


@app.command()
def show(registry: Folder, name: Name = "champion", json: Json = False) -> None:
    """Check one model and print what it is."""
    from models.commands.train import print_bundle
    from models.registry import ModelRegistry

    kept = ModelRegistry(registry)
    bundle = kept.bundle(name)
    print_bundle(bundle, json=json, status=kept.status_of(bundle.hash))


@app.command()
def add(
    registry: Folder,
    directory: Model,
    challenger: Annotated[bool, typer.Option("--challenger", help="Make it the challenger too.")] = False,
    reason: Reason = "added by hand",
    who: Who = None,
    json: Json = False,
) -> None:
    """Copy a model into the registry, which is made where it is not there, and check the copy."""
    from models.artifact import load_bundle
    from models.registry import ModelRegistry
    from models.scorer import Scorer

    Scorer(load_bundle(directory))  # a model that the bidder would refuse must fail here, not there
    kept = ModelRegistry(registry, by=who)
    _changed(kept, kept.add(directory, reason, challenger=challenger), json=json)


@app.command()
def promote(
    registry: Folder,
    name: Name,
    new_schema: Annotated[
        bool, typer.Option("--new-schema", help="Features or goal may be others than the champion's.")
    ] = False,
    reason: Reason = "promoted by hand",
    who: Who = None,
    json: Json = False,
) -> None:
    """Make a model the champion: running bidders take it within seconds."""
    from models.registry import ModelRegistry
    from models.scorer import Scorer

    kept = ModelRegistry(registry, by=who)
    wanted = kept.hash_of(name)  # once: an alias may name another model after the check
    Scorer(kept.bundle(wanted))
    _changed(kept, kept.promote(wanted, reason, new_schema=new_schema), json=json)


@app.command()
def rollback(
    registry: Folder, reason: Reason = "rolled back by hand", who: Who = None, json: Json = False
) -> None:
    """Make the champion before the champion again; once more goes one further back."""
    from models.registry import ModelRegistry

    kept = ModelRegistry(registry, by=who)
    _changed(kept, kept.rollback(reason), json=json)


@app.command()
def archive(
    registry: Folder,
    name: Name = "challenger",
    reason: Reason = "archived by hand",
    who: Who = None,
    json: Json = False,
) -> None:
    """Take a model out of the challenger's place; it is kept."""
    from models.registry import ModelRegistry

    kept = ModelRegistry(registry, by=who)
    _changed(kept, kept.archive(name, reason), json=json)


@app.command()
def log(
    registry: Folder,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many lines, the newest.")] = 50,
    json: Json = False,
) -> None:
    """Check the audit log and print it."""
    from models.registry import ModelRegistry

    entries = ModelRegistry(registry).log()
    if json:
        import msgspec

        _out({"path": str(registry), "entries": [msgspec.to_builtins(one) for one in entries[-last:]]})
        return
    from rich.console import Console

    Console().print(_logged(entries, last))


def _described(one: "Kept") -> dict[str, Any]:
    import msgspec

    return {
        "hash": one.hash,
        "status": one.status,
        "damage": one.damage or None,
        "manifest": msgspec.to_builtins(one.manifest) if one.manifest else None,
    }


def _changed(kept: Any, wanted: str, *, json: bool) -> None:
    """Says of which model it was, and what the aliases are now."""
    aliases = kept.aliases()
    if json:
        _out({"path": str(kept.path), "model": wanted, "aliases": aliases})
        return
    sys.stdout.write(f"model {wanted[:12]}\n")
    for alias in ("champion", "challenger"):
        sys.stdout.write(f"{alias:<11}{aliases.get(alias, 'none')[:12]}\n")


def _out(value: dict[str, Any]) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def _listed(found: "list[Kept]") -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.pages.text import moment

    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption="NE: normalized entropy on test rows, below 1 is better; `show` says by which labels",
    )
    for head in ("model", "status", "data until", "rows", "features", "NE ctr", "NE cvr"):
        table.add_column(head, justify="right" if head in {"rows", "NE ctr", "NE cvr"} else "left")
    for one in found:
        if one.manifest is None:
            table.add_row(one.hash[:12], f"{one.status}, damaged", one.damage)
            continue
        manifest = one.manifest
        shown = [report.after.normalized_entropy for report in manifest.models.values()][:2]
        table.add_row(
            one.hash[:12],
            one.status,
            moment(manifest.window_ns[1], "%Y-%m-%d %H:%M"),
            f"{sum(manifest.rows.values()):,}",
            f"spec {manifest.spec_hash[:8]}",
            *("-" if value is None else f"{value:.4f}" for value in shown),
        )
    return table


def _logged(entries: "list[Entry]", last: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.pages.text import counted, moment

    head = entries[-1].hash[:16] if entries else "-"
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption=f"{counted(len(entries), 'line')}, unaltered; hash of the last {head}",
    )
    for name in ("line", "when", "who", "what", "model", "why"):
        table.add_column(name, justify="right" if name == "line" else "left", no_wrap=name != "why")
    for one in entries[-last:]:
        table.add_row(
            str(one.number),
            moment(one.at_ns, "%Y-%m-%d %H:%M:%S"),
            one.by,
            one.event,
            one.model[:8] or "-",
            one.reason,
        )
    return table
