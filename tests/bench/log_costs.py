"""What each log on a machine costs: `make costs`.  Processes, threads, memory, /dev/shm, descriptors.

Each log has a producer that has logged.  The logs have writers of their own, as open() starts them, or one
`disklog-mp serve --config`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import disklog_mp
from disklog_mp._ring import names as _names
from disklog_mp._ring import removal as _removal

RUN = f"costs-{os.getpid()}"
READY = 60.0  # seconds for all logs to be served


class Costs(NamedTuple):
    """Of all logs together."""

    processes: int
    threads: int
    own: int  # bytes of memory that no other process has
    descriptors: int
    shared: int  # bytes in /dev/shm


def costs_of(pids: set[int]) -> Costs:
    """Add up what these processes, and the rings of this run, take."""
    own = threads = descriptors = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("Private_Dirty", "Private_Clean"):
                own += 1024 * int(value.split()[0])
        threads += len(os.listdir(f"/proc/{pid}/task"))
        descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    rings = (Path(_names.SHM) / entry for entry in os.listdir(_names.SHM) if RUN in entry)
    return Costs(len(pids), threads, own, descriptors, sum(ring.stat().st_blocks * 512 for ring in rings))


def separate(place: Path, names: list[str], ring_bytes: str) -> Costs:
    """A writer process for each log."""
    options = {"ring_bytes": ring_bytes, "linger": 0.1}
    sessions = [disklog_mp.open(name, place / name, **options) for name in names]  # type: ignore[arg-type]
    try:
        return costs_of(_log_and_find(sessions))
    finally:
        for session in sessions:
            session.close()


def together(place: Path, names: list[str], ring_bytes: str) -> Costs:
    """One process for all of them."""
    file = place / "logs.toml"
    tables = [f'[[log]]\nname = "{name}"\npath = "{place / name}"\n' for name in names]
    file.write_text(f'[defaults]\nring_bytes = "{ring_bytes}"\n\n' + "\n".join(tables))
    command = [sys.executable, "-m", "disklog_mp", "serve", "--config", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            sessions = [_attach(name) for name in names]
            costs = costs_of(_log_and_find(sessions))
            for session in sessions:
                session.close()
            return costs
        finally:
            server.terminate()


def _attach(name: str) -> disklog_mp.Session:
    deadline = time.monotonic() + READY
    while True:
        try:
            return disklog_mp.attach(name)
        except disklog_mp.LogNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _log_and_find(sessions: list[disklog_mp.Session]) -> set[int]:
    """Have each log write some records; return the processes that do it."""
    for session in sessions:
        for _ in range(100):
            session.log(b"x" * 100)
        session.sync()
    time.sleep(1.0)
    return {session.stats().writer_pid for session in sessions}


def main() -> None:
    """Measure, print a table for README."""
    parser = argparse.ArgumentParser(prog="python -m bench.log_costs", description=__doc__)
    parser.add_argument("--logs", type=int, default=25, metavar="N", help="and twice so many  [25]")
    parser.add_argument("--ring-bytes", default="1M", metavar="SIZE", help="of each ring  [1M]")
    given = parser.parse_args()
    print(f"for each log more, rings of {given.ring_bytes}:\n")
    print("| writer | processes | threads | memory, MiB | descriptors | /dev/shm, MiB |")
    print("|---|---|---|---|---|---|")
    for text, measure in (("its own process", separate), ("in one process", together)):
        found = []
        for count in (given.logs, 2 * given.logs):
            names = [f"{RUN}-{number}" for number in range(count)]
            with tempfile.TemporaryDirectory() as place:
                found.append(measure(Path(place), names, given.ring_bytes))
            time.sleep(1.0)
            for name in names:
                try:
                    _removal.remove(name, None, force=True)
                except disklog_mp.LogNotFoundError:
                    pass
        few, many = found
        each = [(more - less) / given.logs for less, more in zip(few, many, strict=True)]
        mib = 1 << 20
        print(
            f"| {text} | {each[0]:.0f} | {each[1]:.1f} | {each[2] / mib:.1f} | {each[3]:.1f} "
            f"| {each[4] / mib:.1f} |"
        )


if __name__ == "__main__":
    main()
