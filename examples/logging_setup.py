"""Set up the standard library's logging with dictConfig so that every process logs into one log.
In a temporary directory, or in the one that is given.
"""

import logging.config
import os
import sys
import tempfile

import disklog_mp

with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else temporary
    handler = {
        "class": "disklog_mp.logging.DiskLogHandler",
        "name": f"logging-{os.getpid()}",
        "path": directory,  # without it: attach to a log that another process has opened
        "linger": 0,
        "sync": "never",  # the directory is a temporary one
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"disklog": handler},
            "root": {"level": "INFO", "handlers": ["disklog"]},
        }
    )
    if os.fork() == 0:  # nothing to do after a fork
        logging.getLogger("shop.worker").info("%d apples sold", 3, extra={"customer": "ann"})
        os._exit(0)
    os.wait()
    logging.getLogger("shop").warning("the apples are %s", "running out")
    logging.shutdown()
    for record in disklog_mp.Reader(directory):
        if (event := record.event) is not None:
            print(record.pid, event.level, event.logger, event.message, event.fields)
