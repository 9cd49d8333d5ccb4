"""Mappings: words, waits, huge pages."""

import _thread
import os
import re
import struct
import threading
from typing import Any

import pytest
from support.memory_ring import (
    memory,
)

from disklog_mp import _core
from disklog_mp._core import (
    NEEDS_ATTACH,
    Mapping,
    Producer,
)
from disklog_mp._session.session import BlockingConnection, Session


def test_a_subclass_can_have_methods_of_its_own() -> None:
    """The same functions, but those that a class in between has written anew."""

    class Between(Producer):
        def _count(self, *_: Any) -> None:
            raise NotImplementedError

    @_core.with_own_methods
    class Last(Between):
        pass

    assert Last.__dict__["log"].__objclass__ is Last
    assert Last.__dict__["log_many"].__doc__ == Producer.log_many.__doc__
    assert "_count" not in Last.__dict__
    for kind in (BlockingConnection, Session):
        assert kind.__dict__["log"].__objclass__ is kind
    assert Last().try_record(b"x", 0) == NEEDS_ATTACH
    with pytest.raises(TypeError, match=r"descriptor 'log' for 'Last' objects doesn't apply"):
        Last.log(Producer(), b"x")
    with pytest.raises(TypeError, match="7 is no type"):
        _core.with_own_methods(7)  # type: ignore[type-var]

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if name == "log":
                raise LookupError(name)
            return super().__getattribute__(name)

    with pytest.raises(LookupError, match="log"):
        _core.with_own_methods(Meta("Odd", (Producer,), {}))


def test_words_of_a_mapping_are_loaded_stored_raised_and_added_to() -> None:
    """Each width has its own calls; maximize64 never lowers."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)

    mapping.store32(0, 2**32 - 1)
    mapping.store64(8, 5)
    mapping.maximize64(8, 4)
    before = mapping.add64(8, 2**64 - 1)
    mapping.maximize64(16, 2**63)

    assert (mapping.load32(0), before, mapping.load64(8), mapping.load64(16)) == (2**32 - 1, 5, 4, 2**63)
    assert (4096, struct.pack("<IIQ", 2**32 - 1, 0, 4)) == (len(mapping), bytes(memoryview(mapping)[:16]))


@pytest.mark.parametrize("offset", [-8, 4, 4096, 4092, 2**62])
def test_a_word_is_inside_its_mapping_and_aligned(offset: int) -> None:
    """What is not a word is an IndexError, and nothing is touched."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)

    for call in (mapping.load64, lambda at: mapping.store64(at, 1), lambda at: mapping.add64(at, 1)):
        with pytest.raises(IndexError, match="not a word"):
            call(offset)
    assert _core.all_zero(mapping)


def test_a_read_only_mapping_is_not_written() -> None:
    """Its words cannot be stored, its buffer is read-only."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096)
    os.close(fd)

    for call in (mapping.store32, mapping.store64, mapping.maximize64, mapping.add64):
        with pytest.raises(TypeError, match="read-only"):
            call(0, 1)
    with pytest.raises(TypeError, match="read-only"):
        mapping.ring_bell(0)
    assert memoryview(mapping).readonly


def test_a_mapping_that_cannot_be_is_an_error() -> None:
    """No length, or no descriptor: the reason is told."""
    with pytest.raises(ValueError, match="positive"):
        Mapping(0, 0)
    with pytest.raises(OSError, match="descriptor"):
        Mapping(-1, 4096)


def mappings() -> int:
    """How many mappings this process has."""
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum(1 for _ in file)


def mapped_at(name: str) -> tuple[int, dict[str, int]]:
    """Where memory of that name is mapped, and what the kernel tells of it, KiB."""
    with open("/proc/self/smaps", encoding="ascii") as file:
        parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", file.read(), flags=re.M)
    [told] = [part for part in parts if name in part.partition("\n")[0]]
    return int(told.partition("-")[0], 16), {
        key: int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB", told, re.M)
    }


@pytest.mark.parametrize("length", [2 << 20, (4 << 20) + 4096, (4 << 20) + 1, (6 << 20) - 4096])
def test_a_large_mapping_begins_where_a_huge_page_does(length: int) -> None:
    """And nothing is left mapped around it."""
    fd = os.memfd_create("aligned")
    os.ftruncate(fd, length)
    before = mappings()
    mapping = Mapping(fd, length, writable=True)
    os.close(fd)
    at, told = mapped_at("aligned")
    mapping.store64((length - 8) & ~7, 1)

    assert at % (2 << 20) == 0
    assert told["Size"] == -(-length // 4096) * 4
    assert mappings() <= before + 1
    del mapping
    assert mappings() <= before


def test_a_ring_is_in_huge_pages_where_the_kernel_has_them() -> None:
    """Its creator moves it there, with what is in it; other processes need to do nothing for it."""
    length = 4 << 20
    fd = os.memfd_create("huge")
    os.ftruncate(fd, length)
    os.posix_fallocate(fd, 0, length)
    mapping = Mapping(fd, length, writable=True)
    mapping.store64(length - 8, 7)
    if not mapping.collapse(0, length):
        pytest.skip("no huge pages of shared memory on this machine")
    assert mapping.load64(length - 8) == 7
    del mapping
    again = Mapping(fd, length, writable=True)
    os.close(fd)
    assert again.load64(length - 8) == 7
    assert mapped_at("huge")[1]["ShmemPmdMapped"] == 2048  # by the one look


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (4096, 4097), (8193, 0), (1, 2**63 - 1)])
def test_only_what_is_mapped_is_put_into_huge_pages(offset: int, length: int) -> None:
    """collapse() refuses a range outside the mapping."""
    fd = memory(8192)
    mapping = Mapping(fd, 8192, writable=True)
    os.close(fd)

    with pytest.raises(IndexError, match="are not in 8192"):
        mapping.collapse(offset, length)


def test_a_wait_that_looks_hears_of_signals_at_each_look() -> None:
    """Also of one that another thread got, or that came too early to end the sleep."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096)
    os.close(fd)
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        mapping.wait_watching(0, 0, 3600, 0.05, 8, 0, b"/there/is/none")
    timer.join()
    assert not mapping.wait_watching(0, 0, 3600, 0, 8, 0, b"/there/is/none")


def test_a_wait_ends_when_the_bell_rings() -> None:
    """The word counts up and the sleeper goes on; a word that has changed is not waited for at all."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(mapping.wait(0, 0, 60.0)))

    thread.start()
    while mapping.ring_bell(0) == 0 and thread.is_alive():
        pass
    thread.join()

    assert woken == [True]
    assert mapping.load32(0) > 0
    assert mapping.wait(0, 0, 60.0)
    assert not mapping.wait(0, mapping.load32(0), 0.0)
