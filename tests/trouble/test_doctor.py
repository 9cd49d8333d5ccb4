"""doctor and the machine: each fault is made, found, and mended by the command that the finding names."""

import ctypes
import json
import mmap
import os
import platform
import resource
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import child, fork, succeeds
from support.command import call
from support.diagnosis import found_by, in_own_mounts, leave, mend, mount, the_one
from support.machine import wait_until
from support.mounts import fill, system
from support.pages import frame, write_page
from support.users import NOBODY, User, make_ring

import disklog_mp
from disklog_mp._doctor import examination
from disklog_mp._doctor.findings import Finding
from disklog_mp._doctor.mounts import look_at_copies
from disklog_mp._doctor.namespaces import zombies_of_init
from disklog_mp._doctor.subject import Subject
from disklog_mp._ring.names import ring_path
from disklog_mp._ring.observing import observe

OpenLog = Callable[..., disklog_mp.Session]
LoopDisk = Callable[[str, int], Path]
SHM = "/dev/shm"
MIB = 1 << 20
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, mounts and other users take root")
pytestmark = as_root


def test_the_command(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0 for nothing found, 1 for findings, 2 for no such log and for a look that failed."""
    write_page(path, [frame(0, b"x")])
    ring = list(examination.LOOKS)

    def be_at_fault(subject: object) -> list[Finding]:
        return [Finding("\033 is wrong", "mend it")]

    def fail(subject: object) -> list[Finding]:
        raise OSError(5, "Input/output error", "/proc/x")

    assert 2 == call("doctor", path.with_name("none")).returncode
    for look in ring:
        monkeypatch.setitem(examination.LOOKS, look, lambda subject: iter(()))
    done = call("doctor", path)
    assert (0, f"log log in {path}: nothing found in 12 looks\n".encode()) == (done.returncode, done.stdout)
    monkeypatch.setitem(examination.LOOKS, "disk", be_at_fault)
    done = call("doctor", path)
    assert done.returncode == 1
    assert done.stdout.startswith(b"disk: \\x1b is wrong\n    fix: mend it\n")
    told = json.loads((done := call("doctor", "--json")).stdout)
    assert (done.returncode, told["path"], told["looks"]) == (1, "", ring)
    assert [{"look": "disk", "text": "\033 is wrong", "fix": "mend it"}] == told["findings"]
    monkeypatch.setitem(examination.LOOKS, "clocks", fail)
    done = call("doctor", path)
    assert done.returncode == 2
    assert b"trouble: clocks: /proc/x: Input/output error\n" in done.stdout


class TestSharedMemory:
    def test_size_limits_and_access(self, tmp_path: Path) -> None:
        """Too small, read-only, closed to others, without an inode: the fix that is printed mends each."""

        def look() -> None:
            cases = (
                ("size=4m,mode=1777", "shared memory", "has 4 MiB of 4 MiB free: a ring takes 20.5 MiB"),
                ("mode=1755", "shared memory", "1755: other users can make no ring there"),
                ("mode=1777,nr_inodes=1", "shared memory", "has no inode left"),
                ("mode=1777,ro", "mounts", "is mounted read-only"),
            )
            for options, look, text in cases:
                mount("-t", "tmpfs", "-o", options, "tmpfs", place=SHM)
                finding = the_one(look)
                assert text in finding.text, finding
                mend(finding)
                assert [] == found_by(look)
            mount("--bind", tmp_path, place=SHM)
            finding = found_by("shared memory")[0]
            assert f"{SHM} is on " in finding.text
            assert ", not in memory" in finding.text
            mend(finding)
            assert [] == found_by("shared memory")

        in_own_mounts(look)

    def test_missing(self) -> None:
        """No /dev/shm at all."""

        def look() -> None:
            mount("-t", "tmpfs", "tmpfs", place="/dev")
            finding = the_one("shared memory")
            assert f"{SHM}, the place of the rings, is missing" == finding.text
            mend(finding)
            assert [] == found_by("shared memory")

        in_own_mounts(look)

    def test_a_ring_dir(self, tmp_path: Path) -> None:
        """Missing, no directory, on a full disk, of another user."""
        place = tmp_path / "rings"
        finding = the_one("shared memory", ring_dir=place)
        assert "is missing" in finding.text
        mend(finding)
        assert [] == found_by("shared memory", ring_dir=place)
        (tmp_path / "file").touch()
        assert "is no directory" in the_one("shared memory", ring_dir=tmp_path / "file").text

        def look() -> None:
            mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", place=place)
            fill(place / "ballast")
            assert "has 0 B of 3 MiB free" in the_one("shared memory", ring_dir=place).text
            mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", place="/mnt")
            NOBODY.become()
            assert "uid 65534 can make no ring there" in the_one("shared memory", ring_dir="/mnt").text

        in_own_mounts(look)


class TestMounts:
    def test_options_of_the_logs_disk(self, loop_disk: LoopDisk) -> None:
        """Waiting for each write, or for none: remounting as printed mends it.  Read-only, too."""
        disk = loop_disk("ext4", 8 * MIB)
        path = disk / "log"
        write_page(path, [frame(0, b"x")])
        assert [] == found_by("mounts", path)
        for option, text in (
            ("sync", "each write waits for the disk"),
            ("nobarrier", "may be lost when the machine loses power"),
            ("ro", "where the log is, is mounted read-only"),
        ):
            assert system("mount", "-o", f"remount,{option}", disk)
            finding = the_one("mounts", path)
            assert text in finding.text
            mend(finding)
            assert [] == found_by("mounts", path)

    def test_a_log_that_goes_with_machine_or_container(self, tmp_path: Path) -> None:
        """On a tmpfs, and in the layer of an overlay."""

        def look() -> None:
            disk = tmp_path / "disk"
            mount("-t", "tmpfs", "tmpfs", place=disk)
            write_page(disk / "log", [frame(0, b"x")])
            assert "the log is in memory (tmpfs on " in the_one("mounts", disk / "log").text
            for name in ("lower", "upper", "work"):
                (disk / name).mkdir()
            layers = f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work"
            mount("-t", "overlay", "-o", layers, "overlay", place=tmp_path / "merged")
            write_page(tmp_path / "merged" / "log", [frame(0, b"x")])
            finding = the_one("mounts", tmp_path / "merged" / "log")
            assert "the layer of a container (overlay)" in finding.text
            assert f"-v /srv/log:{tmp_path}/merged/log" in finding.fix

        in_own_mounts(look)

    def test_a_proc_without_sys(self) -> None:
        """As a service with ProcSubset=pid has it."""

        def look() -> None:
            mount("-t", "proc", "-o", "subset=pid", "proc", place="/proc")
            finding = the_one("mounts")
            assert finding.text.startswith("/proc has no sys")
            assert "ProcSubset=all" in finding.fix

        in_own_mounts(look)


class TestCopyOnWrite:
    def test_a_log_on_btrfs(self, loop_disk: LoopDisk) -> None:
        """Until its directory is told not to copy."""
        path = loop_disk("btrfs", 128 * MIB) / "log"
        write_page(path, [frame(0, b"x")])
        finding = the_one("copy-on-write", path)
        assert "the log is on btrfs, which writes each change to a new place" in finding.text
        mend(finding)
        assert [] == found_by("copy-on-write", path)

    def test_a_ring_that_shares_blocks(self, loop_disk: LoopDisk, name: str) -> None:
        """A copy by reflink, until it is removed."""
        disk = loop_disk("xfs", 320 * MIB)
        rings = disk / "rings"
        rings.mkdir()
        path = rings / "log"
        write_page(path, [frame(0, b"x")])
        make_ring(name, str(rings), str(path))
        ring = ring_path(name, bytes(16), str(rings))
        os.sync()
        assert system("cp", "--reflink=always", ring, disk / "copy")
        subject = Subject(str(rings), str(path), name, file=(file := observe(ring)))
        try:
            (told,) = look_at_copies(subject)
            assert f"the ring {ring} shares blocks with a copy of it" in told.text
            (disk / "copy").unlink()
            wait_until(lambda: [] == list(look_at_copies(subject)))  # its blocks are freed a little later
        finally:
            os.close(file.fd)


def test_remove_ipc(tmp_path: Path) -> None:
    """In force by default, for users that are no system users, unless they linger."""

    def look() -> None:
        for place in ("/run/systemd", "/etc/systemd", "/var/lib/systemd"):
            mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", place=place)
        for place in ("/run/systemd/users", "/etc/systemd/logind.conf.d", "/var/lib/systemd/linger"):
            os.makedirs(place)
            os.chmod(place, 0o1777)
        assert [] == found_by("RemoveIPC")  # root's rings stay
        User(4711, 4711).become()
        finding = the_one("RemoveIPC")
        assert "logind removes the rings of 4711 from /dev/shm at the last logout" in finding.text
        assert "`loginctl enable-linger 4711`" in finding.fix
        assert [] == found_by("RemoveIPC", ring_dir=tmp_path)
        drop = Path("/etc/systemd/logind.conf.d/disklog.conf")
        drop.write_text("[Login]\nRemoveIPC=no\n")
        assert [] == found_by("RemoveIPC")
        drop.with_name("z.conf").write_text("[Login]\nRemoveIPC=yes\n")  # the last one counts
        assert the_one("RemoveIPC")
        Path("/var/lib/systemd/linger/4711").touch()  # as `loginctl enable-linger` does
        assert [] == found_by("RemoveIPC")

    in_own_mounts(look)


class TestPidNamespaces:
    def test_process_1(self, open_log: OpenLog, name: str) -> None:
        """A program that is process 1 of a container, and one beside an init that does not reap."""
        log = open_log(kill_stalled=60)
        log.log(b"x")

        def be_first() -> None:
            mount("-t", "proc", "proc", place="/proc")
            assert os.getpid() == 1
            with disklog_mp.attach(name) as mine:
                mine.log(b"y")
                texts = [each.text for each in found_by("pid namespaces", name)]
                assert texts[0].startswith("this process is process 1 of its pid namespace")
                assert texts[1].startswith("a container's process 1 is attached")
                assert texts[2].startswith("kill_stalled= has no effect on 1 attached process of other")
                assert len(texts) == 3
            orphan = fork(lambda: os.fork() or os._exit(0))
            os.waitpid(orphan, 0)
            wait_until(zombies_of_init)
            succeeds(fork(look_beside_zombie))
            while True:
                try:
                    os.wait4(-1, 0)
                except ChildProcessError:
                    break
            succeeds(fork(lambda: assert_none(found_by("pid namespaces"))))

        def look_beside_zombie() -> None:
            finding = the_one("pid namespaces")
            assert "does not wait for its children: 1 zombie" in finding.text
            assert "docker run --init" in finding.fix

        def begin() -> None:
            leave("mount")
            leave("pid")
            succeeds(fork(be_first))

        succeeds(fork(begin))


def assert_none(found: list[examination.Symptom]) -> None:
    assert found == []


class Group:
    """A cgroup of the tests' own, of either version."""

    def __init__(self, controller: str, name: str) -> None:
        old, new = Path("/sys/fs/cgroup") / controller, Path("/sys/fs/cgroup")
        self.is_old = (old / "cgroup.procs").exists()
        self.path = (old if self.is_old else new) / name
        try:
            self.path.mkdir()
        except OSError:
            pytest.skip("no cgroup can be made here")

    def set(self, *given: tuple[str, object]) -> None:
        """Set the file of that name there is."""
        for name, value in given:
            if (self.path / name).exists():
                (self.path / name).write_text(str(value))
                return
        pytest.skip(f"{self.path} has no such limit")

    def join(self) -> None:
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def used(self) -> int:
        name = "memory.usage_in_bytes" if self.is_old else "memory.current"
        return int((self.path / name).read_text())

    def remove(self) -> None:
        wait_until(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


class TestCgroups:
    def test_memory(self, name: str) -> None:
        """A limit below a ring; one that is nearly used up."""
        group = Group("memory", name)
        limits = "memory.limit_in_bytes", "memory.max"

        def look() -> None:
            group.join()
            group.set(*((limit, 16 * MIB) for limit in limits))
            finding = the_one("cgroups")
            assert "this process may use 16 MiB of memory: a ring takes 20.5 MiB of it" in finding.text
            assert str(group.path) in finding.fix
            group.set(*((limit, 48 * MIB) for limit in limits))
            assert [] == found_by("cgroups")
            held = []
            while group.used() < 45 * MIB:
                held.append(b"x" * (MIB // 2))
            finding = the_one("cgroups")
            assert "the cgroup of this process uses 4" in finding.text
            assert "of 48 MiB of memory" in finding.text
            group.set(*((limit, 256 * MIB) for limit in limits))
            assert [] == found_by("cgroups")

        try:
            succeeds(fork(look))
        finally:
            group.remove()

    def test_processes(self, name: str) -> None:
        """Room for two more: a writer takes several."""
        group = Group("pids", name)

        def look() -> None:
            group.join()
            group.set(("pids.max", 3))
            finding = the_one("cgroups")
            assert "has 1 of 3 processes and threads: no writer can start" in finding.text
            group.set(("pids.max", 100))
            assert [] == found_by("cgroups")

        try:
            succeeds(fork(look))
        finally:
            group.remove()


class TestUlimits:
    def test_of_this_process(self) -> None:
        """Each limit is set in a child, found there, and not found without it."""
        held = []

        def set_limit(what: int, soft: int) -> None:
            resource.setrlimit(what, (soft, soft))

        def short_files() -> None:
            set_limit(resource.RLIMIT_FSIZE, 40 * MIB)

        def few_descriptors() -> None:
            set_limit(resource.RLIMIT_NOFILE, 60)

        def many_open() -> None:
            set_limit(resource.RLIMIT_NOFILE, 200)
            for _ in range(len(os.listdir("/proc/self/fd")), 198):
                os.open(os.devnull, os.O_RDONLY)

        def locked() -> None:
            set_limit(resource.RLIMIT_MEMLOCK, 6 * MIB)
            NOBODY.become()
            assert ctypes.CDLL(None).mlockall(2) == 0  # MCL_FUTURE
            held.append(mmap.mmap(-1, 2 * MIB))

        def few_addresses() -> None:
            set_limit(resource.RLIMIT_AS, os.sysconf("SC_PAGE_SIZE") * _pages() + 8 * MIB)

        def few_processes() -> None:
            set_limit(resource.RLIMIT_NPROC, 3)
            User(4712, 4712).become()

        for fault, text, fix in (
            (
                lambda: set_limit(resource.RLIMIT_FSIZE, 40 * MIB),
                "files of 40 MiB (`ulimit -Hf`): a page has",
                "20MiB",
            ),
            (few_descriptors, "may have 60 descriptors (`ulimit -Hn`): too few", "ulimit -n"),
            (many_open, "of 200 descriptors open (`ulimit -n`): it could not attach", "LimitNOFILE="),
            (locked, "locks its memory (mlockall)", "LimitMEMLOCK=infinity"),
            (few_addresses, "a ring of 20.5 MiB cannot be mapped", "LimitAS=infinity"),
            (few_processes, "of 3 processes and threads (`ulimit -u`): no writer starts", "nproc"),
        ):

            def look(fault: Callable[[], None] = fault, text: str = text, fix: str = fix) -> None:
                assert [] == found_by("ulimits")
                fault()
                found = found_by("ulimits")
                assert [text] == [text for each in found if text in each.text and fix in each.fix], found
                assert len(found) == 1

            succeeds(fork(look))

    def test_of_writer_and_attached_processes(self, open_log: OpenLog, name: str) -> None:
        """They are looked at from outside; those of another user are told as not seen."""
        writer = open_log(page_bytes=MIB).stats().writer_pid
        assert [] == found_by("ulimits", name)
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (MIB + 8192, MIB + 8192))
        finding = the_one("ulimits", name)
        assert (
            f"the writer, process {writer}, may make files of 1.0 MiB (`ulimit -Hf`): a ring" in finding.text
        )

        def attached() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
            with disklog_mp.attach(name) as mine:
                mine.log(b"x")
                for _ in range(len(os.listdir("/proc/self/fd")), 196):
                    os.open(os.devnull, os.O_RDONLY)
                signal.pause()

        with child(attached) as pid:
            text = f"process {pid} has 19"
            wait_until(lambda: [each for each in found_by("ulimits", name) if each.text.startswith(text)])


def _pages() -> int:
    """The size of this process's addresses, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[0])


# -- seccomp -------------------------------------------------------------------------------------------

PIDFD_OPEN = 434
MEMBARRIER = {"x86_64": 324, "aarch64": 283}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSE, ALLOW = 0x00050001, 0x7FFF0000  # EPERM, as old profiles of Docker answer


def refuse(*calls: int) -> None:
    """Have the kernel refuse these system calls to this process from now on."""
    program = [(LOAD, 0, 0, 0)]
    for number in calls:
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    filter_of = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, filter_of, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def test_the_kernel() -> None:
    """System calls that a seccomp profile refuses."""

    def look() -> None:
        assert [] == found_by("kernel")
        refuse(PIDFD_OPEN, MEMBARRIER[platform.machine()])
        found = found_by("kernel")
        assert [each.text.split(" refuses ")[1].split(" to ")[0] for each in found] == [
            "pidfd_open()",
            "membarrier()",
        ]
        assert all("seccomp profile" in each.fix for each in found)

    succeeds(fork(look))
