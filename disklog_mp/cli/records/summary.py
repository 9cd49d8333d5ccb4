"""disklog-mp summary: how many records of each kind there are, and when."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

import click

from disklog_mp import _options
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _complete, _find, _text
from disklog_mp.cli._times import zone_of
from disklog_mp.cli.records import _groups
from disklog_mp.cli.records._groups import Group, Tally
from disklog_mp.cli.records._notes import Notes
from disklog_mp.cli.records._options import CountingCommand, logs_argument, selection_options
from disklog_mp.cli.records._output import exit_code, selection_of
from disklog_mp.cli.records._shown import names_of

COLUMNS = 6  # groups that have a column of their own in a histogram
GAP_SHOWN = 500  # empty parts of the time are shown, unless there are more parts than that
BLOCKS = " ▏▎▍▌▋▊▉█"
SHORTEST_BAR, LONGEST_BAR = 4, 50
LONGEST = 2**62  # ns


def to_kind(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Take what records are grouped by from the command line; a callback for click."""
    try:
        _groups.key_by(value, "")
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None
    return value


def to_length(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    """Take a length of time from the command line, as ns, 0 for none; a callback for click."""
    if value is None:
        return 0
    try:
        length = int(_options.parse_duration(value, "every") * 1e9)
    except (ValueError, OverflowError):
        length = 0
    if not 0 < length <= LONGEST:
        raise click.BadParameter(f"{value!r} is not a length of time: write 10s, 1m, 2h or 1d")
    return length


@click.command(cls=CountingCommand, short_help="Count the records of LOG by level, process, logger, field.")
@logs_argument
@click.option(
    "--by",
    default="level",
    callback=to_kind,
    shell_complete=_complete.complete_kinds,
    metavar="KIND",
    help="pid, level, logger, label, log, tag, or field:NAME.  [level]",
)
@click.option(
    "--every", callback=to_length, metavar="TIME", help="How many there were when, for parts of 1m, 1h, 1d."
)
@click.option("--top", type=click.IntRange(1), default=20, metavar="N", help="The N largest groups.  [20]")
@_find.json_option
@selection_options
def summary(
    logs: tuple[str, ...],
    *,
    by: str,
    every: int,
    top: int,
    as_json: bool,
    ring_dir: str | None,
    **how: Any,
) -> int:
    """Count the records of LOG: how many of each level, process, logger or field, the first and the last.

    First the state of each log: its writer, its producers, and how many records were dropped.  With --every a
    histogram.  The conditions are those of cat; so are the exit codes.
    """
    zone = zone_of(how)
    wanted = selection_of(how)
    tally = Tally(every, _offset(zone) if every else 0)
    states: dict[str, str] = {}
    trouble = 0
    for log, column in zip(logs, names_of(logs), strict=True):
        notes = Notes({**how, "notes": None}, "json" if as_json else "text", column)
        name = column or log
        with _find.find(log, ring_dir) as found:
            reader = Reader(found.path, on_damage=notes)
            chosen = wanted.for_log(reader)
            tally.add(chosen.records(reader), by, name)
            states |= _states(found) if by == "pid" else {}
            if not as_json:
                click.echo(f"{_text.printable(name)}: {_state(found)}")
        trouble = max(trouble, notes.exit_code)
    if as_json:
        _print_json(tally, by, states, top)
    else:
        click.echo("\n".join(_lines(tally, by, states, top, zone)))
    return exit_code(tally.sum().count, wanted, trouble)


def _offset(zone: tzinfo | None) -> int:
    now = datetime.now(zone) if zone else datetime.now().astimezone()
    shift = now.utcoffset()
    return 0 if shift is None else int(shift.total_seconds()) * 10**9


def _state(found: _find.Found) -> str:
    """`written by process 7, 3 producers attached`."""
    if found.file is None:
        return "written by a process whose ring is elsewhere" if _find.is_written(found.path) else "no writer"
    from disklog_mp._ring import stats as _stats  # only logs that are open need it

    stats = _stats.read(found.file)
    writer = f"written by process {stats.writer_pid}" if stats.writer_pid else "no writer alive"
    error = f"; the writer cannot write: {_text.printable(stats.error)}" if stats.error else ""
    return f"{writer}, {_text.plural(len(stats.producers), 'producer')} attached{error}"


def _states(found: _find.Found) -> dict[str, str]:
    """The states of the processes that are attached, by pid."""
    if found.file is None:
        return {}
    from disklog_mp._os import processes as _processes
    from disklog_mp._verify import producers as _producers  # only logs that are open need it

    states = {}
    for producer in _producers.describe(found.file):
        pid = producer["pid"]
        is_stopped = producer["alive"] and _processes.is_stopped(pid)
        states[str(pid)] = "stopped" if is_stopped else "attached" if producer["alive"] else "dead"
    return states


def _largest(tally: Tally, top: int) -> tuple[list[tuple[str, Group]], list[Group]]:
    """The largest groups, and the groups that are not among them."""
    ordered = sorted(tally.groups.items(), key=lambda item: (-item[1].count, item[0]))
    return ordered[:top], [group for _, group in ordered[top:]]


def _print_json(tally: Tally, by: str, states: dict[str, str], top: int) -> None:
    if tally.every:
        for begin, part in tally.times():
            told = {"time": _text.iso(begin), "count": part.total(), "by": dict(part.most_common(top))}
            click.echo(_text.to_json(told))
        return
    for key, group in _largest(tally, top)[0]:
        times = {"first": _text.iso(group.first), "last": _text.iso(group.last)}
        told = {by.removeprefix("field:"): key, "count": group.count, **times}
        if by == "pid":
            told |= {"dropped": group.dropped, "state": states.get(key, "left")}
        click.echo(_text.to_json(told))


def _lines(tally: Tally, by: str, states: dict[str, str], top: int, zone: tzinfo | None) -> list[str]:
    total = tally.sum()
    if not total.count:
        dropped = f", {_text.plural(total.dropped, 'record')} dropped" if total.dropped else ""
        return [f"no records{dropped}"]
    times = f"{_text.moment(total.first, zone)} to {_text.moment(total.last, zone)}"
    dropped = f", {total.dropped:,} dropped" if total.dropped else ""
    head = [f"{_text.plural(total.count, 'record')}{dropped}, {times}", ""]
    if tally.every:
        return head + _histogram(tally, zone)
    return head + _table(tally, by, states, top, zone)


def _table(tally: Tally, by: str, states: dict[str, str], top: int, zone: tzinfo | None) -> list[str]:
    """A line for each group, the largest first."""
    largest, others = _largest(tally, top)
    whole = tally.sum().count
    rows = []
    for key, group in largest:
        first, last = (_text.moment(when, zone) for when in (group.first, group.last))
        cells = [_text.printable(key), f"{group.count:,}", f"{100 * group.count / whole:.1f} %", first, last]
        rows.append(cells + ([f"{group.dropped:,}", states.get(key, "left")] if by == "pid" else []))
    heads = [by.removeprefix("field:").upper(), "COUNT", "SHARE", "FIRST", "LAST"]
    heads += ["DROPPED", "STATE"] if by == "pid" else []
    counts = [group.count for _, group in largest]
    lines = _with_bars(heads, rows, ("COUNT", "SHARE", "DROPPED"), counts, max(counts))
    if others:
        count = sum(group.count for group in others)
        lines.append(f"and {_text.plural(len(others), 'group')} more with {_text.plural(count, 'record')}")
    return lines


def _histogram(tally: Tally, zone: tzinfo | None) -> list[str]:
    """A line for each part of the time, also for those without a record unless they are many."""
    times = tally.times()
    begin, end = times[0][0], times[-1][0]
    if (end - begin) // tally.every < GAP_SHOWN:
        known = dict(times)
        times = [(when, known.get(when, Counter())) for when in range(begin, end + 1, tally.every)]
    names = [key for key, _ in _largest(tally, COLUMNS)[0]]
    rest = len(tally.groups) > len(names)
    rows = []
    for when, part in times:
        counts = [part[name] for name in names]
        more = [part.total() - sum(counts)] if rest else []
        rows.append([_text.moment(when, zone), f"{part.total():,}", *(f"{n:,}" for n in counts + more)])
    shown = [_text.printable(name)[:20] for name in names] + ["(others)"] * rest
    heads = ["TIME", "COUNT", *shown]
    totals = [part.total() for _, part in times]
    return _with_bars(heads, rows, heads[1:], totals, max(totals))


def _with_bars(
    heads: list[str], rows: list[list[str]], right: Sequence[str], counts: list[int], most: int
) -> list[str]:
    """A table with a bar at the end of each row, as wide as the terminal lets it be."""
    lines = _text.table(heads, rows, right=right)
    used = max(map(len, lines)) + 2
    width = min(LONGEST_BAR, shutil.get_terminal_size((100, 24)).columns - used)
    if width < SHORTEST_BAR:
        return lines
    bars = ["", *(_bar(count, most, width) for count in counts)]
    return [f"{line:<{used}}{bar}".rstrip() for line, bar in zip(lines, bars, strict=True)]


def _bar(count: int, most: int, width: int) -> str:
    """A bar whose length is to `width` as `count` is to `most`, to the eighth of a character."""
    eighths = -(-8 * width * count // most) if most else 0
    return BLOCKS[8] * (eighths // 8) + BLOCKS[eighths % 8].strip()
