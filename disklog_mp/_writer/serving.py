"""serve: the log's writer in this process, for systemd, a container or a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from disklog_mp import _options
from disklog_mp._os import systemd as _systemd
from disklog_mp._writer.producers import raise_descriptor_limit
from disklog_mp._writer.signals import stop_on_signals
from disklog_mp._writer.writer import Writer


def serve(
    name: str,
    path: str | os.PathLike[str] = ".",
    *,
    ring_dir: str | None = None,
    started: Callable[[Writer], object] | None = None,
    **options: Any,
) -> None:
    """Run the log's writer in this process until SIGTERM or SIGINT, then drain, sync and return.

    Takes the options of open().  Tells systemd when it is ready (Type=notify), then calls `started`.
    Producers may stay attached over a restart: the ring stays for them.

    Raises WriterActiveError, ConfigMismatchError, OSError, ValueError, TypeError.
    """
    given = _options.check({"linger": None, **options})
    raise_descriptor_limit()
    with stop_on_signals() as stopping:
        chosen = _options.Options(**{"linger": None, **given})
        work = Writer(name, path, chosen, ring_dir=ring_dir)
        notifier = _systemd.Notifier()
        notifier.notify(f"READY=1\nSTATUS=writing {name} to {work.path}")
        if started is not None:
            started(work)
        work.run(stopping, notifier.alive, notifier.period)
        notifier.notify("STOPPING=1")
