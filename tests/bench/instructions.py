"""How many instructions an append, a drain and a read take: `make instructions`.

callgrind counts them exactly, also on a busy machine.  So this is the one check of speed among the checks
before a change lands: it fails if a count is more than 5 % above the one kept in instructions.json.  The
counts are those of one compiler and one kind of processor; with another major version of gcc, or elsewhere,
they are shown and nothing fails.  `--update` keeps the present counts.

What is counted is the core's own code, compiled with the flags below: not the C library, not Python, nor
what is done once a millisecond, which under callgrind is often.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "disklog_mp" / "csrc"
KEPT = HERE / "instructions.json"
FLAGS = ["-std=gnu11", "-O3", "-fvisibility=hidden", "-g"]
COUNT = 1000  # times that the programs do it
MOST = 1.05
BY_TIME = {"dl_wall_look", "dl_wall_read"}


class Counted(NamedTuple):
    """Something that is counted: the program's word for it, and in which function."""

    title: str
    word: str
    function: str


IN_C = [
    Counted("append, 100 bytes", "append", "measured_append"),
    Counted("append, 0 bytes", "append_empty", "measured_append_empty"),
    Counted("append, 8 KiB", "append_long", "measured_append_long"),
    Counted("append as one of 50, 100 bytes", "append_group", "measured_append_group"),
    Counted("drain, per record", "drain", "measured_drain"),
    Counted("check a frame, 100 bytes", "read", "measured_read"),
    Counted("recovery scan, 100 bytes", "census", "measured_census"),
]
IN_PYTHON = [
    Counted("session.log(), 100 bytes", "log", "handle_log"),
    Counted("Logger.info(), two fields", "event", "logger_info"),
    Counted("DiskLogHandler, text", "handler", "dl_outlet_log_text"),
    Counted("DiskLogHandler, structured", "structured", "dl_outlet_log_record"),
    Counted("iterate payloads, 100 bytes", "payloads", "frames_next"),
    Counted("iterate records, 100 bytes", "records", "frames_next"),
]


def own_cost(profile: str, objects: str) -> int:
    """Sum the instructions that a callgrind profile gives to objects with that in their path, without
    what they call and what goes by time.
    """
    names: dict[str, str] = {}
    functions: dict[str, str] = {}
    inside = counts = is_call = False
    total = 0
    for line in profile.splitlines():
        if line.startswith("ob="):
            number, _, path = line[3:].partition(" ")
            names[number] = path or names[number]
            inside = objects in names[number]
        elif line.startswith(("fn=", "cfn=")):
            number, _, name = line.partition("=")[2].partition(" ")
            functions[number] = name or functions[number]
            if line.startswith("fn="):
                counts = functions[number] not in BY_TIME
        elif line.startswith("cob="):
            number, _, path = line[4:].partition(" ")
            names[number] = path or names[number]
        elif line.startswith("calls="):
            is_call = True  # the next line is the cost of the callee
        elif re.match(r"[\d+*-]", line):
            if inside and counts and not is_call:
                total += int(line.split()[1])
            is_call = False
    return total


def count(counted: Counted, command: list[str], objects: str, work: Path) -> float:
    """Run it under callgrind; return instructions per time it is done."""
    profile = work / f"{counted.word}.profile"
    done = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"),
            *(f"--toggle-collect={counted.function}", *command, counted.word),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LD_BIND_NOW": "1"},
    )
    total = own_cost(profile.read_text(), objects) if done.returncode == 0 else 0
    if total == 0:
        sys.exit(f"{counted.title}: nothing was counted in {counted.function}\n{done.stdout}")
    return total / COUNT


def measure() -> dict[str, float]:
    """Compile the programs and count everything."""
    with tempfile.TemporaryDirectory(prefix="disklog-instructions-") as place:
        work = Path(place)
        program, core = work / "instructions", work / "_core.abi3.so"
        sources = [str(source) for source in sorted(CSRC.rglob("*.c"))]
        include = [f"-I{CSRC / 'core'}", str(HERE / "instructions.c")]
        subprocess.run(["gcc", *FLAGS, *include, "-o", str(program)], check=True)
        subprocess.run(["gcc", *FLAGS, "-fPIC", "-shared", *sources, "-o", str(core)], check=True)
        script = [sys.executable, str(HERE / "instructions_calls.py"), str(core)]
        return {
            **{each.title: count(each, [str(program)], str(program), work) for each in IN_C},
            **{each.title: count(each, script, str(core), work) for each in IN_PYTHON},
        }


def compiler() -> str:
    version = subprocess.run(["gcc", "-dumpfullversion"], stdout=subprocess.PIPE, text=True, check=True)
    return f"gcc {version.stdout.strip()}"


def major(version: str) -> str:
    return version.partition(".")[0]


def judge(kept: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], bool]:
    """Return the lines to print, and whether all is well."""
    comparable = major(kept["compiler"]) == major(now["compiler"]) and kept["machine"] == now["machine"]
    lines = []
    well = True
    for title, after in now["counts"].items():
        before = kept["counts"].get(title)
        grown = before is not None and after > before * MOST
        well = well and not (grown and comparable)
        change = "new" if before is None else f"{100 * (after / before - 1):+.1f} %"
        kept_text = "" if before is None else f"{before:,.1f}"
        lines.append(f"{title:32} {kept_text:>10} {after:>10,.1f}  {change}{'  MORE' if grown else ''}")
    if not comparable:
        lines.append(
            f"compared but not judged: kept are counts of {kept['compiler']} on {kept['machine']}, these are "
            f"of {now['compiler']} on {now['machine']}; --update keeps these instead"
        )
    elif not well:
        lines.append("more than 5 % above what is kept: find out why, or keep it with --update")
    return lines, well


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="keep the counts of now")
    update = parser.parse_args().update
    missing = [tool for tool in ("gcc", "valgrind") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    now = {"compiler": compiler(), "machine": platform.machine(), "counts": measure()}
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {**now, "counts": {}}
    lines, well = judge(kept, now)
    print(f"{'INSTRUCTIONS':32} {'KEPT':>10} {'NOW':>10}  {now['compiler']}, {now['machine']}")
    print("\n".join(lines))
    if update:
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
        return 0
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
