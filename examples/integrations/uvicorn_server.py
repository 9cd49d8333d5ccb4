"""uvicorn's workers log what they do, and the application what it does, into one log.
In a temporary directory, or in the one that is given.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.request


async def application(scope, receive, send):
    if scope["type"] == "http":
        logging.getLogger("shop").info("a customer wants %s", scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


if __name__ == "__main__":
    port = 20000 + os.getpid() % 10000
    name = f"uvicorn-{os.getpid()}"
    with tempfile.TemporaryDirectory() as temporary:
        directory = sys.argv[1] if len(sys.argv) > 1 else f"{temporary}/log"
        handler = {"class": "disklog_mp.logging.DiskLogHandler", "name": name, "path": directory, "linger": 0}
        config = {"version": 1, "disable_existing_loggers": False, "handlers": {"disklog": handler}}
        config["root"] = {"level": "INFO", "handlers": ["disklog"]}
        with open(f"{temporary}/log.json", "w") as file:
            json.dump(config, file)
        options = ["--workers", "4", "--port", str(port), "--log-config", file.name]
        command = [sys.executable, "-m", "uvicorn", *options, "uvicorn_server:application"]
        server = subprocess.Popen(command, cwd=os.path.dirname(os.path.abspath(__file__)))
        time.sleep(6)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/apples").close()
        server.terminate()
        server.wait()
        subprocess.run([sys.executable, "-m", "disklog_mp", "cat", directory], check=True)
