"""Django's LOGGING, in a project of one file: pages and commands log into one log.
In a temporary directory, or in the one that is given.
"""

import logging
import os
import subprocess
import sys
import tempfile

import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import path


def shop(request):
    logging.getLogger("shop").info("%s has a customer", request.path)
    return HttpResponse("hello")


urlpatterns = [path("apples", shop)]

with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else f"{temporary}/site-{os.getpid()}"
    handler = {
        "class": "disklog_mp.logging.DiskLogHandler",
        "name": f"site-{os.getpid()}",
        "path": directory,
        "linger": 0,
    }
    log = {"version": 1, "disable_existing_loggers": False, "handlers": {"disklog": handler}}
    log["root"] = {"level": "INFO", "handlers": ["disklog"]}
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING=log)
    django.setup()
    Client().get("/apples")
    Client().get("/pears")  # of which Django warns
    logging.shutdown()
    subprocess.run([sys.executable, "-m", "disklog_mp", "cat", directory], check=True)
