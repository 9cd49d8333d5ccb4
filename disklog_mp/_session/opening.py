"""open and attach: how a process comes to a log."""

from __future__ import annotations

import errno
import os
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from disklog_mp import _environment, _options
from disklog_mp._os.files import is_same
from disklog_mp._ring import file as _ring
from disklog_mp._ring.labels import check_label
from disklog_mp._ring.liveness import living_producers, writer_alive
from disklog_mp._ring.names import SHM, check_name
from disklog_mp._session import checks, joining, requests, start_writer
from disklog_mp._session.attachments import attachments
from disklog_mp._session.connection import Connection
from disklog_mp._session.place import Place
from disklog_mp._session.session import BlockingConnection, Session
from disklog_mp._session.stopped import raise_if_stopped
from disklog_mp.errors import (
    ConfigMismatchError,
    FormatVersionError,
    LogNotFoundError,
    WriterActiveError,
)

PATIENCE = 20.0  # seconds for a writer to become ready, started here or by another process
RACE_PAUSE = 0.005  # seconds before another look, when another process started a writer, or it left
# Options that may stand in the environment, and their values if they are left out.
OF_SESSIONS = {"on_full": "block", "timeout": 5.0, "ring_dir": None}
OF_WRITERS = dict.fromkeys(_options.CHECKS)

Kind = TypeVar("Kind", bound=Connection)


def open(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    page_records: int | None = None,
    page_bytes: int | str | None = None,
    page_age: float | str | None = None,
    page_at: str | None = None,
    page_tz: str | None = None,
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
    event_bytes: int | str | None = None,
    metrics: str | None = None,
    ring_dir: str | None = None,
    label: str | None = None,
    strict: bool = False,
) -> Session:
    """Open a log: create it if there is none, recover it if need be, start its writer, attach.

    `path` is its directory; left out, it is <DISKLOG_MP_DIR>/<name>, or without that variable the current
    directory.  Options that are left out may stand in the environment, see README.

    Many processes may open the same log at once; exactly one writer results.  An option left out (None) is
    the one of the running log.  If the log is not running, the defaults are: pages of 64 MiB, a ring of
    16 MiB, everything kept, sync="1s", mode=0o600, a writer that lingers 10 s after its last producer.
    Options that were set with configure() or `disklog-mp set` stay until they are given another value.

    Options that differ from the running log's apply at once if no other process is attached and the log is
    not served.  If they cannot apply, the log is joined as it is, with a warning that names both values and
    the command that changes them; with `strict`, ConfigMismatchError is raised instead.

    page_records, page_bytes, page_age: begin a new page when the page has that many records, bytes, seconds.
    page_at, page_tz: likewise at "00:00", "06:00,18:00" or "hourly", in the machine's time zone or that one.
    keep_pages, keep_bytes, keep_age: remove the oldest pages beyond that, but never the newest.
    ring_bytes, max_bytes: size of the ring, a power of two; refuse records when the log has that size.
    sync: "always" (each write), a duration, "page" (when one is sealed), "never".
    on_full, timeout: "block" up to `timeout` seconds, "raise" or "drop" when the ring is full.
    mode, group: access to the ring and the pages, e.g. 0o660 and "www-data".
    linger, kill_stalled: the writer leaves so long after its last producer; kills one stopped inside log().
    event_bytes, metrics: space for the log's own events; "127.0.0.1:9464" serves Prometheus there.
    ring_dir: keep the ring as a file in that directory instead of /dev/shm.
    label: a text of up to 64 bytes that each record of this session carries, such as a container's name.
    Left out, it is that of DISKLOG_MP_LABEL, else, in a pid namespace other than the writer's, the host name.
    Sizes take "64M", durations "10min".  Waits up to 20 s for the log's writer to become ready.

    Raises ConfigMismatchError, WriterActiveError if the directory or the name belongs to another log,
    OSError (TimeoutError: the writer is not ready), ValueError, TypeError.
    """
    options = with_environment(
        name,
        on_full=on_full,
        timeout=timeout,
        ring_dir=ring_dir,
        label=label,
        page_records=page_records,
        page_bytes=page_bytes,
        page_age=page_age,
        page_at=page_at,
        page_tz=page_tz,
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
        event_bytes=event_bytes,
        metrics=metrics,
    )
    place = directory_of(name, path)
    return Session(connect(BlockingConnection, name, place, patience=PATIENCE, strict=strict, **options))


def attach(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    on_full: str = "block",
    timeout: float | str = 5.0,
    ring_dir: str | None = None,
    label: str | None = None,
) -> Session:
    """Attach to a log that another process has opened, by its name alone; opens none.

    If its writer dies, this session starts another as any does, unless the log is served.

    Where logs in several directories have the name, the one with a live writer is meant; if several have one,
    the one with attached processes.  `path`, a log's directory, decides where that does not.

    Cheap and idempotent: sessions of one process share one slot.  Safe after fork, spawn, forkserver.  While
    the log's ring is being replaced, waits for it up to `timeout` seconds, at most 5.  on_full and timeout
    are those of open().

    Raises LogNotFoundError, AmbiguousLogError, FormatVersionError, TooManyProducersError, PermissionError,
    ValueError, TypeError.
    """
    options = with_environment(
        name, is_opened=False, on_full=on_full, timeout=timeout, ring_dir=ring_dir, label=label
    )
    return Session(connect(BlockingConnection, name, directory=path, **options))


def directory_of(name: str, path: str | os.PathLike[str] | None) -> str:
    """Return the directory in which open() opens a log."""
    return _environment.directory(check_name(name), path) or "."


def with_environment(name: str, *, is_opened: bool = True, **options: Any) -> dict[str, Any]:
    """Return the options of open(), or attach(); for those left out, what stands in the environment.

    Raises TypeError or ValueError for what is no name.
    """
    usual = {**OF_SESSIONS, **(OF_WRITERS if is_opened else {})}
    return _environment.options(check_name(name), options, usual)


def check(
    name: str,
    path: str | None,
    *,
    ring_dir: str | None = None,
    label: str | None = None,
    strict: bool = False,
    sources: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Raise what connect() would, as far as it can be seen without attaching or starting a writer.

    That a log is not there, or has no writer, is no error: it may come.  With `strict` options are one that
    differ from those of a log which is served, or used by other processes.  Raises ConfigMismatchError,
    WriterActiveError, AmbiguousLogError, FormatVersionError, OSError (PermissionError: ring or directory are
    closed to this user; NotADirectoryError), ValueError, TypeError.
    """
    if label is not None:
        check_label(label)
    place = Place(name, path, ring_dir)
    opening = _Opening(place, _options.check(options), True, sources or {})
    if path is None:
        opening.has_ring()
        return
    checks.check_log(name, path)
    if opening.is_running(Place(name, path)):
        if strict:
            opening.settle_ring_dir(strict=True, on_kept=bool)
            opening.refuse_others_options()
    elif not opening.has_ring():
        given = opening.given
        checks.check_group(path, _options.group_id(given.get("group")))
        checks.check_directory(path)
        checks.check_ring(ring_dir or opening.known_ring_dir(), given.get("ring_bytes"))


def connect(
    kind: type[Kind],
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    directory: str | os.PathLike[str] | None = None,
    on_full: str = "block",
    timeout: float | str = 5.0,
    ring_dir: str | None = None,
    label: str | None = None,
    patience: float = 0.0,
    accept_ring: bool = False,
    strict: bool = False,
    on_kept: Callable[[str], object] | None = None,
    sources: Mapping[str, str] | None = None,
    **options: Any,
) -> Kind:
    """Return an attached connection of that kind: as open() does with `path`, as attach() does without.

    `directory`: the log's, for attaching; None: it is found by name.
    `patience`: seconds for the writer to become ready.  With `accept_ring` a ring without a writer will do,
    where no writer can be started from here.  `on_kept` is called with a text if options do not apply; None:
    that is a warning.  With `strict` it is an error.  `sources`: see _environment.options().
    """
    ring_dir = None if ring_dir is None else os.path.abspath(ring_dir)
    _environment.tell_unknown()
    if path is None:
        where = None if directory is None else os.path.abspath(os.fsdecode(directory))
        connection = kind(Place(name, where, ring_dir), on_full=on_full, timeout=timeout, label=label)
        connection.attach()
        return connection
    place = Place(name, os.path.abspath(os.fsdecode(path)), ring_dir)
    opening = _Opening(place, _options.check(options), accept_ring, sources or {})
    connection = kind(
        place,
        on_full=on_full,
        timeout=timeout,
        label=label,
        starter=opening.go_on,
        begin=opening.begin,
    )
    deadline = time.monotonic() + patience
    tell = on_kept or joining.warn
    while True:
        opening.settle_ring_dir(strict=strict, on_kept=tell)
        if opening.ensure_writer(deadline):
            joining.join(opening.log(), opening.given, opening.sources, strict=strict, on_kept=tell)
            try:
                connection.attach(max(0.0, deadline - time.monotonic()))
                return connection
            except LogNotFoundError:  # the writer left between the two looks
                if time.monotonic() > deadline:
                    raise
        time.sleep(RACE_PAUSE)


class _Opening(NamedTuple):
    """A log that is to have a writer."""

    place: Place  # with the directory
    given: dict[str, Any]  # the options that were given, checked
    accept_ring: bool
    sources: Mapping[str, str]  # of those that came from the environment

    @property
    def path(self) -> str:
        """The log's directory, absolute."""
        assert self.place.directory is not None
        return self.place.directory

    def known_ring_dir(self) -> str:
        """Return the directory of the log's ring as the log's file says it, else the usual one."""
        identity = self.place.identity()
        return SHM if identity is None else identity.ring_dir

    def settle_ring_dir(self, *, strict: bool, on_kept: Callable[[str], object]) -> None:
        """Use the ring of a running log where it is, if another directory was given.

        Raises ConfigMismatchError instead if `strict`.
        """
        wanted, current = self.place.ring_dir, self.known_ring_dir()
        if wanted is None or is_same(current, wanted) or not self._is_running_at(current):
            return
        if strict:
            raise ConfigMismatchError("ring_dir", current, wanted)
        self.place.ring_dir = None  # from now on as the log's file says
        on_kept(
            f"log {self.place.name!r} runs with ring_dir={current!r}, not {wanted!r}{joining.JOINED}; "
            f"`disklog-mp stop {shlex.quote(self.path)}` first lets the next open() have its ring there"
        )

    def refuse_others_options(self) -> None:
        """Raise ConfigMismatchError if options would not apply that differ from a running log's."""
        differing = joining.differing(self.path, self.given)
        if differing and (self._is_served() or self._has_others()):
            option = next(iter(differing))
            raise ConfigMismatchError(option, differing[option], self.given[option])

    def _is_served(self) -> bool:
        identity = self.place.identity()
        return identity is not None and identity.served

    def _has_others(self) -> bool:
        """True if other processes are attached."""
        try:
            file = _ring.attach(Place(self.place.name, self.path).ring_path(), self.place.owner_for_root())
        except LogNotFoundError:
            return False
        try:
            return any(slot.pid != os.getpid() for slot in living_producers(file))
        finally:
            os.close(file.fd)

    def _is_running_at(self, ring_dir: str) -> bool:
        try:
            return self.is_running(Place(self.place.name, self.path, ring_dir))
        except (OSError, FormatVersionError):  # attaching finds out why
            return False

    def ensure_writer(self, deadline: float) -> bool:
        """Start a writer if none is alive, and wait until it is ready; False: look again in a moment."""
        try:
            if self.is_running(self.place) or self.is_inherited():
                return True
        except OSError:  # this process may not open the ring, or cannot
            if self.is_inherited():
                return True
            raise
        try:
            if not self.start(wait=max(0.0, deadline - time.monotonic())):
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"the writer of log {self.place.name!r} was started and is not ready yet",
                    self.path,
                )
        except WriterActiveError as active:
            # Another process may have started one for the same log at the same moment.
            is_ours = active.name == self.place.name and is_same(active.path, self.path)
            if not is_ours or time.monotonic() > deadline:
                raise
            return False
        except OSError:
            if not (self.accept_ring and self.has_ring()):
                raise
        return True

    def start(self, *, wait: float) -> bool:
        """Start a writer and wait `wait` seconds for its answer: see start_writer.start()."""
        return start_writer.start(**self._order(), wait=wait, sources=self.sources)

    def go_on(self, *, wait: float) -> bool:
        """Start a writer in place of one that died.  Raises LogStoppedError if the log was stopped."""
        raise_if_stopped(self.place.name, self.path)
        return start_writer.start(**self._order(), wait=wait, goes_on=True)

    def _order(self) -> dict[str, Any]:
        """Return which writer is to start: the log's owner's, if root opens the log."""
        place, owner = self.place, self.place.owner_for_root()
        user = None if owner is None else start_writer.user_of(owner, os.stat(self.path).st_gid)
        where = {"name": place.name, "path": self.path, "ring_dir": place.ring_dir}
        return where | {"given": self.given, "user": user}

    def log(self) -> requests.Log:
        """Return the log as one to ask."""
        return requests.log_in(self.place.name, self.path, self.place.ring_dir)

    def begin(self) -> start_writer.Starting:
        """Start a writer and do not wait for it."""
        return start_writer.begin(**self._order(), waiting=True, goes_on=True)

    def is_inherited(self) -> bool:
        """True if the parent had the log's ring open, and its writer is alive."""
        file = attachments.inherited(self.place)
        return file is not None and writer_alive(file)

    def has_ring(self) -> bool:
        """True if the log's ring is there, for the next writer: it takes records until it is full."""
        try:
            file = _ring.attach(self.place.ring_path(), self.place.owner_for_root())
        except LogNotFoundError:
            return False
        try:
            return not file.ring.is_closed()
        finally:
            os.close(file.fd)

    def is_running(self, place: Place) -> bool:
        """True if the log has a live writer."""
        try:
            file = _ring.attach(place.ring_path(), place.owner_for_root())
        except LogNotFoundError:
            return False
        try:
            return writer_alive(file)
        finally:
            os.close(file.fd)
