"""Kill a worker and the writer with kill -9 and count what is left: everything that log() returned for.
In a temporary directory, or in the one that is given.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time

import disklog_mp


def work(log: disklog_mp.Session) -> None:
    """Log as fast as possible, for ever."""
    for number in itertools.count():
        log.log(b"record %d" % number)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else temporary
        with disklog_mp.open(f"crash-{os.getpid()}", directory, linger=0) as log:
            worker = multiprocessing.Process(target=work, args=(log,))
            worker.start()
            while log.stats().logged < 50_000:
                time.sleep(0.001)
            os.kill(log.stats().writer_pid, signal.SIGKILL)  # the writer first: the ring fills up
            time.sleep(0.01)
            worker.kill()
            worker.join()
            print(f"both killed, after {log.stats().logged} records were logged")
            print(f"{sum(1 for _ in disklog_mp.Reader(directory))} are in page files, and read as they are")
            log.log(b"the end")
            log.sync()  # starts another writer, which takes what is in the ring
        data = [record.data for record in disklog_mp.Reader(directory)]
        kept = sum(record == b"record %d" % i for i, record in enumerate(data))
        print(f"{kept} are there now, in order, none twice, and then: {data[-1].decode()}")
