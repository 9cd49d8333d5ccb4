"""One endpoint for all logs of a process that have the same address: they share its page."""

from __future__ import annotations

import threading
from collections.abc import Callable

from disklog_mp._addresses import Address
from disklog_mp._metrics import exposition as _exposition
from disklog_mp._metrics.endpoint import Endpoint
from disklog_mp._metrics.exposition import Source

Read = Callable[[], Source | None]

_lock = threading.Lock()  # on what is below: each log has a thread of its own
_shared: dict[Address, _Shared] = {}


class _Shared:
    """An endpoint, and the logs on its page."""

    def __init__(self, address: Address) -> None:
        self.logs: list[Read] = []
        self.endpoint = Endpoint(address, self._page)

    def _page(self, accept: str) -> tuple[str, bytes]:
        found = [source for read in list(self.logs) if (source := read()) is not None]
        return _exposition.page(accept, _exposition.families(found))


def join(address: Address, read: Read) -> str:
    """Put a log on the page at that address, and return its URL.  `read` is called in another thread.

    Raises OSError if the address cannot be had, or no thread can be started.
    """
    with _lock:
        shared = _shared.get(address)
        if shared is None:
            shared = _Shared(address)
            if not shared.endpoint.start():
                raise OSError(0, "no thread can be started")
            _shared[address] = shared
        shared.logs.append(read)
        return shared.endpoint.url


def leave(address: Address, read: Read) -> None:
    """Take a log from its page; the last one ends it."""
    with _lock:
        shared = _shared[address]
        shared.logs.remove(read)
        if not shared.logs:
            del _shared[address]
            shared.endpoint.close()
