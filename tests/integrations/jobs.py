"""The celery application of these tests; as a program, it sends that many tasks of so many seconds."""

import faulthandler
import json
import os
import signal
import sys

from celery import Celery
from celery.utils.log import get_task_logger

from disklog_mp.celery import install
from integrations import work

app = Celery("shop", broker=os.environ["BROKER"], set_as_current=True)
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))
install(app, **json.loads(os.environ["LOG"]))
faulthandler.register(signal.SIGUSR2)  # to stderr: where a process stands


@app.task(name="shop.sell")
def sell(seconds: float) -> None:
    """Log lines for so long."""
    print("said with print")
    work.task(seconds)
    get_task_logger("shop.tasks").info("sold")


@app.task(name="shop.fail")
def fail() -> None:
    """Fail."""
    raise LookupError("no apples")


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        sell.delay(float(sys.argv[2]))
    fail.delay()
