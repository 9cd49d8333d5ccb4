"""Records that hold what would be valid frames: nothing of it is ever read as one, unless its author knows
the log's salt and somebody else damages the frame around.
"""

import os
import random
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.layout import word_offset
from support.machine import stop_writer, wait_until
from support.pages import GROUP, LOG_ID, SALT, Source, frame, page_path, page_writer, write_page
from support.sessions import ring_of

import disklog_mp
from disklog_mp import _core
from disklog_mp._core import GRANULE
from disklog_mp._reader.page import Page
from disklog_mp._verify.log import verify
from disklog_mp._verify.pages import check_page

OpenLog = Callable[..., disklog_mp.Session]

FORGED = b"forged!!"
LENGTH = 40 * GRANULE - 24  # of the record that holds forged frames


def planted(position: int, make: Callable[[int], bytes], header: int = 24) -> bytes:
    """A record for that position that has, at each granule of it, what `make` makes for that place."""
    first = -header % GRANULE
    granules = [make(position + header + at) for at in range(first, LENGTH - GRANULE + 1, GRANULE)]
    assert all(len(each) == GRANULE for each in granules)
    return (bytes(first) + b"".join(granules)).ljust(LENGTH, b"\0")


def genuine(position: int) -> bytes:
    """A frame that is valid there."""
    return frame(position, FORGED)


def read(path: Path) -> list[bytes]:
    """What a reader that is not disturbed by damage reads."""
    return [record.data for record in disklog_mp.Reader(path, on_damage=lambda damage: None)]


@pytest.fixture
def source() -> Source:
    return Source()


def written(path: Path, source: Source, *, sealed: bool) -> bytes:
    """Have all that is committed written; return the page file."""
    pages = page_writer(path)
    source.move(pages)
    if sealed:
        pages.seal()
    pages.close()
    return page_path(path).read_bytes()


def recovered(path: Path) -> list[bytes]:
    """What a reader finds after a repair, as without a ring."""
    page_writer(path).close()
    return read(path)


class TestForgery:
    @pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
    def test_in_whole_pages_no_content_is_a_frame(self, path: Path, source: Source, sealed: bool) -> None:
        """Though it would be a valid one where it stands: for no reader, cursor, check or repair."""
        records = [b"before"]
        source.log(records[0])
        position = source.log(planted(GRANULE, genuine))
        records.append(planted(GRANULE, genuine))
        inner = position + 24 + LENGTH + 24 + 8  # of the group, and of its first record
        crowd = [planted(inner, genuine), planted(inner + 24 + LENGTH, genuine), b"after"]
        source.log_many(crowd)
        records += crowd
        written(path, source, sealed=sealed)
        reader = disklog_mp.Reader(path)
        begin = reader.begin()
        assert begin is not None

        assert read(path) == records
        for at in range(0, 90 * GRANULE, 8):
            found, _ = reader.read(disklog_mp.Cursor(begin.log_id, at, 0))
            assert FORGED not in [record.data for record in found]
        assert not check_page(str(page_path(path)), 1, live=False, set_aside=False).findings
        assert recovered(path) == records

    def test_a_forged_frame_is_valid_where_it_stands(self) -> None:
        """So that the tests above and below test something."""
        data = planted(GRANULE, genuine)
        granules = memory_of(data[8:])
        found = list(_core.RecordIterator(granules, 0, len(granules), 2 * GRANULE, 0, SALT, payloads=True))

        assert set(found) == {FORGED}
        assert len(found) == LENGTH // GRANULE


def test_a_ring_that_is_saved_holds_no_forged_frame(open_log: OpenLog, path: Path) -> None:
    """Its claim map damaged, the writer looks for whole frames: it does not look inside of one."""
    log = open_log()
    log.log(b"before")
    log.flush()
    stop_writer(log.name, signal.SIGKILL)
    ring = ring_of(log)
    assert ring is not None
    position = ring.frontier(ring.released)
    data = planted(position, lambda at: frame(at, FORGED, salt=ring.salt))
    assert log.log(data) == position
    log.log(b"after")
    ring.store64(word_offset(ring, position), 7 << 33 | 1 << 36 | 1)
    other = open_log()
    other.flush(20)
    wait_until(lambda: b"after" in read(path))

    assert read(path) == [b"before", data, b"after"]
    assert verify(str(path), "", None).exit_code < 2


def memory_of(data: bytes) -> _core.Mapping:
    """A mapping with these bytes in it."""
    fd = os.memfd_create("bytes")
    try:
        os.write(fd, data)
        return _core.Mapping(fd, len(data), writable=False)
    finally:
        os.close(fd)


def elsewhere(distance: int) -> Callable[[int], bytes]:
    """Frames of this very log, copied from that far away."""
    return lambda position: frame((position + distance) % 2**64, FORGED)


def of_salt(salt: int) -> Callable[[int], bytes]:
    return lambda position: frame(position, FORGED, salt=salt)


def header_only(**fields: int) -> Callable[[int], bytes]:
    """A header that says what frames do, and a checksum somebody guessed."""
    dice = random.Random(5)
    length, kind = fields["length"], fields["kind"]
    return lambda position: struct.pack("<IIQIHH", length, dice.getrandbits(32), 1, 1, kind, 0) + bytes(8)


# Contents made without knowing the log's salt, or the position at which they will stand.
STRANGERS: dict[str, Callable[[int], bytes]] = {
    "salt 0": of_salt(0),
    "all ones": of_salt(2**64 - 1),
    "the log's id for a salt": of_salt(int.from_bytes(LOG_ID[:8], "little")),
    "another log's salt": of_salt(random.Random(3).getrandbits(64)),
    "from the granule before": elsewhere(-GRANULE),
    "from the granule behind": elsewhere(GRANULE),
    "from a lap before": elsewhere(-(1 << 20)),
    "from the log's beginning": lambda position: frame(0, FORGED),
    "from far away": elsewhere(1 << 40),
    "records, guessed": header_only(length=8, kind=1),
    "long ones, guessed": header_only(length=300, kind=1),
    "padding, guessed": header_only(length=8, kind=2),
    "abandoned ones, guessed": header_only(length=8, kind=3),
    "gaps, guessed": header_only(length=8, kind=4),
    "groups, guessed": header_only(length=8, kind=GROUP),
    "checksum 0": lambda position: struct.pack("<IIQIHH", 8, 0, 1, 1, 1, 0) + FORGED,
}


def damages() -> Iterator[tuple[str, Callable[[bytearray], None]]]:
    """Ways to damage the frame that begins at offset 32 of the frames."""
    start, end = GRANULE, GRANULE + 24 + LENGTH

    def set_bytes(at: int, data: bytes) -> Callable[[bytearray], None]:
        def damage(page: bytearray) -> None:
            page[4096 + at : 4096 + at + len(data)] = data

        return damage

    def flip(at: int, mask: int) -> Callable[[bytearray], None]:
        def damage(page: bytearray) -> None:
            page[4096 + at] ^= mask

        return damage

    for at in range(start, end):
        yield f"byte {at - start} flipped", flip(at, 0xFF)
    for at in range(start, start + 24):
        for bit in range(8):
            yield f"bit {bit} of byte {at - start}", flip(at, 1 << bit)
    yield "no header", set_bytes(start, bytes(24))
    yield "another header", set_bytes(start, random.Random(1).randbytes(24))
    for length in (0, 8, LENGTH - GRANULE, LENGTH + GRANULE, 2**32 - 1):
        yield f"length {length}", set_bytes(start, struct.pack("<I", length))


class TestForgeryAfterDamage:
    @pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS.keys())
    def test_who_does_not_know_salt_and_position_forges_nothing(
        self, path: Path, source: Source, make: Callable[[int], bytes]
    ) -> None:
        """Whatever byte of the frame around is damaged: reader, check and repair miss that record at most."""
        source.log(b"before")
        source.log(planted(GRANULE, make))
        source.log(b"after")
        whole = written(path, source, sealed=False)
        rest = [b"before", b"after"]
        file = page_path(path)
        for index, (what, damage) in enumerate(damages()):
            page = bytearray(whole)
            damage(page)
            file.unlink()
            file.write_bytes(page)
            with Page(str(file), on_damage=lambda damage: None) as opened:
                assert list(opened.payloads()) == rest, what
                assert len(opened.damage) == 1, what
            if index % 97 == 0 or what.startswith(("no", "another", "length")):
                facts = check_page(str(file), 1, live=False, set_aside=False)
                assert facts.records == 2, what
                assert "corrupt range" in facts.findings[0].text, what
                assert recovered(path) == rest, what
                for made in path.iterdir():
                    made.unlink()
                file.touch()

    @pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
    def test_a_page_replayed_inside_a_record_is_no_page(
        self, path: Path, source: Source, sealed: bool
    ) -> None:
        """Bytes of a whole page file, and of the ring, logged again, and then the frame around damaged."""
        for i in range(20):
            source.log(b"%d" % i)
        source.log_many([b"20", b"21"])
        whole = written(path, source, sealed=sealed)
        ring = bytes(memoryview(source.ring))[: source.ring.data_offset + 2048]
        count = 0
        for shift in (0, 8):  # where the frames in it stand on granules again
            for content in (whole, ring):
                again = Source(base=1 << 20, capacity=1 << 22)
                again.log(b"before")
                again.log(bytes(shift) + content)
                again.log(b"after")
                other = path.with_name(f"replayed-{count}")
                count += 1
                page = bytearray(
                    write_page(other, [bytes(again.drain().data)], records=3, first_position=1 << 20)
                )
                for at in (0, 4, 8, 20, 24, 4096, 4096 + 64):
                    damaged = bytearray(page)
                    damaged[4096 + GRANULE + at] ^= 0xFF
                    page_path(other).unlink()
                    page_path(other).write_bytes(damaged)
                    assert read(other) == [b"before", b"after"]
                    facts = check_page(str(page_path(other)), 1, live=False, set_aside=False)
                    assert facts.records == 2

    def test_who_knows_both_forges_inside_his_own_damaged_frame_only(
        self, path: Path, source: Source
    ) -> None:
        """The checksum is no signature, as the README says; but no other record is touched or hidden."""
        source.log(b"before")
        position = source.log(planted(GRANULE, genuine))
        source.log(b"after")
        whole = written(path, source, sealed=False)
        readme = (Path(__file__).parents[2] / "README.md").read_text()
        for what, damage in damages():
            page = bytearray(whole)
            damage(page)
            page_path(path).unlink()
            page_path(path).write_bytes(page)
            with Page(str(page_path(path)), on_damage=lambda damage: None) as opened:
                records = list(opened)
                assert [record.data for record in records if record.data != FORGED] == [b"before", b"after"]
                for record in records:
                    inside = position < record.position < position + 24 + LENGTH
                    assert inside == (record.data == FORGED), what
                assert opened.damage, what
        assert "it is no signature" in readme
