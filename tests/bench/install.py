"""Install the peers: `python -m bench.install`, into the environment of the Python that runs it.

What cannot be had costs only its own lines of the table: there it says `not installed`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
SEED = Path(sys.prefix) / "bin" / "disklog-bench-seed"  # the peer in Rust, see seed/
PACKAGES = (
    "erlang-base",
    "lttng-tools",
    "liblttng-ust-dev",
    "babeltrace2",
    "gcc",
    "valgrind",
    "jq",
    "ripgrep",
)
PACKAGES += ("systemd-journal-remote",)


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


def install_seed() -> bool:
    """Build the peer in Rust, where there is a cargo that reaches crates.io; True if it is there."""
    if not SEED.exists() and shutil.which("cargo"):
        with tempfile.TemporaryDirectory() as place:  # cargo writes beside what it builds
            shutil.copytree(HERE / "seed", place, dirs_exist_ok=True)
            command = ["cargo", "build", "--quiet", "--release", "--manifest-path", f"{place}/Cargo.toml"]
            if _try([*command, "--target-dir", f"{place}/target"], CARGO_NET_RETRY="0"):
                shutil.copy(f"{place}/target/release/seed", SEED)
    return SEED.exists()


def _try(command: list[str], **environment: str) -> bool:
    quiet = subprocess.DEVNULL
    done = subprocess.run(command, stdout=quiet, stderr=quiet, check=False, env={**os.environ, **environment})
    return done.returncode == 0


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
    if not install_seed():
        print("bench: the crate disk_log cannot be built without cargo and crates.io: its line will say so")
    if missing := install_packages():
        print(f"bench: not installed, and their lines will say so: {' '.join(missing)}")
        print(f"bench: on Debian: sudo apt-get install {' '.join(missing)}")


if __name__ == "__main__":
    main()
