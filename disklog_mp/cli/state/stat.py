"""disklog-mp stat: the state of one log or of all.  It takes no slot and changes nothing."""

from __future__ import annotations

from typing import Any

import click

from disklog_mp._core import LABEL_MAX
from disklog_mp._options import shown
from disklog_mp._ring.names import log_of
from disklog_mp._ring.repair import Repair
from disklog_mp._verify.calls import state_of
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli.state import _producers
from disklog_mp.errors import DiskLogError

ENDS_WITH_PROCESS_1 = (
    "a container's process 1 is attached: /dev/shm ends with it, and so does the ring; "
    "ring_dir= on a volume keeps it"
)


@click.command(short_help="Show the state of LOG, or of all open logs.")
@click.argument("log", required=False, shell_complete=complete_logs)
@_logs.json_option
@_logs.ring_dir_option
def stat(log: str | None, as_json: bool, ring_dir: str | None) -> int:
    """Show the state of LOG: ring, writer, pages, counters, producers.

    Without LOG it shows every log that is open.

    Exit code 0 fine, 1 a warning, 2 an error, 3 damage.  A warning: the ring is more than 80 % full, records
    were dropped, records wait for a writer and none is alive, a process is stopped inside log().  An error:
    the writer cannot write, there is no such log.  While no writer is alive, all pages are read for drops and
    damage.
    """
    places = _logs.rings(ring_dir) if log is None else [log]
    if not places:
        _text.say("no log is open on this machine")
    worst = 0
    for place, each in enumerate(places):
        try:
            found = _logs.find(each, ring_dir, reads_pages=False) if log is not None else _logs.at(each)
        except (DiskLogError, PermissionError) as problem:
            if log is not None:
                raise
            _text.say(
                f"{log_of(each)}: {_text.error_line(problem)}"
            )  # another user's log does not hide the rest
            worst = max(worst, 1)
            continue
        with found:
            state = state_of(found, ring_dir)
        worst = max(worst, state.exit_code)
        if as_json:
            click.echo(_text.to_json(state.to_dict()))
        else:
            click.echo("\n" * (place > 0) + "\n".join(lines(state.facts)))
    return worst


def lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts as text."""
    pid = facts["writer_pid"]
    rows = [
        ("log", facts["name"] or "?"),
        ("directory", facts["path"]),
        ("writer", f"process {pid}" if pid else "none alive"),
        *(_ring_rows(facts) if "ring_capacity" in facts else [("ring", "none")]),
        ("records", f"{facts['records']:,} ever; on disk {_pages(facts)}"),
    ]
    if facts.get("repair"):
        repair = Repair(**facts["repair"])
        rows.append(("repaired", f"{_text.moment(repair.time)}: {repair.text()}"))
    if facts.get("last_time"):
        last = _text.moment(facts["last_time"])
        rows.append(("times", f"{_text.moment(facts['first_time'])} to {last}"))
    if facts.get("ends_with_process_1"):
        rows.append(("note", ENDS_WITH_PROCESS_1))
    if facts.get("stopped"):
        pid, when = (facts["stopped"].get(key, 0) for key in ("pid", "time_ns"))
        rows.append(("stopped", f"by process {pid}, {_text.moment(when)}"))
    if facts.get("labels") == LABEL_MAX:
        rows.append(("labels", f"all {LABEL_MAX:,} are taken: producers with another one log without"))
    rows.extend(_option_rows(facts))
    rows.extend((facts["status"], problem) for problem in facts["problems"])
    shown = [f"{head:<10} {_text.printable(str(value))}" for head, value in rows]
    return shown + _producers.lines(facts.get("producers", []))


def _option_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """A row for each option that was given, with where it came from, and one row for all defaults."""
    options, sources = facts.get("options", {}), facts.get("sources", {})
    given = [name for name in options if sources[name] != "default"]
    rows = [("option", f"{_option(name, options[name])} ({sources[name]})") for name in given]
    defaults = ", ".join(_option(name, options[name]) for name in options if name not in given)
    return [*rows, ("defaults", defaults)] if defaults else rows


def _option(name: str, value: object) -> str:
    """`keep_bytes 2 GiB`."""
    return f"{name} {'none' if value is None else value if isinstance(value, str) else shown(name, value)}"


def _ring_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    used, capacity = facts["ring_used"], facts["ring_capacity"]
    fill = f"{100 * used // capacity} % full: {_text.size(used)} of {_text.size(capacity)}"
    positions = "  ".join(f"{at} {facts[at]:,}" for at in ("claimed", "released", "written", "durable"))
    counters = f"{facts['logged']:,}, dropped {facts['dropped']:,}, abandoned {facts['abandoned']:,}"
    return [("ring", fill), ("positions", positions), ("logged", counters)]


def _pages(facts: dict[str, Any]) -> str:
    """`8 pages (1-8), 470 MiB`."""
    first, last = facts["first_page"], facts["last_page"]
    span = "" if not facts["pages"] else f" ({first})" if first == last else f" ({first}-{last})"
    return f"{_text.plural(facts['pages'], 'page')}{span}, {_text.size(facts['page_bytes'])}"
