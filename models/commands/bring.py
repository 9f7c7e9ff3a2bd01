"""`clearbid models import`."""

from pathlib import Path
from typing import Annotated

import typer

from models.commands.options import Json, check_out


def import_model(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="LightGBM text of a click model.", show_default=False)
    ],
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Impressions it was not trained on, .parquet or .csv.", show_default=False
        ),
    ],
    spec: Annotated[
        Path, typer.Option(metavar="FILE", help="Its features, as a spec.json.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory to write the model to.", show_default=False)
    ],
    conversion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="LightGBM text of a conversion model.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a model that bids out of LightGBM texts that were trained elsewhere."""
    from models.artifact import load_bundle
    from models.bring import bring_model
    from models.commands.train import show
    from models.scorer import Scorer

    check_out(out, folder=True)
    warnings: list[str] = []
    bring_model(file, spec, table, out, conversion, warnings.append)
    Scorer(load_bundle(out))  # a model that the bidder would refuse must fail here, not there
    show(out, json=json)
    for said in warnings:
        typer.secho(f"warning: {said}", fg="yellow", err=True)
