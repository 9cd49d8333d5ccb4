"""The facts that stat shows about a log, with a verdict: from its ring if it has one, else from its pages."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from disklog_mp import _core
from disklog_mp._os import processes as _processes
from disklog_mp._ring import claims as _claims
from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._ring import stats as _stats
from disklog_mp._verify import survey as _survey
from disklog_mp._verify.producers import describe
from disklog_mp._verify.words import plural

RING_WARNING = 0.8  # of the ring's capacity


def of_ring(file: _ring.RingFile) -> dict[str, Any]:
    """Return the facts that the ring holds."""
    stats = _stats.read(file)
    facts = asdict(stats)
    facts["repair"] = stats.repair._asdict() if stats.repair else None
    facts["producers"] = describe(file)
    holder = _holder(file.ring)
    told = _of_file(stats.path) if _survey.is_log_of(stats.path, file) else {}
    facts["status"], facts["problems"] = _judge(stats, holder, is_stopped=bool(told.get("stopped")))
    if told and not stats.writer_pid:  # the pages tell all of it
        _add_losses(facts, stats.path, _survey.survey(stats.path).unreadable)
    facts["held_up_by"] = holder
    facts["ends_with_process_1"] = any(each.pid == 1 for each in stats.producers) and _is_in_shm(file)
    return facts | told


def _of_file(path: str) -> dict[str, Any]:
    """Return what the log's file says: the options in force, where they come from, whether it was stopped."""
    identity = _survey.identity_of(path)
    if identity is None:
        return {}
    sources = {name: str(identity.sources.get(name, "default")) for name in identity.options}
    return {
        "options": identity.options,
        "sources": sources,
        "served": identity.served,
        "stopped": identity.stopped,
        "labels": _survey.labels_of(path),
    }


def _is_in_shm(file: _ring.RingFile) -> bool:
    """True if the ring is where a container's end removes it: process 1 of a pid namespace ends all of it."""
    return os.readlink(f"/proc/self/fd/{file.fd}").startswith(f"{_names.SHM}/")


def _holder(ring: _core.Ring) -> int | None:
    """The process that is stopped inside log() while all records after its own wait for it."""
    for claim in _claims.walk(ring, ring.released):
        if claim.state == _core.CLAIMED:
            pid = ring.slot(claim.owner).pid if claim.owner < _core.SLOTS else 0
            return pid if _processes.is_stopped(pid) else None
    return None


def _judge(stats: _stats.Stats, holder: int | None, *, is_stopped: bool) -> tuple[str, list[str]]:
    warnings = []
    if holder is not None:
        warnings.append(
            f"process {holder} is stopped inside log() and blocks the records behind its own: "
            f"`kill -CONT {holder}` lets it continue, `kill -KILL {holder}` gives up its record"
        )
    if stats.ring_used > RING_WARNING * stats.ring_capacity:
        percent = 100 * stats.ring_used // stats.ring_capacity
        warnings.append(f"the ring is {percent} % full: the writer or its disk is slower than the producers")
    if stats.dropped:
        warnings.append(_dropped(stats.dropped))
    if not is_stopped and not stats.writer_pid and (stats.producers or stats.ring_used):
        waiting = "producers are attached" if stats.producers else "records are in the ring"
        warnings.append(
            f"no writer is alive and {waiting}: `disklog-mp serve {stats.name} {stats.path}` starts one"
        )
    if stats.error is not None:
        return "error", [f"the writer cannot write: {stats.error}", *warnings]
    return ("warning" if warnings else "ok"), warnings


def of_pages(path: str, name: str, ring_dir: str | None) -> dict[str, Any]:
    """Return the facts in the headers of the page files, under the names that Stats uses."""
    found = _survey.survey(path)
    problems = []
    if found.unreadable:
        verify = f"`disklog-mp verify {path}` shows details"
        problems.append(f"{plural(found.unreadable, 'page')} without a readable header: {verify}")
    if found.writer_pid:
        where = ring_dir or _survey.ring_dir_of(path) or _names.SHM
        problems.append(
            f"process {found.writer_pid} writes this log, but its ring is not in {where}: "
            f"give its directory with --ring-dir"
        )
    told = found._asdict()
    del told["unreadable"]
    status = "warning" if problems else "ok"
    facts = {"name": name, "path": path, **told, "status": status, "problems": problems}
    if not found.writer_pid:  # no counters tell: the pages do
        _add_losses(facts, path, found.unreadable)
    return facts | _of_file(path)


def _add_losses(facts: dict[str, Any], path: str, unreadable: int) -> None:
    """Read all pages of a log that has no writer, and add what was dropped, is damaged or missing."""
    lost, counted = _survey.losses(path), facts.get("dropped", 0)
    facts |= {"dropped": max(lost.dropped, counted), "missing": lost.missing}
    if lost.dropped > counted:
        facts["status"] = facts["status"].replace("ok", "warning")
        facts["problems"].append(_dropped(lost.dropped))
    if lost.ranges or unreadable:
        facts["status"] = "damage"
        records = plural(lost.missing, "record")
        facts["problems"].append(
            f"damaged, at least {records} missing: `disklog-mp verify {path}` shows details"
        )


def _dropped(count: int) -> str:
    return f"{plural(count, 'record')} dropped because the ring was full"
