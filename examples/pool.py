"""Workers of a multiprocessing pool log into one log, which they attach to by its name.
In a temporary directory, or in the one that is given.
"""

import collections
import multiprocessing
import os
import sys
import tempfile
import time

import disklog_mp


def attach(name: str) -> None:
    """Run once in each worker; nothing but the name has to reach it."""
    global log
    log = disklog_mp.attach(name)


def work(task: int) -> int:
    """Log without waiting for the disk, for a lock, or for another process."""
    for step in range(10):
        log.log(b"task %d step %d" % (task, step))
        time.sleep(0.005)
    return task * task


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else temporary
        name = f"pool-{os.getpid()}"
        with disklog_mp.open(name, directory, linger=0) as log:
            context = multiprocessing.get_context("spawn")
            with context.Pool(2, initializer=attach, initargs=(name,)) as pool:
                print("results:", pool.map(work, range(8), chunksize=1))
            log.log(b"all done")
            log.sync()  # so is all that stands before it
        for pid, records in collections.Counter(r.pid for r in disklog_mp.Reader(directory)).items():
            print(f"process {pid} logged {records} records{' (that is me)' * (pid == os.getpid())}")
