"""disklog-mp rm: a ring that was left behind."""

from __future__ import annotations

import os

import click

from disklog_mp import _core
from disklog_mp._os import files as _files
from disklog_mp._ring import file as _ring
from disklog_mp.cli import _text
from disklog_mp.cli._find import ring_dir_option
from disklog_mp.errors import FormatVersionError


@click.command()
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help="Even if records would be lost that no writer has written.")
@ring_dir_option
def rm(name: str, force: bool, ring_dir: str | None) -> int:
    """Remove the ring that a crash left behind of the log NAME.

    Page files stay.  Refuses, with exit code 1, while its writer or a producer lives, and if there are
    records in it that are in no page yet.
    """
    _ring.check_name(name)
    try:
        file = _ring.attach(name, ring_dir)
    except FormatVersionError as problem:
        return _remove_unknown(name, ring_dir, force, problem)
    try:
        return _remove(name, ring_dir, force, file)
    finally:
        os.close(file.fd)


def _remove(name: str, ring_dir: str | None, force: bool, file: _ring.RingFile) -> int:
    ring = file.ring
    # Held until the name is gone: no writer starts on it meanwhile.
    if not _files.lock_byte(file.fd, _core.WRITER_LOCK):
        return _refuse(name, f"process {ring.writer_pid} is writing it")
    alive = _producers_alive(file)
    if alive:
        return _refuse(name, f"{_text.plural(len(alive), 'process')} attached: {', '.join(map(str, alive))}")
    waiting = ring.frontier(ring.released) - ring.released
    if waiting and not force:
        return _refuse(
            name,
            f"{waiting:,} bytes of records in it are in no page yet: `disklog-mp serve {name} {ring.path}` "
            f"writes them, --force throws them away",
        )
    if not _ring.is_current(file, name, ring_dir) or not _ring.unlink(name, ring_dir):
        return _refuse(name, "its ring was replaced just now")
    return 0


def _producers_alive(file: _ring.RingFile) -> list[int]:
    witnesses = _ring.Witnesses(file, _ring.identity())
    try:
        slots = _ring.slots(file.ring, _core.SLOT_ATTACHED)
        return [slot.pid for slot in slots if not witnesses.is_dead(slot)]
    finally:
        witnesses.close()


def _remove_unknown(name: str, ring_dir: str | None, force: bool, problem: Exception) -> int:
    """A ring of another version, or damaged: what is in it nobody can tell."""
    if not force:
        return _refuse(name, f"what is in it cannot be told ({problem}); --force removes it all the same")
    fd = os.open(_ring.ring_path(name, ring_dir), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if any(_files.is_locked(fd, byte) for byte in range(_core.WRITER_LOCK + 1)):
            return _refuse(name, "a process holds it")
    finally:
        os.close(fd)
    _ring.unlink(name, ring_dir)
    return 0


def _refuse(name: str, why: str) -> int:
    _text.say(f"{name}: not removed: {why}")
    return 1
