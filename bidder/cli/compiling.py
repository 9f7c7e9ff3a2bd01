"""Says on standard error that kernels are compiled, where they are: the first command on a machine waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer


@contextmanager
def compiling_told(*, quiet: bool = False) -> Iterator[None]:
    """Says it once, as the first kernel within is compiled; nothing where all come out of the cache.

    Args:
        quiet: says nothing at all.
    """
    from numba.core import event

    told = quiet

    class _Told(event.Listener):
        def on_start(self, _event: Any) -> None:
            nonlocal told
            if not told:
                told = True
                typer.echo(
                    "compiling the kernels, once for this machine: half a minute or more ...", err=True
                )

        def on_end(self, _event: Any) -> None:
            pass

    with event.install_listener("numba:compile", _Told()):
        yield
