"""cat and tail: formats, selections, damage, following."""

import base64
import json
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import call, kill_writer, lines, objects

import disklog_mp
from disklog_mp._loggers import structured as _structured
from disklog_mp.cli import _text

OpenLog = Callable[..., disklog_mp.Session]
__all__ = ["kill_writer"]  # a fixture


@pytest.fixture
def ten(open_log: OpenLog, path: Path) -> list[disklog_mp.Record]:
    """Ten records in pages of three, tagged with their number modulo 3."""
    log = open_log(page_records=3)
    for i in range(10):
        log.log(b"record %d" % i, tag=i % 3)
    log.flush()
    return list(disklog_mp.Reader(path))


def flip(file: Path, offset: int) -> None:
    """Change one byte of a file."""
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x40
    file.write_bytes(data)


class TestFormats:
    def test_text(self, log: disklog_mp.Session, path: Path) -> None:
        """A line has the local time to the microsecond, the pid, level or tag, and the text."""
        log.log(b"plain")
        log.log("schön".encode(), tag=40)
        log.log(b"a tag of one's own", tag=7)
        log.log(b"boom\nTraceback\n  x\n", tag=40)
        log.flush()
        first, second, third, *rest = lines("cat", path)
        record = next(iter(disklog_mp.Reader(path)))
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.timestamp // 10**9))

        assert f"{shown}.{record.timestamp // 1000 % 10**6:06d} {os.getpid()} plain" == first
        assert second.endswith(f" {os.getpid()} ERROR schön")
        assert third.endswith(f" {os.getpid()} #7 a tag of one's own")
        assert rest[0].endswith(f" {os.getpid()} ERROR boom")
        assert rest[1:] == ["    Traceback", "      x"]

    def test_utc(self, log: disklog_mp.Session, path: Path) -> None:
        """--utc shows times in UTC and says so."""
        log.log(b"x")
        log.flush()
        (line,) = lines("cat", "--utc", path)

        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}Z ", line)

    def test_a_record_cannot_steer_the_terminal(self, log: disklog_mp.Session, path: Path) -> None:
        """Control characters, C1 ones, direction marks and bytes that are no UTF-8 are shown as escapes."""
        log.log(b"\x1b[31mred\tnew\nline\r\x7f \xc2\x9b2J \xe2\x80\xae \xff \\n")
        log.flush()
        line, further = lines("cat", path)

        assert line.endswith("\\x1b[31mred\tnew")
        assert further == ("    line\\r\\x7f \\x9b2J \\u202e \\xff \\n")

    def test_raw(self, log: disklog_mp.Session, path: Path) -> None:
        """--raw gives the bytes with a newline after each, or a NUL byte with -0."""
        log.log(b"a\xff\nb")
        log.log(b"")
        log.flush()

        assert call("cat", path, "--raw").stdout == b"a\xff\nb\n\n"
        assert call("cat", path, "--raw", "-0").stdout == b"a\xff\nb\0\0"

    def test_json(self, log: disklog_mp.Session, path: Path) -> None:
        """--json gives all there is to know; bytes that are no UTF-8 in base64; nothing to obey."""
        log.log("é\u202e\x1b".encode(), tag=3)
        log.log(b"\xff")
        log.flush()
        text, binary = objects("cat", path)
        record = next(iter(disklog_mp.Reader(path)))

        assert text == {
            "number": 0,
            "position": record.position,
            "time": _text.iso(record.timestamp),
            "time_ns": record.timestamp,
            "pid": os.getpid(),
            "tag": 3,
            "data": "é\u202e\x1b",
        }
        assert base64.b64decode(binary["data_base64"]) == b"\xff"
        assert call("cat", path, "--json").stdout.isascii()


@pytest.fixture
def events(log: disklog_mp.Session) -> disklog_mp.Session:
    """Structured records and texts, in one log."""
    for level, tag, logger, message, more in (
        ("INFO", 20, "app.web", "user logged in", {"fields": {"user": 42, "ip": "::1"}, "thread": "T-1"}),
        ("ERROR", 40, "app.db", "it\nbroke", {"exception": "Traceback\n  \x1b[31mKeyError: 'x'"}),
        ("DEBUG", 10, "application", "plain", {"fields": {"user": "42", "a b": "c d", "deep": {"x": [1]}}}),
    ):
        log.log(_structured.encode(5, level, logger, message, **more), tag=tag)  # type: ignore[arg-type]
    log.log(b"a text", tag=30)
    log.flush()
    return log


class TestStructured:
    def test_text(self, events: disklog_mp.Session, path: Path) -> None:
        """Level, logger, message and fields in the line, the exception indented below; nothing to obey."""
        pid = os.getpid()
        shown = [line.partition(f" {pid} ")[2] or line for line in lines("cat", path)]

        assert shown == [
            "INFO app.web: user logged in user=42 ip=::1",
            "ERROR app.db: it",
            "    broke",
            "    Traceback",
            "      \\x1b[31mKeyError: 'x'",
            'DEBUG application: plain user=42 a_b="c d" deep="{\\"x\\":[1]}"',
            "WARNING a text",
        ]

    def test_json(self, events: disklog_mp.Session, path: Path) -> None:
        """The record's parts as an object, in place of its bytes."""
        first, *_, last = objects("cat", path)

        assert first["event"] == {
            "time": 5,
            "level": "INFO",
            "logger": "app.web",
            "message": "user logged in",
            "thread": "T-1",
            "fields": {"user": 42, "ip": "::1"},
        }
        assert "data" not in first
        assert last["data"] == "a text"
        assert call("cat", path, "--format", "json").stdout == call("cat", path, "--json").stdout

    def test_logfmt(self, events: disklog_mp.Session, path: Path) -> None:
        """key=value, quoted where needed; always one line."""
        first, second, _, last = lines("cat", path, "--format", "logfmt")

        assert first.partition(" pid=")[2].partition(" ")[2] == (
            'level=INFO logger=app.web message="user logged in" thread=T-1 user=42 ip=::1'
        )
        assert second.endswith('message="it\\nbroke" exception="Traceback\\n  \\u001b[31mKeyError: \'x\'"')
        assert last.endswith(' level=WARNING message="a text"')

    def test_message_and_raw(self, events: disklog_mp.Session, path: Path) -> None:
        """The message alone; the bytes as they are."""
        assert lines("cat", path, "--format", "message") == [
            "user logged in", "it\\nbroke", "plain", "a text",
        ]  # fmt: skip
        assert call("cat", path, "--format", "raw").stdout == call("cat", path, "--raw").stdout
        assert lines("cat", path, "--raw", "-n", 2)[0].startswith('{"time":5,"level":"DEBUG"')

    def test_template(self, events: disklog_mp.Session, path: Path) -> None:
        """Any part and any field, nothing for those that are missing."""
        template = "%(number)03d %(level)-5s|%(user)s|%(fields)s|%(message)s"

        assert lines("cat", path, "--format", template) == [
            "000 INFO |42|user=42 ip=::1|user logged in",
            "001 ERROR|||it\\nbroke",
            '002 DEBUG|42|user=42 a_b="c d" deep="{\\"x\\":[1]}"|plain',
            "003 WARNING|||a text",
        ]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--level", "INFO"], [0, 1, 3]),
            (["--level", "warning"], [1, 3]),
            (["--level", "40"], [1]),
            (["--logger", "app"], [0, 1]),
            (["--logger", "app.web", "--logger", "application"], [0, 2]),
            (["--logger", "app."], []),
            (["--field", "user=42"], [0, 2]),
            (["--field", "user=42", "--field", "ip=::1"], [0]),
            (["--field", 'deep={"x":[1]}'], [2]),
            (["--field", "thread=T-1"], [0]),
            (["--field", "message=plain"], []),
            (["--field", "ip=", "-n", 5], []),
            (["--level", "DEBUG", "--logger", "app", "-n", 1], [1]),
        ],
    )
    @pytest.mark.parametrize("command", ["cat", "tail"])
    def test_selections(
        self, events: disklog_mp.Session, path: Path, command: str, options: list[object], expected: list[int]
    ) -> None:
        """By level, text included; by logger, with those below it; by each field asked for."""
        shown = call(command, path, "--json", *options).stdout.splitlines()

        assert [json.loads(line)["number"] for line in shown] == expected

    def test_levels_of_one_s_own_are_found_by_name(self, events: disklog_mp.Session, path: Path) -> None:
        """Where a record has it: then from its number on."""
        events.log(_structured.encode(5, "NOTICE", "app", "noted"), tag=25)
        events.flush()
        for command in ("cat", "tail"):
            shown = call(command, path, "--json", "--level", "notice").stdout.splitlines()
            assert [json.loads(line)["number"] for line in shown] == [1, 3, 4]

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--level", "LOUD"], b"--level 'LOUD' is neither a number nor one of DEBUG,"),
            (["--field", "user"], b"'user' is not KEY=VALUE"),
            (["--format", "xml"], b"disklog-mp: invalid --format 'xml': write text,"),
            (["--format", "%(pid"], b"invalid --format '%(pid': write '%(pid)s'"),
            (["--format", "%(message)"], b"invalid --format '%(message)': write '%(message)s'"),
            (["--format", "100 %"], b"invalid --format '100 %': write %% for a percent sign"),
            (["--format", "%(pid)d %(user)d"], b"write '%(pid)d %(user)s'"),
            (["--format", "json", "--raw"], b"--raw and --format exclude each other"),
            (["--format", "text", "-0"], b"-0 needs --raw"),
        ],
    )
    def test_mistakes_are_told(
        self, events: disklog_mp.Session, path: Path, options: list[str], text: bytes
    ) -> None:
        """With exit code 2, before anything is shown."""
        done = call("cat", path, *options)

        assert done.returncode == 2
        assert text in done.stderr
        assert not done.stdout


class TestSelections:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], range(10)),
            (["-n", 4], range(6, 10)),
            (["-n", 0], []),
            (["-n", 100], range(10)),
            (["--start", 4], range(4, 10)),
            (["--stop", 4], range(4)),
            (["--start", 2, "--stop", 9, "-n", 3], range(6, 9)),
            (["--tag", 1], [1, 4, 7]),
            (["--tag", 1, "--tag", 2], [1, 2, 4, 5, 7, 8]),
            (["--tag", 2, "-n", 2], [5, 8]),
            (["--pid", os.getpid(), "-n", 1], [9]),
            (["--pid", 1], []),
            (["--since", "yesterday", "--until", "@32503680000"], range(10)),
            (["--until", "1 hour ago"], []),
        ],
        ids=lambda value: " ".join(map(str, value)).replace(str(os.getpid()), "ours"),
    )
    def test_which_records(
        self, options: list[object], expected: list[int], ten: list[disklog_mp.Record], path: Path
    ) -> None:
        """Conditions combine; -n takes the last of those that meet them."""
        shown = call("cat", path, "--raw", *options).stdout.decode().split("\n")[:-1]

        assert [f"record {i}" for i in expected] == shown

    def test_times_as_printed(self, ten: list[disklog_mp.Record], path: Path) -> None:
        """A time from --json given to --since and --until selects exactly: from on, and before."""
        told = objects("cat", path)
        since, until = told[3]["time"], told[8]["time"]
        shown = objects("cat", path, "--since", since, "--until", until)

        assert [
            record.number for record in ten if ten[3].timestamp <= record.timestamp < ten[8].timestamp
        ] == [record["number"] for record in shown]

    def test_by_name(self, ten: list[disklog_mp.Record], name: str, path: Path) -> None:
        """The name of an open log leads to its directory."""
        assert lines("cat", name) == lines("cat", path)

    def test_what_is_in_the_ring_only(
        self, log: disklog_mp.Session, name: str, path: Path, kill_writer: Callable[[], None]
    ) -> None:
        """--ring shows committed records that a dead writer left unwritten, one by one and in groups."""
        log.log(b"written")
        log.flush()
        kill_writer()
        with disklog_mp.attach(name) as other:
            other.log(b"single", tag=1)
            other.log_many([b"one", b"two"], tag=2)

        assert call("cat", name, "--raw").stdout == b"written\n"
        assert call("cat", name, "--raw", "--ring").stdout == b"written\nsingle\none\ntwo\n"
        assert call("cat", name, "--raw", "--ring", "-n", 2).stdout == b"one\ntwo\n"
        assert [told["number"] for told in objects("cat", path, "--ring", "--tag", 2)] == [2, 3]


class TestDamage:
    def test_one_damaged_byte(self, ten: list[disklog_mp.Record], path: Path) -> None:
        """The other records are shown, the range is told on stderr, the exit code is 1."""
        flip(path / "page-0000000002.dlog", 4096 + 32 + 30)
        done = call("cat", path, "--raw")

        assert done.returncode == 1
        assert [i for i in range(10) if i != 4] == [int(line.split()[1]) for line in done.stdout.splitlines()]
        assert done.stderr.startswith(b"disklog-mp: page 2: corrupt range of 32 bytes at offset 4,128")
        assert done.stderr.count(b"\n") == 1

    def test_a_page_file_of_garbage(self, ten: list[disklog_mp.Record], path: Path) -> None:
        """A file without a page header is skipped and reported once."""
        (path / "page-0000000002.dlog").write_bytes(random.Random(1).randbytes(9000))
        done = call("cat", path, "--raw")

        assert done.returncode == 1
        assert done.stdout.startswith(b"record 0\nrecord 1\nrecord 2\nrecord 6\n")
        [line] = done.stderr.splitlines()
        assert b"disklog-mp: page 2: no page header: 9,000 bytes skipped, 3 records (3-5), between " in line

    def test_a_missing_page_file(self, ten: list[disklog_mp.Record], path: Path) -> None:
        """It is named, with the numbers of the records that it held."""
        (path / "page-0000000002.dlog").unlink()
        done = call("cat", path, "--raw")

        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith(b"disklog-mp: page 2 is missing: 3 records (3-5), between ")
        (path / "page-0000000003.dlog").unlink()
        done = call("cat", path, "--raw")
        assert done.stderr.startswith(
            b"disklog-mp: page 2 is missing, so is page 3: 6 records (3-8), between "
        )
