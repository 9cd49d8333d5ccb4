"""Its pages, and the WSGI application."""

import logging

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from integrations.work import work


def shop(request: HttpRequest) -> HttpResponse:
    """Work."""
    done = work(logging.getLogger("shop").info)
    return HttpResponse(done, headers={"X-Work": done})


def broken(request: HttpRequest) -> HttpResponse:
    """Fail."""
    raise LookupError("no apples")


urlpatterns = [path("", shop), path("broken", broken)]
application = get_wsgi_application()
