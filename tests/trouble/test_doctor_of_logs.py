"""doctor and one log: rings that a crash left, clocks, versions, the free disk; fixes are done as printed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import fork, stepping_clock
from support.command import call
from support.diagnosis import found_by, mend, the_one
from support.machine import stop_writer, wait_until
from support.mounts import Mount, fill
from support.pages import frame, page_path, write_page
from support.rings import has_ring, ring_path
from support.users import make_ring

import disklog_mp
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import LOCK
from disklog_mp._pages.identity import FILE

OpenLog = Callable[..., disklog_mp.Session]
MIB = 1 << 20
PACKAGE = Path(disklog_mp.__file__).parent


class TestRings:
    def leave_records(self, name: str, path: Path, rings: str) -> None:
        """Leave records in a ring without a process."""

        def crash() -> None:
            log = disklog_mp.open(name, path, ring_dir=rings, ring_bytes=1 << 16)
            log.log(b"first")
            log.flush()
            os.kill(log.stats().writer_pid, signal.SIGSTOP)
            log.log(b"left behind")
            os.kill(log.stats().writer_pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

        os.waitpid(fork(crash), 0)

    def test_records_that_are_in_no_page(self, name: str, path: Path, tmp_path: Path) -> None:
        """The command that is named writes them; where the log is gone, another one removes them."""
        rings = str(tmp_path / "rings")
        self.leave_records(name, path, rings)
        for log in (None, path):
            finding = the_one("rings", log, ring_dir=rings)
            assert "records that are in no page, and no process is attached" in finding.text
            assert f"`disklog-mp serve {name} {path} --ring-dir {rings}`" in finding.fix
        path.rename(tmp_path / "away")
        finding = the_one("rings", ring_dir=rings)
        assert f"its log is gone from {path}" in finding.text
        assert finding.fix.endswith(f"disklog-mp rm {name} --ring-dir {rings} --force")
        (tmp_path / "away").rename(path)
        words = the_one("rings", path).fix.split("`")[1].split()[1:]
        with subprocess.Popen([sys.executable, "-m", "disklog_mp", *words]) as writer:
            try:
                wait_until(lambda: [b"first", b"left behind"] == [it.data for it in disklog_mp.Reader(path)])
                assert [] == found_by("rings", path)
            finally:
                writer.terminate()
        stop_writer(name, ring_dir=rings)

    def test_rings_without_a_use(self, name: str, tmp_path: Path) -> None:
        """One that holds nothing, one that is none, memory for one that was never made."""
        rings = tmp_path / "rings"
        rings.mkdir()
        assert [] == found_by("rings", ring_dir=rings)
        make_ring(name, str(rings), str(tmp_path / "log"))
        finding = the_one("rings", ring_dir=rings)
        assert "no process is attached" in finding.text
        mend(finding)
        assert not has_ring(name, str(rings))
        planted = Path(ring_path(name, str(rings)))
        planted.write_bytes(bytes(8192))
        finding = the_one("rings", ring_dir=rings)
        assert f"disklog-mp rm {name} --ring-dir {rings} --force" in finding.fix
        planted.unlink()
        gone = os.waitpid(fork(bool), 0)[0]
        unfinished = rings / f".disklog-{name}.{'0' * 16}.{gone}"
        unfinished.write_bytes(bytes(8192))
        assert [] == found_by("rings", ring_dir=rings)  # it may be made just now
        os.utime(unfinished, (0, 0))
        finding = the_one("rings", ring_dir=rings)
        assert f"{unfinished} takes 8 KiB: process {gone} was killed" in finding.text
        mend(finding)
        assert [] == os.listdir(rings)


class TestClocks:
    def test_records_from_the_future(self, open_log: OpenLog, name: str, path: Path) -> None:
        """A line that `append` reads says so, and pages do."""
        open_log().flush()
        assert [] == found_by("clocks", name)
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86400 + 60))
        line = json.dumps({"time": later, "message": "x"}).encode()
        command = [sys.executable, "-m", "disklog_mp", "append", name]
        subprocess.run(command, input=line + b"\n", check=True, timeout=60)
        finding = the_one("clocks", name)
        assert "30 days from now: the clock was ahead" in finding.text
        assert finding.text.startswith("page 1 has times up to ")

    def test_a_clock_that_was_set_back(self, path: Path) -> None:
        """The next page begins before the last record of the page before it."""
        hour, now = 3600 * 10**9, time.time_ns() - 10**10
        write_page(path, [frame(0, b"x")], created=now - 3 * hour, last_time=now - hour)
        write_page(
            path, [frame(32, b"y")], number=2, first_position=32, first_number=1, created=now - 3 * hour
        )
        finding = the_one("clocks", path)
        assert "page 2 begins 2 hours before the end of the page before it" in finding.text

    @pytest.mark.skipif(shutil.which("gcc") is None, reason="a clock that steps takes a compiler")
    def test_steps_of_the_clock(self, name: str, path: Path, tmp_path: Path) -> None:
        """The writer tells of them as events, for a day they are a finding."""
        environment, ahead = stepping_clock(tmp_path)
        command = [sys.executable, "-m", "disklog_mp", "serve", name, str(path)]
        with subprocess.Popen(command, env=environment) as writer:
            try:
                wait_until(lambda: has_ring(name))
                with disklog_mp.attach(name) as log:
                    log.log(b"x")
                    log.flush(30)  # the writer looks at its clock by now
                assert [] == found_by("clocks", path)
                ahead.write_bytes((-3600).to_bytes(8, "little", signed=True))
                finding = wait_until(lambda: found_by("clocks", path), 30)[0]
            finally:
                writer.terminate()
        assert "was set 1 time in a day, last at " in finding.text
        assert " by -3600 s" in finding.text


PROGRAM = """
import sys
import disklog_mp
assert disklog_mp.__file__.startswith(sys.argv[1]), disklog_mp.__file__
with disklog_mp.attach(sys.argv[2]) as log:
    log.log(b"from another package")
    print("attached", flush=True)
    sys.stdin.read()
"""


class TestVersions:
    def test_packages_of_attached_processes(self, open_log: OpenLog, name: str, tmp_path: Path) -> None:
        """One of another version; one that was removed under its process."""
        open_log().flush()
        assert [] == found_by("versions", name)
        other = tmp_path / "other"
        shutil.copytree(
            PACKAGE, other / "disklog_mp", ignore=shutil.ignore_patterns("__pycache__", "csrc", "cli")
        )
        (other / "disklog_mp-99.0.dist-info").mkdir()
        command = [sys.executable, "-P", "-S", "-c", PROGRAM, str(other), name]
        paths = [str(other), *(path for path in sys.path if path.endswith("site-packages"))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as program:
            try:
                assert program.stdout is not None
                assert b"attached\n" == program.stdout.readline()
                finding = the_one("versions", name)
                assert f"99.0 in process {program.pid}" in finding.text
                assert finding.text.startswith("processes of this log run different versions of disklog-mp: ")
                shutil.rmtree(other)
                finding = the_one("versions", name)
                assert (
                    f"process {program.pid} runs the package that was in {other}/disklog_mp" in finding.text
                )
                assert f"restart process {program.pid}" == finding.fix
            finally:
                program.communicate()
        assert [] == found_by("versions", name)

    def test_formats(self, open_log: OpenLog, path: Path) -> None:
        """A page, and a log's file, of a later version."""
        log = open_log()
        log.log(b"x")
        log.close()
        stop_writer(log.name)
        page = bytearray(page_path(path).read_bytes())
        page[_page_format.VERSION : _page_format.VERSION + 4] = (3).to_bytes(4, "little")
        crc = _page_format.header_crc(page, 3)
        page[_page_format.HEADER_CRC : _page_format.HEADER_CRC + 4] = crc.to_bytes(4, "little")
        page_path(path).write_bytes(page)
        finding = the_one("versions", path)
        assert "1 page of another format: page 1 has format 3, this version reads up to 2" in finding.text
        assert "`pip install --upgrade disklog-mp`" in finding.fix
        identity = json.loads((path / FILE).read_text())
        (path / FILE).write_text(json.dumps({**identity, "format": 2}))
        finding = the_one("versions", path)
        assert "a log's file of format 2" in finding.text
        for file in (FILE, LOCK):
            (path / file).unlink()
        assert "a page of version 3" in the_one("versions", path).text


class TestDisk:
    def test_retention_against_free_disk(self, open_log: OpenLog, name: str, mount: Mount) -> None:
        """More may be kept than fits, in each way; the options that are named fit."""
        disk = mount("-t", "tmpfs", "-o", "size=40m", "tmpfs")
        path = disk / "log"
        log = disklog_mp.open(name, path, page_bytes=MIB, ring_bytes=1 << 16, linger=0.1)
        try:
            log.log(b"x")
            log.flush()
            assert [] == found_by("disk", path)
            for options, text in (
                ({"keep_bytes": "1G"}, "and keep_bytes=1 GiB lets the log grow by 1024 MiB"),
                ({"keep_bytes": None, "keep_pages": 100}, "and keep_pages=100 lets the log grow by "),
                ({"keep_pages": None, "max_bytes": "50M"}, "and max_bytes=50 MiB lets the log grow by "),
            ):
                log.configure(**options)
                finding = the_one("disk", path)
                assert text in finding.text
            mend_with_option(finding.fix)
            assert [] == found_by("disk", path)
            log.configure(keep_bytes=None, max_bytes=None)
            (disk / "other").write_bytes(bytes(35 * MIB))
            assert "less than 8 pages of 1.0 MiB, and nothing limits the log" in the_one("disk", path).text
            fill(disk / "ballast")
            assert "0 B free: the next page takes 1.0 MiB" in the_one("disk", path).text
            for each in ("other", "ballast"):
                (disk / each).unlink()
        finally:
            log.close()
            stop_writer(name)

    def test_a_log_that_fills_its_disk_within_days(self, path: Path, mount: Mount) -> None:
        """Two hours made ten megabytes: nothing limits it, so the rest lasts for hours.  Also: few inodes."""
        disk = mount("-t", "tmpfs", "-o", "size=700m,nr_inodes=12", "tmpfs")
        now = time.time_ns()
        data = [frame(0, b"x" * (10 * MIB))]
        write_page(disk / "log", data, created=now - 7200 * 10**9, last_time=now)
        first, second = found_by("disk", disk / "log")
        assert "and nothing limits the log: at its pace it is full in 13" in first.text
        assert "inodes left: each page takes one" in second.text


def mend_with_option(fix: str) -> None:
    """Set the option that a fix names."""
    words = fix.split("`")[1].split()[1:]
    assert call(*words).returncode == 0
