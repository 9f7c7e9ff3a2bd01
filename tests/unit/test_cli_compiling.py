"""That kernels are being compiled is said, once, and only where it is so."""

import numba
import pytest

from bidder.cli.compiling import compiling_told

jitted = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def compile_two() -> None:
    for kernel in (numba.njit(lambda x: x + 1), numba.njit(lambda x: x + 2)):
        kernel(1)


@jitted
def test_compiling_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    with compiling_told():
        compile_two()
    out, err = capfd.readouterr()
    assert (out, err.count("compiling the kernels")) == ("", 1)


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_is_said_where_it_is_unasked_for_or_untrue(
    capfd: pytest.CaptureFixture[str], quiet: bool
) -> None:
    with compiling_told(quiet=quiet):
        if quiet:
            compile_two()
    assert capfd.readouterr() == ("", "")


@jitted
def test_nothing_is_said_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with compiling_told():
        pass
    compile_two()
    assert capfd.readouterr() == ("", "")
