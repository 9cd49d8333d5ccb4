"""Log from many tasks of an event loop and follow the log in another, without blocking the loop.
In a temporary directory, or in the one that is given.
"""

import asyncio
import os
import sys
import tempfile

from disklog_mp import aio

TASKS, RECORDS = 10, 100


async def handle(log: aio.Session, task: int) -> None:
    """Do something, and log it: the task is suspended only if the ring is full."""
    for number in range(RECORDS):
        await log.log(b"task %d record %d" % (task, number))
        await asyncio.sleep(0)


async def watch(reader: aio.Reader) -> None:
    """Look at the records as they come."""
    async for record in reader.follow():
        if record.number + 1 == TASKS * RECORDS:
            return print(f"record number {record.number} was seen by the follower: {record.data!r}")


async def main(directory: str) -> None:
    """Log, follow, make sure."""
    async with await aio.open(f"asyncio-{os.getpid()}", directory, linger=0) as log:
        watching = asyncio.create_task(watch(await log.reader()))
        await asyncio.gather(*(handle(log, task) for task in range(TASKS)))
        await log.sync()
        await watching
        print(f"{TASKS} tasks logged {(await log.stats()).records} records, and all are durable")


with tempfile.TemporaryDirectory() as temporary:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else temporary))
