"""serve: the log's writer in this process, for systemd, a container or a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Unpack

from disklog_mp import _environment, _options
from disklog_mp._options import Changes
from disklog_mp._os import systemd as _systemd
from disklog_mp._writer.producers import raise_descriptor_limit
from disklog_mp._writer.signals import stop_on_signals
from disklog_mp._writer.terms import SERVED, Terms
from disklog_mp._writer.writer import Writer


def serve(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    ring_dir: str | None = None,
    started: Callable[[Writer], object] | None = None,
    reread: Callable[[], dict[str, Any]] | None = None,
    **options: Unpack[Changes],
) -> None:
    """Run the log's writer in this process until SIGTERM or SIGINT, then drain, sync and return.

    Takes the options of open(), but for `linger` from the environment, too.  SIGHUP puts them in force again:
    what `reread` returns then, or else those given here.  Tells systemd when it is ready (Type=notify), then
    calls `started`.  Producers may stay attached over a restart: the ring stays for them.

    Raises WriterActiveError, ConfigMismatchError, OSError, ValueError, TypeError.
    """
    _environment.tell_unknown()
    usual = {option: None for option in (*_options.CHECKS, "ring_dir") if option != "linger"}
    told = _environment.options(name, {"linger": None, "ring_dir": ring_dir, **options}, usual)
    ring_dir = told.pop("ring_dir")
    path = _environment.directory(name, path) or "."
    sources = told.get("sources", {})
    given = _options.check({option: value for option, value in told.items() if option != "sources"})
    raise_descriptor_limit()
    with stop_on_signals(reload=True) as stopping:
        chosen = _options.Options(**{"linger": None, **given})
        terms = Terms({"linger": None, **given}, SERVED, sources, is_served=True)
        notifier = _systemd.Notifier()
        goes_on = True
        while goes_on:
            work = Writer(name, path, chosen, ring_dir=ring_dir, terms=terms)
            work.reread = reread or (lambda: told)
            notifier.notify(f"READY=1\nSTATUS=writing {name} to {work.path}")
            if started is not None:
                started(work)
            work.run(stopping, notifier.alive, notifier.period)
            goes_on = work.keeper.gives_way
        notifier.notify("STOPPING=1")
