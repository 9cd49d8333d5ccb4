"""The figures of a log as words, the same for a terminal and for a pipe.  No I/O."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from disklog_mp import _core
from disklog_mp._metrics.histogram import Histogram
from disklog_mp._options import shown
from disklog_mp._reader.events import LogEvent
from disklog_mp.cli import _text
from disklog_mp.cli.records.events import to_line
from disklog_mp.cli.top.meters import Delay, Meter
from disklog_mp.cli.top.producers import Producer, ordered
from disklog_mp.cli.top.watched import OTHER, Watched

RING_WARNING = 0.8  # of the ring's capacity
DISK_WARNING = 5.0  # seconds without an answer
PARTS = (0.5, 0.9, 0.99)  # of all delays
EVENTS_SHOWN = 5
RETENTION = ("keep_pages", "keep_bytes", "keep_age", "max_bytes")
ALARMING = {
    "damaged",
    "dropped",
    "error",
    "full",
    "producer-died",
    "stalled",
    "synced-late",
    "writer-replaced",
}
ERROR, WARNING = 40, 30
_NAMES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


class Problem(NamedTuple):
    """Something that is wrong with a log."""

    text: str
    is_error: bool = True  # else a warning


def problems(log: Watched, now: float) -> list[Problem]:
    """Return what is wrong with a log, the worst first; `now` is the time of the figures, in seconds."""
    found = []
    stats = log.stats
    if stats is not None:
        if stats.error:
            found.append(Problem(f"the writer cannot write: {stats.error}"))
        if not stats.writer_pid and (stats.producers or stats.ring_used):
            found.append(Problem("no writer is alive"))
        if log.halted == _core.LOG_FULL:
            found.append(Problem("the log reached max_bytes and takes no more"))
        if log.sync_failures:
            found.append(Problem(f"{_text.plural(log.sync_failures, 'sync')} failed"))
        if log.held_up_by:
            found.append(Problem(f"process {log.held_up_by} is stopped inside log() and holds up the others"))
        if stats.ring_used > RING_WARNING * stats.ring_capacity:
            found.append(Problem(f"the ring is {fill(stats.ring_used, stats.ring_capacity)} full"))
        if stats.dropped:
            is_now = log.dropped.now > 0
            speed = f", {rate(log.dropped.now)} now" if is_now else ""
            found.append(Problem(f"{_text.plural(stats.dropped, 'record')} dropped{speed}", is_now))
        if stats.abandoned:
            claims = _text.plural(stats.abandoned, "record")
            found.append(Problem(f"{claims} given up: their processes died inside log()", is_error=False))
    if log.damaged:
        found.append(Problem(f"damage: {log.damaged[-1]}"))
    if log.trouble:
        found.append(Problem(f"pages cannot be read: {log.trouble}"))
    if log.reading_since is not None and now - log.reading_since > DISK_WARNING:
        found.append(Problem(f"the disk has not answered for {seconds(now - log.reading_since)}"))
    return sorted(found, key=lambda each: not each.is_error)


def rate(number: float) -> str:
    """`1,234/s`; below ten with a decimal."""
    return f"{number:,.0f}/s" if number >= 9.95 or number == 0 else f"{number:.1f}/s"


def size_rate(number: float) -> str:
    """`1.2 MiB/s`."""
    return f"{_text.size(number)}/s"


def fill(used: int, capacity: int) -> str:
    """`12 %`."""
    return f"{100 * used // capacity} %" if capacity else "0 %"


def seconds(number: float) -> str:
    """`0.05 s`, `2.1 s`, `310 s`."""
    return f"{number:.0f} s" if number >= 10 else f"{number:.1f} s" if number >= 1 else f"{number:.2f} s"


def state(log: Watched) -> str:
    """`writer 4711`, or why there is none."""
    if log.stats is not None:
        return f"writer {log.stats.writer_pid}" if log.stats.writer_pid else "no writer"
    if log.survey is not None and log.survey.writer_pid:
        return f"writer {log.survey.writer_pid}, its ring is not readable here"
    return "not open"


def speeds(log: Watched) -> str:
    """Records and bytes a second, now and over ten minutes."""
    return (
        f"{rate(log.records.now)} records, {size_rate(log.bytes.now)} now; "
        f"{rate(log.records.mean())}, {size_rate(log.bytes.mean())} {over(log.records)}"
    )


def over(meter: Meter) -> str:
    """`over 10 min`; `over 42 s` while no more was seen."""
    span = meter.span()
    return f"over {span / 60:.0f} min" if span >= 120 else f"over {span:.0f} s"


def level_name(tag: int) -> str:
    """`ERROR`; a number for a level of one's own, `-` for records without one."""
    return "others" if tag == OTHER else _NAMES.get(tag, str(tag) if tag else "-")


def levels(log: Watched) -> list[tuple[int, str]]:
    """Return each level that records had, the highest first, with its rate and its sum."""
    known = sorted(log.levels.items(), reverse=True)
    return [(tag, f"{level_name(tag)} {rate(meter.now)} ({count(meter)})") for tag, meter in known]


def count(meter: Meter) -> str:
    """The sum that was counted."""
    return f"{meter.total:,.0f}"


def sampling(log: Watched) -> str:
    """Say so if not all records were looked at."""
    return f"levels from {100 * log.sampled:.0f} % of the records" if log.sampled < 1 else ""


def ring(log: Watched) -> str:
    """How full the ring is, and was."""
    stats = log.stats
    if stats is None:
        return "none"
    now = f"{fill(stats.ring_used, stats.ring_capacity)} of {_text.size(stats.ring_capacity)}"
    return f"{now}, highest {fill(log.highest, stats.ring_capacity)}; dropped {stats.dropped:,}"


def delay(found: Delay) -> str:
    """`0.05 s behind; p50 0.05 s, p90 0.05 s, p99 0.10 s`."""
    behind = f"{seconds(found.seconds)} behind"
    percentiles = found.percentiles(PARTS)
    if percentiles is None:
        return behind
    told = ", ".join(
        f"p{part * 100:.0f} {seconds(each)}" for part, each in zip(PARTS, percentiles, strict=True)
    )
    return f"{behind}; {told}"


def timings(log: Watched) -> str:
    """`write p50 30 us, p99 1 ms; sync p50 10 ms, p99 30 ms`; at most so long, since the writer began."""
    told = []
    for kind, histogram in log.timings.items():
        if histogram.cumulative()[-1]:
            parts = (f"p{100 * part:.0f} {short(histogram.quantile(part))}" for part in PARTS)
            told.append(f"{kind} {', '.join(parts)}")
    return "; ".join(told) or "not told"


def short(number: float) -> str:
    """`30 us`, `3 ms`, `1 s`; the last one of a histogram has no end."""
    if math.isinf(number):
        return "longer"
    return (
        f"{1e6 * number:.0f} us"
        if number < 1e-3
        else f"{1e3 * number:.0f} ms"
        if number < 1
        else f"{number:.0f} s"
    )


def pages(log: Watched) -> str:
    """How many pages there are, how large, and what retention keeps."""
    facts = log.stats or log.survey
    if facts is None:
        return "not known yet"
    first, last = facts.first_page, facts.last_page
    span = "" if not facts.pages else f" ({first})" if first == last else f" ({first}-{last})"
    kept = [
        f"{name} {shown(name, log.options[name])}"
        for name in RETENTION
        if log.options.get(name) not in (None, 0, "none")
    ]
    there = f"{_text.plural(facts.pages, 'page')}{span}, {_text.size(facts.page_bytes)}"
    limits = ", ".join(map(_text.printable, kept)) or "all kept"
    ever = f"{_text.plural(facts.records, 'record')} ever"
    return f"{there}; {limits}; {ever}" if log.options else f"{there}; {ever}"


def event(found: LogEvent) -> str:
    """A line for an event: its time of day, its name, what belongs to it."""
    words = to_line(found).split(" ")
    return " ".join(words if words[0].startswith("@") else [words[1], *words[3:]])


def is_alarming(found: LogEvent) -> bool:
    """True for what an operator should see at once."""
    return found.name in ALARMING


HEADS = ("PID", "LABEL", "REC/S", "LOGGED", "DROPPED", "WAITED", "COMMAND")
RIGHT = ("PID", "REC/S", "LOGGED", "DROPPED", "WAITED")


def cells(each: Producer) -> tuple[str, ...]:
    """The cells of a producer's row."""
    numbers = (f"{number:,}" for number in (each.logged, each.dropped, each.waited))
    label, command = (_text.printable(text) for text in (each.label or "-", each.command or "?"))
    return str(each.pid), label, rate(each.rate).removesuffix("/s"), *numbers, command


def lines(log: Watched, now: float) -> list[str]:
    """Return the figures as lines for a pipe."""
    shown_levels = ", ".join(told for _, told in levels(log)) or "-"
    rows = [
        ("log", log.name or "?"),
        ("directory", log.path),
        ("state", f"{state(log)}, {_text.plural(len(log.producers), 'producer')} attached"),
        ("rate", speeds(log)),
        ("levels", "; ".join(filter(None, (shown_levels, sampling(log))))),
        ("ring", ring(log)),
        ("written", delay(log.written)),
        ("durable", delay(log.durable)),
        ("took", timings(log)),
        ("pages", pages(log)),
        *(("error" if each.is_error else "warning", each.text) for each in problems(log, now)),
        *(("event", event(each)) for each in list(log.events)[-EVENTS_SHOWN:]),
    ]
    told = [f"{head:<10} {_text.printable(value)}" for head, value in rows]
    if not log.producers:
        return told
    table = [cells(each) for each in ordered(log.producers, "rate", "")]
    return [*told, "", *_text.table(HEADS, table, right=RIGHT)]


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    """None: longer than the last bound."""
    told = {f"p{100 * part:.0f}": histogram.quantile(part) for part in PARTS}
    return {name: None if math.isinf(each) else each for name, each in told.items()}


def to_values(log: Watched, now: float) -> dict[str, Any]:
    """Return the figures for JSON."""
    stats = log.stats
    parts = [f"p{part * 100:.0f}" for part in PARTS]
    return {
        "log": log.name,
        "path": log.path,
        "writer_pid": stats.writer_pid if stats else 0,
        "records_per_s": round(log.records.now, 3),
        "bytes_per_s": round(log.bytes.now, 3),
        "dropped_per_s": round(log.dropped.now, 3),
        "dropped": stats.dropped if stats else 0,
        "ring_used": stats.ring_used if stats else 0,
        "ring_highest": log.highest,
        "ring_capacity": stats.ring_capacity if stats else 0,
        **{
            f"{word}_behind_s": round(found.seconds, 3)
            for word, found in (("written", log.written), ("durable", log.durable))
        },
        **{
            f"{word}_after_s": dict(zip(parts, (round(each, 3) for each in told), strict=True))
            for word, found in (("written", log.written), ("durable", log.durable))
            if (told := found.percentiles(PARTS)) is not None
        },
        **{f"{kind}_took_s": _quantiles(histogram) for kind, histogram in log.timings.items()},
        "levels_per_s": {level_name(tag): round(meter.now, 3) for tag, meter in sorted(log.levels.items())},
        "levels_looked_at": round(log.sampled, 3),
        "pages": facts.pages if (facts := stats or log.survey) else 0,
        "page_bytes": facts.page_bytes if facts else 0,
        "records": facts.records if facts else 0,
        "producers": [
            {
                "pid": each.pid,
                "label": each.label,
                "records_per_s": round(each.rate, 3),
                "dropped_per_s": round(each.dropping, 3),
                "logged": each.logged,
                "dropped": each.dropped,
                "waited": each.waited,
                "command": each.command,
            }
            for each in log.producers.values()
        ],
        "problems": [each.text for each in problems(log, now)],
    }
