"""The command line as a whole: help, versions, errors, pipes; then serve, append, rm and bench."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from support.children import fork
from support.command import COMMAND, call, kill_writer, run, start
from support.machine import stop_writer, wait_until
from support.rings import has_ring

import disklog_mp
from disklog_mp._loggers import structured as _structured
from disklog_mp.cli import COMMANDS, _text, commands

OpenLog = Callable[..., disklog_mp.Session]
__all__ = ["kill_writer"]  # a fixture


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_and_option_has_help(self, name: str) -> None:
        """Each command says what it does in a line that fits, each option what it is for."""
        context = click.Context(commands)
        command = commands.get_command(context, name)
        assert command is not None
        short = command.get_short_help_str(65)

        assert short
        assert not short.endswith("...")
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"

    def test_the_help_lists_all_commands(self) -> None:
        """`--help` names each command, on stdout."""
        done = run("--help")

        assert done.returncode == 0
        for name in COMMANDS:
            assert f"\n  {name} ".encode() in done.stdout

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("stat", "Show the state of LOG: ring, writer, pages, counters, producers."),
            ("verify", "Check every byte and page of LOG, and that all counted records are there."),
            (
                "verify",
                "the counters are checked too: logged = written + still in the ring, per attached process",
            ),
            ("tail", "If the cursor file exists, -n is ignored"),
            ("tail", "Resume after the position stored in FILE, and update it."),
            ("cat", "Only records whose field KEY is VALUE; also != < <= > >= and ~"),
            ("cat", "First record number to show (0 is the oldest ever logged)."),
            ("serve", "Refuse records when the log has reached this size."),
            ("serve", "Exit this long after the last producer detached."),
            ("serve", "Creates the directory and the ring if missing"),
            ("rm", "Remove the shared memory that a crash of LOG left behind."),
            ("crashtest", "Kill processes at random; prove nothing is lost."),
            ("crashtest", "on failure the log is kept for inspection"),
            ("crashtest", "A stall is a call of log() or log_many() that takes more than 100 ms"),
            ("demo", "Demo: several processes log, a reader follows."),
            ("bench", "Seconds per measurement."),
        ],
    )
    def test_the_words_of_the_help(self, name: str, text: str) -> None:
        """What it says is said in words that are read once."""
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        shown = command.get_help(click.Context(command, info_name=name))

        assert text in " ".join(shown.split())

    def test_the_versions(self) -> None:
        """`version` and `--version` tell the package's version and those of ring and page."""
        long, short = run("version"), run("--version")

        assert long.stdout == short.stdout
        assert long.stdout.startswith(b"disklog-mp 0.")
        assert b"ring format 2, page format 1" in long.stdout


class TestErrors:
    @pytest.mark.parametrize("command", ["cat", "tail", "stat", "verify", "append", "rm"])
    def test_a_log_that_does_not_exist(self, command: str, name: str) -> None:
        """One line on stderr that names it, exit code 2."""
        done = call(command, name)

        assert done.returncode == 2
        assert done.stdout == b""
        assert done.stderr.count(b"\n") == 1
        assert name.encode() in done.stderr

    @pytest.mark.parametrize("command", ["cat", "tail", "stat", "verify"])
    def test_a_file_is_no_log(self, command: str, tmp_path: Path) -> None:
        """A path that is a file: exit code 2, and what is wanted instead."""
        (tmp_path / "file").write_text("text")
        done = call(command, tmp_path / "file")

        assert done.returncode == 2
        assert b"a log is a directory" in done.stderr

    def test_a_directory_without_a_log(self, tmp_path: Path) -> None:
        """A directory in which no writer has ever been is no empty log, but an error."""
        done = call("cat", tmp_path)

        assert done.returncode == 2
        assert b"holds no log" in done.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["cat"],
            ["cat", "x", "--raw", "--json"],
            ["cat", "x", "-0"],
            ["cat", "x", "--since", "soon"],
            ["tail", "x", "-n", "many"],
            ["serve", "x", "y", "--page-records", "many"],
        ],
        ids=" ".join,
    )
    def test_wrong_usage(self, arguments: list[str]) -> None:
        """One line with the prefix of all errors that names the help; exit code 2."""
        done = call(*arguments)

        assert done.returncode == 2
        assert done.stderr.startswith(b"disklog-mp: ")
        assert done.stderr.endswith(b" --help`\n")
        assert done.stderr.count(b"\n") == 1

    def test_a_pipe_whose_reader_left(self, log: disklog_mp.Session, path: Path) -> None:
        """`cat | head -1` ends quietly with 141, as the shell reports a broken pipe."""
        for _ in range(20_000):
            log.log(b"a line that will not be read")
        log.flush()
        with start("cat", path) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            process.stdout.close()
            complaint = process.stderr.read()

        assert first.endswith(b"a line that will not be read\n")
        assert complaint == b""
        assert process.returncode == 141

    def test_a_full_disk_behind_stdout(self, log: disklog_mp.Session, path: Path) -> None:
        """What cannot be written is an error, also when it shows at the very end."""
        log.log(b"x")
        log.flush()
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*COMMAND, "cat", path], stdout=full, stderr=subprocess.PIPE, check=False)

        assert done.returncode == 2
        assert done.stderr == b"disklog-mp: No space left on device\n"

    def test_what_an_error_shows_is_safe(self) -> None:
        """A path in a message cannot steer the terminal."""
        line = _text.error_line(FileNotFoundError(2, "no such file", "/tmp/\x1b[2Jx"))

        assert _text.printable(line) == "/tmp/\\x1b[2Jx: no such file"


class TestServe:
    def serve(self, *arguments: object) -> tuple[subprocess.Popen[bytes], bytes]:
        """Start a writer in the foreground; return it and the first line it says."""
        process = start("serve", *arguments)
        assert process.stderr is not None
        return process, process.stderr.readline()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_serves_until_it_is_told_to_stop(self, number: signal.Signals, name: str, path: Path) -> None:
        """It says what it serves, takes records, and on SIGTERM or SIGINT writes all and exits with 0."""
        process, said = self.serve(name, path, "--ring-bytes", "64k", "--page-records", "3", "--sync", "page")
        with process:
            with disklog_mp.attach(name) as log:
                for i in range(7):
                    log.log(b"%d" % i)
            process.send_signal(number)
            assert process.stderr is not None
            last = process.stderr.read().splitlines()[-1]

        assert f"{name}: process {process.pid} writes to {path}, ring of 64 KiB".encode() in said
        assert last.endswith(b"stopped: all committed records are written")
        assert process.returncode == 0
        assert [len(page) for page in disklog_mp.Reader(path).pages()] == [3, 3, 1]
        assert not has_ring(name)

    def test_a_second_writer(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """A log has one writer: the second is told which process that is, and exits with 2."""
        done = run("serve", name, path)

        assert done.returncode == 2
        assert f"already has a writer, process {log.stats().writer_pid}".encode() in done.stderr

    def test_it_goes_on_after_a_kill(self, name: str, path: Path) -> None:
        """A killed writer's successor says where it goes on, and has every record."""
        process, _ = self.serve(name, path)
        with process, disklog_mp.attach(name) as log:
            log.log(b"before")
            log.flush()
            process.kill()
            process.wait()
            log.log(b"between")
            process, _ = self.serve(name, path)
            assert process.stderr is not None
            said = process.stderr.readline() + process.stderr.readline()
            log.flush()
        process.terminate()
        with process:
            process.wait()

        assert f"{name}: continues at record 1, position ".encode() in said
        assert [record.data for record in disklog_mp.Reader(path)] == [b"before", b"between"]

    def test_it_lingers_as_told(self, name: str, path: Path) -> None:
        """With --linger it ends by itself that long after the last producer."""
        done = run("serve", name, path, "--linger", "50ms")

        assert done.returncode == 0

    @pytest.mark.parametrize(
        ("option", "value", "said"),
        [
            ("--page-bytes", "12 parsecs", b"page_bytes='12 parsecs' is not a size"),
            ("--keep-age", "soon", b"keep_age='soon' is not a duration"),
            ("--mode", "0777", b"mode=0o777 must let the owner read and write"),
            ("--group", "no-such-group", b"group='no-such-group' is not a group"),
            ("--keep-pages", "0", b"keep_pages=0 must be at least 1"),
        ],
    )
    def test_options_are_checked(self, option: str, value: str, said: bytes, name: str, path: Path) -> None:
        """A value that cannot be is refused with the option's name before anything is made."""
        done = call("serve", name, path, option, value)

        assert done.returncode == 2
        assert said in done.stderr
        assert not path.exists()


class TestAppend:
    def payloads(self, path: Path) -> list[bytes]:
        return [record.data for record in disklog_mp.Reader(path)]

    def test_lines_become_records(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """Each line is a record without its newline, empty ones and an unfinished last one too."""
        done = run("append", name, stdin=b"one\n\ntwo\r\n\xff\x00\nlast")

        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert self.payloads(path) == [b"one", b"", b"two\r", b"\xff\x00", b"last"]

    def test_much_input(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """A large input with lines of all lengths arrives whole and in order."""
        wanted = [b"%d" % i * (i % 97) for i in range(30_000)]
        done = run("append", name, stdin=b"\n".join(wanted) + b"\n")

        assert done.returncode == 0
        assert wanted == self.payloads(path)

    def test_nul_separated(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """With -0 a newline is part of the record."""
        assert run("append", "-0", name, stdin=b"a\nb\0c\0").returncode == 0
        assert self.payloads(path) == [b"a\nb", b"c"]

    def test_tag_and_tee(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """--tag marks the records, --tee copies the input to stdout as it is."""
        done = run("append", name, "--tag", 7, "--tee", stdin=b"a\nb")

        assert done.stdout == b"a\nb"
        assert [record.tag for record in disklog_mp.Reader(path)] == [7, 7]

    def test_pages_have_the_records_asked_for(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Appending many lines at once does not change how many records a page has."""
        open_log(page_records=10)
        assert run("append", name, stdin=b"line\n" * 25).returncode == 0
        assert [len(page) for page in disklog_mp.Reader(path).pages()] == [10, 10, 5]

    def test_a_line_is_not_held_back(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """A line is in the log while the input stays open."""
        with start("append", name) as process:
            assert process.stdin is not None
            process.stdin.write(b"now\nlater")
            process.stdin.flush()
            wait_until(lambda: self.payloads(path) == [b"now"], 20)
            process.stdin.close()
            assert process.wait() == 0

        assert self.payloads(path) == [b"now", b"later"]

    def test_it_opens_a_log(self, name: str, path: Path) -> None:
        """With --path no writer need be there; it starts one."""
        # Not run(): the writer it starts keeps stderr open for as long as it lingers.
        command = [*COMMAND, "append", name, "--path", str(path)]
        done = subprocess.run(command, input=b"x\n", check=False)
        stop_writer(name)

        assert done.returncode == 0
        assert self.payloads(path) == [b"x"]

    def test_a_line_that_is_too_long_is_cut(self, open_log: OpenLog, name: str, path: Path) -> None:
        """As handlers do it: its beginning is kept, and the pipe goes on; level and time stay, too."""
        open_log(ring_bytes=4096)
        slow = b'{"level": "ERROR", "message": "' + b"y" * 9000 + b'"}'
        structured = _structured.encode(1, "ERROR", "db", "z" * 9000)
        lines = [b"first", b"x" * 5000, slow, structured, b"", b"x" * 600_000, b"last"]
        done = run("append", name, stdin=b"\n".join(lines))

        assert (done.returncode, done.stderr) == (0, b"")
        records = list(disklog_mp.Reader(path))
        assert [len(record.data) for record in records] == [5, 1000, 1000, len(records[3].data), 0, 1000, 4]
        assert records[1].data.endswith(b"xx [full_length=5000]")
        assert records[2].data.startswith(slow[:900])
        assert [record.tag for record in records] == [0, 0, 40, 40, 0, 0, 0]
        event = records[3].event
        assert event is not None
        assert (event.logger, event.fields) == ("db", {"full_length": len(structured)})
        assert records[5].data.endswith(b" [full_length=600000]")


class TestRm:
    def test_a_log_in_use(self, log: disklog_mp.Session, name: str) -> None:
        """While the writer lives its ring stays."""
        done = call("rm", name, "--force")

        assert done.returncode == 1
        assert b"is writing it" in done.stderr
        assert log.log(b"still here") >= 0

    def test_a_producer_is_attached(
        self, log: disklog_mp.Session, name: str, kill_writer: Callable[[], None]
    ) -> None:
        """A live producer keeps the ring, too: it may be logging."""
        kill_writer()
        done = call("rm", name, "--force")

        assert done.returncode == 1
        assert f"1 process attached: {os.getpid()}".encode() in done.stderr

    def test_records_that_no_page_has(self, name: str, path: Path) -> None:
        """Records in the ring alone are removed only with --force; the pages stay in any case."""

        def crash() -> None:
            """No session is left to start another writer."""
            log = disklog_mp.open(name, path)
            log.log(b"in a page")
            log.flush()
            os.kill(log.stats().writer_pid, signal.SIGSTOP)
            log.log(b"in the ring")
            os.kill(os.getpid(), signal.SIGKILL)

        os.waitpid(fork(crash), 0)
        stop_writer(name, signal.SIGKILL)
        refused, forced = call("rm", name), call("rm", name, "--force")

        assert refused.returncode == 1
        assert f"64 bytes of its records are in no page yet: `disklog-mp serve {name} {path}`" in (
            refused.stderr.decode()
        )
        assert forced.returncode == 0
        assert not has_ring(name)
        assert [record.data for record in disklog_mp.Reader(path)] == [b"in a page"]

    def test_what_is_no_ring(self, tmp_path: Path) -> None:
        """A file under a ring's name that is none is removed with --force alone."""
        (tmp_path / "disklog-x").write_bytes(b"nonsense" * 1000)
        refused = call("rm", "x", "--ring-dir", tmp_path)
        forced = call("rm", "x", "--ring-dir", tmp_path, "--force")

        assert refused.returncode == 1
        assert b"--force removes it" in refused.stderr
        assert forced.returncode == 0
        assert not list(tmp_path.iterdir())


def test_the_benchmark(tmp_path: Path) -> None:
    """It takes four measures beside their peers, and leaves nothing behind."""
    done = run("bench", "--seconds", 0.05, "--producers", 2, "--json", "--dir", tmp_path)
    told = json.loads(done.stdout)

    assert done.returncode == 0
    assert told["machine"]["python"] == sys.version.split()[0]
    assert [each["name"] for each in told["benchmarks"]] == ["call", "throughput", "reading", "sync"]
    for each in told["benchmarks"]:
        assert len(each["contestants"]) > 1
        assert min(found["min"] for found in each["contestants"].values()) > 0
    assert not list(tmp_path.iterdir())
