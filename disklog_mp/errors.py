"""The errors, and nothing else.

DiskLogError
├── LogNotFoundError        attach to a log nobody opened
├── WriterActiveError       a second writer on a live log or directory
├── WriterDiedError         waited for a writer that is dead and could not be replaced
├── SessionClosedError      use of a session after close()
├── RingFullError           the on_full policy ran out of patience
├── RecordTooLargeError     longer than this ring takes
├── LogFullError            a halt log reached its limit
├── TooManyProducersError   every slot of the ring is taken
├── WaitTimeoutError        flush() or sync() ran out of time; what was logged is still on its way
├── ConfigMismatchError     options that contradict a running log
├── PageNotFoundError       no page of that number
│   └── PageRetiredError    there was one; retention removed it
├── CorruptPageError        bytes that are not what was written
└── FormatVersionError      a ring or page file of another version, or none at all

Each carries its values as attributes and survives pickling.  Operating-system errors stay OSError.
"""


class DiskLogError(Exception):
    """Root of all errors of this package."""

    fields: tuple[str, ...] = ()

    def __init__(self, *values: object) -> None:
        if len(values) != len(self.fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.fields)}")
        super().__init__(*values)

    def __getattr__(self, name: str) -> object:
        # Only reached for names that are not set: the fields, which live in args so that pickle works.
        try:
            return self.args[type(self).fields.index(name)]
        except ValueError:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}") from None

    def __str__(self) -> str:
        return self.text().format(**dict(zip(self.fields, self.args, strict=True)))

    def text(self) -> str:
        """Return the message with the fields in braces."""
        return " ".join("{" + field + "}" for field in self.fields)


class LogNotFoundError(DiskLogError):
    """Nobody has opened a log of that name on this machine."""

    fields = ("name",)

    def text(self) -> str:
        return (
            "no log {name!r} is open on this machine: start one with "
            "disklog_mp.open({name!r}, directory) or `disklog-mp serve {name} DIRECTORY`"
        )


class WriterActiveError(DiskLogError):
    """The log, or its directory, has a live writer already."""

    fields = ("name", "path", "pid")

    def text(self) -> str:
        return (
            "log {name!r} in {path} is being written by process {pid}: "
            "attach({name!r}) to log into it, or stop that writer first"
        )


class WriterDiedError(DiskLogError):
    """The log's writer is dead and this session could not start another."""

    fields = ("name", "pid")

    def text(self) -> str:
        return (
            "the writer of log {name!r} (process {pid}) is dead and was not replaced; what was logged is "
            "in the ring: start a writer with disklog_mp.open() or `disklog-mp serve`"
        )


class SessionClosedError(DiskLogError):
    """The session was closed."""

    fields = ("name",)

    def text(self) -> str:
        return "this session on log {name!r} is closed: attach({name!r}) again"


class RingFullError(DiskLogError):
    """The ring stayed full for as long as the policy allows to wait; the record was not logged."""

    fields = ("length", "free", "waited")

    def text(self) -> str:
        return (
            "no room for a record of {length} bytes ({free} free in the ring) after {waited:.3f} s: "
            "the writer or its disk is too slow, or ring_bytes too small"
        )


class RecordTooLargeError(DiskLogError):
    """The record, or the group of records, is longer than the ring takes."""

    fields = ("length", "limit")

    def text(self) -> str:
        return (
            "a record (or group) of {length} bytes passes this ring's limit of {limit}: "
            "split it, or open the log with a larger ring_bytes (a record takes up to a quarter)"
        )


class LogFullError(DiskLogError):
    """The log has reached max_bytes and takes no more."""

    fields = ("max_bytes",)

    def text(self) -> str:
        return "the log has reached max_bytes={max_bytes} and takes no more: raise the limit or start another"


class TooManyProducersError(DiskLogError):
    """Every producer slot of the ring is taken by a live process."""

    fields = ("limit",)

    def text(self) -> str:
        return "{limit} processes are attached to this log, which is the most a ring takes"


class WaitTimeoutError(DiskLogError):
    """flush() or sync() ran out of time; nothing is lost, the records are still on their way."""

    fields = ("goal", "position", "reached", "waited")

    def text(self) -> str:
        return (
            "position {position} is not {goal} after {waited:.3f} s (so far {reached}): "
            "the records are safe in the ring; wait again, or look at stats().error"
        )


class ConfigMismatchError(DiskLogError):
    """An option contradicts the running log."""

    fields = ("option", "current", "given")

    def text(self) -> str:
        return (
            "the log is running with {option}={current!r}, not {given!r}: "
            "leave the option out to join it as it is, or stop its writer first"
        )


class PageNotFoundError(DiskLogError):
    """The log has no page of that number (first and last are those it has, 0 if none)."""

    fields = ("number", "first", "last")

    def text(self) -> str:
        return "no page {number}: the log has pages {first} to {last}"


class PageRetiredError(PageNotFoundError):
    """The page existed and was removed by the retention policy."""

    def text(self) -> str:
        return "page {number} was retired: the log now has pages {first} to {last}"


class CorruptPageError(DiskLogError):
    """Bytes in a page file are not what the writer wrote."""

    fields = ("path", "offset", "found", "expected")

    def text(self) -> str:
        return "{path} at offset {offset}: found {found}, expected {expected}"


class FormatVersionError(DiskLogError):
    """A ring or page file of another format version, or not one of ours at all."""

    fields = ("path", "found", "supported")

    def text(self) -> str:
        return "{path}: {found}; this version of disklog-mp reads format {supported}"
