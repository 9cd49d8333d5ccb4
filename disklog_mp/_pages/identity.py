"""The log's own file, disklog.json: its id, its owner, where its ring is, the options in force.

It stands in the log's directory, so only users with the right to write there can change it.  A ring can be
written by all producers, and is never believed for any of this.  The writer, which holds the directory's
lock, is the only process that writes the file: whole, durably, under its name at once (see write_small).

    format      1
    log_id      32 hexadecimal digits
    former_ids  of pages that were copied from another log together with the directory
    name        the log's name
    owner       user id of the log's owner: the user that the log's first writer ran as
    directory   where the directory was when the file was written, absolute
    ring_dir    the directory of the ring
    options     all options in force, as in Options
    sources     where the options came from that are not defaults: "open, process 4711", "set, process 12"
    served      true while a supervisor runs the writer: no session starts another
    stopped     {"pid", "uid", "time_ns"} of the request that stopped the log, or null
    socket      the abstract name of the writer's socket, "" if the socket stands beside the ring
    longest_file  bytes that a file of the last writer could have (ulimit -f), if that was too little, or 0:
                a process with the same limit starts no other writer
    done        the last requests that changed something: {"id", "answer"} of each, the oldest first
    doing       requests that were begun, {"id", "ask", ...} of each: a writer carries out what it finds here
    pauses      {"id", "pid", "start", "until"} of each: the writer keeps its hands off the directory
    archives    pages that were moved elsewhere: {"first", "last", "to"} of each move, the oldest first

A file that is empty, torn or not of this form is as good as none: the writer makes another from the pages.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from disklog_mp._os import files as _files
from disklog_mp._pages.directory import LOCK, Directory
from disklog_mp.errors import FormatVersionError

FILE = "disklog.json"
FORMAT = 1
DONE = 32  # requests that are remembered
ARCHIVES = 64  # moves of pages that are remembered
LOG_ID = 16  # bytes


class LogIdentity(NamedTuple):
    """What the log's file says; see above for each field."""

    log_id: bytes
    name: str
    owner: int
    directory: str
    ring_dir: str
    options: dict[str, Any]
    sources: dict[str, str]
    served: bool = False
    stopped: dict[str, int] | None = None
    socket: str = ""
    done: tuple[dict[str, Any], ...] = ()
    former_ids: tuple[bytes, ...] = ()
    longest_file: int = 0
    doing: tuple[dict[str, Any], ...] = ()
    archives: tuple[dict[str, Any], ...] = ()
    pauses: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> bytes:
        """Return the content of the file."""
        told = {"format": FORMAT, **self._asdict()}
        told["log_id"] = self.log_id.hex()
        told["former_ids"] = [former.hex() for former in self.former_ids]
        told["done"] = self.done[-DONE:]
        return json.dumps(told, indent=1).encode() + b"\n"

    def with_done(self, request: str, answer: dict[str, Any]) -> LogIdentity:
        """Return it with one more request that was done."""
        return self._replace(done=(*self.done, {"id": request, "answer": answer})[-DONE:])

    def with_plan(self, plan: dict[str, Any], answer: dict[str, Any]) -> LogIdentity:
        """Return it with a request that is begun, and what will be answered."""
        return self._replace(doing=(*self.doing, plan)).with_done(plan["id"], answer)

    def without_plan(self, request: str, *, is_done: bool) -> LogIdentity:
        """Return it with a request over that was begun: done, or taken back."""
        doing = tuple(plan for plan in self.doing if plan.get("id") != request)
        done = tuple(each for each in self.done if is_done or each.get("id") != request)
        return self._replace(doing=doing, done=done)

    def with_archive(self, first: int, last: int, to: str) -> LogIdentity:
        """Return it with pages that were moved, or are going to be.  What is not behind them stays."""
        kept = []
        for move in self.archives:
            begin, end = _numbers_of(move)
            if 0 < begin < first:
                kept.append({**move, "last": min(end, first - 1)})
        if kept and kept[-1].get("to") == to and _numbers_of(kept[-1])[1] == first - 1:
            first = _numbers_of(kept.pop())[0]
        moves = [*kept, {"first": first, "last": last, "to": to}] if last >= first else kept
        return self._replace(archives=tuple(moves[-ARCHIVES:]))

    def archive_of(self, page: int) -> str:
        """Return where a page was moved to; "" if it was not, or that is forgotten."""
        for move in self.archives:
            first, last = _numbers_of(move)
            if first <= page <= last and isinstance(move.get("to"), str):
                return str(move["to"])
        return ""

    def answer_to(self, request: str) -> dict[str, Any] | None:
        """Return the answer to a request that was done, None if it was not, or is going on."""
        if any(plan.get("id") == request for plan in self.doing):
            return None
        for done in self.done:
            if done.get("id") == request:
                answer: dict[str, Any] | None = done.get("answer")
                return answer
        return None


def _numbers_of(move: dict[str, Any]) -> tuple[int, int]:
    first, last = move.get("first"), move.get("last")
    return (first, last) if isinstance(first, int) and isinstance(last, int) else (0, 0)


def path_of(directory: str) -> str:
    """Return the path of the log's file."""
    return os.path.join(directory, FILE)


def read_identity(directory: str) -> LogIdentity | None:
    """Return what the log's file says; None if there is none, or it cannot be understood.

    Raises FormatVersionError for a file of a later format, OSError if it cannot be read.
    """
    try:
        data = _files.read_small(path_of(directory))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _parse(data, path_of(directory))
    except (ValueError, KeyError, TypeError, RecursionError):  # RecursionError: many brackets
        return None


def is_log_of(directory: str, log_id: bytes, uid: int) -> bool:
    """True if the directory has the log of that id: it has a lock file, and the log's file says the id.

    For a directory that a ring names.  The log's file must be one that another user cannot have planted:
    root's, ours, or that of `uid`, the owner of the ring.
    """
    try:
        if not os.path.isabs(directory) or not os.path.lexists(os.path.join(directory, LOCK)):
            return False
        identity = read_identity(directory)
        owner = os.stat(path_of(directory), follow_symlinks=False).st_uid
    except (OSError, FormatVersionError):
        return False
    return owner in (0, os.geteuid(), uid) and identity is not None and identity.log_id == log_id


def is_copy(identity: LogIdentity, directory: str) -> bool:
    """True if the directory, whose file says this, is a copy: the one that it names has the same log."""
    if _files.is_same(identity.directory, directory):
        return False
    try:
        other = read_identity(identity.directory)
    except (OSError, FormatVersionError):
        return False
    return other is not None and other.log_id == identity.log_id


def is_continued(directory: str, former: bytes, later: bytes) -> bool:
    """True if the log of the id `former`, of which the directory is a copy, goes on there as `later`."""
    try:
        identity = read_identity(directory)
    except (OSError, FormatVersionError):
        return False
    ids = () if identity is None else (*identity.former_ids, identity.log_id)
    return former in ids and later in ids and ids.index(former) < ids.index(later)


def archive_of(directory: str, page: int) -> str:
    """Return where a page of the log in that directory was moved to; "" if it was not, or is not known."""
    try:
        identity = read_identity(directory)
    except (OSError, FormatVersionError):
        return ""
    return "" if identity is None else identity.archive_of(page)


def _parse(data: bytes, path: str) -> LogIdentity:
    told = json.loads(data)
    if isinstance(told["format"], int) and told["format"] > FORMAT:
        raise FormatVersionError(path, f"a log's file of format {told['format']}", FORMAT)
    stopped = told.get("stopped")
    return LogIdentity(
        log_id=_id(told["log_id"]),
        name=_of(str, told["name"]),
        owner=_of(int, told["owner"]),
        directory=_of(str, told["directory"]),
        ring_dir=_of(str, told["ring_dir"]),
        options=_of(dict, told["options"]),
        sources=_of(dict, told["sources"]),
        served=_of(bool, told.get("served", False)),
        stopped=None if stopped is None else _of(dict, stopped),
        socket=_of(str, told.get("socket", "")),
        done=tuple(_of(dict, done) for done in _of(list, told.get("done", []))),
        former_ids=tuple(_id(former) for former in _of(list, told.get("former_ids", []))),
        longest_file=_of(int, told.get("longest_file", 0)),
        doing=tuple(_of(dict, plan) for plan in _of(list, told.get("doing", []))),
        pauses=tuple(_of(dict, pause) for pause in _of(list, told.get("pauses", []))),
        archives=tuple(_of(dict, move) for move in _of(list, told.get("archives", []))),
    )


def _id(text: Any) -> bytes:
    found = bytes.fromhex(_of(str, text))
    if len(found) != LOG_ID:
        raise ValueError(text)
    return found


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(value)
    return value


def write_identity(directory: Directory, identity: LogIdentity, mode: int, gid: int) -> None:
    """Write the log's file.  This process holds the directory's lock.  Raises OSError.

    Its group may read what `mode` lets it read; the file is replaced, never written to, so only users with
    the right to write the directory can change it.
    """
    assert directory.is_ours()
    _files.write_small(path_of(directory.path), identity.to_json(), mode & ~0o022, gid)
