"""On what terms a writer is started: the options it was given, and those of the log that it keeps.

| the log                            | options given                 | options left out             |
|------------------------------------|-------------------------------|------------------------------|
| has no file yet                    | apply                         | defaults                     |
| processes are attached to its ring | do not apply: open() tells so | as they are                  |
| a writer is only replaced          | do not apply                  | as they are                  |
| none of these, or it is served     | apply                         | as `set` left them, defaults |

What `set` changed outlives restarts that do not name the option; what an earlier open() or serve gave lasts
as long as it is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from disklog_mp import _options
from disklog_mp._environment import SOURCE as ENVIRONMENT
from disklog_mp._options import Options
from disklog_mp._pages.identity import LogIdentity
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.establishing import Established

SET = "set, "  # the source of an option that was set in a running log begins so
SERVED = "serve"
DEFAULT = "default"
LONGEST_SOURCE = 256  # characters
DEFAULTS = Options()


class Chosen(NamedTuple):
    """The options in force, and where those came from that are not defaults."""

    options: Options
    sources: dict[str, str]

    def with_changes(self, changes: dict[str, Any], sources: Mapping[str, str]) -> Chosen:
        """Return them with some changed, which come from `sources`."""
        options = self.options._replace(**changes)
        sources = {**self.sources, **sources}
        return Chosen(options, {name: told for name, told in sources.items() if name in Options._fields})


class Terms(NamedTuple):
    """What the starting process wants."""

    given: dict[str, Any]  # the options that were given, checked
    source: str  # "serve" or "open, process 4711"
    sources: Mapping[str, str] = MappingProxyType({})  # of the options that came from elsewhere
    is_served: bool = False  # by a supervisor, or at a terminal: its options are the log's
    goes_on: bool = False  # in place of a writer that died: nothing is to change

    def choose(self, found: LogIdentity | None, *, is_attended: bool) -> Chosen:
        """Return the options for a log whose file says this; `is_attended`: processes are attached to it."""
        if found is None:
            return self._over({}, {})
        there = options_in(found)
        if self.goes_on or (is_attended and not self.is_served):
            return Chosen(Options(**there), dict(found.sources))
        kept = {name: value for name, value in there.items() if is_set(found, name)}
        return self._over(kept, found.sources)

    def sources_of(self, given: Iterable[str]) -> dict[str, str]:
        """Return where these options come from."""
        return {name: self.sources.get(name, self.source) for name in given}

    def _over(self, kept: dict[str, Any], sources: dict[str, str]) -> Chosen:
        told = {name: sources[name] for name in kept} | self.sources_of(self.given)
        return Chosen(Options(**{**kept, **self.given}), told)


def from_environment(source: object) -> str:
    """Return a source if it names a variable, "" if it does not."""
    is_one = isinstance(source, str) and source.startswith(ENVIRONMENT) and len(source) <= LONGEST_SOURCE
    return str(source) if is_one else ""


def is_servers(source: object) -> bool:
    """True if an option of a served log came with its server."""
    return source == SERVED or bool(from_environment(source))


def is_set(found: LogIdentity, name: str) -> bool:
    """True if the option was set in a running log."""
    return str(found.sources.get(name, "")).startswith(SET)


def options_in(found: LogIdentity) -> dict[str, Any]:
    """Return the options in a log's file, as far as they are options; a person may have edited it."""
    good: dict[str, Any] = {}
    for name, value in found.options.items():
        try:
            good |= _options.check_changes({name: value})
        except (TypeError, ValueError):
            continue
    return good


def identity_to_write(settled: Established, terms: Terms, chosen: Chosen, pages: PageWriter) -> LogIdentity:
    """Return what the log's file has to say while this writer runs."""
    folder = pages.folder
    told = LogIdentity(
        log_id=settled.log_id,
        former_ids=settled.former_ids,
        name=folder.name,
        owner=os.stat(folder.directory.path).st_uid,
        directory=folder.directory.path,
        ring_dir=settled.ring_dir,
        options=chosen.options._asdict(),
        sources=chosen.sources,
        served=terms.is_served,
    )
    found = settled.found
    if found is None:
        return told
    told = told._replace(
        owner=found.owner, done=found.done, doing=found.doing, archives=found.archives, pauses=found.pauses
    )
    return told._replace(served=found.served, stopped=found.stopped) if terms.goes_on else told
