"""cat and tail: which records they show, by the letters of journalctl, tail and grep; exit codes."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from support.command import call
from support.pages import page_path
from support.shown import NOON, SECOND, Said, call_until, event, write_said

from disklog_mp import cli


@pytest.fixture
def ten(path: Path) -> Path:
    """Ten records, a second apart, in two pages; their levels are from DEBUG to CRITICAL, twice."""
    names = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") * 2
    tags = (10, 20, 30, 40, 50) * 2
    said = [
        event(f"record {i}", name, tag, NOON + i * SECOND, user=i)
        for i, (name, tag) in enumerate(zip(names, tags, strict=True))
    ]
    write_said(path, said[:6])
    write_said(path, said[6:], number=2, first=6)
    return path


def numbers(*arguments: object) -> list[int]:
    """The numbers of the records that a command shows; -1 stands for a line between."""
    done = call(*arguments, "--format", "%(number)s")
    assert not done.stderr
    return [-1 if line == b"--" else int(line) for line in done.stdout.splitlines()]


def test_which_records(ten: Path) -> None:
    """Every letter, and what it means alone and together with others."""
    for options, expected in (
        ("-n 3", [7, 8, 9]),
        ("-3", [7, 8, 9]),
        ("-n all", [*range(10)]),
        ("-r", [*range(9, -1, -1)]),
        ("-r -2", [9, 8]),
        ("-r -p err -n 3", [9, 8, 4]),
        ("-p err", [3, 4, 8, 9]),
        ("-p CRIT", [4, 9]),
        ("--level 25", [2, 3, 4, 7, 8, 9]),
        ("-p warning..err", [2, 3, 7, 8]),
        ("-p err..warning", [2, 3, 7, 8]),
        ("-p ..info", [0, 1, 5, 6]),
        ("-p error..", [3, 4, 8, 9]),
        ("-g ord.[37]", [3, 7]),
        ("-g record.3 -e record.7", [3, 7]),
        ("-g ^record.3$", [3]),
        ("-g RECORD.3", []),
        ("-i -g RECORD.3", [3]),
        ("-v -g record.[1-9]", [0]),
        ("-p crit -g record.4", [4]),
        ("-g record.4 -A 1", [4, 5]),
        ("-g record.4 -B 2", [2, 3, 4]),
        ("-g record.[28] -C 1", [1, 2, 3, -1, 7, 8, 9]),
        ("-g record.[24] -C 1", [1, 2, 3, 4, 5]),
        ("-g record.[258] -n 2 -A 1", [5, 6, -1, 8, 9]),
        ("-S @1767614405", [*range(5, 10)]),
        ("-U @1767614402", [0, 1]),
        ("--utc -S 2026-01-05T12:00:08", [8, 9]),
        ("--tz +01:00 -S 2026-01-05T13:00:08", [8, 9]),
        ("--tz Europe/Berlin -S 2026-01-05T13:00:08", [8, 9]),
        ("-S -1h", []),
    ):
        for command in ("cat", "tail"):
            shown = numbers(command, *options.split(), ten)
            assert expected == shown, (command, options)


def test_a_range_of_levels_of_one_s_own(path: Path) -> None:
    """Their numbers are looked for in the log; a level of other programs has the number they give it."""
    said = [event("a", "TRIVIA", 13), event("b"), event("c", "GRAVE", 44), event("d", "CRITICAL", 50)]
    write_said(path, said)

    assert [0, 1, 2] == numbers("cat", path, "-p", "trivia..grave")
    assert [2, 3] == numbers("cat", path, "-p", "notice")


def test_the_priorities_of_syslog(path: Path) -> None:
    """As `journalctl -p 3` has them: from err up, in a range of both; larger numbers are tags."""
    levels = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
    write_said(path, [event(name.lower(), name, tag) for name, tag in levels.items()])
    for level, expected in (
        ("3", [3, 4]),
        ("7", [0, 1, 2, 3, 4]),
        ("0", [4]),
        ("3..4", [2, 3]),
        ("8", [0, 1, 2, 3, 4]),
        ("21", [2, 3, 4]),
    ):
        assert expected == numbers("cat", path, "-p", level), level


def test_a_pattern_is_found_however_json_spells_it(path: Path) -> None:
    """Quotes and line ends are escaped in the record's bytes, not in its message."""
    write_said(path, [event('he said "yes"'), event("two\nlines"), event("Größe"), Said(b"\xff raw")])
    for options, expected in (
        (["-g", 'd "yes"'], [0]),
        (["-g", r"two\nlines"], [1]),
        (["-g", "^lines"], [1]),
        (["-i", "-g", "GRÖSSE|GRÖßE"], [2]),
        (["-g", r"\xff"], [3]),
    ):
        assert expected == numbers("cat", path, *options), options


def test_how_many(ten: Path) -> None:
    """-c prints nothing else; of several logs it prints the name, too."""
    assert b"10\n" == call("cat", "-c", ten).stdout
    assert b"4\n" == call("cat", "-c", "-p", "err", "-C", 1, ten).stdout
    assert b"1\n" == call("tail", "-c", "-n", 1, ten).stdout
    done = call("cat", "-c", "-g", "record.7", ten, f"{ten}/.")
    assert b"log:1\n.:1\n" == done.stdout


def test_exit_codes(ten: Path, tmp_path: Path) -> None:
    """With a filter they are those of grep; without one an empty log is fine."""
    write_said(tmp_path / "empty", [])
    for code, arguments in (
        (0, [ten]),
        (0, [ten, "-p", "err"]),
        (1, [ten, "-g", "nowhere"]),
        (1, [ten, "-c", "-g", "nowhere"]),
        (0, [ten, "-S", "-1h"]),
        (0, [tmp_path / "empty"]),
        (1, [tmp_path / "empty", "--field", "a=b"]),
        (0, [ten, tmp_path / "empty", "-g", "record"]),
        (2, [tmp_path / "none"]),
        (2, [ten, tmp_path / "none"]),
    ):
        for command in ("cat", "tail"):
            assert code == call(command, *arguments).returncode, (command, arguments)
    page = bytearray(page_path(ten).read_bytes())
    page[4096 + 40] ^= 1
    page_path(ten).write_bytes(page)
    for code, arguments in ((1, [ten]), (2, [ten, "-p", "err"])):
        assert code == call("cat", *arguments).returncode, arguments


def test_mistakes(ten: Path) -> None:
    """One clear line, exit code 2, nothing shown."""
    for arguments, text in (
        (["-g", "a("], "--grep 'a(' is no regular expression: missing ), unterminated subpattern"),
        (["-i"], "-i needs --grep"),
        (["-v"], "-v needs --grep"),
        (["-p", "loud"], "--level 'loud' is neither a number nor one of DEBUG, INFO,"),
        (["-S", "soon"], "'soon' is not a time: write 2026-01-31T23:59:59, 23:59,"),
        (["--tz", "Nowhere/Now"], "'Nowhere/Now' is not a time zone: write Europe/Berlin,"),
        (["--tz", "UTC", "--utc"], "--utc and --tz exclude each other"),
        (["-n", "many"], "'many' is neither a number nor all"),
        (["-r", "-C", 1, "-g", "a"], "--reverse excludes -A, -B and -C"),
        (["-f", "-r"], "--follow and --reverse exclude each other"),
        (["-f", "-c"], "--follow and --count exclude each other"),
    ):
        for command in ("cat", "tail"):
            done = call(command, ten, *arguments)
            assert (2, b"", 1) == (done.returncode, done.stdout, done.stderr.count(b"\n"))
            assert text in done.stderr.decode()


def test_a_value_that_looks_like_a_count(ten: Path) -> None:
    """-20 is the value of an option that expects one; behind -- it is a log."""
    assert b"'-20' is not a time" in call("cat", "--since", "-20", ten).stderr
    assert b"-20" in call("cat", "--", "-20").stderr


def test_zones(ten: Path) -> None:
    """The zone that is asked for is shown, in notes too."""
    for options, expected in (
        (["--utc"], "2026-01-05 12:00:09.000000Z "),
        (["--tz", "Europe/Berlin"], "2026-01-05 13:00:09.000000+01:00 "),
        (["--tz", "America/New_York"], "2026-01-05 07:00:09.000000-05:00 "),
        (["--tz", "-03:30"], "2026-01-05 08:30:09.000000-03:30 "),
        (["--tz", "utc"], "2026-01-05 12:00:09.000000Z "),
    ):
        assert call("cat", ten, "-1", *options).stdout.startswith(expected.encode()), options


class TestSeveralLogs:
    @pytest.fixture
    def two(self, tmp_path: Path) -> list[Path]:
        """Two hosts' copies of a log, whose records come in turn."""
        paths = [tmp_path / "web1", tmp_path / "web2"]
        for host, path in enumerate(paths):
            write_said(path, [event(f"{host}-{i}", at=NOON + (2 * i + host) * SECOND) for i in range(3)])
        return paths

    def test_merged_by_time(self, two: list[Path]) -> None:
        """With a column for the log, in every format that has columns."""
        shown = call("cat", "--utc", *two).stdout.decode().splitlines()
        assert shown[:2] == [
            "2026-01-05 12:00:00.000000Z web1 4711 INFO app: 0-0",
            "2026-01-05 12:00:01.000000Z web2 4711 INFO app: 1-0",
        ]
        for layout, first in (
            ("json", '{"log": "web1", "number": 0, '),
            ("logfmt", "time=2026-01-05T12:00:00.000000000Z log=web1 pid=4711 "),
            ("message", "0-0"),
            ("%(log)s|%(number)s", "web1|0"),
        ):
            lines = call("cat", "-o", layout, *two).stdout.decode().splitlines()
            assert lines[0].startswith(first)
            assert 6 == len(lines)

    def test_the_last_ones_of_all(self, two: list[Path]) -> None:
        """-n counts over all logs, -r begins with the newest of all, and context is that of each log."""
        layout = ("-o", "message")
        for options, expected in (
            (("-n", 3), "1-1 0-2 1-2"),
            (("-r", "-n", 2), "1-2 0-2"),
            (("-r",), "1-2 0-2 1-1 0-1 1-0 0-0"),
            (("-g", "1-1", "-B", 1), "1-0 1-1"),
            (("-n", 1, "-B", 1), "1-1 1-2"),
        ):
            assert expected.encode().split() == call("cat", *layout, *options, *two).stdout.split(), options

    def test_logs_of_one_name(self, tmp_path: Path) -> None:
        """Copies below different directories are told apart by their paths."""
        for host in "ab":
            (tmp_path / host).mkdir()
            write_said(tmp_path / host / "log", [event("x")])
        shown = call("cat", "-o", "%(log)s", tmp_path / "a/log", tmp_path / "b/log/").stdout.decode()

        assert shown == f"{tmp_path}/a/log\n{tmp_path}/b/log\n"

    def test_notes_name_their_log(self, two: list[Path]) -> None:
        """Damage is told with the name of the log that has it."""
        page_path(two[1]).write_bytes(b"nonsense")
        done = call("cat", *two)
        noted = call("cat", "--json", "--notes", *two).stdout.splitlines()
        assert all(json.loads(line) for line in call("cat", "--flat", "--notes", *two).stdout.splitlines())

        assert done.returncode == 1
        assert done.stderr.startswith(b"disklog-mp: web2: page 1: no page header")
        assert any(json.loads(line).items() >= {"note": "damage", "log": "web2"}.items() for line in noted)
        assert b"" == call("cat", "-q", *two).stderr

    def test_a_cursor_file_is_for_one(self, two: list[Path], tmp_path: Path) -> None:
        """Its place is one in one log."""
        done = call("tail", "--cursor-file", tmp_path / "cursor", *two)

        assert done.returncode == 2
        assert b"--cursor-file takes one LOG" in done.stderr


class TestFollowing:
    def test_cat_follows_as_tail_does(self, ten: Path) -> None:
        """The last ten, or as many as are asked for, then what comes."""
        for command in (("cat", "-f"), ("tail", "-F"), ("tail", "--follow")):
            done = call_until("record 9", *command, "-n", 2, "-o", "message", ten)
            assert (130, b"record 8\nrecord 9\n") == (done.returncode, done.stdout)

    def test_a_log_that_is_not_there_yet(self, ten: Path, tmp_path: Path) -> None:
        """It is waited for, beside one that is; all of its records are shown."""
        late = tmp_path / "late"

        def come(message: str) -> None:
            if "waiting" in message:
                write_said(late, [Said(b"first"), Said(b"second")])

        shown = ("-n", 1, "-o", "%(message)s")
        done = call_until("second", "tail", "-f", *shown, ten, late, on_message=come)
        assert done.stdout.split(b"\n")[:3] == [b"record 9", b"first", b"second"]
        assert done.stderr.decode().strip() == f"disklog-mp: no log {str(late)!r} yet: waiting for it"
        page_path(late).unlink()
        cursor = ("--cursor-file", tmp_path / "cursor")
        done = call_until("second", "cat", "-f", *shown, late, on_message=come)
        assert done.stdout == b"first\nsecond\n"
        page_path(late).unlink()
        done = call_until("second", "tail", "-f", *cursor, *shown, late, on_message=come)
        assert done.stdout == b"second\n"
        assert b"" == call_until("9", "tail", "-f", *shown, ten, "-q").stderr.strip()

    def test_where_a_new_cursor_file_begins(self, ten: Path, tmp_path: Path) -> None:
        """With the last ten, unless something else is asked for; from then on where it stopped."""
        for number, (options, first) in enumerate(
            (([], 0), (["-n", 3], 7), (["--from-start"], 0), (["-n", "all"], 0), (["-p", "err", "-n", 1], 9))
        ):
            command = ("tail", "--cursor-file", tmp_path / f"cursor{number}", "-o", "message", ten, *options)
            shown = call(*command).stdout.splitlines()
            assert [b"record %d" % i for i in range(first, 10)] == shown, options
            assert b"" == call(*command).stdout
        assert [*range(10)] == numbers("tail", "--from-start", ten)


def test_help_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """`COMMAND --help`, and the list of all commands, are there without what an extra would install."""
    ours = {*sys.stdlib_module_names, "disklog_mp", "click"}

    class Refused:
        """An importer that finds nothing else."""

        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] not in ours:
                raise ModuleNotFoundError(f"refused: {name}", name=name)

    for module in cli.COMMANDS.values():
        importlib.import_module(f"disklog_mp.cli.{module}")  # so that each is there again afterwards
    for name in [name for name in sys.modules if name.startswith("disklog_mp.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    for name, value in vars(cli).copy().items():
        monkeypatch.setitem(vars(cli), name, value)
    monkeypatch.setattr(sys, "meta_path", [Refused(), *sys.meta_path])
    assert b"crashtest" in call("--help").stdout
    for name in cli.COMMANDS:
        done = call(name, "--help")
        assert (0, b"") == (done.returncode, done.stderr), name
        assert done.stdout.startswith(f"Usage: disklog-mp {name} ".encode())
