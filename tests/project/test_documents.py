"""What the documents say is there: commands, options, settings, reasons, topics, errors, the version."""

import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from bidder import errors
from bidder.cli.main import build_app
from bidder.config import Config
from bidder.core import messages
from bidder.core.engine import FUNNEL
from bidder.core.settings import ExchangeRules
from bidder.openrtb.reasons import Reason
from simulator.report.reasons import WORDS
from tests.support.data import ROOT
from tests.support.tree import name_of, tracked

_COMMAND = re.compile(r"(?:`|^)clearbid ([a-z][a-z-]*(?: [a-z][a-z-]*){0,2})(.*)", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_ROOT = typer.main.get_command(build_app())


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def _subcommands(command: object) -> dict[str, object]:
    found: dict[str, object] = getattr(command, "commands", {})
    return found


def unknown_commands(text: str) -> list[str]:
    """Commands and options after `clearbid` in a text that the command does not have."""
    found = []
    for words, rest in _COMMAND.findall(text):
        command: object = _ROOT
        for word in words.split():
            if word in _subcommands(command):
                command = _subcommands(command)[word]
            elif _subcommands(command):
                found.append(f"{words}: {word}")
                break
        else:
            found += [f"{words}: {option}" for option in _options(rest) if option not in _known(command)]
    return found


def _options(rest: str) -> list[str]:
    """Options up to where the code ends."""
    return _OPTION.findall(rest.partition("`")[0])


def _known(command: object) -> set[str]:
    return {"--help"} | {option for each in getattr(command, "params", ()) for option in each.opts}


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_every_command_that_a_document_names_exists(path: Path) -> None:
    assert unknown_commands(path.read_text()) == []


def test_documents_name_commands_at_all() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(_COMMAND.findall(text)) > 3


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("run `clearbid dmeo`", ["dmeo: dmeo"]),
        ("`clearbid campaigns list --jsn`", ["campaigns list: --jsn"]),
        ("clearbid models trian", ["models trian: trian"]),
        ("`clearbid replay RUN --json`; --other", []),
        ("clearbid demo --rows 5\n", []),
        ("clearbid demo --rwos 5\n", ["demo: --rwos"]),
        ("clearbid models registry add REGISTRY model --chalenger", ["models registry add: --chalenger"]),
        ("clearbid models registry ad", ["models registry ad: ad"]),
        ("Clearbid demo", []),
    ],
)
def test_a_wrong_command_is_found(text: str, wrong: list[str]) -> None:
    assert unknown_commands(text) == wrong


def sections() -> list[tuple[str, type[msgspec.Struct]]]:
    """Every section of the configuration and its type."""
    found = [(field.name, field.type) for field in msgspec.structs.fields(Config)]
    named = [("exchanges", ExchangeRules)]
    return [(name, kind) for name, kind in found if isinstance(kind, type)] + named


@pytest.mark.parametrize(
    ("name", "kind"), sections(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_setting_is_explained(name: str, kind: type[msgspec.Struct]) -> None:
    said = inspect.getdoc(kind) or ""
    missing = [
        field.name for field in msgspec.structs.fields(kind) if not re.search(rf"\b{field.name}\b", said)
    ]
    assert missing == []


def test_there_are_sections_to_explain() -> None:
    assert {name for name, _ in sections()} == {field.name for field in msgspec.structs.fields(Config)}


def test_every_reason_and_every_step_of_the_funnel_has_words() -> None:
    named = {reason.name for reason in Reason} | {name.upper() for name in FUNNEL}
    assert named - WORDS.keys() == {"BID", "ELIGIBLE"}


def test_no_words_are_left_of_a_reason_that_is_gone() -> None:
    assert WORDS.keys() <= {reason.name for reason in Reason} | {name.upper() for name in FUNNEL}


def test_every_topic_stands_in_the_table_of_messages() -> None:
    said = messages.__doc__ or ""
    assert [topic for topic in messages.TOPICS if f"| {topic} |" not in said] == []


def test_every_error_stands_in_the_tree_of_errors() -> None:
    said = errors.__doc__ or ""
    kinds = [name for name, kind in vars(errors).items() if inspect.isclass(kind)]
    assert [name for name in kinds if not re.search(rf"\b{name}\b", said)] == []


def test_the_version_is_the_projects() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert CliRunner().invoke(build_app(), ["--version"]).output == f"clearbid {stated}\n"
    assert version("clearbid") == stated
