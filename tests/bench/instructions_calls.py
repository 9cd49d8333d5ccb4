"""What callgrind counts of the Python calls: a log written and read by this one process, with a core of
fixed flags in place of the installed one.  instructions.py says in which function to count.
"""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile

COUNT = 1000


def load_core(path: str) -> None:
    """Make that file disklog_mp._core."""
    loader = importlib.machinery.ExtensionFileLoader("disklog_mp._core", path)
    spec = importlib.util.spec_from_file_location("disklog_mp._core", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules["disklog_mp._core"] = module


def main(core: str, what: str) -> None:
    load_core(core)
    import disklog_mp
    from disklog_mp import _options, writer

    name = f"instructions-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="disklog-instructions-") as path:
        options = _options.Options(ring_bytes=1 << 20, sync="never", linger=0.0)
        work = writer.Writer(name, path, options)
        try:
            with disklog_mp.attach(name) as log:
                data = b"x" * 100
                for _ in range(COUNT):
                    log.log(data)
        finally:
            work.run(lambda: True)
        page = disklog_mp.Reader(path).get_page(1)
        with page:
            records = page if what == "records" else page.payloads()
            assert sum(1 for record in records if what == "log" or record is not None) == COUNT


if __name__ == "__main__":
    main(*sys.argv[1:])
