"""The core decides and does nothing else: no clock, no chance, no log, no I/O, no waiting."""

import ast
from pathlib import Path

import pytest

from tests.support.tree import name_of, sources

PURE = ("bidder/core/", "bidder/openrtb/", "bidder/privacy/", "bidder/money.py", "simulator/exchange/")
MODULES = frozenset(
    {
        *("asyncio", "concurrent", "multiprocessing", "threading", "subprocess", "signal", "select"),
        *(
            "time",
            "datetime",
            "random",
            "secrets",
            "uuid",
            "logging",
            "os",
            "io",
            "socket",
            "ssl",
            "sqlite3",
            "psycopg",
        ),
        *("pathlib", "tempfile", "aiokafka", "uvloop", "httptools", "typer", "rich", "urllib.request"),
    }
)
"""Modules with a clock, chance, a log, files, sockets or other processes in them."""
NAMES = frozenset(
    {
        *(
            "now",
            "utcnow",
            "today",
            "time_ns",
            "monotonic",
            "monotonic_ns",
            "perf_counter",
            "perf_counter_ns",
        ),
        *("urandom", "default_rng", "getrandbits", "token_bytes", "token_hex", "uuid4", "getLogger"),
    }
)
"""What gives the time or a chance, whichever way it was imported."""
BUILTINS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint"})


def impurities(source: str) -> list[str]:
    """Lines of `source` that a pure module must not have."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if bad := [n.name for n in names if _forbidden(n.name)]:
                found.append(f"line {node.lineno}: import {bad[0]}")
            case ast.ImportFrom(module=str(module)) if _forbidden(module):
                found.append(f"line {node.lineno}: from {module}")
            case ast.ImportFrom(names=names) if bad := [n.name for n in names if n.name in NAMES]:
                found.append(f"line {node.lineno}: import of {bad[0]}")
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.append(f"line {node.lineno}: it waits")
            case ast.Attribute(attr=attr) if attr in NAMES:
                found.append(f"line {node.lineno}: .{attr}")
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random"):
                found.append(f"line {node.lineno}: numpy.random")
            case ast.Call(func=ast.Name(id=name)) if name in BUILTINS:
                found.append(f"line {node.lineno}: {name}()")
            case ast.Global():
                found.append(f"line {node.lineno}: global")
            case _:
                pass
    return found


def _forbidden(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in MODULES)


@pytest.mark.parametrize("path", sources(*PURE), ids=name_of)
def test_a_pure_module_has_no_clock_chance_log_or_io(path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import time_ns",
        "import os.path",
        "from concurrent.futures import Future",
        "import urllib.request",
        "from datetime import datetime",
        "def f(clock):\n    return clock.now()",
        "import numpy as np\nx = np.random.rand()",
        "from numpy.random import default_rng",
        "async def f(): ...",
        "def f():\n    print(1)",
        "def f(p):\n    return open(p)",
        "x = 0\ndef f():\n    global x\n    x = 1",
    ],
)
def test_what_is_not_pure_is_found(source: str) -> None:
    assert len(impurities(source)) >= 1


@pytest.mark.parametrize(
    "source",
    ["import numpy as np", "import urllib.parse", "from bidder.money import parse_decimal", "now_ns = 1"],
)
def test_what_is_pure_is_left_alone(source: str) -> None:
    assert impurities(source) == []


def _jit_options(source: str) -> list[str]:
    """Names of the options of every `njit` and `jit` in a source."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        keyword.arg or "**"
        for call in calls
        if isinstance(call.func, ast.Name | ast.Attribute)
        and (call.func.id if isinstance(call.func, ast.Name) else call.func.attr) in {"njit", "jit"}
        for keyword in call.keywords
    ]


@pytest.mark.parametrize("path", sources("bidder/", "models/", "simulator/"), ids=name_of)
def test_no_kernel_is_compiled_with_fast_or_parallel_arithmetic(path: Path) -> None:
    """Both may change the last bit of a score from one machine to the next."""
    assert {"fastmath", "parallel", "**"}.isdisjoint(_jit_options(path.read_text()))


def test_options_of_kernels_are_read() -> None:
    assert _jit_options("@njit(fastmath=True, cache=True)\ndef f(): ...") == ["fastmath", "cache"]
    every = [option for path in sources("bidder/", "models/") for option in _jit_options(path.read_text())]
    assert every.count("cache") > 3
