"""Functions that may block, called in a thread of the loop's default executor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

GRACE = 0.02  # seconds for a thread that kept its time to say so

Result = TypeVar("Result")


async def in_thread(function: Callable[..., Result], *args: Any) -> Result:
    """Call the function in a thread; return its result, or raise what it raised."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args))


async def in_thread_within(seconds: float, function: Callable[[], Result]) -> Result:
    """As in_thread().  TimeoutError if no thread was free, or the function took longer than `seconds`."""
    async with asyncio.timeout(seconds + GRACE):
        return await in_thread(function)
