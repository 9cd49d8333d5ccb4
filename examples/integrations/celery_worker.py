"""A celery worker, its pool and its tasks in one log, with each task's name and id.
In a temporary directory, or in the one that is given.  It needs a redis-server.
"""

import os
import subprocess
import sys
import tempfile
import time

from celery import Celery
from celery.utils.log import get_task_logger

from disklog_mp.celery import install

directory = os.environ.get("JOBS_LOG", "/var/log/jobs")
app = Celery("jobs", broker=os.environ.get("JOBS_BROKER", "redis://localhost"))
install(app, os.path.basename(directory), directory, linger=0, sync="never")


@app.task(name="jobs.add")
def add(x, y):
    get_task_logger(__name__).info("%d and %d are %d", x, y, x + y)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else f"{temporary}/jobs-{os.getpid()}"
        os.environ.update(JOBS_LOG=directory, JOBS_BROKER=f"redis+socket://{temporary}/redis")
        redis = ["redis-server", "--port", "0", "--unixsocket", f"{temporary}/redis", "--save", ""]
        python = [sys.executable, "-m", "celery", "-A", "celery_worker"]
        os.chdir(os.path.dirname(os.path.abspath(__file__)))
        with subprocess.Popen(redis, cwd=temporary, stdout=subprocess.DEVNULL) as broker:
            worker = subprocess.Popen([*python, "worker", "-l", "INFO"], stdout=subprocess.DEVNULL)
            subprocess.run([*python, "call", "jobs.add", "--args", "[2, 3]"], check=True)
            time.sleep(6)
            worker.terminate()
            worker.wait()
            broker.terminate()
        subprocess.run([sys.executable, "-m", "disklog_mp", "cat", directory], check=True)
