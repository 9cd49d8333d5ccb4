"""A disk that is full, or takes no more from this writer, or fails: for real."""

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.faulty_files import FaultyFiles
from support.machine import stop_writer, wait_until
from support.mounts import FailingDisk, Mount, fill, system
from support.rings import has_ring, remove_ring
from support.trouble import assert_healed, assert_trouble, log_until_full, numbers

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]


class TestFullDisk:
    @pytest.fixture
    def path(self, small_disk: Path) -> Path:
        return small_disk / "log"

    @pytest.fixture
    def ballast(self, small_disk: Path) -> Path:
        return small_disk / "ballast"

    @pytest.mark.parametrize("policy", ["block", "raise", "drop"])
    def test_a_disk_that_is_full_loses_nothing_and_heals_by_itself(
        self, open_log: OpenLog, path: Path, ballast: Path, policy: str
    ) -> None:
        """What was accepted waits in the ring, the policy tells the rest, and with room all is written."""
        log = open_log(on_full=policy, timeout=0.1)
        log.log(b"0")
        log.flush()
        fill(ballast)
        accepted, refused, full = [0], 0, False
        while not full:  # and once more when it is known: the ring is full then, too
            full = "No space" in (log.stats().error or "")
            accepted += log_until_full(log, accepted[-1] + 1)
            refused += 1
        assert_trouble(log.name, "[Errno 28] No space left on device")
        with pytest.raises(disklog_mp.WaitTimeoutError):
            log.flush(0.1)

        ballast.unlink()
        log.flush(30)
        accepted.append(accepted[-1] + 1)
        log.log(b"%d" % accepted[-1])
        log.flush()

        assert accepted == numbers(path)
        gaps = [json.loads(record.data)["dropped"] for record in disklog_mp.Reader(path) if record.gap]
        assert log.stats().dropped == refused
        assert sum(gaps) == (refused if policy == "drop" else 0)
        assert_healed(log)

    @pytest.mark.parametrize("moment", ["the first page", "a page that is complete", "a roll that is asked"])
    def test_a_disk_that_is_full_when_a_page_is_begun(
        self, open_log: OpenLog, path: Path, ballast: Path, moment: str
    ) -> None:
        """The page before is whole and sealed; the next is begun, once, when there is room."""
        log = open_log(page_records=3 if moment == "a page that is complete" else None)
        before = 0 if moment == "the first page" else 3
        for i in range(before):
            log.log(b"%d" % i)
        log.flush()
        fill(ballast)
        if moment == "a roll that is asked":
            log.roll()
            wait_until(lambda: os.path.getsize(log.get_page(1).path) <= 8192)
            fill(ballast.with_suffix(".more"))  # the room that the page had reserved
        for i in range(before, before + 3):
            log.log(b"%d" % i)
        wait_until(lambda: "No space" in (log.stats().error or ""))
        assert list(range(before)) == numbers(path)

        ballast.unlink()
        assert_healed(log)
        log.flush(30)

        assert list(range(before + 3)) == numbers(path)
        assert not [entry for entry in os.listdir(path) if entry.endswith(".new")]
        assert_healed(log)

    def test_steering_on_a_full_disk(self, open_log: OpenLog, path: Path, ballast: Path) -> None:
        """What makes room works; the rest says why not, loses nothing, and works when there is room."""
        log = open_log(page_records=2)
        for i in range(5):
            log.log(b"%d" % i)
        log.flush()
        fill(ballast)
        assert log.prune(pages=2).last == 1
        fill(ballast.with_suffix(".more"))
        with pytest.raises(OSError, match="No space left on device"):
            log.truncate()
        assert [2, 3, 4] == numbers(path)
        assert log.roll() == 3

        ballast.unlink()
        assert log.truncate().records == 3
        log.log(b"5")
        log.flush()
        assert [5] == numbers(path)
        assert disklog_mp.verify(path).status == "clean"

    def test_a_ring_left_behind_is_taken_up_on_a_full_disk(
        self, open_log: OpenLog, path: Path, ballast: Path
    ) -> None:
        """The next writer needs no room to begin with, and writes what is in the ring when there is some."""
        log = open_log()
        for i in range(20):
            log.log(b"%d" % i + b" " * 5000)
        log.flush()
        stop_writer(log.name, signal.SIGKILL)
        fill(ballast)
        for i in range(20, 210):  # more than the page has reserved, less than the ring holds
            log.log(b"%d" % i + b" " * 5000)
        open_log()
        wait_until(lambda: "No space" in (log.stats().error or ""))

        ballast.unlink()
        log.flush(30)

        assert list(range(210)) == numbers(path)
        assert_healed(log)

    def test_a_log_that_has_no_room_to_begin_with_says_so(self, open_log: OpenLog, ballast: Path) -> None:
        """OSError at open(), and nothing left behind; with room it opens."""
        fill(ballast)
        with pytest.raises(OSError, match="No space"):
            open_log()
        ballast.unlink()

        open_log().log(b"x")

    def test_a_disk_too_small_for_a_whole_page_still_holds_a_log(self, open_log: OpenLog) -> None:
        """Pages of 64 MiB on 3 MiB: space is reserved in steps, down to what is needed."""
        log = open_log()
        for i in range(500):
            log.log(b"%d" % i + b" " * 5000)
        log.flush(30)

        assert 500 == len(log.get_page(1))


def test_a_disk_without_inodes_is_a_full_one(open_log: OpenLog, path: Path, mount: Mount) -> None:
    """There is room for bytes and none for another page file: the same promise."""
    mount("-t", "tmpfs", "-o", "size=3m,nr_inodes=16", "tmpfs", place=path)
    log = open_log(page_records=3)
    for i in range(3):
        log.log(b"%d" % i)
    log.flush()
    with pytest.raises(OSError, match="No space"):
        for i in range(16):
            (path / f"inode-{i}").touch()
    for i in range(3, 6):
        log.log(b"%d" % i)
    wait_until(lambda: "No space" in (log.stats().error or ""))
    for entry in path.glob("inode-*"):
        entry.unlink()
    log.flush(30)

    assert list(range(6)) == numbers(path)
    assert_healed(log)


def test_a_quota_that_is_used_up_is_a_full_disk(name: str, loop_disk: Callable[[str, int], Path]) -> None:
    """EDQUOT instead of ENOSPC, the same promise: what was accepted is written when there is more."""
    disk = loop_disk("btrfs", 128 << 20)
    assert system("btrfs", "subvolume", "create", disk / "limited")
    if not system("btrfs", "quota", "enable", disk):
        pytest.skip("no quotas on btrfs")
    assert system("btrfs", "qgroup", "limit", "3m", disk / "limited")
    path = disk / "limited" / "log"
    with disklog_mp.open(name, path, ring_bytes=1 << 16, page_bytes=1 << 18, linger=0.1) as log:
        log.configure(event_bytes=0)  # its pages are a part of the quota
        accepted = -1
        while "quota" not in (log.stats().error or ""):
            assert accepted < 3000
            accepted += 1
            log.log(b"%d" % accepted + b" " * 5000)
            with contextlib.suppress(disklog_mp.WaitTimeoutError):
                log.flush(1)
        assert_trouble(name, "[Errno 122] Disk quota exceeded")
        assert system("btrfs", "qgroup", "limit", "none", disk / "limited")
        log.sync(60)
        assert [*range(accepted + 1)] == numbers(path)
        assert_healed(log)


def test_a_writer_at_its_file_size_limit_goes_on_when_it_is_lifted(open_log: OpenLog, path: Path) -> None:
    """RLIMIT_FSIZE, set on the running writer: EFBIG instead of ENOSPC, the same promise."""
    log = open_log(timeout=0.2)
    log.log(b"0")
    log.flush()
    writer = log.stats().writer_pid
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    accepted = [0, *log_until_full(log, 1)]
    wait_until(lambda: "too large" in (log.stats().error or ""))
    assert_trouble(log.name, "[Errno 27] File too large")
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.flush(30)

    assert accepted == numbers(path)
    assert_healed(log)


# EIO from a write: no disk here can be told to refuse just that.
@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT])
def test_a_write_that_is_refused_is_made_again(name: str, path: Path, number: int) -> None:
    """Also if half of it was done: what was accepted is there once, in order."""
    files = FaultyFiles()
    stop = threading.Event()
    work = Writer(name, path, Options(ring_bytes=1 << 16), files=files)
    thread = threading.Thread(target=work.run, args=(stop.is_set,))
    thread.start()
    try:
        with disklog_mp.attach(name) as log:
            log.log(b"0")
            log.flush()
            files.fail("write_at", number=number, times=10**5, half=True)
            for i in range(1, 50):
                log.log(b"%d" % i)
            wait_until(lambda: os.strerror(number) in (log.stats().error or ""))
            assert_trouble(name, f"[Errno {number}] {os.strerror(number)}")
            files.heal()
            log.flush(30)
            assert_healed(log)
    finally:
        stop.set()
        thread.join()

    assert list(range(50)) == numbers(path)


class TestReadOnly:
    def test_a_file_system_that_is_written_to_is_not_made_read_only(
        self, open_log: OpenLog, path: Path, small_disk: Path
    ) -> None:
        """The kernel refuses while the writer has its page open, and the log goes on."""
        log = disklog_mp.open(open_log().name + "-2", small_disk / "log", ring_bytes=1 << 16, linger=0.1)
        try:
            with log:
                log.log(b"0")
                log.flush()
                remount = ["mount", "-o", "remount,ro", small_disk]
                refused = subprocess.run(remount, capture_output=True, check=False)
                log.log(b"1")
                log.flush()
                assert log.stats().error is None
        finally:
            stop_writer(log.name)

        assert b"busy" in refused.stderr
        assert [0, 1] == numbers(small_disk / "log")

    def test_a_directory_in_which_nothing_can_be_made_waits_for_the_next_page(
        self, open_log: OpenLog, path: Path, mount: Mount
    ) -> None:
        """Mounted read-only over itself, and back: the page being written goes on, the next one waits."""
        log = open_log(page_records=5)
        for i in range(3):
            log.log(b"%d" % i)
        log.flush()
        mount("--bind", path, place=path)
        assert system("mount", "-o", "remount,bind,ro", path)
        for i in range(3, 8):
            log.log(b"%d" % i)
        wait_until(lambda: "Read-only" in (log.stats().error or ""))
        assert_trouble(log.name, "[Errno 30] Read-only file system")
        assert list(range(5)) == numbers(path)
        assert system("umount", path)
        log.flush(30)

        assert list(range(8)) == numbers(path)
        assert_healed(log)

    def test_a_file_system_that_became_read_only_does_not_end_the_writer(
        self, name: str, failing_disk: FailingDisk
    ) -> None:
        """As ext4 does after an error: not even sealing works; the log goes on where another is mounted."""
        assert system("mount", "-o", "remount,errors=remount-ro", failing_disk.path)
        trigger = Path("/sys/fs/ext4") / Path(failing_disk.device).name / "trigger_fs_error"
        path = failing_disk.path / "log"
        with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0.1) as log:
            log.log(b"0")
            log.sync(30)
            before = log.stats()
            trigger.write_text("1")
            for steer in (log.roll, log.truncate):
                with pytest.raises(OSError, match="Read-only file system"):
                    steer()
            log.log(b"1")
            wait_until(lambda: "Read-only" in (log.stats().error or ""))
            assert_trouble(log.name, "[Errno 30] Read-only file system")
            assert [0] == numbers(path)
            old = disklog_mp.Reader(path).get_page(1)

            assert system("umount", "--lazy", failing_disk.path)
            path.mkdir()
            log.flush(30)

            assert [b"0"] == list(old.payloads())
            assert [1] == numbers(path)
            assert_healed(log)
            assert before.writers == log.stats().writers
            old.close()
        stop_writer(name)


class TestFailedSync:
    def test_a_disk_that_loses_what_was_written(
        self, name: str, failing_disk: FailingDisk, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """fdatasync fails and the kernel has dropped the data: who waits is told, and all is written anew."""
        path, ballast = failing_disk.path / "log", failing_disk.below / "ballast"
        with disklog_mp.open(name, path, ring_bytes=1 << 20, sync="never", linger=0.1) as log:
            log.log(b"0")
            log.sync(30)
            fill(ballast)
            for i in range(1, 600):
                log.log(b"%d" % i + b" " * 10000)
            with pytest.raises(OSError, match="could not be synced") as caught:
                log.sync(60)
            assert caught.value.errno in (errno.EIO, errno.ENOSPC)
            wait_until(lambda: log.stats().error)
            assert_trouble(name, f"[Errno {caught.value.errno}]")
            assert log.stats().durable < log.stats().written

            ballast.unlink()
            log.log(b"600")
            wait_until(lambda: syncs(log), 60)

            assert_healed(log)
            assert log.stats().durable == log.stats().written
        stop_writer(name)

        assert list(range(601)) == numbers(path)
        told = capfd.readouterr().err
        assert told.count("cannot sync: ") == 1
        assert "written anew" in told


def syncs(log: disklog_mp.Session) -> bool:
    """True if the disk takes all that was logged."""
    try:
        log.sync(30)
    except OSError:
        return False
    return True


class TestRingMemory:
    """No room for another ring; in a directory of its own, so that nobody else is out of memory."""

    @pytest.fixture
    def ring_dir(self, mount: Mount, tmp_path: Path) -> Path:
        return mount("-t", "tmpfs", "-o", "size=5m", "tmpfs", place=tmp_path / "rings")

    def test_a_log_goes_on_in_a_ring_that_cannot_be_replaced(
        self, name: str, path: Path, ring_dir: Path
    ) -> None:
        """Its name is removed and memory full: it shows, and with room there is a ring of the name again."""
        with disklog_mp.open(name, path, ring_dir=str(ring_dir), ring_bytes=1 << 20, linger=0.1) as log:
            log.log(b"0")
            log.flush()
            fill(ring_dir / "ballast")
            remove_ring(name, str(ring_dir))
            wait_until(lambda: "does not fit" in (log.stats().error or ""))
            for i in range(1, 500):
                log.log(b"%d" % i + b" " * 5000)
            log.flush(30)
            assert "does not fit" in (log.stats().error or "")

            (ring_dir / "ballast").unlink()
            wait_until(lambda: has_ring(name, str(ring_dir)))
            with disklog_mp.attach(name, ring_dir=str(ring_dir)) as other:
                other.log(b"500")
            log.log(b"501")
            log.flush(30)
            wait_until(lambda: log.stats().error is None)
        stop_writer(name, ring_dir=str(ring_dir))

        assert list(range(502)) == numbers(path)

    def test_a_larger_ring_that_does_not_fit_leaves_the_log_as_it_is(
        self, name: str, path: Path, ring_dir: Path
    ) -> None:
        """The session that asks for it is told, and joins; all go on in the ring there is."""
        with disklog_mp.open(name, path, ring_dir=str(ring_dir), ring_bytes=1 << 20, linger=0.1) as log:
            log.log(b"0")
            log.flush()
            stop_writer(name, signal.SIGKILL, str(ring_dir))
            log.log(b"1")
            with pytest.warns(UserWarning, match="does not fit"):
                disklog_mp.open(name, path, ring_dir=str(ring_dir), ring_bytes=4 << 20).close()
            log.log(b"2")
            log.flush(30)
            assert log.stats().error is None
        stop_writer(name, ring_dir=str(ring_dir))

        assert [0, 1, 2] == numbers(path)
