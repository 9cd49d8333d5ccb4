"""open and attach: how a process comes to a log."""

from __future__ import annotations

import errno
import functools
import os
import time
from typing import Any

from disklog_mp._pages.directory import Directory
from disklog_mp._ring import control as _control
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._session.session import Session
from disklog_mp.errors import ConfigMismatchError, LogNotFoundError, WriterActiveError

PATIENCE = 20.0  # seconds for a writer to become ready, ours or somebody else's


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
    timeout: float = 5.0,
    mode: int | None = None,
    group: str | int | None = None,
    linger: float | str | None = None,
    kill_stalled: float | str | None = None,
    ring_dir: str | None = None,
) -> Session:
    """Open a log: create it if there is none, recover it if need be, start its writer, attach.

    Many processes may open the same log at once; exactly one writer results.  An option left out (None)
    is whatever the running log has, or else: pages of 64 MiB, a ring of 16 MiB, everything kept,
    sync="1s", mode=0o600, a writer that lingers 10 s after its last producer.

    page_records, page_bytes, page_age: roll when the page has that many records, bytes, seconds.
    keep_pages, keep_bytes, keep_age: remove the oldest pages beyond that, but never the newest.
    max_bytes: take no more.
    sync: "always" (each write), a duration, "page" (when one is sealed), "never".
    on_full, timeout: "block" up to `timeout` seconds, "raise" or "drop" when the ring is full.
    mode, group: who may attach and read, e.g. 0o660 and "www-data".
    linger: how long the writer stays when its last producer has left.
    kill_stalled: a live process that holds up all others from inside log() for so long, stopped or frozen,
    is killed by the writer; left out, it is waited for.
    ring_dir: keep the ring as a file in that directory instead of /dev/shm.
    Sizes take "64M", durations "10min".  Waits up to 20 s for the log's writer to become ready.

    Raises ConfigMismatchError if an option contradicts the running log, WriterActiveError if the
    directory or the name belongs to another log, OSError (TimeoutError: the writer is not ready),
    ValueError, TypeError.
    """
    return open_within(
        PATIENCE,
        name,
        path,
        on_full=on_full,
        timeout=timeout,
        ring_dir=ring_dir,
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


def open_within(
    patience: float,
    name: str,
    path: str | os.PathLike[str],
    *,
    on_full: str,
    timeout: float,
    ring_dir: str | None = None,
    settle: bool = False,
    **options: Any,
) -> Session:
    """Open a log as open() does, with so many seconds for its writer to become ready.

    With `settle`, where the writer has died and no other can be started from here, the ring will do.
    """
    from disklog_mp import _options

    given = _options.check(options)
    _names.check_name(name)
    where = os.path.abspath(os.fsdecode(path))
    ring_dir = None if ring_dir is None else os.path.abspath(ring_dir)
    starter = functools.partial(_start, name, where, given, ring_dir)
    deadline = time.monotonic() + patience
    while True:
        if not _is_running(name, where, given, ring_dir):
            try:
                if not starter(wait=max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(
                        errno.ETIMEDOUT, f"the writer of log {name!r} was started and is not ready yet", where
                    )
            except WriterActiveError as active:
                # It may be one that was started for the same log at the same moment.
                same = active.args[0] == name and active.args[1] == where
                if not same or time.monotonic() > deadline:
                    raise
                # Its note may be a dead writer's: the ring there says whether it is this one's.
                current, wanted = Directory(where).rings(), ring_dir or _names.SHM
                if current not in ("", wanted) and _is_running(name, where, {}, current):
                    raise ConfigMismatchError("ring_dir", current, wanted) from None
                time.sleep(0.005)
                continue
            except OSError:
                if not (settle and _has_ring(name, where, ring_dir)):
                    raise
        try:
            return Session(
                name,
                ring_dir=ring_dir,
                on_full=on_full,
                timeout=timeout,
                starter=starter,
                patience=max(0.0, deadline - time.monotonic()),
            )
        except LogNotFoundError:  # its writer left between the two looks
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _start(name: str, path: str, given: dict[str, Any], ring_dir: str | None, *, wait: float) -> bool:
    from disklog_mp import _options
    from disklog_mp._session import start_writer

    options = _options.Options(**given)
    _options.group_id(options.group)
    return start_writer.start(name, path, options._asdict(), ring_dir, wait=wait)


def _has_ring(name: str, path: str, ring_dir: str | None) -> bool:
    """True if the log's ring is there, for the next writer: it takes records until it is full."""
    try:
        file = _ring.attach(name, ring_dir)
    except LogNotFoundError:
        return False
    try:
        return file.ring.path == path and not file.ring.is_closed()
    finally:
        os.close(file.fd)


def _is_running(name: str, path: str, given: dict[str, Any], ring_dir: str | None) -> bool:
    """True if the log has a live writer, and it is this log with these options."""
    try:
        file = _ring.attach(name, ring_dir)
    except LogNotFoundError:
        return False
    try:
        if not _liveness.writer_alive(file):
            return False
        if file.ring.path != path:
            raise WriterActiveError(name, file.ring.path, file.ring.writer_pid)
        current = _control.options(file.ring)
        for option, value in given.items():
            if option in current and current[option] != value:
                raise ConfigMismatchError(option, current[option], value)
        return True
    finally:
        os.close(file.fd)


def attach(
    name: str, *, on_full: str = "block", timeout: float = 5.0, ring_dir: str | None = None
) -> Session:
    """Attach to a log that somebody has opened, by its name alone; never starts a writer.

    Cheap and idempotent: sessions of one process share one slot.  Safe after fork, spawn, forkserver.
    While the log's ring is being replaced, it is waited for up to `timeout` seconds.

    Raises LogNotFoundError, FormatVersionError, TooManyProducersError, PermissionError.
    """
    return Session(
        name,
        ring_dir=None if ring_dir is None else os.path.abspath(ring_dir),
        on_full=on_full,
        timeout=timeout,
    )
