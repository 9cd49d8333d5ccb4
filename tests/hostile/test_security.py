"""Other users, and what they plant: it is neither believed, followed nor obeyed, and nobody is harmed."""

import asyncio
import contextlib
import functools
import grp
import itertools
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.faulty_files import RefusingFile, RefusingFiles
from support.machine import RUN, wait_until
from support.pages import LOG_ID, SALT, Source, page_path, page_writer
from support.rings import has_ring, remove_ring, ring_path
from support.sessions import ring_of
from support.users import DAEMON, NOBODY, ROOT, User, as_stranger, as_user, make_ring, serving

import disklog_mp
from disklog_mp import _core, aio
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.identity import FILE, LogIdentity, write_identity
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.page import Page
from disklog_mp._ring import names as _names
from disklog_mp._verify.pages import check_page
from disklog_mp._writer.writer import Writer
from disklog_mp.logging import DiskLogHandler

OpenLog = Callable[..., disklog_mp.Session]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")

SHARED = 23450  # a group
MEMBER = User(23451, 23451, (SHARED,))
MATE = User(23452, 23452, (SHARED,))
VICTIM = User(23460, 23460)
PLANTER = 12345
HINT = "mode=0o660 and group="


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter, and into which everybody may put things (of his own)."""
    made = Path(tempfile.mkdtemp(prefix=f"{RUN}-"))
    made.chmod(0o1777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def path(place: Path) -> Path:
    """A directory for a log, in that one; not made yet."""
    return place / "log"


def read(path: Path) -> list[bytes]:
    """What a reader that is not disturbed by damage reads."""
    return [record.data for record in disklog_mp.Reader(path, on_damage=lambda damage: None)]


def log_and_read(name: str, path: Path, data: bytes, ring_dir: str | None = None) -> list[bytes]:
    """Attach, log, wait, read."""
    with disklog_mp.attach(name, ring_dir=ring_dir) as log:
        log.log(data)
        log.flush(20)
        return [record.data for record in disklog_mp.Reader(path)]


def access(file: Path | str) -> tuple[int, int]:
    """Mode and group of a file."""
    status = os.lstat(file)
    return stat.S_IMODE(status.st_mode), status.st_gid


def look(file: Path | str) -> tuple[object, ...]:
    """All of a file that somebody could change."""
    status = os.lstat(file)
    content = Path(file).read_bytes() if stat.S_ISREG(status.st_mode) else None
    owner = status.st_uid, status.st_gid, status.st_mode, status.st_nlink
    return status.st_ino, owner, status.st_size, status.st_mtime_ns, content


# -- other users ---------------------------------------------------------------------------------------------


def owner(uid: int, gid: int) -> str:
    """Return owner and group as messages show them: names where there are any."""
    names = []
    for look_up, number in ((pwd.getpwuid, uid), (grp.getgrgid, gid)):
        try:
            names.append(look_up(number)[0])
        except KeyError:
            names.append(str(number))
    return ":".join(names)


@as_root
class TestOthers:
    @pytest.mark.parametrize("user", [DAEMON, NOBODY])
    def test_another_user_neither_attaches_nor_reads(
        self, open_log: OpenLog, name: str, path: Path, user: User
    ) -> None:
        """PermissionError that says what is there and what to do; the log goes on as if nothing had been."""
        log = open_log()
        log.log(b"mine")
        log.flush()
        ring = look(ring_path(name))[:2]
        for use in (
            functools.partial(disklog_mp.attach, name),
            functools.partial(disklog_mp.open, name, path),
            functools.partial(read, path),
        ):
            with pytest.raises(PermissionError, match=f"root:root 0.00, you are uid {user.uid}; .*{HINT}"):
                as_stranger(user, use)
        path.chmod(0o755)
        with pytest.raises(PermissionError, match=f" 0600, you are uid {user.uid}; .*{HINT}"):
            as_stranger(user, functools.partial(read, path))
        log.log(b"too")
        log.flush()

        assert read(path) == [b"mine", b"too"]
        assert look(ring_path(name))[:2] == ring

    @pytest.mark.parametrize("user", [DAEMON, NOBODY])
    def test_a_forked_child_logs_through_its_parent_and_reads_nothing(
        self, open_log: OpenLog, name: str, path: Path, user: User
    ) -> None:
        """A worker that dropped its rights may attach to and open what its parent has open, and no other log.

        Neither the pages nor the ring's file are open to it.
        """
        log = open_log()
        log.log(b"parent")
        log.flush()

        def use(attach: Callable[[], disklog_mp.Session], data: bytes) -> None:
            with attach() as mine:
                mine.log(data)
                mine.flush(20)

        as_user(user, lambda: use(lambda: disklog_mp.attach(name), b"attached"))
        as_user(user, lambda: use(lambda: disklog_mp.open(name, path), b"opened"))
        other = f"{name}-other"
        with serving(ROOT, other, path.parent / "other"):
            for refused in (
                lambda: disklog_mp.attach(other),
                lambda: disklog_mp.open(other, path.parent / "other"),
                lambda: read(path),
                lambda: open(ring_path(name), "rb"),
            ):
                with pytest.raises(PermissionError):
                    as_user(user, refused)

        assert read(path) == [b"parent", b"attached", b"opened"]

    def test_a_ring_nobody_may_read_hides_no_other(self, open_log: OpenLog, name: str, place: Path) -> None:
        """stat and ls go on with the rest, and say which they could not see."""
        rings = str(place / "rings")
        open_log(ring_dir=rings).close()
        planted = Path(ring_path("a", rings))
        planted.write_bytes(bytes(8192))
        os.chown(planted, PLANTER, PLANTER)
        for command in ("stat", "ls"):
            done = call(command, "--ring-dir", rings)
            assert done.returncode == 1
            assert name in done.stdout.decode()
            assert f"file {owner(PLANTER, PLANTER)} 0" in done.stderr.decode()


@as_root
class TestGroup:
    @pytest.mark.parametrize("umask", [0o000, 0o077])
    @pytest.mark.parametrize("elsewhere", [False, True], ids=["shm", "ring_dir"])
    def test_a_member_attaches_logs_and_reads(
        self, name: str, place: Path, elsewhere: bool, umask: int
    ) -> None:
        """With mode=0o660 and group=, whatever the umask; one who is no member does not."""
        rings = str(place / "new" / "rings") if elsewhere else None
        path = place / "made" / "for" / "it"
        with serving(ROOT, name, path, mode=0o660, group=SHARED, ring_dir=rings, umask=umask):
            found = as_user(MEMBER, lambda: log_and_read(name, path, b"member", rings))
            for use in (lambda: log_and_read(name, path, b"x", rings), lambda: read(path)):
                with pytest.raises(PermissionError, match=HINT):
                    as_user(NOBODY, use)
            assert found == [b"member"]
            assert access(ring_path(name, rings)) == (0o660, SHARED)
            files = [file for file in path.iterdir() if file.name != FILE]
            assert {access(file) for file in files} == {(0o660, SHARED)}
            assert access(path / FILE) == (0o640, SHARED)
            assert access(path) == (0o770, SHARED)

    def test_who_may_read_may_not_write(self, name: str, path: Path) -> None:
        """mode=0o640: a member reads pages and sees their writer, and does not attach."""
        with serving(ROOT, name, path, mode=0o640, group=SHARED):
            log_and_read(name, path, b"x")
            assert as_user(MEMBER, lambda: (read(path), Directory(path).is_locked())) == ([b"x"], True)
            denied = f"ring of '{name}' is root:.* 0640, you are uid .* read and write it: .*{HINT}{SHARED}"
            with pytest.raises(PermissionError, match=denied):
                as_user(MEMBER, lambda: disklog_mp.attach(name))

    def test_who_may_read_looks_by_name(self, name: str, path: Path) -> None:
        """A member of the group with mode=0o640, and root at anybody's log: all that only reads; no advice
        to widen rights for all others.
        """

        def look_at_all() -> list[int]:
            commands = ("stat", "tail", "cat", "verify", "events", "summary")
            names = [info.name for info in disklog_mp.list_logs() if info.path == str(path)]
            # Of the writer's descriptors and package a member sees nothing, and that is said.
            unseen = [each.look for each in disklog_mp.doctor(name).unseen]
            assert unseen == (["ulimits", "versions"] if os.geteuid() else [])
            assert disklog_mp.stat(name).path
            assert call("doctor", name).returncode in (0, 1)
            assert name.encode() in call("ls").stdout
            codes = [call(command, name).returncode for command in commands]
            return [*codes, call("top", "--once", "--interval", "100ms", name).returncode, len(names)]

        with serving(ROOT, name, path, mode=0o640, group=SHARED):
            log_and_read(name, path, b"x")
            before = Path(ring_path(name)).read_bytes()[:64]
            assert [0, 0, 0, 0, 0, 0, 0, 1] == as_user(MEMBER, look_at_all)
            assert before == Path(ring_path(name)).read_bytes()[:64]
            refused = as_user(NOBODY, lambda: call("stat", name))
            assert 2 == refused.returncode
            assert b"its owner, root, and members of a group that may read it can look" in refused.stderr
            assert HINT.encode() not in refused.stderr
        remove_ring(name)
        with serving(MEMBER, name, path.with_name("theirs"), mode=0o600):
            as_user(MEMBER, lambda: log_and_read(name, path.with_name("theirs"), b"x"))
            assert [0, 0, 0, 0, 0, 0, 0, 0] == look_at_all()

    @pytest.mark.parametrize(
        ("mode", "gid", "umask"),
        [(0o600, -1, 0), (0o640, SHARED, 0o077), (0o660, SHARED, 0o777), (0o664, 0, 0)],
    )
    def test_all_that_is_made_has_the_mode_and_group_asked_for(
        self, name: str, path: Path, mode: int, gid: int, umask: int
    ) -> None:
        """After rolls, after a torn tail was set aside, after a page without a header was, after the ring
        was replaced.
        """
        given: dict[str, Any] = {"mode": mode, "umask": umask, "group": gid if gid >= 0 else None}
        with serving(ROOT, name, path, page_records=2, end=signal.SIGKILL, **given):
            for i in range(5):
                log_and_read(name, path, b"%d" % i)
        os.unlink(ring_path(name))
        with open(page_path(path, 3), "r+b") as torn:
            torn.seek(4096 + 32)
            torn.write(b"torn" * 8)
        page_path(path, 4).write_bytes(b"no header")
        os.chmod(page_path(path, 4), mode)
        os.chown(page_path(path, 4), -1, max(gid, 0))
        with serving(ROOT, name, path, page_records=2, **given):
            log_and_read(name, path, b"5")
            assert access(ring_path(name)) == (mode, max(gid, 0))
            os.unlink(ring_path(name))
            wait_until(lambda: has_ring(name))
            assert access(ring_path(name)) == (mode, max(gid, 0))
            log_and_read(name, path, b"6")
        files = sorted(path.iterdir())

        assert {file.name for file in files} > {"disklog.lock", "page-0000000003.bad-4128"}
        assert {file.name: access(file) for file in files} == {
            file.name: (mode & ~0o022 if file.name == FILE else mode, max(gid, 0)) for file in files
        }
        assert [record for record in read(path) if len(record) == 1] == [b"%d" % i for i in range(7)]

    def test_a_page_written_anew_has_them_too(self, path: Path) -> None:
        """After a sync that failed."""
        directory = Directory(path, RefusingFiles())
        directory.create(0o640, SHARED)
        pages = PageWriter(directory, "log", Options(mode=0o640), SHARED)
        pages.recover(RingHints(LOG_ID, SALT))
        source = Source()
        source.log(b"x")
        source.move(pages)
        before = page_path(path).stat().st_ino
        RefusingFile.refusals = 1
        job = pages.sync_job()
        with pytest.raises(OSError, match="Input/output"):
            job.run()
        pages.rescue(job)
        pages.close()

        assert page_path(path).stat().st_ino != before
        assert access(page_path(path)) == (0o640, SHARED)

    def test_members_take_turns_as_the_writer(self, name: str, path: Path) -> None:
        """Each goes on where the one before was killed, in the same ring; all stays the group's."""
        expected = []
        for turn, user in enumerate((ROOT, MEMBER, MATE, MEMBER)):
            with serving(user, name, path, mode=0o660, group=SHARED, page_records=2, end=signal.SIGKILL):
                expected.append(b"%d" % turn)
                assert as_user(MATE, functools.partial(log_and_read, name, path, expected[-1])) == expected
            log = disklog_mp.attach(name)
            expected.append(b"%d, nobody writing" % turn)
            log.log(expected[-1])
            log.close()
        with serving(ROOT, name, path, mode=0o660, group=SHARED):
            wait_until(lambda: read(path) == expected)
        owners = {file.stat().st_uid for file in path.iterdir()}

        assert owners == {ROOT.uid, MEMBER.uid, MATE.uid}
        assert {access(file) for file in path.iterdir() if file.name != FILE} == {(0o660, SHARED)}
        assert access(path / FILE) == (0o640, SHARED)

    def test_what_others_could_read_is_no_place_for_a_private_log(self, name: str, path: Path) -> None:
        """A mate's ring under our name would show him what we log with mode=0o600: PermissionError."""
        with serving(MATE, name, path, mode=0o660, group=SHARED, end=signal.SIGKILL):
            pass
        ring = look(ring_path(name))
        for given in ({}, {"mode": 0o660}, {"mode": 0o640, "group": SHARED}):
            with (
                pytest.raises(
                    PermissionError, match=f"file {owner(MATE.uid, SHARED)} 0660 lets in more users"
                ),
                serving(MEMBER, name, path, **given),
            ):
                pass
        assert look(ring_path(name)) == ring
        remove_ring(name)

    @pytest.mark.parametrize(("before", "after"), [(0o660, 0o600), (0o600, 0o660)], ids=oct)
    def test_another_mode_holds_for_what_is_gone_on_in(
        self, name: str, path: Path, before: int, after: int
    ) -> None:
        """The ring a crash left, the lock file and the page being written, when the log is opened again."""
        with serving(MEMBER, name, path, mode=before, group=SHARED, end=signal.SIGKILL):
            as_user(MEMBER, lambda: log_and_read(name, path, b"x"))
        with serving(MEMBER, name, path, mode=after, group=SHARED):
            as_user(MEMBER, lambda: log_and_read(name, path, b"y"))
            assert access(ring_path(name)) == (after, SHARED)

        assert {access(file) for file in path.iterdir() if file.name != FILE} == {(after, SHARED)}
        assert access(path / FILE) == (after & ~0o022, SHARED)

    def test_a_group_one_is_not_in_cannot_be_given(self, name: str, path: Path) -> None:
        """PermissionError that names it, and nothing is left."""
        with (
            pytest.raises(PermissionError, match=f"not in group {owner(0, SHARED).partition(':')[2]}"),
            serving(NOBODY, name, path, mode=0o660, group=SHARED),
        ):
            pass

        assert not path.exists()
        assert not has_ring(name)


# -- what others plant ---------------------------------------------------------------------------------------


def plant_link(file: str, target: Path) -> None:
    os.symlink(target, file)


def plant_pipe(file: str, target: Path) -> None:
    os.mkfifo(file)


def plant_directory(file: str, target: Path) -> None:
    os.mkdir(file)


def plant_device(file: str, target: Path) -> None:
    os.mknod(file, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def plant_socket(file: str, target: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(os.path.dirname(file)):
        made.bind(os.path.basename(file))


def plant_file(mode: int, gid: int) -> Callable[[str, Path], None]:
    def plant(file: str, target: Path) -> None:
        made = Path(file)
        made.write_bytes(target.read_bytes())
        made.chmod(mode)
        os.chown(made, PLANTER, gid)

    return plant


ID = "0" * 16  # of the logs that begin() begins, in the names of their rings


def begin(name: str, path: Path) -> None:
    """Begin a log whose id everybody knows: what somebody plants in its ring's place is met."""
    directory = Directory(path)
    directory.create(0o600, -1)
    assert directory.lock(0o600, -1)
    uid = os.geteuid()
    identity = LogIdentity(bytes(16), name, uid, str(path), "/dev/shm", options={}, sources={})
    write_identity(directory, identity, 0o600, -1)
    directory.unlock()


def plant_for(plant: Callable[[str, Path], None], file: str, target: Path) -> Path:
    """Put it there, as the one who plants would."""
    plant(file, target)
    if os.lstat(file).st_uid == 0:
        os.lchown(file, PLANTER, PLANTER)
    return Path(file)


def remove(object_: Path) -> None:
    if object_.is_dir() and not object_.is_symlink():
        object_.rmdir()
    else:
        object_.unlink()


PLANTED = {
    "link": plant_link,
    "pipe": plant_pipe,
    "directory": plant_directory,
    "device": plant_device,
    "socket": plant_socket,
    "for everybody": plant_file(0o666, PLANTER),
    "of a foreign group": plant_file(0o660, PLANTER),
    "of our group, which it does not let in": plant_file(0o606, SHARED),
    "of our group, for reading": plant_file(0o646, SHARED),
    "of our group, for nobody": plant_file(0o600, SHARED),
}


@as_root
class TestPlantedRings:
    @pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
    def test_it_is_refused_and_not_changed(
        self, name: str, path: Path, place: Path, plant: Callable[[str, Path], None]
    ) -> None:
        """By attach() and open(), with its owner, group and mode; even where what it holds is a ring."""
        make_ring("honest", str(place), str(path))
        target = Path(ring_path("honest", str(place)))
        for rings, user in itertools.product((None, str(place)), (ROOT, MEMBER)):
            os.chown(target, user.uid, user.gid)
            object_ = plant_for(plant, ring_path(name, rings), target)
            before = look(object_), look(target)
            own = place / f"log-of-{user.uid}-{rings is None}"
            as_user(user, functools.partial(begin, name, own))
            for use in (
                functools.partial(disklog_mp.attach, name, ring_dir=rings),
                functools.partial(disklog_mp.open, name, own, ring_dir=rings),
                functools.partial(Writer, name, own, Options(), ring_dir=rings),
            ):
                with pytest.raises(PermissionError) as caught:
                    as_user(user, use)
                gid, mode = object_.lstat().st_gid, stat.S_IMODE(object_.lstat().st_mode)
                assert f"{owner(PLANTER, gid)} {mode:04o}" in str(caught.value)
                assert str(object_) in str(caught.value)
            assert before == (look(object_), look(target))
            remove(object_)

    @pytest.mark.parametrize("plant", list(PLANTED.values())[:6], ids=list(PLANTED)[:6])
    def test_what_waits_under_a_temporary_name_is_not_written_through(
        self, name: str, path: Path, place: Path, plant: Callable[[str, Path], None]
    ) -> None:
        """Where the system protects it we say so; it and what it leads to stay as they are."""
        target = place / "precious"
        target.write_bytes(b"precious")
        os.chown(target, VICTIM.uid, VICTIM.gid)
        for rings in (None, str(place)):
            where = Path(ring_path(name, rings)).parent
            as_user(VICTIM, functools.partial(begin, name, path))

            def plant_it(where: Path = where) -> None:
                plant_for(plant, str(where / f".disklog-{name}.{ID}.{os.getpid()}"), target)

            with pytest.raises(
                PermissionError,
                match=rf" {owner(PLANTER, 0).partition(':')[0]}:.* temporary name of a new ring.*\.disklog-",
            ):
                as_user(
                    VICTIM, functools.partial(Writer, name, path, Options(), ring_dir=rings), before=plant_it
                )
            (object_,) = (entry for entry in where.iterdir() if entry.name.startswith(f".disklog-{name}."))
            assert object_.lstat().st_uid == PLANTER
            remove(object_)
            assert target.read_bytes() == b"precious"
            assert not os.path.exists(ring_path(name, rings))

    def test_names_of_the_dead_do_not_hinder(self, name: str, path: Path, place: Path) -> None:
        """Temporary names that cannot be removed, of no process, or no number at all."""
        target = place / "precious"
        target.write_bytes(b"precious")
        planted = [place / f".disklog-{name}.{ID}.{pid}" for pid in ("4194305", "²", "٣", "", "9" * 30)]
        for each in planted:
            each.symlink_to(target)
        (place / f".disklog-{name}.{ID}.4194306").mkdir()
        as_user(VICTIM, functools.partial(begin, name, path))
        with serving(VICTIM, name, path, ring_dir=str(place)):
            as_user(VICTIM, lambda: log_and_read(name, path, b"x", str(place)))

        assert all(each.is_symlink() for each in planted)
        assert target.read_bytes() == b"precious"


class TestLinks:
    """Symbolic links in the place of a log's directory, and of the files in it."""

    @pytest.fixture
    def outside(self, place: Path) -> Path:
        """What must be neither read nor changed."""
        file = place / "outside"
        file.write_bytes(b"4711 secret 0\n" + bytes(8192))
        return file

    def test_a_directory_that_is_a_link(self, name: str, path: Path, place: Path) -> None:
        """NotADirectoryError that names the directory itself; nothing in there is touched."""
        real = place / "real"
        for content in (None, [b"secret"]):
            if content is None:
                real.mkdir()
            else:
                pages = page_writer(real)
                source = Source(base=pages.position)
                source.log(content[0])
                source.move(pages)
                pages.close()
            path.unlink(missing_ok=True)
            path.symlink_to(real)
            before = {file.name: look(file) for file in real.iterdir()}
            for use in (
                lambda: disklog_mp.open(name, path),
                lambda: disklog_mp.serve(name, path),
                lambda: disklog_mp.Reader(path),
            ):
                with pytest.raises(NotADirectoryError, match=f"is not followed .*: give {real} itself"):
                    use()
            for command in ("cat", "tail", "stat", "verify"):
                done = call(command, path)
                assert (done.returncode, done.stdout) == (2, b"")
                assert b"is not followed" in done.stderr
            assert before == {file.name: look(file) for file in real.iterdir()}

    def test_a_lock_file_that_is_a_link(self, name: str, path: Path, outside: Path) -> None:
        """No writer starts, nobody is told what is written behind it."""
        path.mkdir()
        (path / "disklog.lock").symlink_to(outside)
        before = look(outside)
        for use in (
            lambda: disklog_mp.open(name, path),
            lambda: disklog_mp.serve(name, path),
            lambda: Directory(path).is_locked(),
        ):
            with pytest.raises(OSError, match="symbolic links"):
                use()
        assert Directory(path).read_note() == (0, "")
        for command in ("cat", "stat", "verify"):
            done = call(command, path)
            assert b"secret" not in done.stdout + done.stderr
        assert before == look(outside)

    def test_a_lock_file_that_is_a_pipe(self, name: str, path: Path) -> None:
        """Nobody waits at it."""
        path.mkdir()
        os.mkfifo(path / "disklog.lock")

        assert Directory(path).read_note() == (0, "")
        with pytest.raises(OSError, match=r"not a regular file|No such device"):
            disklog_mp.serve(name, path)

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_a_page_that_is_a_link(self, name: str, path: Path, outside: Path, number: int) -> None:
        """In the place of a page, the last one, or the next: writer, recovery and reader refuse it."""
        pages = page_writer(path, page_records=2)
        source = Source(base=pages.position)
        for i in range(3):
            source.log(b"%d" % i)
            source.move(pages)
        pages.close()
        page_path(path, number).unlink(missing_ok=True)
        page_path(path, number).symlink_to(outside)
        before = look(outside)
        for use in (
            lambda: disklog_mp.serve(name, path),
            lambda: read(path),
            lambda: Page(str(page_path(path, number))),
            lambda: check_page(str(page_path(path, number)), number, live=False, set_aside=False),
        ):
            with pytest.raises(OSError, match="symbolic links"):
                use()
        for command in ("cat", "stat", "verify"):
            done = call(command, path)
            assert done.returncode == 2
            assert b"secret" not in done.stdout + done.stderr
        assert before == look(outside)
        assert page_path(path, number).is_symlink()

    def test_links_where_files_are_made(self, path: Path, outside: Path) -> None:
        """Under a page's temporary name, and where a repair keeps bytes aside: replaced, never followed."""
        pages = page_writer(path, page_records=2)
        source = Source(base=pages.position)
        source.log(b"0")
        source.move(pages)
        with open(page_path(path), "r+b") as torn:
            torn.seek(4096 + 32)
            torn.write(b"torn" * 8)
        pages.close()
        before = look(outside)
        bad = path / "page-0000000001.bad-4128"
        bad.symlink_to(outside)
        (path / "page-0000000009.bad-0").symlink_to(outside)
        for number in (1, 2, 3):
            (path / f".page-{number:010d}.new").symlink_to(outside)
        pages = page_writer(path, page_records=2)
        for number in (2, 3):
            (path / f".page-{number:010d}.new").symlink_to(outside)
        source = Source(base=pages.position)
        for i in range(1, 5):
            source.log(b"%d" % i)
            source.move(pages)
        pages.close()

        assert before == look(outside)
        assert bad.read_bytes() == b"torn" * 8
        assert not bad.is_symlink()
        assert read(path) == [b"%d" % i for i in range(5)]
        assert b"8,206" not in call("verify", path).stdout  # the size of what is outside

    def test_a_cursor_is_not_saved_through_a_link(self, path: Path, outside: Path, place: Path) -> None:
        """tail --cursor-file makes a file of its own beside the one it replaces."""
        pages = page_writer(path)
        source = Source(base=pages.position)
        source.log(b"x")
        source.move(pages)
        pages.close()
        before = look(outside)
        code = (
            "import os, sys; from disklog_mp.cli import run; place = sys.argv[1] + '/cursor';"
            "os.symlink(sys.argv[1] + '/outside', sys.argv[1] + '/.cursor.new');"
            "sys.exit(run(['tail', sys.argv[2], '--cursor-file', place]))"
        )
        subprocess.run([sys.executable, "-c", code, place, path], check=True, stdout=subprocess.DEVNULL)

        assert before == look(outside)
        assert ":32:1:" in (place / "cursor").read_text()


# -- names ---------------------------------------------------------------------------------------------------

NO_NAMES = [
    "",
    "../x",
    "a/b",
    "/etc/passwd",
    "a\0b",
    "a\n",
    "\n",
    "x" * 101,
    "schön",
    "a b",
    "\x1b[2J",
    "٣",
    "\udcff",
]


class TestNames:
    def test_what_is_no_name_is_refused_everywhere(self, path: Path) -> None:
        """With the value and the limit in the message, before anything is made."""
        for bad in NO_NAMES:
            for use in (
                lambda bad: disklog_mp.open(bad, path),
                disklog_mp.attach,
                lambda bad: disklog_mp.serve(bad, path),
                DiskLogHandler,
                lambda bad: DiskLogHandler(bad, path),
                lambda bad: Writer(bad, path, Options()),
                lambda bad: asyncio.run(aio.open(bad, path)),
                lambda bad: asyncio.run(aio.attach(bad)),
            ):
                with pytest.raises(ValueError, match="1 to 100 of A-Z a-z 0-9") as caught:
                    use(bad)
                assert repr(bad) in str(caught.value)
        assert not path.exists()

    def test_the_command_line_refuses_it_too(self, path: Path) -> None:
        """In one line that cannot steer the terminal; exit code 2.

        Where a directory will do as well, text with a slash is one.
        """
        for bad in NO_NAMES:
            by_name = ("append", bad), ("serve", bad, path)
            for command in (*by_name, ("rm", bad), ("stop", bad), ("cat", bad)):
                done = call(*command)
                assert done.returncode == 2
                is_directory = command not in by_name and "/" in bad
                assert is_directory or b"1 to 100 of A-Z a-z 0-9" in done.stderr
                assert done.stderr.decode().rstrip("\n").isprintable()
        assert not path.exists()

    def test_a_name_is_text(self) -> None:
        """TypeError with the value."""
        for bad in (None, 7, b"log", Path("log")):
            with pytest.raises(TypeError, match="a str") as caught:
                disklog_mp.attach(bad)  # type: ignore[arg-type]
            assert repr(bad) in str(caught.value)

    def test_a_name_leads_nowhere_else(self) -> None:
        """All that a name may be stays one name in the ring's directory."""
        for good in (".", "..", "x" * 100, "-rf", "A.b-c_9"):
            assert _names.check_name(good) == good
            leads_to = os.path.normpath(_names.ring_path(good, bytes(16), "/rings"))
            assert leads_to == f"/rings/disklog-{good}.{ID}"


# -- no process is harmed ------------------------------------------------------------------------------


def test_the_pids_of_producers_harm_nobody(open_log: OpenLog, path: Path) -> None:
    """Slots that name other processes, the writer, init, or no process: all live on, the log too."""
    log = open_log()
    ring = ring_of(log)
    assert ring is not None
    me = _processes.identity()
    with subprocess.Popen(["sleep", "1000"]) as bystander, contextlib.ExitStack() as stack:
        stack.callback(bystander.kill)  # or a failure would wait for it
        start = _processes.start_ticks(bystander.pid) or 0
        writer = log.stats().writer_pid
        wrong = [
            (bystander.pid, start + 9, me.namespace),
            (bystander.pid, start, me.namespace + 1),
            (bystander.pid, start, me.namespace),  # it has no ring mapped
            (1, 0, me.namespace),
            (0, 0, me.namespace),
            (2**32 - 1, 0, me.namespace),
            (2**31, 0, 0),
            (writer, 0, me.namespace),
            (me.pid, me.start + 9, me.namespace),
        ]
        for index, who in enumerate(wrong, 100):
            assert ring.attach(index, *who, 0)
        wait_until(lambda: not {*range(100, 100 + len(wrong))} & {*ring.slots(_core.SLOT_ATTACHED)})
        log.log(b"x")
        log.flush()

        assert bystander.poll() is None
        assert log.stats().writer_pid == writer
    assert read(path) == [b"x"]
