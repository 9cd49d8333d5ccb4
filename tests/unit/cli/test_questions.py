"""export and sql: arguments that say nothing, and packages that are not there."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import call
from support.pages import frame, write_page


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two records."""
    first = frame(0, b"first", time=1)
    write_page(tmp_path / "log", [first, frame(len(first), b"second", time=2)])
    return tmp_path / "log"


def said(*arguments: object, code: int = 2) -> str:
    """Run a command; return its one line on stderr."""
    done = call(*arguments)
    told = done.stderr.decode()
    assert (done.returncode, told.count("\n")) == (code, 1), told
    return told


def test_an_export_that_is_none_is_refused(log: Path, tmp_path: Path) -> None:
    """In one line with what to write, before anything is made."""
    for arguments, words in (
        (("-o", "x.txt"), "the ending of 'x.txt' is none of .jsonl, .csv, .parquet, .arrow: --format"),
        (("-o", "x.jsonl", "--columns", "a:int"), "--columns is for csv, parquet and arrow"),
        (("-o", "x.csv", "--columns", "a:number"), "'a:number' is not FIELD:TYPE, with one of str, int"),
        (("-o", "x.csv", "--columns", "pid"), "there is a column 'pid' already"),
        (("-o", tmp_path, "--format", "jsonl"), "it is no regular file"),
        (("-o", "/dev/full", "--format", "jsonl"), "it is no regular file"),
        (("-o", tmp_path / "none" / "x.jsonl"), "x.jsonl: No such file or directory"),
        (
            ("-o", tmp_path / "none" / "x", "--format", "jsonl", "--partition", "day"),
            "No such file or directory",
        ),
        (("-o", "x.jsonl", "--since", "never"), "never"),
        (("-o", "x.jsonl", "--grep", "("), "regular expression"),
    ):
        assert words in said("export", log, *arguments)
    assert "no log" in said("export", tmp_path / "nothing", "-o", tmp_path / "x.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["log"]
    assert not os.path.exists("x.jsonl")


def test_what_is_not_installed_is_named_with_what_installs_it(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without it the command's help and JSON lines are there."""
    for name in ("pyarrow", "duckdb"):
        monkeypatch.setitem(sys.modules, name, None)
    for layout in ("csv", "parquet", "arrow"):
        told = said("export", log, "-o", tmp_path / f"x.{layout}")
        assert told == f"disklog-mp: export to {layout} needs pyarrow: pip install 'disklog-mp[arrow]'\n"
    assert "sql needs duckdb: pip install 'disklog-mp[sql]'" in said("sql", log, "select 1")
    assert call("sql", "--help").returncode == call("export", "--help").returncode == 0
    with pytest.raises(ImportError, match="pip install 'disklog-mp\\[arrow\\]'"):
        __import__("disklog_mp").Reader(log).to_arrow()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        __import__("disklog_mp").Reader(log).to_pandas()
    assert said("export", log, "-o", tmp_path / "x.jsonl", code=0).startswith("disklog-mp: 2 records written")
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 2


def test_damaged_records_are_told_and_the_others_exported(log: Path, tmp_path: Path) -> None:
    """In one line, with exit code 1; a resumed export tells of what is behind its beginning only."""
    page = next(log.glob("page-*"))
    data = bytearray(page.read_bytes())
    data[data.index(b"first")] ^= 1
    page.write_bytes(data)
    for more in ([], ["--partition", "day", "--format", "jsonl"]):
        out = tmp_path / ("out" if more else "x.jsonl")
        done = call("export", log, "-o", out, *more)
        told = done.stderr.decode().splitlines()
        assert (done.returncode, len(told)) == (1, 2)
        assert "corrupt range of 32 bytes" in told[0]
        assert told[1] == f"disklog-mp: 1 record written to {out}"
        said("export", log, "-o", out, *more, "--resume", code=0)


def of_another_log(path: Path) -> None:
    """Make the log one whose second record is another one."""
    first = frame(0, b"fIrst", time=1)
    write_page(path, [first, frame(len(first), b"second", time=3)])


def cut(path: Path) -> None:
    """Make the log one that ends before what was exported."""
    write_page(path, [frame(0, b"first", time=1)])


@pytest.mark.parametrize("change", [of_another_log, cut])
def test_json_lines_of_another_log_are_not_resumed(
    log: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """The last record that was exported must still be that record."""
    file = tmp_path / "x.jsonl"
    said("export", log, "-o", file, code=0)
    before = file.read_bytes()
    change(log)
    told = said("export", log, "-o", file, "--resume")

    assert told.endswith(f"{file} cannot be resumed: its last record, number 1, is not in this log\n")
    assert file.read_bytes() == before


def test_a_file_that_is_no_export_is_not_resumed(log: Path, tmp_path: Path) -> None:
    """Text of any kind, and a line without an end."""
    file = tmp_path / "x.jsonl"
    for text in (
        "no JSON\n",
        "[]\n",
        "{}\n",
        '{"number":1}\n',
        '{"number":1}',
        "\n",
        "\xff\n",
        "{" * 100_000 + "\n",
    ):
        file.write_text(text, encoding="latin-1")
        assert "cannot be resumed" in said("export", log, "-o", file, "--resume")
        assert file.read_text(encoding="latin-1") == text


def test_a_long_last_line_is_found(tmp_path: Path) -> None:
    """One that is longer than what is looked at first."""
    first = frame(0, b"x" * 300_000, time=1)
    write_page(tmp_path / "log", [first])
    file = tmp_path / "x.jsonl"
    said("export", tmp_path / "log", "-o", file, code=0)
    write_page(tmp_path / "log", [first, frame(len(first), b"second", time=2)])
    said("export", tmp_path / "log", "-o", file, "--resume", code=0)

    assert [json.loads(line)["number"] for line in file.read_bytes().splitlines()] == [0, 1]


def test_a_journal_that_is_none_is_refused(log: Path, tmp_path: Path) -> None:
    """One line, and the directory stays."""
    out = tmp_path / "out"
    how = ("export", log, "-o", out, "--partition", "day", "--format", "jsonl", "--resume")
    said(*how, code=0)
    for text in (
        "",
        "[]",
        "{}",
        '{"columns":["jsonl"],"cursor":"x","parts":[]}',
        '{"columns":1,"cursor":null}',
    ):
        (out / ".disklog-export.json").write_text(text)
        said(*how)
    assert len(list(out.glob("day=*/*"))) == 1
