"""One word of a ring's control block, producer table or constants is a lie, at a time: every field that
layout.h names, with every value of a table, in a ring that a crash left and in one that is in use.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.command import in_process, look
from support.layout import MAP_OFFSET
from support.machine import RUN, stop_writer, wait_until
from support.rings import attach_ring, ring_path
from support.sessions import connection_of, ring_of

import disklog_mp
from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._pages import identity
from disklog_mp._pages.directory import Directory
from disklog_mp._ring import file as _ring
from disklog_mp._ring import slots as _slots
from disklog_mp._verify import books as _books
from disklog_mp._verify.pages import DAMAGE, check_page
from disklog_mp._writer.writer import Writer
from disklog_mp.errors import DiskLogError, FormatVersionError

OpenLog = Callable[..., disklog_mp.Session]

LAYOUT = Path(disklog_mp.__file__).parent / "csrc/core/layout.h"
FIELD = re.compile(r"^    (?:_Atomic )?(uint(?:8|32|64)_t|char) ([^;]*);", re.MULTILINE)
SIZES = {"uint8_t": 1, "char": 1, "uint32_t": 4, "uint64_t": 8}
CAPACITY = 1 << 14
STEERING = ("hint", "released", "claim word")  # by them a producer finds its place: it may take another's


class Field(NamedTuple):
    """A field of a struct: where it stands in the ring object, and how long it and each word of it is."""

    name: str
    offset: int
    length: int
    unit: int


def fields(struct: str, offset: int) -> Iterator[Field]:
    """The fields of a struct of layout.h, without its padding."""
    body = LAYOUT.read_text().partition(f"struct {struct} {{\n")[2].partition("\n};")[0]
    for kind, declared in FIELD.findall(body):
        unit = SIZES[kind]
        name, *dimensions = re.split(r"[\[\]]+", declared.rstrip("]"))
        offset += -offset % unit
        length = unit
        for dimension in dimensions:
            length *= int(dimension)
        if not re.fullmatch(r"pad\d|reserved", name):
            yield Field(name, offset, length, unit)
        offset += length


CONSTANTS = list(fields("dl_constants", 0))
CONTROL = list(fields("dl_control", 4096))
SLOT = list(fields("dl_slot", 8192))


def lies(field: Field, honest: bytes) -> Iterator[bytes]:
    """What may stand there instead."""
    if field.unit == 1:
        yield from (bytes(field.length), b"\xff" * field.length, b"[" * field.length, honest[::-1])
        yield b'{"max_bytes":"x","ring_bytes":[1]}'.ljust(field.length, b"\0")[: field.length]
        return
    bits = 8 * field.unit
    for at in dict.fromkeys((0, field.length - field.unit)):
        value = int.from_bytes(honest[at : at + field.unit], "little")
        others = (0, -1, 1, 2, value + 1, value - 1, value ^ 1 << bits - 1, value ^ 1 << bits - 4)
        laps = (value + CAPACITY, value - CAPACITY, value + 16, value + 32, value - 32, value + 4096)
        for other in dict.fromkeys(number % 2**bits for number in others + laps):
            if other != value:
                lie = other.to_bytes(field.unit, "little")
                yield honest[:at] + lie + honest[at + field.unit :]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify waits for books that do not balance: here they never will."""
    monkeypatch.setattr(_books, "GRACE", 0.0)
    monkeypatch.setattr(_books, "PATIENCE", 0.05)


def can_be_attached(name: str) -> bool:
    """True if the constants of the ring are what they should be."""
    with contextlib.suppress(FormatVersionError):
        os.close(attach_ring(name).fd)
        return True
    return False


def assert_pages_are_valid(path: Path) -> None:
    """No damage in any page file."""
    directory = Directory(str(path))
    for number in directory.pages():
        facts = check_page(directory.page_path(number), number, live=True, set_aside=False)
        assert not [finding for finding in facts.findings if finding.kind == DAMAGE]


class Image:
    """A log whose processes were all killed: pages, and a ring with records, a group, a dead claim.

    The log is served.  No session starts its writer, so the next writer is always the test's own.
    """

    name = f"{RUN}-words"
    OPTIONS = Options(ring_bytes=CAPACITY, linger=None, sync="never")

    def __init__(self, place: Path) -> None:
        self.path, self.rings, self.kept = place / "log", place / "rings", place / "kept"
        self.written = [b"%d" % i + b"." * 100 for i in range(700)]  # some laps
        self.unwritten = [b"in the ring %d" % i for i in range(20)]
        self.group = [b"in a group", b"x" * 100]
        self.records = self.written + self.unwritten + self.group
        answer, ask = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.log_and_die(ask)
        os.close(ask)
        os.waitpid(pid, 0)
        with open(answer) as file:
            self.slot, self.positions = json.load(file)
        self.ring_file = Path(ring_path(self.name, str(self.rings)))
        shutil.copytree(self.path, self.kept / "log")
        shutil.copytree(self.rings, self.kept / "rings", ignore=shutil.ignore_patterns("*.sock"))

    def log_and_die(self, ask: int) -> None:
        log = disklog_mp.open(
            self.name, self.path, ring_dir=str(self.rings), ring_bytes=CAPACITY, page_records=300, linger=0.1
        )
        for data in self.written:
            log.log(data)
        log.flush()
        self.mark_served()
        stop_writer(self.name, signal.SIGKILL, str(self.rings))
        positions = [log.log(data) for data in self.unwritten]
        dead = self.claim_and_die()
        behind = log.log_many(self.group) & -_core.GRANULE
        ring = ring_of(log)
        assert ring is not None
        self.positions = {
            "first": positions[0],
            "inside": positions[0] + _core.GRANULE,
            "middle": positions[10],
            "dead": dead,
            "group": behind,
            "frontier": ring.frontier(ring.released),
        }
        assert connection_of(log).attachment is not None
        os.write(ask, json.dumps((connection_of(log).attachment.slot, self.positions)).encode())
        os._exit(0)

    def mark_served(self) -> None:
        """Say in the log's file that a supervisor runs the writer."""
        file = Path(identity.path_of(str(self.path)))
        file.write_text(json.dumps({**json.loads(file.read_text()), "served": True}))

    def claim_and_die(self) -> int:
        """Have a process claim and die; return where."""
        file = attach_ring(self.name, str(self.rings))
        ring = file.ring
        os.close(file.fd)
        position = ring.frontier(ring.released)
        pid = os.fork()
        if pid == 0:
            held = _ring.hold(ring_path(self.name, str(self.rings)))
            slot = _slots.take_slot(held, _processes.identity(), time.time_ns())
            word = (position // CAPACITY + 1) % 2**28 << 36 | 1 << 33 | slot << 20 | 3
            ring.store64(MAP_OFFSET + position % CAPACITY // _core.GRANULE * 8, word)
            os._exit(0)
        os.waitpid(pid, 0)
        return position

    def honest(self, field: Field) -> bytes:
        """What stands there in truth."""
        data = (self.kept / "rings" / self.ring_file.name).read_bytes()
        return data[self.offset(field) :][: field.length]

    def offset(self, field: Field) -> int:
        """Where it stands; of the slots it is that of the producer that logged."""
        return field.offset + (64 * self.slot if field in SLOT else 0)

    def restore(self) -> None:
        for kept in self.kept.iterdir():
            target = self.path.parent / kept.name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(kept, target)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Made once, restored for each lie."""
    return Image(tmp_path_factory.mktemp("words"))


def take_over(image: Image) -> None:
    """Another writer comes, somebody logs, the writer leaves in good order."""
    work = Writer(image.name, image.path, image.OPTIONS, ring_dir=str(image.rings))
    stop = threading.Event()
    crashes: list[BaseException] = []

    def run() -> None:
        try:
            work.run(stop.is_set)
        except BaseException as error:
            crashes.append(error)
            work.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with disklog_mp.attach(image.name, ring_dir=str(image.rings)) as log:
            log.log(b"after")
            log.flush(10)
    finally:
        stop.set()
        work.ring.wake()
        thread.join(60)
        assert crashes == []
    assert not thread.is_alive()


def at_rest(image: Image, field: Field, lie: bytes) -> None:
    """Look at the ring, log into it, take it over: nothing is lost, the log goes on."""
    image.restore()
    with image.ring_file.open("r+b") as file:
        file.seek(image.offset(field))
        file.write(lie)
    rings = str(image.rings)
    kept = image.ring_file.read_bytes()
    look(image.name, "--ring-dir", rings)
    image.ring_file.write_bytes(kept)  # rm may have been told that nothing is in it
    expected = list(image.records)
    with (
        contextlib.suppress(DiskLogError),
        disklog_mp.attach(image.name, ring_dir=rings, timeout=0.02) as log,
    ):
        log.log(b"more")
        expected.append(b"more")
    if field in CONSTANTS:
        with pytest.raises(FormatVersionError, match="rm --force"):
            take_over(image)
        return
    take_over(image)
    found = [record.data for record in disklog_mp.Reader(image.path, on_damage=lambda damage: None)]
    expected.append(b"after")
    if field.name in STEERING:
        assert len(set(found)) == len(found)
        assert set(found) <= set(expected)
        assert len(set(expected) - set(found)) <= 2, sorted(set(expected) - set(found))
        assert b"after" in found
    else:
        assert found == expected
        assert_pages_are_valid(image.path)


def all_lies_at_rest(image: Image, field: Field, lies: Iterable[bytes]) -> None:
    """Each of them, and only then what was wrong."""
    problems = []
    for lie in lies:
        try:
            at_rest(image, field, lie)
        except (Exception, pytest.fail.Exception) as error:
            problems.append(f"{field.name} {lie[:64].hex()}: {error!r}")
    assert problems == []


@pytest.mark.parametrize("field", [*CONTROL, *SLOT, *CONSTANTS], ids=lambda field: field.name)
def test_a_lie_in_a_ring_that_was_left_costs_nothing(image: Image, field: Field) -> None:
    """Whoever looks gets an answer, whoever logs too, and the next writer finds all records."""
    all_lies_at_rest(image, field, lies(field, image.honest(field)))


def claim_word_lies(word: int) -> Iterator[int]:
    """Another lap, another state, another owner, another length."""
    yield from (0, 2**64 - 1, word + 1, word - 1, word ^ 1 << 63)
    yield from (word + (laps << 36) for laps in (-1, 1, 2, -(2**27)))
    yield from (word & ~(7 << 33) | state << 33 for state in range(8))
    yield from (word & ~(0x1FFF << 20) | owner << 20 for owner in (0, 1, 4095, 4096, 8191))
    yield from (word & ~0xFFFFF | length for length in (0, 1, 2, 3, 4, 0xFFFFF))


@pytest.mark.parametrize("place", ["first", "inside", "middle", "dead", "group", "frontier"])
def test_a_lie_in_the_claim_map_costs_its_record_or_a_neighbour(image: Image, place: str) -> None:
    """All others are found by the next writer, and the log goes on."""
    position = image.positions[place]
    offset = MAP_OFFSET + position % CAPACITY // _core.GRANULE * 8
    field = Field("claim word", offset, 8, 8)
    word = int.from_bytes(image.honest(field), "little")
    others = dict.fromkeys(other % 2**64 for other in claim_word_lies(word) if other != word)
    all_lies_at_rest(image, field, (other.to_bytes(8, "little") for other in others))


@pytest.mark.parametrize("part", [CONTROL, SLOT, CONSTANTS], ids=["control", "slot", "constants"])
def test_a_lie_in_a_ring_in_use_stops_nobody(
    open_log: OpenLog, path: Path, part: list[Field], capfd: pytest.CaptureFixture[str]
) -> None:
    """The same writer writes on what is logged after it, and says what it met."""
    log = open_log(ring_bytes=CAPACITY, linger=30, timeout=0.5)
    writer = Directory(str(path)).read_note()[0]
    count = 0

    def logs_on() -> bool:
        with contextlib.suppress(DiskLogError, OSError):
            log.log(b"%d" % count)
            log.flush(0.5)
            return True
        return False

    for field in part:
        assert connection_of(log).attachment is not None
        offset = field.offset + (64 * connection_of(log).attachment.slot if part is SLOT else 0)
        memory = memoryview(ring_of(log))  # type: ignore[arg-type]
        honest = bytes(memory[offset : offset + field.length])
        for lie in lies(field, honest):
            memory = memoryview(ring_of(log))  # type: ignore[arg-type]
            memory[offset : offset + field.length] = lie
            assert in_process("stat", log.name) in (0, 1, 2, 3)
            count += 1
            wait_until(logs_on, 20)
        look(log.name)
    found = {record.data for record in disklog_mp.Reader(path, on_damage=lambda damage: None)}

    assert b"%d" % count in found
    assert Directory(str(path)).read_note()[0] == writer
    assert _processes.start_ticks(writer) is not None
    wait_until(lambda: "control block was overwritten" in capfd.readouterr().err, 20)
    wait_until(lambda: can_be_attached(log.name), 20)
