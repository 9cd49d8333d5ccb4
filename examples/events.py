"""Log structured events from several processes, and read them back with their fields.
In a temporary directory, or in the one that is given.
"""

import os
import sys
import tempfile

import disklog_mp
from disklog_mp.cli import run

log = disklog_mp.get_logger("shop")  # at the top of any module, before it is known where to


def sell(apples: int) -> None:
    """Log with what all events of this sale have in common."""
    sale = log.bind(apples=apples, till=os.getpid() % 10)
    sale.info("sale began")
    try:
        sale.info("paid", change=100 % apples)
    except ZeroDivisionError:
        sale.exception("no sale")


with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else temporary
    with disklog_mp.open(f"events-{os.getpid()}", directory, linger=0, sync="never") as session:
        disklog_mp.configure_loggers(session)  # or a name and a directory
        for apples in (0, 3):
            if os.fork() == 0:  # nothing to do after a fork
                sell(apples)
                os._exit(0)
        for _ in range(2):
            os.wait()
        session.log(b"all done")
        session.flush()
    print(len(list(disklog_mp.Reader(directory))), "records; those of level ERROR:", flush=True)
    run(["cat", directory, "--level", "ERROR"])
