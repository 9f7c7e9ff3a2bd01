"""A table as a frame: polars where it is installed, else pandas."""

from importlib import import_module
from typing import Any

import pyarrow as pa

from bidder.errors import InputError


def frame_of(table: pa.Table) -> Any:
    """A table as `polars.DataFrame`, or where only pandas is installed as `pandas.DataFrame`.

    Either keeps the types of the table: int64 stays int64 where cells are null, so that money stays exact.

    Raises:
        InputError: neither is installed.
    """
    polars = _library("polars")
    if polars is not None:
        return polars.from_arrow(table)
    pandas = _library("pandas")
    if pandas is not None:
        # Plain pandas turns integers with nulls into floats.
        return table.to_pandas(types_mapper=pandas.ArrowDtype)
    raise InputError("a frame needs polars or pandas, has neither: pip install 'clearbid[notebook]'")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # A library that is there but broken must not pass for one that is not.
        if error.name != name:
            raise
        return None
