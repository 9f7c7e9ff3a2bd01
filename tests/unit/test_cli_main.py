"""The command itself: help, version, errors as one line, exit codes, commands of other packages."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bidder.cli import main as cli
from bidder.errors import InvariantError
from models.errors import ArtifactError

_RUN = "from bidder.cli.main import main; main()"


def run(*arguments: str, code: str = _RUN) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=cli.GROUP)


def test_version_is_the_packages() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, "clearbid 0.1.0\n")


def test_help_lists_the_commands_without_loading_what_they_need() -> None:
    heavy = "{'lightgbm', 'numba', 'aiokafka', 'sqlite3', 'pyarrow'}"
    code = f"import sys, atexit; atexit.register(lambda: print(sorted({heavy} & set(sys.modules)))); {_RUN}"
    done = run("--help", code=code)
    assert done.returncode == 0
    assert "campaigns" in done.stdout
    assert "bank" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def commands_of(app: typer.Typer, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    todo: list[tuple[tuple[str, ...], Any]] = [(path, typer.main.get_command(app))]
    while todo:
        words, command = todo.pop()
        yield words, command
        todo += [((*words, name), inner) for name, inner in getattr(command, "commands", {}).items()]


def test_help_says_all_that_stands_in_brackets() -> None:
    app, seen = cli.build_app(), 0
    for words, command in commands_of(app):
        texts = [
            getattr(command, "help", "") or "",
            *(getattr(each, "help", "") or "" for each in command.params),
        ]
        shown = CliRunner().invoke(app, [*words, "--help"]).output
        for name in {found for text in texts for found in re.findall(r"\[[a-z.]+\]", text)}:
            seen += 1
            assert shown.count(name) >= sum(text.count(name) for text in texts), words
    assert seen


def test_help_names_what_an_option_takes_in_one_style() -> None:
    app = cli.build_app()
    for words, _ in commands_of(app):
        shown = CliRunner().invoke(app, [*words, "--help"]).output
        assert "list[Path]" not in shown, words
        assert not re.findall(r"^.*--.*(?:<path>|<int|<float).*$", shown, re.MULTILINE), words


def test_an_error_of_ours_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    done = run("campaigns", "list", "--db", str(tmp_path / "none.db"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("clearbid: error: database ")
    assert done.stderr.count("\n") == 1


def test_a_wrong_argument_exits_with_2() -> None:
    assert run("campaigns", "nothing").returncode == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InvariantError("books differ"), 70, "clearbid: error: books differ\n"),
        (ArtifactError("model is broken"), 2, "clearbid: error: model is broken\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes_follow_the_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail() -> None:
        raise error

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(fail)
    monkeypatch.setattr(cli, "build_app", lambda: app)
    monkeypatch.setattr(sys, "argv", ["clearbid"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == line


def test_a_command_of_another_package_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [point("extra", f"{__name__}:register")])
    result = CliRunner().invoke(cli.build_app(), ["extra"])
    assert (result.exit_code, result.stdout) == (0, "extra ran\n")


def register(app: typer.Typer) -> None:
    """What another package would have."""
    app.command("extra")(lambda: typer.echo("extra ran"))


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("bidder.no_such_module:register", "ModuleNotFoundError: No module named 'bidder.no_such_module'"),
        ("bidder.errors:register", "AttributeError: module 'bidder.errors' has no attribute 'register'"),
    ],
)
def test_a_command_that_cannot_be_loaded_says_so_when_it_is_run(
    monkeypatch: pytest.MonkeyPatch, value: str, cause: str
) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [point("extra", value)])
    app = cli.build_app()
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
    result = CliRunner().invoke(app, ["extra", "--json", "x"])
    assert str(result.exception) == (
        f"command extra ({value}) cannot be loaded: {cause}; install Clearbid again with all its dependencies"
    )


def test_help_takes_less_than_a_second_of_cpu() -> None:
    """The aim is 0.4 s; the limit leaves room for a busy machine."""
    began_s = time.process_time()
    cli.build_app()
    CliRunner().invoke(cli.build_app(), ["--help"])
    assert time.process_time() - began_s < 1.0
