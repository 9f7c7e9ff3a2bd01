"""The tree: files of a size that one reads, and nothing of the machine that they were written on."""

import re
from pathlib import Path

import pytest

from tests.support.tree import SOURCE, name_of, sources, tracked

MOST_LINES = 500
MOST_TEST_LINES = 850
"""A ratchet: the longest test file there is; lower it when that is split, never raise it."""
_TEXT = {".py", ".md", ".toml", ".txt", ".json", ".css", ".xml", ".properties", ".yml", ".yaml", ".cfg", ""}
# In parts, so that this file does not say what it forbids.
_PLACES = re.compile(
    r"(?<![\w.])/(?:"
    + "|".join(("wor" + "k", "roo" + "t", "hom" + "e", "User" + "s", "mn" + "t"))
    + r")/[\w.]"
)
_REGISTRIES = re.compile(
    "|".join(("py" + r"pi\.org", "python" + "hosted", "npm" + "js", "arti" + "factory", "index-" + "url"))
)
_HOST = re.compile(r"https?://([A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2,})")
_HOSTS = re.compile(
    r"(?:.*\.)?(?:example|test|invalid|localhost|example\.(?:com|org|net)|w3\.org|apache\.org)\Z"
)


def texts() -> list[Path]:
    return [path for path in tracked() if path.suffix in _TEXT]


@pytest.mark.parametrize("path", sources(*(f"{folder}/" for folder in SOURCE)), ids=name_of)
def test_a_source_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_test_files_do_not_grow_without_end() -> None:
    long = {name_of(path): len(path.read_text().splitlines()) for path in sources("tests/", "benchmarks/")}
    assert {name: lines for name, lines in long.items() if lines > MOST_TEST_LINES} == {}


def test_the_top_level_is_the_one_that_was_agreed() -> None:
    folders = {name.split("/")[0] for path in tracked() if "/" in (name := name_of(path))}
    assert folders == {".ci", "bidder", "models", "simulator", "benchmarks", "tests"}


def foreign(text: str) -> list[str]:
    """Paths of a machine, package registries and real hosts that a text names."""
    found = [match[0] for pattern in (_PLACES, _REGISTRIES) for match in pattern.finditer(text)]
    return found + [match[0] for match in _HOST.finditer(text) if not _HOSTS.match(match[1])]


def test_no_file_names_a_place_on_a_machine_or_a_host_that_is_not_ours_to_name() -> None:
    found = {name_of(path): foreign(path.read_text()) for path in texts()}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "work/x",
        "/" + "root/.cache",
        "https://py" + "pi.org/simple",
        "http://tracker" + ".acme.com/x",
    ],
)
def test_what_is_foreign_is_found(text: str) -> None:
    assert foreign(text)


@pytest.mark.parametrize(
    "text", ["https://shop.example/a", "http://127.0.0.1:8080", "tests/works/x", "http://www.w3.org/2000/svg"]
)
def test_what_is_not_foreign_is_left_alone(text: str) -> None:
    assert foreign(text) == []
