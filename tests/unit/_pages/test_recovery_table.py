"""The table of cases at the top of recovery.py: each row is a test, and says what is expected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.pages import LOG_ID, SALT, Source, frame, options, page_path, page_writer
from support.tables import rows_of

from disklog_mp._pages import recovery
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HEADER_LENGTH, PAGE_OPEN, STATE, WATERMARK
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.survey import LEAP
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.reader import Reader

TABLE = rows_of(recovery)
# The log that is harmed: page 1 sealed with 4 records, page 2 unsealed with 10, each frame of 128 bytes.
FRAME = 128
FIRST, ALL = 4, 14
END = ALL * FRAME
NOISE = bytes(range(1, 251)) * 20


class Scene(NamedTuple):
    """What recovery finds."""

    newest: int  # page with a header
    positions: dict[str, int]  # by their names in the table
    aside: bytes = b""
    hints: RingHints = RingHints(LOG_ID, SALT)
    rebooted: bool = False


def with_ring(released: int, **hints: Any) -> RingHints:
    return RingHints(**{"log_id": LOG_ID, "salt": SALT, "ring_is_there": True, "released": released, **hints})


def at(record: int) -> int:
    """The offset of a record's frame in page 2."""
    return HEADER_LENGTH + record * FRAME


def put(path: Path, offset: int, data: bytes, number: int = 2) -> None:
    with page_path(path, number).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def cut(path: Path, length: int) -> None:
    with page_path(path, 2).open("r+b") as file:
        file.truncate(length)


def remove_pages(path: Path) -> None:
    for number in (1, 2):
        page_path(path, number).unlink()


def no_page(path: Path) -> Scene:
    remove_pages(path)
    return Scene(0, {"0": 0})


def no_page_but_a_ring(path: Path) -> Scene:
    remove_pages(path)
    return Scene(0, {"released": 6400}, hints=with_ring(6400))


def whole(path: Path) -> Scene:
    return Scene(2, {"its end": END})


def ring_of_another_log(path: Path) -> Scene:
    return Scene(2, {"its end": END}, hints=with_ring(2**40, log_id=b"o" * 16, records=77, page=9))


def ring_released_less(path: Path) -> Scene:
    return Scene(2, {"its end": END}, hints=with_ring(END - 2 * FRAME))


def ring_released_more(path: Path) -> Scene:
    return Scene(2, {"released": END + 6 * FRAME}, hints=with_ring(END + 6 * FRAME))


def frames_behind_the_watermark(path: Path) -> Scene:
    put(path, at(10), frame(END, b"x" * 100))
    return Scene(2, {"behind these frames": END + FRAME})


def damaged_watermark(path: Path) -> Scene:
    put(path, WATERMARK, b"\xef" * 8)
    return Scene(2, {"behind the last frame": END})


def torn(path: Path) -> Scene:
    put(path, at(9) + 64, bytes(64))
    torn_bytes = page_path(path, 2).read_bytes()[at(9) : at(10)]
    return Scene(2, {"behind the torn bytes": END}, torn_bytes)


def torn_and_in_the_ring(path: Path) -> Scene:
    return torn(path)._replace(positions={"released": END - FRAME}, aside=b"", hints=with_ring(END - FRAME))


def zeros(path: Path) -> Scene:
    put(path, at(8), bytes(2 * FRAME))
    return Scene(2, {"where they ended": END})


def corrupt(path: Path) -> Scene:
    put(path, at(3) + 30, b"!")
    return Scene(2, {"its end": END})


def sealed(path: Path) -> Scene:
    pages = page_writer(path)
    pages.seal()
    pages.close()
    return Scene(2, {"its end": END})


def sealed_and_cut(path: Path) -> Scene:
    scene = sealed(path)
    cut(path, at(5))
    return scene


def machine_was_down(path: Path) -> Scene:
    return Scene(2, {"its end + LEAP": END + LEAP}, rebooted=True)


def no_header(path: Path) -> Scene:
    put(path, 0, NOISE[:200])
    return Scene(1, {"its end + LEAP": FIRST * FRAME + LEAP}, page_path(path, 2).read_bytes())


def older_unsealed(path: Path) -> Scene:
    put(path, STATE, PAGE_OPEN.to_bytes(4, "little"), number=1)
    return Scene(2, {"its end": END})


def older_without_header(path: Path) -> Scene:
    put(path, 0, NOISE[:200], number=1)
    return Scene(2, {"its end": END})


SCENES: dict[str, Callable[[Path], Scene]] = {
    "no page": no_page,
    "no page, ring": no_page_but_a_ring,
    "page is whole": whole,
    "page is whole, ring of another log": ring_of_another_log,
    "page is whole, ring released less": ring_released_less,
    "page is whole, ring released more": ring_released_more,
    "frames behind the watermark": frames_behind_the_watermark,
    "watermark is damaged": damaged_watermark,
    "last frame is torn": torn,
    "last frame is torn, ring has it": torn_and_in_the_ring,
    "last frames are zeros or cut off": zeros,
    "a frame inside is corrupt": corrupt,
    "page is sealed": sealed,
    "page is sealed and cut": sealed_and_cut,
    "machine was down": machine_was_down,
    "newest file has no header": no_header,
    "older page is unsealed": older_unsealed,
    "older page has no header": older_without_header,
}


def test_every_row_is_a_test() -> None:
    """No row without a test, no test without a row."""
    assert list(SCENES) == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_row_of_the_table(name: str, tmp_path: Path) -> None:
    """Where the log goes on, in which page, and what is kept aside."""
    path = tmp_path / "log"
    make_log(path)
    scene = SCENES[name](path)
    position, page, aside = recover(path, scene)
    expected = {"page 1": 1, "same page": scene.newest}.get(TABLE[name]["goes on in"])

    assert position == scene.positions[TABLE[name]["at position"]]
    assert page == expected if expected else page > scene.newest
    assert aside == ([] if TABLE[name]["kept aside"] == "-" else [scene.aside])
    assert b"new" in [record.data for record in Reader(path, on_damage=lambda damage: None)]


def make_log(path: Path) -> None:
    pages = page_writer(path)
    source = Source()
    for i in range(ALL):
        source.log(b"%02d" % i * 50)
        source.move(pages)
        if i == FIRST - 1:
            pages.seal()
    pages.close()


def recover(path: Path, scene: Scene) -> tuple[int, int, list[bytes]]:
    """Recover and log one record; return the position, the page it came into, and what was kept aside."""
    directory = Directory(path)
    if scene.rebooted:
        (path / "disklog.lock").write_text("123 log another-boot\n")
        assert directory.lock(0o600, -1)
    pages = PageWriter(directory, "log", options())
    try:
        report = pages.recover(scene.hints)
        source = Source(base=pages.position, salt=pages.salt, log_id=pages.log_id)
        source.log(b"new")
        source.move(pages)
        aside = [Path(kept).read_bytes() for kept in report.set_aside]
        return report.position, pages.page_number, aside
    finally:
        pages.close()
        directory.unlock()
