"""Steps of the writer that a walk can be told to leave out: what the order of steps is for.

Imported when fault_core has loaded the test build.  A step is a method or a function of the package, so that
code may move between files and lines as long as the step keeps its name.
"""

from collections.abc import Callable
from typing import Any

from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer import live_ring
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.producers import Producers


def write_before_release() -> None:
    """Give the space of a segment back before it is written."""
    serve, append = LiveRing.serve, PageWriter.append
    served: list[LiveRing] = []

    def serve_and_note(self: LiveRing, file: Any, position: int) -> None:
        served[:] = [self]
        serve(self, file, position)

    def release_and_append(self: PageWriter, data: memoryview, end: int, *rest: int) -> None:
        if served and served[0].ring.released < end:
            served[0].ring.release(self.position, end)
        append(self, data, end, *rest)

    LiveRing.serve, PageWriter.append = serve_and_note, release_and_append  # type: ignore[method-assign]


def resume_retiring() -> None:
    """Leave a retirement as the last writer left it."""
    live_ring.resume_retiring = lambda ring: None


def wait_for_claims() -> None:
    """Free the slot of a dead producer before its claims are drained."""
    Producers.end_of_claims = lambda self: 0  # type: ignore[method-assign]


def look_who_came() -> None:
    """Remove a ring though a producer attached while it was being closed."""
    Attendance.has_come = lambda self: False  # type: ignore[method-assign]


def proof_of_death() -> None:
    """Abandon claims of producers that live."""
    Producers.is_dead = lambda self, owner: True  # type: ignore[method-assign]


STEPS: dict[str, Callable[[], None]] = {
    step.__name__: step
    for step in (write_before_release, resume_retiring, wait_for_claims, look_who_came, proof_of_death)
}
