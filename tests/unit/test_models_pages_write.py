"""Pages of all commands: refused before the work, and named when they are written."""

import pytest
import typer
from typer.testing import CliRunner

from models.commands import register
from models.errors import TableError
from models.pages.write import check_page, write_page
from tests.support.training import make_table, write_parquet


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    register(found)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "rows.parquet"],
        ["evaluate", "model", "rows.parquet"],
        ["explain", "model", "rows.parquet"],
        ["landscape", "rows.parquet", "--out", "x.landscape"],
        ["calibration", "model", "rows.parquet"],
        ["segments", "rows.parquet", "--out", "segments"],
        ["renew", "registry", "rows.parquet"],
        ["drift", "model", "rows.parquet"],
    ],
)
@pytest.mark.parametrize(
    ("page", "said"),
    [("rows/none/p.html", "rows is a file: name another place"), ("folder", "is a folder: name")],
)
def test_a_page_that_can_not_be_is_refused_before_anything_is_read(
    app, tmp_path, monkeypatch, arguments, page, said
):
    """Neither model nor table is there: whoever read first would say so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows").write_text("")
    done = CliRunner().invoke(app, ["models", *arguments, "--page", page])
    assert isinstance(done.exception, TableError), done.output
    assert str(done.exception).startswith(f"--page {page} must be")
    assert said in str(done.exception)


def test_a_page_is_written_or_named_with_what_to_do(tmp_path):
    check_page(None)
    check_page(tmp_path / "p.html")
    write_page(tmp_path / "p.html", "\N{EN DASH}")
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == "\N{EN DASH}"
    with pytest.raises(TableError, match="must be writable: Is a directory; name another file"):
        write_page(tmp_path, "")


def test_the_page_is_named_on_stdout_but_not_in_json(app, tmp_path):
    rows, page = write_parquet(tmp_path / "rows.parquet", make_table(600)), tmp_path / "p.html"
    spec = tmp_path / "spec.toml"
    spec.write_text('[[feature]]\nname = "domain"\nkind = "categorical"\n')
    given = ["models", "audit", str(rows), "--features", str(spec), "--page", str(page)]
    assert f"Page: {page}" in CliRunner().invoke(app, given).stdout
    assert "Page: " not in CliRunner().invoke(app, [*given, "--json"]).stdout
