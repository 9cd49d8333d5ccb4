"""The benchmarks: `python -m bench`, all of them or those named.

Each is a measure of its own: ours beside its peers, in turn, so many rounds; a ratio is taken within a round.
What must hold and what is aimed at stands in the table.  Nothing here is a test: a busy machine shows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import calls, crowd, curves, disk, huge_pages, loggers, reading, searching, standing, throughput
from disklog_mp.cli.bench import command, report
from disklog_mp.cli.bench.measure import OURS, Benchmark, Measured, Setting, run

MODULES = (calls, throughput, loggers, reading, searching, disk, standing, crowd, huge_pages)
BENCHMARKS: dict[str, Benchmark] = {b.name: b for module in MODULES for b in module.BENCHMARKS}
CURVES = {curve.__name__.replace("_", "-"): curve for curve in curves.CURVES}


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {**command.machine(), "commit": commit or "unknown", "load": os.getloadavg()[0]}


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    named = ", ".join((*BENCHMARKS, *CURVES))
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"of {named}  [all, curves only with --plots]"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="of each  [5; with --quick 1]")
    parser.add_argument("--seconds", type=float, metavar="S", help="for each part  [1; with --quick 0.2]")
    parser.add_argument("--minutes", type=float, default=0.0, metavar="M", help="for what takes long  [1]")
    parser.add_argument("--quick", action="store_true", help="as short as it can be: to see that it runs")
    parser.add_argument("--ours", action="store_true", help="without peers")
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where to write  [the place of temporary files]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured there")
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="measure the curves, too, and draw them there"
    )
    parser.add_argument("--list", action="store_true", help="what there is")
    options = parser.parse_args(given)
    unknown = set(options.names) - set(BENCHMARKS) - set(CURVES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return options


def main(given: list[str] | None = None) -> int:
    options = arguments(given)
    if options.list:
        print("\n".join(f"{name:15} {benchmark.title}" for name, benchmark in BENCHMARKS.items()))
        print("\n".join(f"{name:15} curve: {curve.__doc__}" for name, curve in CURVES.items()))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and take down what was set up
    rounds = options.rounds or (1 if options.quick else 5)
    setting = Setting(
        seconds=options.seconds or (0.2 if options.quick else 1.0),
        directory=options.dir or Path(tempfile.gettempdir()),
        quick=options.quick,
        producers=2 if options.quick else 4,
        minutes=options.minutes or (1 / 3 if options.quick else 1.0),
    )
    facts = machine()
    print("\n".join(command.machine_lines(facts)))
    print(
        f"commit {facts['commit']}, load {facts['load']:.1f}, {rounds} rounds of {setting.seconds} s each\n",
        flush=True,
    )
    measured = []
    for name in [name for name in options.names or BENCHMARKS if name in BENCHMARKS]:
        measured.append(run(BENCHMARKS[name], setting, rounds, ours_only=options.ours, say=_say))
        _say("")
    if measured:
        print("\n".join(report.table(measured)))
        print("\n".join(["", *report.details(measured)]))
    wanted = [name for name in options.names or (CURVES if options.plots else ()) if name in CURVES]
    drawn = [_measure_curve(name, setting, options.plots, facts) for name in wanted]
    if options.json:
        _write_json(options.json, facts, setting, rounds, measured, drawn)
    return 1 if any(OURS in each.missing for each in measured) else 0


def _measure_curve(name: str, setting: Setting, plots: Path | None, facts: dict[str, Any]) -> curves.Curve:
    _say(f"curve {name}")
    curve = CURVES[name](setting)
    _say("")
    print("\n".join(["", *curves.curve_lines(curve)]), flush=True)
    if plots is not None:
        from bench import plots as drawing

        where = (
            f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}, Python {facts['python']}"
        )
        print(f"drawn in {drawing.draw(curve, plots, where)}", flush=True)
    return curve


def _say(what: str) -> None:
    """Show on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def _write_json(
    path: Path,
    facts: dict[str, Any],
    setting: Setting,
    rounds: int,
    measured: list[Measured],
    drawn: list[curves.Curve],
) -> None:
    told = {
        "machine": facts,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": rounds,
        "seconds": setting.seconds,
        "benchmarks": [report.to_dict(each) for each in measured],
        "curves": [dataclasses.asdict(curve) for curve in drawn],
    }
    path.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
