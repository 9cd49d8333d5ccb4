"""A log on an overlay file system, written on a lower layer first: a file that is written to is copied up.

A mapping of the file before stays what it was, for ever; its inode number says nothing of that.
"""

from pathlib import Path

from support.machine import wait_until
from support.mounts import Mount
from support.pages import Source, page_path, page_writer, write_log

from disklog_mp import Damage, Reader


def test_followers_go_on_in_the_copy_that_is_written(mount: Mount, tmp_path: Path) -> None:
    """One that is at rest when the copy is made, and one that looks when there is a next page."""
    disk = mount("-t", "tmpfs", "tmpfs")
    lower, upper, work = (disk / layer for layer in ("lower", "upper", "work"))
    for layer in (lower, upper, work):
        layer.mkdir()
    write_log(lower / "log", [b"0", b"1"])
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    path = mount("-t", "overlay", "overlay", "-o", layers, place=tmp_path / "overlay") / "log"
    damage: list[Damage] = []
    at_rest, late = (Reader(path, on_damage=damage.append).stream() for _ in range(2))
    for stream in (at_rest, late):
        assert [b"0", b"1"] == [record.data for record in stream]

    pages = page_writer(path)
    source = Source(base=pages.position)
    source.log(b"2")
    source.move(pages)
    assert page_path(upper / "log").exists()
    wait_until(lambda: [b"2"] == [record.data for record in at_rest])

    pages.seal()
    source.log(b"3")
    source.move(pages)
    pages.close()
    assert [b"3"] == [record.data for record in at_rest]
    assert [b"2", b"3"] == [record.data for record in late]
    assert [] == damage
