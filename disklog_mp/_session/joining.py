"""Joining a running log with options of one's own: they apply, or the newcomer is told that they do not.

No record is lost over options: a log that answers no request is joined as it is.
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from disklog_mp import _options
from disklog_mp._pages.identity import read_identity
from disklog_mp._ring.names import ring_path, rings_of
from disklog_mp._session import requests
from disklog_mp.errors import ConfigMismatchError, DiskLogError

PATIENCE = 2.0  # seconds for the writer to answer
JOINED = "; it is joined as it is"
MOST_TOLD = 64  # sets of options that do not apply, each told once by a process
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def join(
    log: requests.Log,
    given: dict[str, Any],
    sources: Mapping[str, str],
    *,
    strict: bool,
    on_kept: Callable[[str], object],
) -> None:
    """Have the log run with these options, if that may be; else call `on_kept` with a text.

    `sources`: where options came from that the program did not give.

    Raises ConfigMismatchError instead if `strict`.
    """
    now = differing(log.path, given)
    wanted = {name: given[name] for name in now}
    if not wanted:
        return
    try:
        answer = requests.ask(log, "join", timeout=PATIENCE, options=wanted, sources=sources)
    except (DiskLogError, OSError, ValueError, TypeError) as problem:
        kept, why = now, f"its writer did not change them: {problem}"
    else:
        kept, why = answer["kept"], _reason(answer)
    if not kept:
        return
    if strict:
        name = next(iter(kept))
        raise ConfigMismatchError(name, kept[name], given[name])
    refused = {name: given[name] for name in kept}
    on_kept(
        f"log {log.name!r} runs with {_options.contradiction(kept, refused)}{JOINED}, because {why}; "
        f"`disklog-mp set {shlex.quote(_word_for(log))} {_options.assignments(refused)}` changes it"
    )


def _word_for(log: requests.Log) -> str:
    """Return what commands find the log by: its name, or its directory where that is not enough."""
    rings = rings_of(log.name)
    return log.name if len(rings) == 1 and _is_ring_of(rings[0], log) else log.path


def _is_ring_of(ring: str, log: requests.Log) -> bool:
    try:
        identity = read_identity(log.path)
    except (DiskLogError, OSError):
        return False
    return identity is not None and ring == ring_path(log.name, identity.log_id, identity.ring_dir)


def differing(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options in the log's file, as far as others were given."""
    try:
        identity = read_identity(path)
    except (DiskLogError, OSError):
        return {}
    now = {} if identity is None else identity.options
    return {name: now[name] for name, value in given.items() if name in now and now[name] != value}


def _reason(answer: dict[str, Any]) -> str:
    why, others = answer.get("why"), answer.get("others", 0)
    if why == "served":
        return "a served log keeps its server's options"
    if why == "rights":
        return "only a user that may write its directory can change them"
    return "another process uses it" if others == 1 else f"{others} other processes use it"


def warn(text: str) -> None:
    """Warn in the name of the first caller outside of this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


_told: set[str] = set()  # texts that once() let through


def once(tell: Callable[[str], object]) -> Callable[[str], None]:
    """Return a function that tells what options do not apply: once in this process, for all its doors."""

    def told(text: str) -> None:
        kept = text.partition(JOINED)[0]
        if kept not in _told and len(_told) < MOST_TOLD:
            _told.add(kept)
            tell(text)

    return told
