"""The project's settings; LOG has the options of the handler."""

import json
import os

SECRET_KEY = "no secret"
ALLOWED_HOSTS = ["*"]
DEBUG = False
USE_TZ = True
INSTALLED_APPS = ["integrations.django_site"]
ROOT_URLCONF = "integrations.django_site.urls"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "disklog": {
            "class": "disklog_mp.logging.DiskLogHandler",
            "encoding": "structured",
            **json.loads(os.environ["LOG"]),
        }
    },
    "root": {"level": "INFO", "handlers": ["disklog"]},
}
