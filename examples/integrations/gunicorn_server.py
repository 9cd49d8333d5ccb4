"""gunicorn's error log, access log and the application's own records, from all its workers, in one log.
In a temporary directory, or in the one that is given.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

CONFIG = """
from disklog_mp import gunicorn
class logger_class(gunicorn.Logger):  # "disklog_mp.gunicorn.Logger" where nothing is to be set
    options = {{"linger": 0, "sync": "never", "encoding": "text"}}
errorlog = accesslog = "{directory}"  # its last part is the log's name
bind, workers = "127.0.0.1:{port}", 4
"""


def application(environ, start_response):
    logging.getLogger("shop").info("a customer wants %s", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


if __name__ == "__main__":
    port = 20000 + os.getpid() % 10000
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else f"{temporary}/web-{os.getpid()}"
        with open(f"{temporary}/gunicorn.conf.py", "w") as file:
            file.write(CONFIG.format(directory=directory, port=port))
        command = [sys.executable, "-m", "gunicorn", "-c", file.name, "gunicorn_server:application"]
        server = subprocess.Popen(command, cwd=os.path.dirname(os.path.abspath(__file__)))
        time.sleep(5)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/apples").close()
        server.terminate()
        server.wait()
        subprocess.run([sys.executable, "-m", "disklog_mp", "cat", directory], check=True)
