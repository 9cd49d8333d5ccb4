"""The log for asyncio: the same names, and nothing that blocks the event loop."""

from disklog_mp.aio._reader import Reader
from disklog_mp.aio._session import Session, attach, open

__all__ = ["Reader", "Session", "attach", "open"]

for _each in (Reader, Session, attach, open):
    _each.__module__ = __name__  # reprs, tracebacks and pickles show where users find them
del _each
