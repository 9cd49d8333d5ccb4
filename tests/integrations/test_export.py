"""Out to questions: export, to_arrow, to_pandas and sql, read back by pyarrow, pandas and DuckDB."""

import base64
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.command import COMMAND, call, run
from support.mounts import fill
from support.pages import GAP, frame, write_page

from disklog_mp import Reader, Record
from disklog_mp._loggers import structured
from disklog_mp._reader import arrow as _arrow
from disklog_mp.cli import _text

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")

DAY = 86400 * 10**9
BEGIN = 1_795_000_000 * 10**9 // DAY * DAY
ODD = b'\xff\x00"a\nb,\r\x1b[31m'
TABLES = ("csv", "parquet", "arrow")
COLUMNS = "user:int,ms:float,owner=cart.owner:str"


class Said(NamedTuple):
    """A record to be written."""

    data: bytes
    tag: int = 0
    time: int = 0
    kind: int = 1


def said(number: int) -> Said:
    """A record of a small shop: every third is text, every tenth odd, one tells of drops."""
    time = BEGIN + number * DAY // 20 + number
    if number == 13:
        return Said(b'{"dropped":2,"since":5}', 0, time, GAP)
    if number % 10 == 7:
        return Said(ODD, 7, time)
    if number % 3 == 0:
        return Said(f"text {number}, käse\n\x01".encode(), 30, time)
    fields = {"user": number, "ms": number / 4, "cart": {"owner": "eve"}, "path": '/a"b'}
    level, tag = ("ERROR", 40) if number % 4 == 1 else ("INFO", 20)
    return Said(structured.encode(time, level, "shop.web", f"bought {number}", fields=fields), tag, time)


def write_pages(path: Path, count: int, *, each: int = 10) -> None:
    """A log of so many records, in pages of ten; a longer one is the same log, gone on."""
    position = 0
    for number in range(0, count, each):
        frames, first = [], position
        for one in map(said, range(number, min(count, number + each))):
            frames.append(frame(position, one.data, kind=one.kind, tag=one.tag, time=one.time))
            position += len(frames[-1])
        page = number // each + 1
        is_last = number + each >= count
        write_page(
            path,
            frames,
            number=page,
            first_position=first,
            first_number=number,
            created=said(number).time,
            last_time=said(min(count, number + each) - 1).time,
            sealed=not is_last,
        )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A log of 45 records over three days."""
    write_pages(tmp_path / "shop", 45)
    return tmp_path / "shop"


def expected(path: Path) -> list[dict[str, Any]]:
    """What every export of the log says, by the reader alone."""
    rows = []
    for record in Reader(path, on_damage=lambda damage: None):
        if record.gap:
            continue
        event = record.event
        odd = base64.b64encode(record.data).decode() if record.data == ODD else None
        text = record.data.decode("utf-8", "backslashreplace")
        level = {20: "INFO", 30: "WARNING", 40: "ERROR"}.get(record.tag)
        rows.append(
            {
                "time": record.timestamp,
                "level": level,
                "logger": event.logger if event else None,
                "message": event.message if event else text,
                "fields": dict(event.fields) if event else None,
                "pid": record.pid,
                "label": None,
                "tag": record.tag,
                "number": record.number,
                "position": record.position,
                "data_base64": odd,
            }
        )
    return rows


def read_back(file: Path) -> list[dict[str, Any]]:
    """What an exported file says, in the same form."""
    layout = file.suffix[1:]
    if layout == "jsonl":
        return [_of_json(json.loads(line)) for line in file.read_bytes().splitlines()]
    if layout == "csv":
        with open(file, encoding="utf-8", newline="") as opened:
            return [_of_csv(row) for row in csv.DictReader(opened)]
    table = _table(file)
    rows = table.set_column(0, "time", table["time"].cast("int64")).to_pylist()
    return [_common(row, json.loads(row["fields"]) if row["fields"] else None) for row in rows]


def _table(file: Path) -> Any:
    if file.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(file)
    with pyarrow.ipc.open_file(file) as opened:
        return opened.read_all()


def _common(row: dict[str, Any], fields: Any) -> dict[str, Any]:
    names = ("time", "level", "logger", "message", "pid", "label", "tag", "number", "position", "data_base64")
    return {name: row.get(name) for name in names} | {"fields": fields}


def _of_json(row: dict[str, Any]) -> dict[str, Any]:
    event = row.get("event", {})
    data = base64.b64decode(row.get("data_base64", "")).decode("utf-8", "backslashreplace")
    message = event.get("message", row.get("data", data))
    level = event.get("level") or {30: "WARNING"}.get(row["tag"])
    more = {"time": row["time_ns"], "message": message, "level": level, "logger": event.get("logger")}
    return _common(row | more, event.get("fields"))


def _of_csv(row: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: value or None for name, value in row.items()}
    values |= {name: int(row[name]) for name in ("pid", "tag", "number", "position")}
    seconds, _, fraction = row["time"].rstrip("Z").partition(".")
    import datetime

    moment = datetime.datetime.fromisoformat(f"{seconds}+00:00")
    values["time"] = int(moment.timestamp()) * 10**9 + int(fraction)
    return _common(values, json.loads(row["fields"]) if row["fields"] else None)


def done(*arguments: object, code: int = 0) -> str:
    """Run a command in this process; return what it said on stderr."""
    finished = call(*arguments)
    said = finished.stderr.decode()
    assert finished.returncode == code, said
    return said


# -- files ---------------------------------------------------------------------------------------------------


def test_every_format_says_what_the_reader_says(shop: Path, tmp_path: Path) -> None:
    """Each record once, with text of any kind; a gap record is told on stderr."""
    for layout in ("jsonl", *TABLES):
        file = tmp_path / f"all.{layout}"
        told = done("export", shop, "-o", file)

        assert read_back(file) == expected(shop), layout
        assert "dropped 2 records" in told
        assert told.endswith(f"44 records written to {file}\n")
        assert sorted(os.listdir(tmp_path)) == sorted({"shop", *(each.name for each in tmp_path.iterdir())})
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_columns_and_conditions(shop: Path, tmp_path: Path) -> None:
    """Fields become typed columns and leave `fields`; the conditions are those of cat."""
    file = tmp_path / "errors.parquet"
    done("export", shop, "-q", "-o", file, "--columns", COLUMNS, "--level", "ERROR", "--since", "@0")
    rows = _table(file).to_pylist()
    wanted = [record for record in Reader(shop).records(level="ERROR") if not record.gap]

    assert [row["number"] for row in rows] == [record.number for record in wanted]
    assert [row["user"] for row in rows] == [record.event.fields["user"] for record in wanted]
    assert {type(row["ms"]) for row in rows} == {float}
    assert {row["owner"] for row in rows} == {"eve"}
    assert {row["fields"] for row in rows} == {'{"cart":{"owner":"eve"},"path":"/a\\"b"}'}


def test_to_arrow_and_to_pandas(shop: Path) -> None:
    """The same columns; labels, types and conditions; an empty answer has the columns, too."""
    reader = Reader(shop)
    table = reader.to_arrow(columns={"user": int, "ms": "float"}, logger="shop")
    frame_ = reader.to_pandas(b"bought 4", columns="user:int")
    wanted = [record for record in reader.search(logger="shop") if not record.gap]

    assert table["number"].to_pylist() == [record.number for record in wanted]
    assert table["time"].cast("int64").to_pylist() == [record.timestamp for record in wanted]
    assert table.schema.field("time").type == pyarrow.timestamp("ns", "UTC")
    assert table.schema.field("user").type == pyarrow.int64()
    assert list(frame_["user"]) == [number for number in (4, 40, 41, 43, 44) if number != 42]
    assert str(frame_["time"].dtype) == "datetime64[ns, UTC]"
    assert reader.to_arrow(start=1000).schema.names == reader.to_arrow().schema.names
    with pytest.raises(ValueError, match="'user:text' is not"):
        reader.to_arrow(columns="user:text")


def test_batches_are_cut_where_they_are_full(shop: Path) -> None:
    """By rows, and what is over comes last."""
    batches = _arrow.Batches((), lambda index: f"label {index}", rows=10)
    parts = list(batches.of([list(Reader(shop))]))

    assert [part.num_rows for part in parts] == [10, 10, 10, 10, 4]


def test_labels_are_texts() -> None:
    """Each from the log's table; null for a producer without one, and in a batch without any."""
    batches = _arrow.Batches((), lambda index: f"label {index}")
    records = [Record(b"x", label_index=index) for index in (0, 7, 2, 7)]
    labelled, plain = (next(batches.of([part])) for part in (records, records[:1]))

    assert labelled["label"].to_pylist() == [None, "label 7", "label 2", "label 7"]
    assert plain["label"].to_pylist() == [None]


# -- going on ------------------------------------------------------------------------------------------------


def test_a_file_is_resumed_exactly_behind_what_is_there(tmp_path: Path) -> None:
    """In every format, also under a condition, when nothing is new, and when nothing was there yet."""
    for layout in ("jsonl", *TABLES):
        log, file = tmp_path / f"log-{layout}", tmp_path / f"file.{layout}"
        for count in (0, 25, 25, 45):
            if count:
                write_pages(log, count)
            else:
                write_page(log, [], sealed=False)
            done("export", log, "-q", "-o", file, "--resume", "--level", "20")
            wanted = [row for row in expected(log) if row["tag"] >= 20]
            assert read_back(file) == wanted, (layout, count)


def test_what_cannot_be_resumed_is_refused_and_stays(shop: Path, tmp_path: Path) -> None:
    """A file of other columns, of another log, or none of ours: one line, and nothing is changed."""
    for layout in TABLES:
        file = tmp_path / f"file.{layout}"
        done("export", shop, "-q", "-o", file)
        before = file.read_bytes()
        told = done("export", shop, "-o", file, "--resume", "--columns", "user:int", code=2)
        assert f"{file} cannot be resumed: it is no export in {layout} with these columns" in told
        assert file.read_bytes() == before
        file.write_text("Dear Sir,\n")
        told = done("export", shop, "-o", file, "--resume", code=2)
        assert "cannot be resumed" in told
        assert told.count("\n") == 1
        assert file.read_text() == "Dear Sir,\n"


def test_records_that_were_removed_before_they_were_exported_are_told(shop: Path, tmp_path: Path) -> None:
    """The export goes on behind them, and the exit code is 1."""
    for layout in ("jsonl", *TABLES):
        log, file = tmp_path / f"log-{layout}", tmp_path / f"file.{layout}"
        write_pages(log, 15)
        done("export", log, "-q", "-o", file)
        write_pages(log, 45)
        for page in (1, 2, 3):
            (log / f"page-{page:010d}.dlog").unlink()
        told = done("export", log, "-o", file, "--resume", code=1)

        assert "records 15-29 were removed by retention before they were exported" in told
        numbers = [row["number"] for row in read_back(file)]
        assert numbers == [*range(13), 14, *range(30, 45)]


def test_a_directory_gets_a_file_for_each_day_and_goes_on(tmp_path: Path) -> None:
    """In every format; DuckDB and Arrow read it as one table, with the day as a column."""
    for layout in ("jsonl", *TABLES):
        log, out = tmp_path / f"log-{layout}", tmp_path / f"out-{layout}"
        for count in (25, 25, 45):
            write_pages(log, count)
            how = ["--partition", "day", "--format", layout, *(["--resume"] if out.exists() else [])]
            done("export", log, "-q", "-o", out, *how)
        rows = [row for file in sorted(out.glob("day=*/*")) for row in read_back(file)]

        assert sorted(rows, key=lambda row: int(row["number"])) == expected(log)
        assert len(list(out.glob("day=*"))) == 3
        for file in out.glob("day=*/*"):
            days = {row["time"] // DAY for row in read_back(file)}
            assert days == {(BEGIN + (int(file.name[5:25]) * DAY // 20)) // DAY}
    glob = f"{tmp_path}/out-parquet/*/*.parquet"
    answer = duckdb.sql(
        f"select count(*), count(distinct day) from read_parquet('{glob}', hive_partitioning=true)"
    )
    assert answer.fetchall() == [(44, 3)]


def test_a_directory_that_is_none_of_ours_is_refused(shop: Path, tmp_path: Path) -> None:
    """Files in it, no --resume, other columns: one line, and nothing is changed."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    how = ("export", shop, "-o", out, "--partition", "day", "--format")
    assert "is not empty" in done(*how, "csv", code=2)
    assert "it was not begun by" in done(*how, "csv", "--resume", code=2)
    (out / "mine").unlink()
    done(*how, "csv", "-q")
    assert "--resume goes on with an export" in done(*how, "csv", code=2)
    assert "cannot be resumed: it has csv" in done(*how, "parquet", "--resume", code=2)


@pytest.mark.parametrize("layout", ["jsonl", "parquet", "csv"])
def test_a_full_disk_is_one_line_and_leaves_nothing(layout: str, tmp_path: Path, small_disk: Path) -> None:
    """Exit code 2; the file that was there before is there as it was."""
    write_pages(tmp_path / "log", 45)
    file = small_disk / f"all.{layout}"
    done("export", tmp_path / "log", "-q", "-o", file)
    before = file.read_bytes()
    fill(small_disk / "ballast")
    for how in ([], ["--partition", "day"]):
        target = small_disk / "out" if how else file
        finished = run("export", tmp_path / "log", "-o", target, "--format", layout, *how)
        told = finished.stderr.decode().splitlines()

        assert finished.returncode == 2
        assert "No space left on device" in told[-1]
        assert len(told) == 1 + ("dropped" in told[0])
    assert file.read_bytes() == before
    left = {str(each.relative_to(small_disk)) for each in small_disk.rglob("*")}
    assert left <= {"ballast", file.name, "out", "out/.disklog-export.lock"}


# -- sql -----------------------------------------------------------------------------------------------------


def ask(*arguments: object) -> str:
    """Ask a question; return the answer."""
    finished = call("sql", *arguments, "-q")
    assert finished.returncode == 0, finished.stderr.decode()
    return finished.stdout.decode()


def test_sql_answers_in_three_formats(shop: Path) -> None:
    """Counts, fields as JSON and as columns, times; control characters do not reach a terminal."""
    counts = "select level, count(*) as n from log group by 1 order by 1"
    told = expected(shop)
    levels = sorted({row["level"] for row in told if row["level"]})
    numbers = [(level, sum(row["level"] == level for row in told)) for level in levels]
    none = sum(row["level"] is None for row in told)

    assert [tuple(line.split()) for line in ask(shop, counts).splitlines()] == [
        ("level", "n"),
        *((level, str(number)) for level, number in numbers),
        (str(none),),
    ]
    assert ask(shop, "select count(*) from log").split() == ["count_star()", str(len(told))]
    assert ask(shop, counts, "--format", "csv").splitlines()[:2] == ["level,n", f"ERROR,{numbers[0][1]}"]
    question = "select time, user, fields->>'path' as path from log where number = 1"
    answer = json.loads(ask(shop, question, "--columns", "user:int", "--format", "json"))
    assert answer == {"time": f"{_text.iso(said(1).time)[:26]}Z", "user": 1, "path": '/a"b'}
    assert "\\x1b[31m" in ask(shop, "select message from log where tag = 7")
    assert ask(shop, "select message from log where number = 7", "--format", "csv").count("\x1b") == 1


class Asked(NamedTuple):
    since: int
    until: int
    levels: tuple[int, int]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What the reader was asked for."""
    calls: list[Asked] = []
    batches = Reader.batches

    def noting(self: Reader, wanted: Any, **how: Any) -> Any:
        calls.append(Asked(how["since"], how["until"], wanted.levels))
        return batches(self, wanted, **how)

    monkeypatch.setattr(Reader, "batches", noting)
    return calls


def test_sql_hands_conditions_on_time_and_level_to_the_reader(shop: Path, asked: list[Asked]) -> None:
    """The reader is asked for the times and tags that can meet them, and the answer is that without."""
    begin, end = (_text.iso(BEGIN + days * DAY)[:10] for days in (1, 2))
    everything = "select number from (select * from log offset 0)"
    for condition in (
        f"time >= '{begin}' and time < '{end}'",
        f"time = '{_text.iso(said(5).time)[:26]}Z'",
        "tag >= 30",
        "level = 'ERROR'",
        "level in ('ERROR', 'INFO') and tag < 40",
        "level is null",
        f"time < '{begin}' or tag = 40",
        "message like 'bought 1%'",
    ):
        straight = ask(shop, f"select number from log where {condition} order by 1")
        assert straight == ask(shop, f"{everything} where {condition} order by 1"), condition
        assert straight.count("\n") > 1, condition
    ours = asked[::2]
    assert (ours[0].since, ours[0].until) == (BEGIN + DAY, BEGIN + 2 * DAY)
    assert ours[1].since == said(5).time // 1000 * 1000
    assert ours[1].until - ours[1].since == 1000
    assert ours[2].levels == (30, 65535)
    assert ours[4].levels == (0, 39)


def test_sql_reads_no_more_than_it_needs(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are read as they are asked for: a question for one row ends before the log does."""
    from disklog_mp.cli.questions import sql as _sql

    taken = []
    batches = Reader.batches
    monkeypatch.setattr(_sql, "ROWS", 1)
    monkeypatch.setattr(_sql, "FETCHED", 1)

    def endless(self: Reader, wanted: Any, **how: Any) -> Iterator[Any]:
        while True:
            for records in batches(self, wanted, **how):
                taken.append(len(records))
                yield records

    monkeypatch.setattr(Reader, "batches", endless)
    assert ask(shop, "select number from log limit 1").split() == ["number", "0"]
    assert taken


def test_an_error_of_duckdb_is_one_line(shop: Path) -> None:
    """A question that is none, a column or a file that is not there."""
    for question, words in (
        ("selct 1", "syntax error"),
        ("select nothing_of_that_name from log", "nothing_of_that_name"),
        ("select * from read_csv('/nowhere/x.csv')", "/nowhere/x.csv"),
        ("select cast(message as int) from log", "Could not convert"),
        ("", "nothing was asked"),
    ):
        finished = call("sql", shop, question)
        told = finished.stderr.decode().splitlines()

        assert finished.returncode == 2
        assert words in told[-1]
        assert len(told) <= 2  # and the gap record


def test_the_commands_of_the_readme_answer(shop: Path, tmp_path: Path) -> None:
    """Each line of its section on questions, one after the other, as a shell takes it."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme[readme.index("## Out to questions") :]
    commands = section[section.index("```sh\n") + 6 :].partition("```")[0].splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        if "| lnav" not in command:
            line = command.replace("/var/log/app", str(shop))
            done = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, check=False
            )
            assert done.returncode == 0, (line, done.stderr.decode())
    assert len(commands) > 5
    assert (tmp_path / "app.parquet").exists()
    assert len(list(tmp_path.glob("lake/day=*/part-*.parquet"))) == 3


def test_what_goes_wrong_with_reading_is_told_as_itself(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, or a Ctrl-C, while DuckDB reads: not as DuckDB puts it."""
    for problem, code, told in (
        (OSError(5, "Input/output error", "/x/page"), 2, "disklog-mp: /x/page: Input/output error\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ):

        def failing(*_: Any, problem: BaseException = problem, **__: Any) -> Iterator[Any]:
            yield [Record(b"x")]
            raise problem

        monkeypatch.setattr(Reader, "batches", failing)
        finished = call("sql", shop, "select count(*) from log")
        assert (finished.returncode, finished.stderr.decode()) == (code, told)


# -- lnav ----------------------------------------------------------------------------------------------------


def test_lnav_reads_what_cat_prints_for_it(shop: Path, tmp_path: Path) -> None:
    """The format file is accepted, and every record has its level, time and message there."""
    formats = Path(__file__).parents[2] / "examples" / "operating" / "disklog.lnav.json"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm"}
    try:
        done = subprocess.run(["lnav", "-i", formats], env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no lnav")
    assert done.returncode == 0, done.stderr.decode()
    cat = subprocess.run([*COMMAND, "cat", "-q", "-o", "lnav", shop], capture_output=True, check=True)
    question = ";select log_level, count(*) as n from disklog_mp group by 1 order by 1"
    ask = ["lnav", "-n", "-c", question, "-c", ":write-csv-to -"]
    shown = subprocess.run(ask, input=cat.stdout, env=environment, capture_output=True, check=True)
    levels = [row["level"] for row in expected(shop)]

    assert f"error,{levels.count('ERROR')}" in shown.stdout.decode()
    assert f"warning,{levels.count('WARNING')}" in shown.stdout.decode()
