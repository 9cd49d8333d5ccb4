"""setuptools, with a plain word where it would end in a riddle: on a Python without the GIL.

The core is built for the limited API, which a free-threaded Python does not have, and posix_ipc, which the
package needs, turns the GIL on again when it is imported.  Named in pyproject.toml; no part of the package.
"""

import sysconfig

from setuptools.build_meta import *  # noqa: F403  the hooks that pip calls

NEEDS_THE_GIL = (
    "disklog-mp needs a Python with the GIL: use python3.13, say, instead of the free-threaded python3.13t"
)


def refuse_without_gil() -> None:
    """End the build on a free-threaded Python, before any compiler runs."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise SystemExit(NEEDS_THE_GIL)


refuse_without_gil()
