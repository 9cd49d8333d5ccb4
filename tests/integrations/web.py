"""The applications that the servers of these tests run: each request does a piece of work."""

import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from integrations.work import work

log = logging.getLogger("shop").info


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Work; /hang until the worker is aborted, /abort at once."""
    if environ["PATH_INFO"] == "/hang":
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            work(log)
            time.sleep(0.002)
    if environ["PATH_INFO"] == "/abort":
        os.kill(os.getpid(), signal.SIGABRT)
    done = work(log)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Work", done)])
    return [done.encode()]


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Work."""
    if scope["type"] == "http":
        done = work(log).encode()
        headers = [(b"content-type", b"text/plain"), (b"x-work", done)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": done})
