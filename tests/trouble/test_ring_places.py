"""A place for the ring that is full, closed, or gives no promise: open() says what, and the way out."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import posix_ipc
import pytest
from support.machine import stop_writer
from support.mounts import Mount, fill, system
from support.rings import has_ring, remove_ring

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._os import attributes as _attributes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import room as _room
from disklog_mp._writer.writer import Writer

LoopDisk = Callable[[str, int], Path]
MIB = 1 << 20

# A /dev of its own, in a mount namespace of its own, for a program that opens a log.
DEV = """
mount -t tmpfs dev /dev || exit 77
mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/urandom c 1 9
"""
OPEN = """
import sys, disklog_mp
name, path, rings = sys.argv[1:]
try:
    disklog_mp.open(name, path, linger=0.1)
except OSError as error:
    print(type(error).__name__, error)
if rings:
    with disklog_mp.open(name, path, linger=0.1, ring_dir=rings) as log:
        log.log(b'x')
        log.flush()
        print('written', log.stats().written > 0)
"""


def open_in(setup: str, name: str, path: Path, rings: Path | None) -> str:
    """What a program says that opens a log in a mount namespace of its own, set up like that."""
    command = f'{setup}\nexec "$@"'
    program = [sys.executable, "-c", OPEN, name, path, rings or ""]
    arguments = ["unshare", "-m", "--propagation", "private", "sh", "-c", command, "sh", *program]
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("mounting takes root")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shared_memory_without_an_inode(mount: Mount, tmp_path: Path) -> None:
    """There is room, and no file can be made: that is said, and nothing is left."""
    disk = mount("-t", "tmpfs", "-o", "nr_inodes=3,size=10m", "tmpfs")
    for number in range(2):
        (disk / str(number)).touch()
    with pytest.raises(OSError, match="no inode left; remove files, or give another ring_dir="):
        _ring.reserve(str(disk / "ring"), capacity=1 << 16, mode=0o600, gid=-1)
    assert sorted(os.listdir(disk)) == ["0", "1"]


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("", "FileNotFoundError [Errno 2] no ring of 20.5 MiB can be made in /dev/shm, it is missing"),
        (
            "mkdir /dev/shm; mount -t tmpfs -o ro shm /dev/shm",
            "OSError [Errno 30] no ring of 20.5 MiB can be made in /dev/shm, it is read-only",
        ),
        (
            "mkdir /dev/shm; mount -t tmpfs -o size=4m shm /dev/shm",
            "OSError [Errno 28] a ring of 20.5 MiB does not fit into /dev/shm (4 MiB, 4 MiB free)",
        ),
    ],
    ids=["missing", "read-only", "too small"],
)
def test_shared_memory_that_is_none(name: str, path: Path, tmp_path: Path, setup: str, said: str) -> None:
    """The error names itself, the size and ring_dir=; with that, the log works."""
    told = open_in(DEV + setup, name, path, tmp_path / "rings")
    stop_writer(name, ring_dir=str(tmp_path / "rings"))

    assert said in told
    assert "ring_dir=" in told
    assert "written True" in told


def test_a_proc_without_sys(name: str, path: Path) -> None:
    """As a service with ProcSubset=pid has it: the error names it."""
    told = open_in("mount -t proc -o subset=pid proc /proc || exit 77", name, path, None)

    assert "/proc has no sys (ProcSubset=pid, perhaps)" in told
    assert not has_ring(name)


def test_shared_memory_that_is_closed_to_this_user(
    name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """posix_ipc's errors are OSErrors, with the way out."""

    def refuse(*given: object, **options: object) -> None:
        raise posix_ipc.PermissionsError("No permission to access this segment")

    monkeypatch.setattr(posix_ipc, "SharedMemory", refuse)
    with pytest.raises(PermissionError, match=r"can be made in /dev/shm, it is directory .* ring_dir="):
        Writer(name, path, Options())

    def fail(*given: object, **options: object) -> None:
        raise posix_ipc.Error("not known")

    monkeypatch.setattr(posix_ipc, "SharedMemory", fail)
    with pytest.raises(OSError, match="Input/output error"):
        Writer(name, path, Options())
    Writer(name, path, Options(ring_bytes=MIB), ring_dir=str(tmp_path / "rings")).close()


def test_a_limit_of_the_length_of_files(name: str, path: Path) -> None:
    """ulimit -f is named, not the room in /dev/shm; nothing is left there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(OSError, match=r"a ring of 5.5 MiB is longer .* \(1 MiB, `ulimit -f`\)") as caught:
            Writer(name, path, Options(ring_bytes=4 * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.errno == errno.EFBIG
    assert not [entry for entry in os.listdir("/dev/shm") if name in entry]


def test_a_memory_limit_below_the_ring(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, where the kernel would kill the writer; nothing is left in /dev/shm."""
    monkeypatch.setattr(_room, "memory_limit", lambda: (4 * MIB, "/sys/fs/cgroup/memory.max"))
    with pytest.raises(OSError, match=r"may use \(4 MiB, /sys/fs/cgroup/memory.max\)"):
        Writer(name, path, Options(ring_bytes=4 * MIB))

    assert not [entry for entry in os.listdir("/dev/shm") if name in entry]
    Writer(name, path, Options(ring_bytes=MIB)).close()
    remove_ring(name)


def test_which_memory_limit_counts(tmp_path: Path) -> None:
    """The lowest of the process's own cgroup and those above, in both versions of cgroups."""
    files = {
        "proc/self/cgroup": "4:memory:/a/b\n1:cpu:/x\n0::/service/part\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "sys/fs/cgroup/service/memory.max": "70000\n",
        "sys/fs/cgroup/service/part/memory.max": "max\n",
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "90000\n",
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    limit, named = _room.memory_limit(str(tmp_path))

    assert limit == 70000
    assert named == str(tmp_path / "sys/fs/cgroup/service/memory.max")
    assert _room.memory_limit(str(tmp_path / "sys"))[0] == 2**63


# -- file systems whose allocation is no promise ------------------------------------------------------------


def test_a_ring_on_a_disk_that_copies_on_write_survives_that_it_is_full(
    name: str, path: Path, loop_disk: LoopDisk
) -> None:
    """log() needs no room there: without the attribute, the process is killed by SIGBUS."""
    disk = loop_disk("btrfs", 128 * MIB)
    rings = str(disk / "rings")
    with disklog_mp.open(name, path, linger=0.1, ring_bytes=1 << 14, ring_dir=rings) as log:
        for i in range(40):  # two laps: each page of the ring is one that would have to go elsewhere
            log.log(b"%d" % i + b" " * 1000)
        log.flush()
        assert system("sync", "-f", disk)
        (ring,) = (file for file in (disk / "rings").iterdir() if file.suffix != ".sock")
        with open(ring, "rb") as file:
            assert _attributes.attributes(file.fileno()) & _attributes.NO_COPY_ON_WRITE
        fill(disk / "ballast")
        for i in range(40, 80):
            log.log(b"%d" % i + b" " * 1000)
        log.flush(30)
    stop_writer(name, ring_dir=rings)

    assert len(list(disklog_mp.Reader(path))) == 80


@pytest.mark.parametrize("kind", ["btrfs", "zfs", "bcachefs"])
def test_a_file_system_that_copies_on_write_and_cannot_help_it_is_refused(
    name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """At open(), with the reason; nothing is left."""
    monkeypatch.setattr(_attributes, "kind_of", lambda where: kind)
    monkeypatch.setattr(_attributes, "set_attribute", lambda fd, attribute: False)
    with pytest.raises(OSError, match=rf"{kind} writes each change to a new place .*chattr \+C"):
        Writer(name, path, Options(ring_bytes=MIB), ring_dir=str(tmp_path / "rings"))

    assert os.listdir(tmp_path / "rings") == []


def test_a_file_system_that_is_not_known_is_tried(
    name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page of the ring is written once before it is used; a failure of that is one of open()."""
    monkeypatch.setattr(_attributes, "kind_of", lambda where: "newfs")
    monkeypatch.setattr(_attributes, "set_attribute", lambda fd, attribute: False)
    written: list[tuple[int, int]] = []
    write_at = _room._files.RealFile.write_at

    def note(file: object, data: memoryview, offset: int) -> None:
        written.append((offset, len(data)))
        write_at(file, data, offset)  # type: ignore[arg-type]

    monkeypatch.setattr(_room._files.RealFile, "write_at", note)
    fd = os.open(tmp_path / "ring", os.O_RDWR | os.O_CREAT)
    assert _room.prepare(fd, str(tmp_path))
    _room.write_all(fd, 5 * MIB // 2)
    os.close(fd)
    assert written == [(0, MIB), (MIB, MIB), (2 * MIB, MIB // 2)]

    def fail(file: object, data: memoryview, offset: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_room._files.RealFile, "write_at", fail)
    with pytest.raises(OSError, match="does not fit into"):
        _ring.reserve(str(tmp_path / "disklog-x.0"), capacity=MIB, mode=0o600, gid=-1)
    assert [entry for entry in os.listdir(tmp_path) if "disklog" in entry] == []
