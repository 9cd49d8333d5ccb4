"""Install the peers: `python -m bench.install`, into the environment of the Python that runs it.

What cannot be had costs only its own lines of the table: there it says `not installed`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
PACKAGES = ("erlang-base", "lttng-tools", "liblttng-ust-dev", "babeltrace2", "gcc", "valgrind")


def install_python_peers() -> list[str]:
    """Install each by itself; return those that failed."""
    failed = []
    for line in REQUIREMENTS.read_text().splitlines():
        if line and not line.startswith("#"):
            if not _try([sys.executable, "-m", "pip", "install", "--quiet", line]):
                failed.append(line)
    return failed


def install_packages() -> list[str]:
    """Install the Debian packages that are missing, if this user may; return those that are missing still."""
    if missing := _missing():
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        if shutil.which("apt-get") and (not root or shutil.which("sudo")):
            _try([*root, "apt-get", "update", "-qq"])
            for package in missing:
                _try([*root, "apt-get", "install", "-qq", "-y", "--no-install-recommends", package])
    return _missing()


def _try(command: list[str]) -> bool:
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdout=quiet, stderr=quiet, check=False).returncode == 0


def _missing() -> list[str]:
    if shutil.which("dpkg-query") is None:
        return list(PACKAGES)
    return [
        package
        for package in PACKAGES
        if "install ok installed"
        not in subprocess.run(
            ["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False
        ).stdout
    ]


def main() -> None:
    for what in install_python_peers():
        print(f"bench: {what} cannot be installed on this Python: its lines will say so")
    if missing := install_packages():
        print(f"bench: not installed, and their lines will say so: {' '.join(missing)}")
        print(f"bench: on Debian: sudo apt-get install {' '.join(missing)}")


if __name__ == "__main__":
    main()
