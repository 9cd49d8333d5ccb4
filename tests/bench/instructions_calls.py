"""What callgrind counts of the Python calls: a log written and read by this one process, with a core of
fixed flags in place of the installed one.  instructions.py says in which function to count.
"""

import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

COUNT = 1000


def load_core(path: str) -> None:
    """Make that file disklog_mp._core."""
    loader = importlib.machinery.ExtensionFileLoader("disklog_mp._core", path)
    spec = importlib.util.spec_from_file_location("disklog_mp._core", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules["disklog_mp._core"] = module


def call_of(what: str, log: Any) -> tuple[Callable[[], object], Callable[[], object]]:
    """What is called so often, having attached to the log, and what detaches at the end."""
    if what == "event":
        import disklog_mp

        logger = disklog_mp.get_logger("app.web", log)
        logger.warning("attached")
        return lambda: logger.info("user logged in", user=1234567, ip="192.0.2.17"), logger.close
    if what in ("handler", "structured"):
        from disklog_mp.logging import DiskLogHandler

        handler = DiskLogHandler(log.name, encoding="text" if what == "handler" else what)
        make = logging.getLogger("app.web").makeRecord
        arguments = (
            "app.web",
            20,
            "/app/web.py",
            42,
            "user %d logged in from %s",
            (1234567, "192.0.2.17"),
            None,
        )
        handler.handle(make(*arguments))
        return lambda: handler.handle(make(*arguments)), handler.close
    data = b"x" * 100
    log.log(data)
    return lambda: log.log(data), log.close


def main(core: str, what: str) -> None:
    load_core(core)
    import disklog_mp
    from disklog_mp import _options
    from disklog_mp._writer import writer

    name = f"instructions-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="disklog-instructions-") as path:
        options = _options.Options(ring_bytes=1 << 20, sync="never", linger=0.0)
        work = writer.Writer(name, path, options)
        try:
            with disklog_mp.attach(name) as log:
                call, close = call_of(what, log)
                for _ in range(COUNT):
                    call()
                close()
        finally:
            work.run(lambda: True)
        page = disklog_mp.Reader(path).get_page(1)
        with page:
            records = page if what == "records" else page.payloads()
            assert sum(1 for record in records) == COUNT + 1


if __name__ == "__main__":
    main(*sys.argv[1:])
