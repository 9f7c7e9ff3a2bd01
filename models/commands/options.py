"""Options that several commands share: one word for each meaning, one way to refuse what cannot be written.

| word | meaning |
|---|---|
| `TABLE` | rows: the table that a command is about, always by its place; `renew` and `drift` take a pattern too |
| `DIR`, `REGISTRY` | a model, a folder of models |
| `--features FILE` | declarations of features, TOML |
| `--spec FILE` | features of a LightGBM text, a model's `spec.json` |
| `--params FILE` | parameters, TOML; options win over it |
| `--out`, `--page` | what is written: the result, and an HTML page; missing folders above are made |
| `--by COLUMNS` | columns by which rows are parted |
| `--who`, `--reason` | of a change, for the audit log |
| `--every SPAN` | do it again so often |
| `--min-rows`, `--min-users` | fewest of a group |
| `--top`, `--last` | how many to show: the largest, the newest |
| `--draws`, `--seed` | of what is drawn |
"""

from pathlib import Path
from typing import Annotated

import typer

TableFile = Annotated[
    Path, typer.Argument(metavar="TABLE", help="Table of rows, .parquet or .csv.", show_default=False)
]
Model = Annotated[
    Path, typer.Argument(metavar="DIR", help="Directory of a trained model.", show_default=False)
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--features", metavar="FILE", help="Feature declarations, TOML: a table `feature` for each."
    ),
]
Page = Annotated[Path | None, typer.Option("--page", metavar="FILE", help="Write an HTML page too.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Who = Annotated[
    str | None,
    typer.Option("--who", metavar="NAME", help="Who, for the audit log; default: you.", show_default=False),
]


def check_out(path: Path | None, *, folder: bool, name: str = "--out") -> None:
    """Refuses what can not be written, before the work; None is nothing. Missing folders above it are made later.

    Args:
        path: to write. folder: whether it is to be a folder, else a file. name: of the option.

    Raises:
        TableError: it is of the other kind, or can be put into no folder.
    """
    from models.errors import TableError
    from models.paths import no_place_for_file, no_place_for_folder

    why = None if path is None else no_place_for_folder(path) if folder else no_place_for_file(path)
    if why:
        raise TableError(f"{name} {path} {why}")


def refuse_given(context: typer.Context, names: tuple[str, ...], beside: str, why: str) -> None:
    """Refuses options that have no effect beside another one, by name.

    Args:
        context: of the command. names: of the parameters. beside: the option that takes their effect. why: in words.

    Raises:
        TableError: one was given.
    """
    from models.errors import TableError

    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        said = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        them = "it" if len(given) == 1 else "them"
        raise TableError(f"{said} must not stand beside {beside}, {why}: leave {them} out")
