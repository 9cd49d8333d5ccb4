"""The file that a Python interpreter is given to become a writer: `python -P .../begin.py ORDER [ENTRY ...]`.

It loads the package that it lies in, even if another is installed under that name.  What the package needs is
looked for where the application did (`sys_path` of the order, then each ENTRY: there may be more than fit
into one argument), but behind the standard library, which no file of an application hides from a writer.  It
runs outside of the package and so imports nothing of it by itself.
"""

import os  # these two are there before a line of this file runs
import sys


def put_library_first() -> None:
    """Move what PYTHONPATH names behind the standard library."""
    named = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    sys.path.sort(key=lambda entry: entry in named)  # stable


def load_package() -> None:
    """Make disklog_mp the directory above, unless a sitecustomize has imported it already.

    Its face is not loaded: a writer needs none of what it offers, and starts in two thirds of the time.
    """
    if "disklog_mp" in sys.modules:
        return
    import importlib.util

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(
        "disklog_mp", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    assert spec is not None
    sys.modules["disklog_mp"] = importlib.util.module_from_spec(spec)


if __name__ == "__main__":
    put_library_first()
    import json

    entries = [*json.loads(sys.argv[1])["sys_path"], *sys.argv[2:]]
    sys.path.extend(entry for entry in entries if entry not in sys.path)
    load_package()
    from disklog_mp._writer import process

    process.main(sys.argv[1])
