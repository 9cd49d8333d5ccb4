"""loguru logs into the log from every process, without enqueue=True.
In a temporary directory, or in the one that is given.
"""

import os
import sys
import tempfile

from loguru import logger

import disklog_mp.loguru

with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else temporary
    logger.remove()
    sink = disklog_mp.loguru.Sink(f"loguru-{os.getpid()}", directory, linger=0, sync="never")
    logger.add(sink, format="{message}")
    if os.fork() == 0:  # nothing to do after a fork
        logger.bind(user=42).info("{} apples sold", 3)
        os._exit(0)
    os.wait()
    logger.warning("the apples are running out")
    logger.remove()
    for record in disklog_mp.Reader(directory):
        print(record.pid, record.tag, record.data.decode())
