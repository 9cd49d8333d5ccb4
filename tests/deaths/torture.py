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

# Ring and length of records.  None takes more than a quarter of the ring: where longer ones are asked for,
# the ring holds four.
RINGS = (("4096", 4096), ("4096", 100), ("64k", 100), ("1M", 100), ("16M", 100))
EACH = 40.0  # seconds
HEADS = (
    *(
        "SEED",
        "RING",
        "LENGTH",
        "RECORDS",
        "WORKERS KILLED",
        "WRITERS KILLED",
        "READERS KILLED",
        "FROZEN",
        "ABANDONED",
    ),
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
    for seed, (ring, length) in zip(itertools.count(options.seed), itertools.cycle(RINGS), strict=False):
        left = end - time.monotonic()
        if code or left < 2:
            break
        code, row = crashtest(seed, ring, length, min(EACH, left))
        rows.append(row)
        print("  ".join(cells(row)[i].rjust(len(head)) for i, head in enumerate(HEADS)), flush=True)
    total = [
        "total",
        f"{len(rows)} runs",
        "",
        *(sum(column) for column in zip(*(row[3:] for row in rows), strict=True)),
    ]
    total[HEADS.index("LONGEST ms")] = max(row[HEADS.index("LONGEST ms")] for row in rows)
    print("\n".join(_text.table(HEADS, [cells(row) for row in (*rows, total)], right=HEADS)))
    return code


def crashtest(seed: int, ring: str, length: int, seconds: float) -> tuple[int, list[Any]]:
    """Run one; return its exit code and its row of the table."""
    command = [sys.executable, "-m", "disklog_mp", "crashtest", "--json", "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--seconds", f"{seconds:.1f}", "--ring-bytes", ring, "--length", str(length)],
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
    facts = [seed, size, told["length"], told["records"], *killed, frozen, told["abandoned"], *checks, leaks]
    return done.returncode, facts


def cells(row: list[Any]) -> list[str]:
    """Return the row as text."""
    return [
        value if isinstance(value, str) else f"{value:,}" if i else str(value) for i, value in enumerate(row)
    ]


if __name__ == "__main__":
    sys.exit(main())
