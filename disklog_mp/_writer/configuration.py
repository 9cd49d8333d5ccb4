"""Changing the options of a running log, and what newcomers bring along.

A newcomer's options apply at once if no other process is attached: a service was restarted while its writer
lingered.  If others are attached they do not: a job must not shorten what a service keeps.  The newcomer is
told, and so is the log's stderr, once for each set of options.  A served log keeps its server's options.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from disklog_mp import _options
from disklog_mp._options import Options, group_id
from disklog_mp._pages.identity import LogIdentity
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.access import Access
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.notices import CONFIGURED
from disklog_mp._writer.page_keeper import PageKeeper
from disklog_mp._writer.requests import Kind, Request
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.succession import Succession
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.terms import (
    DEFAULT,
    DEFAULTS,
    SERVED,
    SET,
    Chosen,
    Terms,
    from_environment,
    is_servers,
)
from disklog_mp._writer.troubles import Troubles
from disklog_mp.errors import DiskLogError

KEPT = {"linger"}  # served logs have another default
MOST_TOLD = 64  # sets of options that were not taken over, each told once

Remember = Callable[[LogIdentity], LogIdentity]


class Configuration:
    """Changes what is in force: first in the log's file, then in the parts of the writer."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        maker: RingMaker,
        log_file: LogFile,
        *,
        attendance: Attendance,
        succession: Succession,
        syncer: Syncer,
        keeper: PageKeeper,
        access: Access,
        troubles: Troubles,
    ) -> None:
        self._live = live
        self._pages = pages
        self._maker = maker
        self._log_file = log_file
        self._attendance = attendance
        self._succession = succession
        self._syncer = syncer
        self._keeper = keeper
        self._access = access
        self._troubles = troubles
        self._told: set[str] = set()

    def kinds(self) -> dict[str, Kind]:
        """Return the requests that are answered here."""
        return {"configure": Kind(self.configure, needs_owner=True), "join": Kind(self.join)}

    # -- requests ----------------------------------------------------------------------------------------

    def configure(self, request: Request) -> dict[str, Any]:
        """Set options: {"options": {...}}.  The answer has those that changed."""
        changes = self._differing(_options.check_changes(_given(request)))
        answer = {"changed": changes}
        sources = dict.fromkeys(changes, f"{SET}process {_pid_of(request)}")
        self.change(changes, sources, lambda identity: identity.with_done(request.id, answer))
        return answer

    def join(self, request: Request) -> dict[str, Any]:
        """Take over a newcomer's options, or not: {"options": {...}}.  The answer has what applies from now
        on, what stays as it is, and why that stays: "served", "rights", or "attached" with a count.
        """
        changes = self._differing(_options.check(_given(request)))
        if not changes:
            return {"applied": {}, "kept": {}}
        others = self._attendance.others(request.peer.pid)
        if self._log_file.identity.served:
            why = "served"
        elif not request.peer.may_write(self._log_file.path):
            why = "rights"
        elif others:
            why = "attached"
        else:
            answer = {"applied": changes, "kept": {}}
            sources = _sources_of(request, changes, f"open, process {_pid_of(request)}")
            self.change(changes, sources, lambda identity: identity.with_done(request.id, answer))
            return answer
        kept = {name: getattr(self._pages.options, name) for name in changes}
        self._tell(request, changes, kept)
        return {"applied": {}, "kept": kept, "why": why, "others": others}

    def reload(self, reread: Callable[[], dict[str, Any]]) -> None:
        """Put the server's options in force again.  One that it gave before and leaves out is the default."""
        try:
            told = dict(reread())
            terms = Terms({}, SERVED, told.pop("sources", {}))
            given = _options.check(told)
            sources = self._log_file.identity.sources
            gone = {name for name, source in sources.items() if is_servers(source) and name not in given}
            changes = self._differing({**{name: getattr(DEFAULTS, name) for name in gone - KEPT}, **given})
            if changes:
                kept = {name: terms.sources_of([name])[name] for name in changes if name in given}
                self.change(changes, {**dict.fromkeys(changes, DEFAULT), **kept}, lambda identity: identity)
        except (DiskLogError, OSError, TypeError, ValueError) as error:
            self._troubles.say(f"SIGHUP: the options stay as they are: {error}")
        else:
            said = _options.assignments(changes) or "nothing changed"
            self._troubles.say(f"SIGHUP: read the options again: {said}")

    def _differing(self, given: dict[str, Any]) -> dict[str, Any]:
        now = self._pages.options
        return {name: value for name, value in given.items() if getattr(now, name) != value}

    def _tell(self, request: Request, wanted: dict[str, Any], kept: dict[str, Any]) -> None:
        told = _options.contradiction(kept, wanted)
        if told in self._told or len(self._told) >= MOST_TOLD:
            return
        self._told.add(told)
        self._troubles.say(f"process {_pid_of(request)} joined a log that runs with {told}: nothing changed")

    # -- changing ----------------------------------------------------------------------------------------

    def change(self, changes: dict[str, Any], sources: Mapping[str, str], remember: Remember) -> None:
        """Put options in force, and note their sources; `remember` adds to the file what goes with that.

        Raises OSError, ValueError; then nothing has changed.
        """
        before, identity = self._pages.options, self._log_file.identity
        chosen = Chosen(before, identity.sources).with_changes(changes, sources)
        options = chosen.options
        gid = group_id(options.group)
        self._live.check_options(options.to_json())
        try:
            if options.ring_bytes != before.ring_bytes:
                self._maker.capacity = options.ring_bytes
                self._maker.reserve()
            told = identity._replace(options=options._asdict(), sources=chosen.sources)
            self._log_file.write(remember(told))
        except BaseException:
            self._maker.capacity = before.ring_bytes
            self._maker.drop()
            raise
        for name in changes:
            values = {"from": getattr(before, name), "to": getattr(options, name), "by": sources.get(name)}
            self._troubles.tell(CONFIGURED, option=name, **values)
        self._apply(before, options, gid)

    def _apply(self, before: Options, options: Options, gid: int) -> None:
        self._pages.configure(options, gid)
        self._syncer.configure()
        self._live.show_options(options.to_json())
        if (options.mode, options.group) != (before.mode, before.group):
            self._maker.configure(options.mode, gid)
            self._access.renew(before.mode)
        now = time.monotonic()
        with contextlib.suppress(OSError):  # the next round or page does it instead
            if (options.page_bytes, options.page_records) != (before.page_bytes, before.page_records):
                self._keeper.roll("configured")
            self._keeper.retire_when_due(now)
            self._succession.inspect(now)


def _given(request: Request) -> dict[str, Any]:
    options = request.fields.get("options")
    if not isinstance(options, dict):
        raise TypeError("options are a JSON object")
    return options


def _sources_of(request: Request, names: Iterable[str], source: str) -> dict[str, str]:
    """Return where options come from: what the newcomer names is a variable of its environment."""
    told = request.fields.get("sources")
    known = told if isinstance(told, dict) else {}
    named = {name: known.get(name) for name in names}
    return {name: from_environment(said) or source for name, said in named.items()}


def _pid_of(request: Request) -> int:
    """Return the pid of the process that asks; of one in another pid namespace, what it says of itself."""
    told = request.fields.get("pid")
    return request.peer.pid or (told if isinstance(told, int) else 0)
