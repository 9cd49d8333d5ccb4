"""What the command line prints about things that others wrote cannot steer the terminal it is shown on."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import COMMAND, call, run
from support.layout import ERROR_TEXT, OPTIONS
from support.pages import LOG_ID, SALT, frame, page_path, write_page
from support.rings import attach_ring, ring_path
from support.sessions import ring_of
from support.users import make_ring

import disklog_mp
from disklog_mp import _core

OpenLog = Callable[..., disklog_mp.Session]

CONTROLS = "".join(
    map(chr, (*range(1, 32), *range(127, 160), *range(0x200B, 0x2010), *range(0x2028, 0x202F)))
)
BIDI = "\u2066\u2067\u2068\u2069\u061c\ufeff\U000e0041"
NASTY = f"\x1b[2J\x1b]0;title\x07 \x9b31m{CONTROLS}{BIDI} end"
NASTY_BYTES = NASTY.encode() + b"\0 \xff\xfe \xc0\x9b \xed\xa0\x80 \x9b2J \xf4\x90\x80\x80"
NASTY_PATH = NASTY.replace("/", "")[:60] + "\udcff"


def assert_safe(output: bytes) -> None:
    """It holds nothing that controls a terminal."""
    text = output.decode("utf-8")
    assert not [char for char in text if not (char.isprintable() or char in "\n\t")], ascii(text)


class TestTerminal:
    @pytest.mark.parametrize("how", [(), ("--json",), ("--utc",)], ids=str)
    def test_records(self, path: Path, how: tuple[str, ...]) -> None:
        """cat and tail escape controls, direction marks and what is no UTF-8; --raw changes nothing."""
        frames = [frame(0, NASTY_BYTES, time=1)]
        position = len(frames[0])
        gaps = [NASTY.encode(), b"[" * 100_000, b'{"dropped": 1, "since": 1000000000000000000000000000}']
        for data in gaps:
            frames.append(frame(position, data, kind=4))
            position += len(frames[-1])
        write_page(path, frames)
        for command in ("cat", "tail"):
            assert_safe(call(command, path, *how).stderr)
            done = call(command, path, "--notes", *how)
            assert done.returncode == 0
            assert_safe(done.stdout + done.stderr)
            further = [line for line in done.stdout.splitlines() if line.startswith(b"    ")]
            assert len(further) == ("--json" not in how)  # NASTY_BYTES is text of two lines
            assert len(done.stdout.splitlines()) == 4 + len(further)
        if not how:
            for end, options in ((b"\n", ["--raw"]), (b"\0", ["--raw", "-0"])):
                assert call("cat", path, *options).stdout == NASTY_BYTES + end

    def test_what_page_files_say(self, path: Path) -> None:
        """The log's name in a header and in the lock file, a directory's name, a damaged page."""
        path = path.with_name(NASTY_PATH)
        page = bytearray(write_page(path, [frame(0, b"x" * 40), frame(64, b"y")], name=NASTY[:40]))
        page[4096 + 30] ^= 1
        page_path(path).write_bytes(page)
        for note in (None, f"4711 {NASTY} boot"):
            if note is not None:
                (path / "disklog.lock").write_text(note)
            for command in ("cat", "tail", "stat", "verify"):
                for how in ((), ("--json",)):
                    done = call(command, os.fsencode(path).decode("utf-8", "surrogateescape"), *how)
                    assert_safe(done.stdout + done.stderr)

    def test_what_a_ring_says(self, name: str, path: Path, tmp_path: Path) -> None:
        """Name, directory, last trouble and options: any process that may attach could write them."""
        rings = str(tmp_path / "rings")
        make_ring(name, rings, str(path))
        target = ring_path(name, rings)
        size = os.path.getsize(target)
        os.unlink(target)
        with open(target, "x+b") as file:
            file.truncate(size)
            memory = _core.Mapping(file.fileno(), size, writable=True)
            path = path.with_name(NASTY_PATH)
            write_page(path, [frame(0, NASTY_BYTES)])
            log_name = NASTY[:40].encode()
            _core.format_ring(memory, 4096, 0, 1, SALT, bytes(16), LOG_ID, log_name, os.fsencode(path))
        os.chmod(target, 0o600)
        view = memoryview(memory)
        options = (
            '{"mode": "' + NASTY.encode("unicode_escape").decode().replace("\\", "\\\\") + '"}'
        ).encode()
        view[OPTIONS : OPTIONS + len(options)] = options
        trouble = NASTY_BYTES[: _core.ERROR_TEXT_LENGTH]
        view[ERROR_TEXT : ERROR_TEXT + len(trouble)] = trouble
        ring = attach_ring(name, rings)
        ring.ring.error_time = 1
        os.close(ring.fd)
        for command in (
            ("ls",),
            ("ls", "--json"),
            ("stat",),
            ("stat", name),
            ("stat", name, "--json"),
            ("verify", name),
            ("verify", name, "--json"),
            ("cat", name, "--ring"),
            ("tail", name),
            ("rm", name),
        ):
            done = call(*command, "--ring-dir", rings)
            assert done.stdout + done.stderr or command[0] == "rm"
            assert_safe(done.stdout + done.stderr)

    @pytest.mark.parametrize("options", [b"[" * 2048, b'{"mode": "\x1b[2J"}', b"\xff\xfe", b"[]"])
    def test_options_that_nobody_of_ours_wrote(self, open_log: OpenLog, options: bytes, name: str) -> None:
        """Are none, or shown escaped."""
        log = open_log()
        ring = ring_of(log)
        assert ring is not None
        memory = memoryview(ring)
        kept = bytes(memory[OPTIONS : OPTIONS + _core.OPTIONS_LENGTH])
        memory[OPTIONS : OPTIONS + len(options)] = options
        with contextlib.suppress(disklog_mp.ConfigMismatchError):
            open_log(mode=0o600)
        done = run("append", name, stdin=b"x\n")
        assert_safe(done.stderr)
        memory[OPTIONS : OPTIONS + _core.OPTIONS_LENGTH] = kept

        assert done.returncode == 0

    def test_what_a_producer_calls_itself(self, log: disklog_mp.Session, name: str) -> None:
        """The command line of an attached process is the process's own to choose."""
        code = "import disklog_mp, sys; l = disklog_mp.attach(sys.argv[1]); print(flush=True); input()"
        command = [sys.executable, "-c", code, name, NASTY]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as producer:
            assert producer.stdout is not None
            producer.stdout.readline()
            for how in ((), ("--json",)):
                done = call("stat", name, *how)
                assert done.returncode == 0
                assert_safe(done.stdout + done.stderr)
            producer.communicate(b"\n")


def test_a_pager_on_a_terminal(path: Path) -> None:
    """On a terminal, and only there, cat shows records through the pager, with levels in colour."""
    write_page(path, [frame(0, b"first", tag=40), frame(32, b"second")])
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PAGER": "sed s/^/paged:/", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    try:
        for options in ([], ["--no-pager"]):
            command = [*COMMAND, "cat", str(path), *options]
            subprocess.run(command, stdin=theirs, stdout=theirs, check=True, env=environment)
            shown = os.read(ours, 65536).decode().splitlines()
            assert 2 == len(shown)
            assert all(line.startswith("paged:") is not bool(options) for line in shown)
            assert shown[0].endswith(" \x1b[1;31mERROR\x1b[m first")
        assert not run("cat", path, env=environment).stdout.startswith(b"paged:")
        leave = {**environment, "PAGER": "true"}
        write_page(path, [frame(i * 32, b"line") for i in range(9000)])
        done = subprocess.run(
            [*COMMAND, "cat", str(path)], stdin=theirs, stdout=theirs, check=False, env=leave
        )
        assert 0 == done.returncode
    finally:
        os.close(ours)
        os.close(theirs)
