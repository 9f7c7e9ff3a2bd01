"""What the simulator's commands say where a file is not the one that they need, and where nobody watches a bar."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from bidder.cli.main import build_app
from bidder.errors import InputError
from simulator.bar import progress_bar
from simulator.history.file import History
from simulator.reading import why
from tests.support.data import ROOT
from tests.support.histories import sampled, unbid, written


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampled(tmp_path_factory.mktemp("errors") / "history.parquet", 1_500, 2.0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), [*map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("whatif", "H", "--scores", "none.parquet"), r"columns id \(text\) and click_probability .*: is not there"),
        (("whatif", "H", "--scores", "other.parquet"), "has no click_probability; it has id, x$"),
        (("whatif", "H", "--scores", "text.txt"), r"must be a Parquet file with .*: Parquet magic bytes not found"),
        (("replay", "run", "--campaigns", "a.csv"), "--campaigns must be given with a history, was with the folder"),
        (("replay", "nowhere"), "nowhere must be the folder of a run or a history, is not there"),
        (("replay", "H"), "needs --campaigns SHEET, whose bids to make"),
        (("allocate", "H"), "response curves, is a history: make curves of it by `clearbid estimate"),
        (("allocate", "none.parquet"), "curves none.parquet must be a file that is there: make it by"),
        (("allocate", "other.parquet"), "must have the columns .*: make such a file by `clearbid estimate"),
        (("estimate", "other.parquet"), "must be a history, is another table: make one by `clearbid history`"),
        (("forecast", "H", "--holidays", "none.toml"), "none.toml must be a readable TOML file: is not there"),
        (("estimate", "H", "--out", "no/c.parquet"), "was no/c.parquet: folder no is not there"),
        (("sweep", "H", "--vary", "budget=1", "--out", "run"), "--out must be a file to write, was the folder run$"),
        (("sweep", "H", "--vary", "worth=-1"), r"worth \(of a click or conversion, units of .*\) must be from"),
    ],
)  # fmt: skip
def test_what_is_wrong_what_is_allowed_and_what_to_do_are_said(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "text.txt").write_text("id,click_probability\n")
    pq.write_table(pa.table({"id": ["a"], "x": [1.0]}), tmp_path / "other.parquet")
    done = run(*(history if each == "H" else each for each in arguments))
    assert done.exit_code != 0
    assert isinstance(done.exception, InputError)
    message = str(done.exception)
    assert re.search(said, message), message
    assert "Errno" not in message
    assert "\n" not in message


@pytest.mark.parametrize("command", ["estimate", "whatif", "forecast", "sweep"])
def test_a_history_in_which_nobody_bid_is_said_to_be_one(tmp_path: Path, command: str) -> None:
    path = written(tmp_path / "h.parquet", [unbid(1), unbid(2)]).path
    options = {"whatif": ("--budget", "5"), "sweep": ("--vary", "budget=1")}.get(command, ())
    done = run(command, path, *options)
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception) == f"history {path} must have a campaign that bid, has none"


def test_the_reason_of_an_error_of_the_system_does_not_name_the_file_again(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory") as error:
        tmp_path.read_text()
    assert why(error.value) == "is a directory"
    assert why(ValueError("first\nsecond")) == "first"


def test_where_nobody_watches_no_bar_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar("draws", quiet=False) as progress:
        progress(1, 2)
        progress(2, 2)
    assert capfd.readouterr().err == ""


def test_the_mapping_of_the_readme_makes_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "simulator" / "README.md").read_text()
    part = text.partition("## A table of your own as a history")[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"```(csv|toml)\n(.*?)```", part, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(blocks["csv"])
    Path("mapping.toml").write_text(blocks["toml"])
    command = re.search(r"`clearbid (history log\.csv[^`]*)`", part)
    assert command is not None
    done = run(*command.group(1).split())
    assert done.exit_code == 0, done.output
    made = History("history.parquet")
    rows = next(iter(made.tables())).to_pylist()
    assert made.meta.currency == "EUR"
    assert [row["won"] for row in rows] == [True, False, True]
    assert rows[0]["offered_ns"] == 1_777_593_600_000 * 10**6
    assert [row["paid_nanos"] for row in rows] == [1_800_000, 0, 2_050_000]
    assert rows[0]["worth_nanos"] == 400_000_000
    assert [row["clicked"] for row in rows] == [True, None, False]
    # What the page says next is true: all that estimates need is there.
    assert run("estimate", "history.parquet", "--draws", "10").exit_code == 0
