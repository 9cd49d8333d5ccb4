"""The errors, and nothing else.

DiskLogError
├── LogNotFoundError        attach to a log that no process has opened
├── AmbiguousLogError       several logs have the name, each in its own directory
├── WriterActiveError       a second writer on a live log or directory
├── WriterDiedError         waited for a writer that is dead and could not be replaced
│   └── LogStoppedError     waited for the writer of a log that was stopped
├── SessionClosedError      use of a session after close()
├── RingFullError           the on_full policy ran out of patience
├── RecordTooLargeError     longer than this ring takes
├── LogFullError            a log reached its max_bytes
├── TooManyProducersError   every slot of the ring is taken
├── WaitTimeoutError        flush() or sync() ran out of time; what was logged is still on its way
├── ConfigMismatchError     options that contradict a running log
├── CursorError             a cursor that does not fit the log
├── PageNotFoundError       no page of that number
│   └── PageRetiredError    there was one; retention removed it
├── CorruptPageError        bytes that are not what was written
└── FormatVersionError      a ring or page file of another version, or not one of ours

Each has its values as attributes, takes them in the order of its `args`, and survives pickling.
Operating-system errors stay OSError.
"""

from disklog_mp._options import shown, size_text

LARGEST_RECORD = (32 << 20) - 64  # bytes, in any ring
START_ONE = "start a writer with disklog_mp.open() or `disklog-mp serve`"


class DiskLogError(Exception):
    """Root of all errors of this package."""


class LogNotFoundError(DiskLogError):
    """No log of that name is open on this machine."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"no log {self.name!r} is open on this machine: start one with "
            f"disklog_mp.open({self.name!r}, directory) or `disklog-mp serve {self.name} DIRECTORY`"
        )


class AmbiguousLogError(DiskLogError):
    """Several logs on this machine have the name: their directories decide."""

    def __init__(self, name: str, paths: tuple[str, ...]) -> None:
        super().__init__(name, paths)
        self.name = name
        self.paths = paths

    def __str__(self) -> str:
        return (
            f"{len(self.paths)} logs are named {self.name!r}, in {', '.join(self.paths)}: "
            f"say which one with path=, or give the directory instead of the name"
        )


class WriterActiveError(DiskLogError):
    """The log, or its directory, has a live writer already."""

    def __init__(self, name: str, path: str, pid: int) -> None:
        super().__init__(name, path, pid)
        self.name = name
        self.path = path
        self.pid = pid

    def __str__(self) -> str:
        return (
            f"log {self.name!r} in {self.path} already has a writer, process {self.pid}: "
            f"attach({self.name!r}) to log into it, or stop that writer first"
        )


class WriterDiedError(DiskLogError):
    """The log's writer is dead and was not replaced; `reason` says why not."""

    def __init__(self, name: str, pid: int, reason: str = "") -> None:
        super().__init__(name, pid, reason)
        self.name = name
        self.pid = pid
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the writer of log {self.name!r} (process {self.pid}) is dead and was not replaced; what was "
            f"logged is in the ring: {self.reason or START_ONE}"
        )


class LogStoppedError(WriterDiedError):
    """The log was stopped, by `disklog-mp stop`; no attached process starts it again.

    `pid` and `uid` are of the process that stopped it, `when` is local time.
    """

    def __init__(self, name: str, pid: int, uid: int, when: str) -> None:
        super().__init__(name, pid)
        del self.reason
        self.args = (name, pid, uid, when)
        self.uid = uid
        self.when = when

    def __str__(self) -> str:
        return f"log {self.name!r}: {self.how()}; what was logged since is in the ring"

    def how(self) -> str:
        """Return by which process the log was stopped, when, and what to do."""
        return (
            f"the log was stopped by process {self.pid} of user {self.uid} at {self.when}: "
            "disklog_mp.open() or `disklog-mp serve` starts it again"
        )


class SessionClosedError(DiskLogError):
    """The session was closed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"this session on log {self.name!r} is closed: attach({self.name!r}) again"


class RingFullError(DiskLogError):
    """The ring stayed full for as long as the policy allows to wait; the record was not logged.

    `dead_writer` is the pid of a writer that died and was not replaced, `reason` says why not; 0 and "" if
    the writer is alive.
    """

    def __init__(self, length: int, free: int, waited: float, dead_writer: int = 0, reason: str = "") -> None:
        super().__init__(length, free, waited, dead_writer, reason)
        self.length = length
        self.free = free
        self.waited = waited
        self.dead_writer = dead_writer
        self.reason = reason

    def __str__(self) -> str:
        if self.dead_writer:
            why = (
                f"the writer (process {self.dead_writer}) is dead and was not replaced: "
                f"{self.reason or START_ONE}"
            )
        elif self.reason:
            why = f"no writer is alive: {self.reason}"
        else:
            why = "the writer or its disk is too slow, or ring_bytes is too small"
        return (
            f"no room for a record of {size_text(self.length)} ({size_text(self.free)} free in the ring) "
            f"after {self.waited:.3f} s: {why}"
        )


class RecordTooLargeError(DiskLogError):
    """The record, or the group of records, is longer than the ring takes."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(length, limit)
        self.length = length
        self.limit = limit

    def __str__(self) -> str:
        remedy = "split it: no ring takes more than 32 MiB"
        if self.length < LARGEST_RECORD:
            needed = 1 << (4 * (self.length + 64)).bit_length()
            remedy = f"split it, or open the log with ring_bytes={size_text(needed)!r}"
        return (
            f"a record or group of {self.length:,} bytes is too large: this ring takes up to {self.limit:,} "
            f"bytes, a quarter of its size but at most 32 MiB; {remedy}"
        )


class LogFullError(DiskLogError):
    """The log has reached max_bytes and takes no more."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return (
            f"the log has reached max_bytes={size_text(self.max_bytes)} and takes no more records: "
            "raise the limit or start another log"
        )


class TooManyProducersError(DiskLogError):
    """Every producer slot of the ring is taken by a live process."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit:,} processes are attached to this log: a ring takes no more"


class WaitTimeoutError(DiskLogError):
    """flush() or sync() ran out of time; nothing is lost, the records are still on their way.

    Where a live process stands still inside log(), `pid` is its pid, `label` its label, and `held` the
    position of its record, behind which all others wait.  Else these are 0, "" and -1.
    """

    def __init__(  # noqa: PLR0917
        self,
        goal: str,
        position: int,
        reached: int,
        waited: float,
        pid: int = 0,
        label: str = "",
        held: int = -1,
    ) -> None:
        super().__init__(goal, position, reached, waited, pid, label, held)
        self.goal = goal
        self.position = position
        self.reached = reached
        self.waited = waited
        self.pid = pid
        self.label = label
        self.held = held

    def __str__(self) -> str:
        what = (
            f"position {self.position} is not {self.goal} after {self.waited:.3f} s (so far {self.reached})"
        )
        if not self.pid:
            return f"{what}: the records are safe in the ring; wait again, or look at stats().error"
        label = f" ({self.label})" if self.label else ""
        return (
            f"{what}: process {self.pid}{label} stands still inside log() at position {self.held}, and holds "
            "up all records after that; continue it, end it, or open the log with kill_stalled="
        )


class ConfigMismatchError(DiskLogError):
    """An option contradicts the running log."""

    def __init__(self, option: str, current: object, given: object) -> None:
        super().__init__(option, current, given)
        self.option = option
        self.current = current
        self.given = given

    def __str__(self) -> str:
        current, given = shown(self.option, self.current), shown(self.option, self.given)
        if self.option == "name":
            return f"the directory has the log {current}, not {given}: give each log a directory of its own"
        return (
            f"the log is running with {self.option}={current}, not {given}: "
            "leave the option out to join the log as it is, or stop its writer first"
        )


class CursorError(DiskLogError, ValueError):
    """A cursor does not fit the log: reading from it would wait for ever, or leave records out.

    `reason` is "beyond the end", "another log" or "rewound".
    """

    def __init__(self, cursor: object, reason: str, path: str, detail: str) -> None:
        super().__init__(cursor, reason, path, detail)
        self.cursor = cursor
        self.reason = reason
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"cursor {self.cursor} does not fit {self.path}: {self.reason}: {self.detail}"


class PageNotFoundError(DiskLogError):
    """The log has no page of that number (first and last are those it has, 0 if none)."""

    def __init__(self, number: int, first: int, last: int) -> None:
        super().__init__(number, first, last)
        self.number = number
        self.first = first
        self.last = last

    def __str__(self) -> str:
        return f"no page {self.number}: the log has pages {self.first} to {self.last}"


class PageRetiredError(PageNotFoundError):
    """The page existed and was removed by the retention policy."""

    def __str__(self) -> str:
        return f"page {self.number} was removed by retention: the log has pages {self.first} to {self.last}"


class CorruptPageError(DiskLogError):
    """Bytes in a page file are not what the writer wrote."""

    def __init__(self, path: str, offset: int, found: object, expected: object) -> None:
        super().__init__(path, offset, found, expected)
        self.path = path
        self.offset = offset
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.path} at offset {self.offset}: found {self.found}, expected {self.expected}"


class FormatVersionError(DiskLogError):
    """A ring or page file of another format version, or not one of ours at all."""

    def __init__(self, path: str, found: object, supported: object) -> None:
        super().__init__(path, found, supported)
        self.path = path
        self.found = found
        self.supported = supported

    def __str__(self) -> str:
        return f"{self.path}: {self.found}; this version of disklog-mp reads format {self.supported}"
