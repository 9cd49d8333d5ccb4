"""Options from the environment: DISKLOG_MP_<OPTION> for all logs, DISKLOG_MP_<NAME>_<OPTION> for one.

What the program says goes first, then the variable of this log, then the one of all.  In <NAME> each
character that is neither a letter nor a digit is written as an underscore.  A variable without a value is as
if it was not there.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from disklog_mp import _options

PREFIX = "DISKLOG_MP_"
SOURCE = "environment "  # begins where an option came from, if it is from a variable
DIRECTORY = f"{PREFIX}DIR"
# Variables that are no options: they are described in README, too.
OTHERS = frozenset({DIRECTORY, f"{PREFIX}WRITER", f"{PREFIX}PYTHON", f"{PREFIX}LABEL"})
OF_SESSIONS = ("on_full", "timeout", "ring_dir")  # beside those of the writer
OF_DOORS = ("missing",)  # likewise, of handlers and the like
KNOWN = (*_options.CHECKS, *OF_SESSIONS, *OF_DOORS)

_is_told = False  # the variables that nothing reads, by this process


def directory(name: str, path: str | os.PathLike[str] | None) -> str | None:
    """Return the log's directory: the one that was given, else <DISKLOG_MP_DIR>/<name>, else None."""
    if path is not None:
        return os.fsdecode(path)
    base = os.environ.get(DIRECTORY)
    return os.path.join(base, name) if base else None


def options(name: str, given: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given, and from the environment what was left out: what is None, or as `usual` says.

    Only options that `usual` names are looked for.  Values from the environment are text: what takes an
    option checks it.  For a writer's options from there, "sources" says which variable each came from.
    Raises ValueError, with the variable's name, for one that a writer would refuse.
    """
    found, sources = dict(given), {}
    for option, default in usual.items():
        if found.get(option) not in (None, default):
            continue
        for variable in (f"{PREFIX}{_upper(name)}_{option.upper()}", f"{PREFIX}{option.upper()}"):
            if value := os.environ.get(variable):
                check = _options.CHECKS.get(option)
                found[option] = value if check is None else check(value, variable)
                if check is not None:
                    sources[option] = f"{SOURCE}{variable}"
                break
    return {**found, "sources": sources} if sources else found


def tell_unknown() -> None:
    """Say on stderr, once, which variables with our prefix are none that anything here reads."""
    global _is_told
    if _is_told:
        return
    _is_told = True
    for name in os.environ:
        if name.startswith(PREFIX) and not _is_known(name):
            try:
                print(f"disklog-mp: {name} in the environment is no option{_hint(name)}", file=sys.stderr)
            except Exception:  # it was closed, or there is none
                pass


def _upper(name: str) -> str:
    return re.sub("[^A-Z0-9]", "_", name.upper())


def _is_known(variable: str) -> bool:
    ends = tuple(f"_{option.upper()}" for option in KNOWN)
    return variable in OTHERS or variable.endswith(ends)


def _hint(variable: str) -> str:
    from difflib import get_close_matches

    known = [f"{PREFIX}{option.upper()}" for option in KNOWN]
    near = get_close_matches(variable, [*known, *OTHERS], n=1)
    return f"; did you mean {near[0]}?" if near else ""
