"""Workers of an executor log through `logging` into one log: an initializer is all it takes.
In a temporary directory, or in the one that is given.
"""

import functools
import logging
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

import disklog_mp
from disklog_mp import pools


def work(task: int) -> int:
    """Log as any program does."""
    logging.getLogger("shop").info("task %d begins", task)
    if task == 3:
        logging.getLogger("shop").warning("task %d is an odd one", task)
    return task * task


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else temporary
        name = f"pool-logging-{os.getpid()}"
        start = functools.partial(pools.start, sync="never", linger=0)  # the directory is a temporary one
        with disklog_mp.open(name, directory, sync="never", linger=0) as log:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(2, context, start, (name, directory)) as executor:
                print("results:", list(executor.map(work, range(8))))
            log.log(b"all done", tag=logging.INFO)
            log.flush()
        for record in disklog_mp.Reader(directory):
            event = record.event
            print(f"{event.level} {event.message}" if event else record.data.decode())
