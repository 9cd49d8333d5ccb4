"""structlog logs structured events, from every process alike.
In a temporary directory, or in the one that is given.
"""

import logging
import os
import sys
import tempfile

import structlog

import disklog_mp.structlog

with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else temporary
    factory = disklog_mp.structlog.LoggerFactory(
        f"structlog-{os.getpid()}", directory, linger=0, sync="never"
    )
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, disklog_mp.structlog.render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    log = structlog.get_logger("shop").bind(user=42)
    if os.fork() == 0:  # nothing to do after a fork
        log.info("sold", apples=3)
        os._exit(0)
    os.wait()
    log.warning("the apples are running out")
    factory.flush()
    factory.close()
    for record in disklog_mp.Reader(directory):
        print(record.pid, logging.getLevelName(record.tag), record.data.decode())
