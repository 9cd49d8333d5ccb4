"""open and attach: how a process comes to a log."""

from __future__ import annotations

import errno
import os
import time
from typing import Any, NamedTuple, TypeVar

from disklog_mp import _options
from disklog_mp._pages.directory import Directory
from disklog_mp._ring import control as _control
from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._session.connection import Connection
from disklog_mp._session.session import BlockingConnection, Session
from disklog_mp.errors import ConfigMismatchError, LogNotFoundError, WriterActiveError

PATIENCE = 20.0  # seconds for a writer to become ready, started here or by another process
RACE_PAUSE = 0.005  # seconds before another look, when another process started a writer, or it left

Kind = TypeVar("Kind", bound=Connection)


def open(
    name: str,
    path: str | os.PathLike[str] = ".",
    *,
    page_records: int | None = None,
    page_bytes: int | str | None = None,
    page_age: float | str | None = None,
    ring_bytes: int | str | None = None,
    keep_pages: int | None = None,
    keep_bytes: int | str | None = None,
    keep_age: float | str | None = None,
    max_bytes: int | str | None = None,
    sync: float | str | None = None,
    on_full: str = "block",
    timeout: float | str = 5.0,
    mode: int | str | None = None,
    group: str | int | None = None,
    linger: float | str | None = None,
    kill_stalled: float | str | None = None,
    ring_dir: str | None = None,
) -> Session:
    """Open a log: create it if there is none, recover it if need be, start its writer, attach.

    Many processes may open the same log at once; exactly one writer results.  An option left out (None) is
    the one of the running log.  If the log is not running, the defaults are: pages of 64 MiB, a ring of
    16 MiB, everything kept, sync="1s", mode=0o600, a writer that lingers 10 s after its last producer.

    page_records, page_bytes, page_age: begin a new page when the page has that many records, bytes, seconds.
    keep_pages, keep_bytes, keep_age: remove the oldest pages beyond that, but never the newest.
    ring_bytes: size of the ring, rounded up to a power of two.
    max_bytes: refuse records when the log has reached this size.
    sync: "always" (each write), a duration, "page" (when one is sealed), "never".
    on_full, timeout: "block" up to `timeout` seconds, "raise" or "drop" when the ring is full.
    mode, group: access to the ring and the pages, e.g. 0o660 and "www-data".
    linger: how long the writer stays when its last producer has left.
    kill_stalled: the writer kills a process that is stopped or frozen inside log() and so has held up all
    others for this long; left out, the writer waits for it.
    ring_dir: keep the ring as a file in that directory instead of /dev/shm.
    Sizes take "64M", durations "10min".  Waits up to 20 s for the log's writer to become ready.

    Raises ConfigMismatchError if an option contradicts the running log, WriterActiveError if the
    directory or the name belongs to another log, OSError (TimeoutError: the writer is not ready),
    ValueError, TypeError.
    """
    connection = connect(
        BlockingConnection,
        name,
        os.fsdecode(path),
        on_full=on_full,
        timeout=timeout,
        ring_dir=ring_dir,
        patience=PATIENCE,
        page_records=page_records,
        page_bytes=page_bytes,
        page_age=page_age,
        ring_bytes=ring_bytes,
        keep_pages=keep_pages,
        keep_bytes=keep_bytes,
        keep_age=keep_age,
        max_bytes=max_bytes,
        sync=sync,
        mode=mode,
        group=group,
        linger=linger,
        kill_stalled=kill_stalled,
    )
    return Session(connection)


def attach(
    name: str, *, on_full: str = "block", timeout: float | str = 5.0, ring_dir: str | None = None
) -> Session:
    """Attach to a log that another process has opened, by its name alone; never starts a writer.

    Cheap and idempotent: sessions of one process share one slot.  Safe after fork, spawn, forkserver.  While
    the log's ring is being replaced, waits for it up to `timeout` seconds, at most 5.  on_full and timeout
    are those of open().

    Raises LogNotFoundError, FormatVersionError, TooManyProducersError, PermissionError, ValueError,
    TypeError.
    """
    return Session(connect(BlockingConnection, name, on_full=on_full, timeout=timeout, ring_dir=ring_dir))


def connect(
    kind: type[Kind],
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    on_full: str = "block",
    timeout: float | str = 5.0,
    ring_dir: str | None = None,
    patience: float = 0.0,
    accept_ring: bool = False,
    **options: Any,
) -> Kind:
    """Return an attached connection of that kind: as open() does with `path`, as attach() does without.

    `patience`: seconds for the writer to become ready.  With `accept_ring` a ring without a writer will do,
    where no writer can be started from here.
    """
    ring_dir = None if ring_dir is None else os.path.abspath(ring_dir)
    if path is None:
        connection = kind(name, ring_dir=ring_dir, on_full=on_full, timeout=timeout)
        connection.attach()
        return connection
    _names.check_name(name)
    opening = _Opening(
        name, os.path.abspath(os.fsdecode(path)), _options.check(options), ring_dir, accept_ring
    )
    connection = kind(name, ring_dir=ring_dir, on_full=on_full, timeout=timeout, starter=opening.start)
    deadline = time.monotonic() + patience
    while True:
        if opening.ensure_writer(deadline):
            try:
                connection.attach(max(0.0, deadline - time.monotonic()))
                return connection
            except LogNotFoundError:  # the writer left between the two looks
                if time.monotonic() > deadline:
                    raise
        time.sleep(RACE_PAUSE)


class _Opening(NamedTuple):
    """A log that is to have a writer."""

    name: str
    path: str  # absolute
    given: dict[str, Any]  # the options that were given, checked
    ring_dir: str | None
    accept_ring: bool

    def ensure_writer(self, deadline: float) -> bool:
        """Start a writer if none is alive, and wait until it is ready; False: look again in a moment."""
        if self.is_running(self.ring_dir, self.given):
            return True
        try:
            if not self.start(wait=max(0.0, deadline - time.monotonic())):
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"the writer of log {self.name!r} was started and is not ready yet",
                    self.path,
                )
        except WriterActiveError as active:
            # Another process may have started one for the same log at the same moment.
            is_same = active.args[0] == self.name and active.args[1] == self.path
            if not is_same or time.monotonic() > deadline:
                raise
            # The directory's note may be a dead writer's: the ring there says whether it is this one's.
            current, wanted = Directory(self.path).rings(), self.ring_dir or _names.SHM
            if current not in ("", wanted) and self.is_running(current, {}):
                raise ConfigMismatchError("ring_dir", current, wanted) from None
            return False
        except OSError:
            if not (self.accept_ring and self.has_ring()):
                raise
        return True

    def start(self, *, wait: float) -> bool:
        """Start a writer and wait `wait` seconds for its answer: see start_writer.start()."""
        from disklog_mp._session import start_writer

        options = _options.Options(**self.given)
        _options.group_id(options.group)
        return start_writer.start(self.name, self.path, options._asdict(), self.ring_dir, wait=wait)

    def has_ring(self) -> bool:
        """True if the log's ring is there, for the next writer: it takes records until it is full."""
        try:
            file = _ring.attach(self.name, self.ring_dir)
        except LogNotFoundError:
            return False
        try:
            return file.ring.path == self.path and not file.ring.is_closed()
        finally:
            os.close(file.fd)

    def is_running(self, ring_dir: str | None, given: dict[str, Any]) -> bool:
        """True if the log has a live writer; WriterActiveError, ConfigMismatchError if it is another."""
        try:
            file = _ring.attach(self.name, ring_dir)
        except LogNotFoundError:
            return False
        try:
            if not writer_alive(file):
                return False
            if file.ring.path != self.path:
                raise WriterActiveError(self.name, file.ring.path, file.ring.writer_pid)
            current = _control.options(file.ring)
            for option, value in given.items():
                if option in current and current[option] != value:
                    raise ConfigMismatchError(option, current[option], value)
            return True
        finally:
            os.close(file.fd)
