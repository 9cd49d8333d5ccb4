"""gunicorn's logger: error log, access log and the application's own records in one log.

# gunicorn.conf.py
logger_class = "disklog_mp.gunicorn.Logger"
errorlog = accesslog = "/var/log/web"  # the log's directory; its last part is the log's name

One writer serves the arbiter and all workers, of any class.  A worker that is killed, for its timeout or by
the kernel, leaves nothing half-written; there is nothing to reopen (USR1).
"""

from __future__ import annotations

import datetime
import logging
import os
import traceback
from typing import Any, ClassVar

from gunicorn import glogging

from disklog_mp._options import LogOptions
from disklog_mp.logging import DiskLogHandler

__all__ = ["Logger"]


class _Handler(DiskLogHandler):
    _gunicorn = True  # by which gunicorn knows its own


class Options(LogOptions, total=False):
    """The options of DiskLogHandler, but for name and path."""

    level: int | str
    encoding: str
    on_full: str
    timeout: float | str
    missing: str


class Logger(glogging.Logger):
    """Logs into the logs whose directories are `errorlog` and `accesslog`, which may be the same.

    "-" and None mean what they always mean.  Records of the root logger go into the error log, too, unless
    the application or logconfig sets up logging itself.  Structured records, the default here, keep a
    request's method, path, status, bytes, duration_us and request_id (from X-Request-ID) as fields.  A
    subclass may set other `options` of DiskLogHandler.  Where `user` or `group` make the workers other than
    the arbiter, that group is let into the log.
    """

    options: ClassVar[Options] = {}
    error_fmt = "[%(levelname)s] %(message)s"  # time and process are in the log anyway
    root_fmt = "[%(levelname)s] %(name)s: %(message)s"

    def setup(self, cfg: Any) -> None:
        """Set up the handlers; again when the arbiter is told to reload (HUP)."""
        if cfg.capture_output and cfg.errorlog != "-":
            raise RuntimeError("capture_output needs a file, and disklog_mp.gunicorn.Logger writes none")
        self.cfg = cfg
        root = logging.getLogger()
        for log in (root, self.error_log, self.access_log):
            for handler in [it for it in log.handlers if getattr(it, "_gunicorn", False)]:
                log.removeHandler(handler)
                handler.close()
        super().setup(cfg)
        if not root.handlers and not (cfg.logconfig_dict or cfg.logconfig or cfg.logconfig_json):
            root.setLevel(self.loglevel)
            self._set_handler(root, cfg.errorlog, logging.Formatter(self.root_fmt))

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: datetime.timedelta) -> None:
        """Log a request as gunicorn does, with what it says as fields."""
        if not self.access_log_enabled:
            return
        atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
        fields = {
            "method": atoms["m"],
            "path": atoms["U"],
            "status": getattr(resp, "status_code", atoms["s"]),
            "bytes": atoms["B"],
            "duration_us": atoms["D"],
        }
        if request_id := environ.get("HTTP_X_REQUEST_ID"):
            fields["request_id"] = request_id
        try:
            self.access_log.info(self.cfg.access_log_format, atoms, extra=fields)
        except Exception:
            self.error(traceback.format_exc())

    def _set_handler(
        self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream: Any = None
    ) -> None:
        if output is None or output == "-":
            super()._set_handler(log, output, fmt, stream)
            return
        options: Options = {**self.options}
        if self.cfg.uid != os.geteuid() or self.cfg.gid != os.getegid():
            options = {"mode": 0o660, "group": self.cfg.gid, **options}
        path = os.path.abspath(output)
        handler = _Handler(os.path.basename(path), path, **options)
        if handler.encoding == "text":  # else what these formats add has places of its own
            handler.setFormatter(fmt)
        log.addHandler(handler)
