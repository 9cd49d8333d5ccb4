"""disklog-mp stat and ls: how logs are.  Looking takes no slot and changes nothing."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from disklog_mp import _core
from disklog_mp._ring import file as _ring
from disklog_mp._ring import stats as _stats
from disklog_mp._ring.repair import Repair
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli.state import _claims, _producers
from disklog_mp.cli.state import _facts as _directory_facts
from disklog_mp.errors import DiskLogError

RING_WARNING = 0.8
LEVELS = ("ok", "warning", "error")


@click.command()
@click.argument("log", required=False)
@_logs.json_option
@_logs.ring_dir_option
def stat(log: str | None, as_json: bool, ring_dir: str | None) -> int:
    """Show how LOG is: ring, writer, pages, counts, producers.  Without LOG: every log that is open.

    Exit code 0 fine, 1 a warning (the ring is more than 80 % full, records were dropped, or wait for a
    writer and none is alive, a process is stopped inside log()), 2 an error (the writer cannot write, there
    is no such log).
    """
    names = _logs.names(ring_dir) if log is None else [log]
    if not names:
        _text.say("no log is open on this machine")
    worst = 0
    for place, each in enumerate(names):
        try:
            found = _logs.find(each, ring_dir)
        except (DiskLogError, PermissionError) as problem:
            if log is not None:
                raise
            _text.say(f"{each}: {problem}")  # another user's; the others are not hidden by it
            worst = max(worst, 1)
            continue
        with found:
            facts = _ring_facts(found.file) if found.file else _directory_facts.read(found.path, found.name)
        worst = max(worst, LEVELS.index(facts["status"]))
        if as_json:
            click.echo(_text.to_json(facts))
        else:
            click.echo("\n" * (place > 0) + "\n".join(_lines(facts)))
    return worst


def _ring_facts(file: _ring.RingFile) -> dict[str, Any]:
    """What the ring tells, with a verdict."""
    stats = _stats.read(file)
    facts = asdict(stats)
    facts["producers"] = _producers.describe(file)
    holder = _holder(file.ring)
    facts["status"], facts["problems"] = _judge(stats, holder)
    facts["held_up_by"] = holder
    return facts


def _holder(ring: _core.Ring) -> int | None:
    """The process that is stopped inside log(), with everything behind its record waiting for it."""
    for claim in _claims.walk(ring, ring.released):
        if claim.state == _claims.CLAIMED:
            pid = _ring.Slot(*ring.slot(claim.owner)).pid if claim.owner < _core.SLOTS else 0
            return pid if _ring.is_stopped(pid) else None
    return None


def _judge(stats: _stats.Stats, holder: int | None) -> tuple[str, list[str]]:
    warnings = []
    if holder is not None:
        warnings.append(
            f"process {holder} is stopped inside log() and holds up the others: `kill -CONT {holder}` lets "
            f"it go on, `kill -KILL {holder}` gives its place up"
        )
    if stats.ring_used > RING_WARNING * stats.ring_capacity:
        percent = 100 * stats.ring_used // stats.ring_capacity
        warnings.append(f"the ring is {percent} % full: the writer or its disk is slower than the producers")
    if stats.dropped:
        warnings.append(f"{_text.plural(stats.dropped, 'record')} dropped because the ring was full")
    if not stats.writer_pid and (stats.producers or stats.ring_used):
        waiting = "producers are attached" if stats.producers else "records are in the ring"
        warnings.append(
            f"no writer is alive and {waiting}: `disklog-mp serve {stats.name} {stats.path}` starts one"
        )
    if stats.error is not None:
        return "error", [f"the writer cannot write: {stats.error}", *warnings]
    return ("warning" if warnings else "ok"), warnings


def _lines(facts: dict[str, Any]) -> list[str]:
    """The facts for people."""
    rows = [("log", facts["name"] or "?"), ("directory", facts["path"])]
    pid = facts["writer_pid"]
    rows.append(("writer", f"process {pid}" if pid else "none alive"))
    if "ring_capacity" in facts:
        used, capacity = facts["ring_used"], facts["ring_capacity"]
        fill = f"{100 * used // capacity} % of {_text.size(capacity)} used, {used:,} bytes"
        rows.append(("ring", fill))
        rows.append(
            (
                "positions",
                "  ".join(f"{at} {facts[at]:,}" for at in ("claimed", "released", "written", "durable")),
            )
        )
        rows.append(
            ("logged", f"{facts['logged']:,}, dropped {facts['dropped']:,}, abandoned {facts['abandoned']:,}")
        )
    else:
        rows.append(("ring", "none"))
    span = f" ({facts['first_page']} to {facts['last_page']})" if facts["pages"] else ""
    pages = f"{_text.plural(facts['pages'], 'page')}{span}, {_text.size(facts['page_bytes'])}"
    rows.append(("records", f"{facts['records']:,} since the log began; kept are {pages}"))
    if facts.get("repair"):
        repair = Repair(**facts["repair"])
        rows.append(("repaired", f"{_text.moment(repair.time)}: {repair.text()}"))
    if facts.get("last_time"):
        last = _text.moment(facts["last_time"])
        rows.append(("times", f"{_text.moment(facts['first_time'])} to {last}"))
    rows.extend((LEVELS[1 + (facts["status"] == "error")], problem) for problem in facts["problems"])
    lines = [f"{head:<10} {_text.printable(str(value))}" for head, value in rows]
    return lines + _producers.lines(facts.get("producers", []))


@click.command()
@_logs.json_option
@_logs.ring_dir_option
def ls(as_json: bool, ring_dir: str | None) -> int:
    """List the logs that are open on this machine.  Exit code 1 if the ring of one cannot be read."""
    rows, failed = [], 0
    for name in _logs.names(ring_dir):
        try:
            file = _ring.attach(name, ring_dir)
        except (DiskLogError, PermissionError) as problem:
            _text.say(f"{name}: {problem}")
            failed = 1
            continue
        try:
            stats = _stats.read(file)
        finally:
            os.close(file.fd)
        if as_json:
            keys = ("name", "path", "writer_pid", "ring_used", "ring_capacity")
            told = {key: getattr(stats, key) for key in keys}
            click.echo(_text.to_json({**told, "producers": len(stats.producers)}))
        rows.append(_row(stats))
    if rows and not as_json:
        heads = ("NAME", "WRITER", "RING", "USED", "PRODUCERS", "DIRECTORY")
        click.echo("\n".join(_text.table(heads, rows, right=("WRITER", "RING", "USED", "PRODUCERS"))))
    return failed


def _row(stats: _stats.Stats) -> tuple[str, ...]:
    return (
        _text.printable(stats.name),
        str(stats.writer_pid or "none"),
        _text.size(stats.ring_capacity),
        f"{100 * stats.ring_used // stats.ring_capacity} %",
        str(len(stats.producers)),
        _text.printable(stats.path),
    )
