"""Taps on the events of all loggers, for tests: each sees an event before it goes to its log.

Not for programs at work: while there is a tap, no event takes the short way through the core.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from disklog_mp._loggers import outlets as _outlets
from disklog_mp._loggers.outlets import Tap
from disklog_mp._session.session import Session


@contextlib.contextmanager
def tapped(tap: Tap) -> Iterator[None]:
    """Call tap(data, level) for each event; it goes to its log only if that returns True."""
    default = _outlets.default
    threshold = default.threshold
    if not default.is_configured:
        default.threshold = 0
    _outlets.taps.append(tap)
    _outlets.all_aside()
    try:
        yield
    finally:
        _outlets.taps.remove(tap)
        if not _outlets.taps:
            _outlets.all_back()
        if not default.is_configured:
            default.threshold = threshold


@contextlib.contextmanager
def configured(session: Session, level: int) -> Iterator[None]:
    """Let loggers without a log of their own log there, and put back at the end what was configured."""
    default = _outlets.default
    asked, threshold, was_configured = default.asked, default.threshold, default.is_configured
    missed = default.take_missed()
    default.configure(session, None, on_full="block", timeout=5.0, missing="stderr")
    default.threshold = level
    try:
        yield
    finally:
        default.take_missed()
        if was_configured:
            log, path, options = asked
            default.configure(log, path, **options)
        else:
            default.close()
            default.begin_unconfigured()
        default.threshold = threshold
        default.add_missed(*missed)
