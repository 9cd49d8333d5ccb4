"""`make torture`: crash tests one after the other, with many seeds and rings of every size, for some minutes.

Ends with the first that finds something, and its exit code.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from typing import Any

from disklog_mp.cli import _text

RINGS = ("4096", "64k", "1M", "16M")
EACH = 40.0  # seconds
HEADS = (
    *("SEED", "RING", "RECORDS", "WORKERS KILLED", "WRITERS KILLED", "READERS KILLED", "FROZEN", "ABANDONED"),
    *("LOST", "DOUBLED", "OUT OF ORDER", "BROKEN", "STALLS", "LONGEST ms", "LEAKS"),
)


def main() -> int:
    """Run them, a line for each as it ends; the sum is the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first run")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    rows: list[list[Any]] = []
    code = 0
    print("  ".join(HEADS), flush=True)
    for seed, ring in zip(itertools.count(options.seed), itertools.cycle(RINGS), strict=False):
        left = end - time.monotonic()
        if code or left < 2:
            break
        code, row = crashtest(seed, ring, min(EACH, left))
        rows.append(row)
        print("  ".join(cells(row)[i].rjust(len(head)) for i, head in enumerate(HEADS)), flush=True)
    total = [
        "total",
        f"{len(rows)} runs",
        *(sum(column) for column in zip(*(row[2:] for row in rows), strict=True)),
    ]
    total[HEADS.index("LONGEST ms")] = max(row[HEADS.index("LONGEST ms")] for row in rows)
    print("\n".join(_text.table(HEADS, [cells(row) for row in (*rows, total)], right=HEADS)))
    return code


def crashtest(seed: int, ring: str, seconds: float) -> tuple[int, list[Any]]:
    """Run one; return its exit code and its row of the table."""
    command = [sys.executable, "-m", "disklog_mp", "crashtest", "--json", "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--seconds", f"{seconds:.1f}", "--ring-bytes", ring],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if not done.stdout:
        sys.exit(done.returncode or 1)
    told = json.loads(done.stdout)
    killed = [told["killed"][kind] for kind in ("worker", "writer", "reader")]
    checks = [
        told[what] for what in ("lost", "doubled", "out_of_order", "broken", "stalls", "longest_stall_ms")
    ]
    leaks = sum(map(len, told["leaks"].values()))
    frozen = sum(told["frozen"].values())
    size = _text.size(told["ring_bytes"])
    return done.returncode, [seed, size, told["records"], *killed, frozen, told["abandoned"], *checks, leaks]


def cells(row: list[Any]) -> list[str]:
    """Return the row as text."""
    return [
        value if isinstance(value, str) else f"{value:,}" if i else str(value) for i, value in enumerate(row)
    ]


if __name__ == "__main__":
    sys.exit(main())
