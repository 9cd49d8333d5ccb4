"""The figures of a log as coloured text, and as rows of tables.  It knows no screen."""

from __future__ import annotations

from rich.text import Text

from disklog_mp.cli import _text
from disklog_mp.cli.top import text
from disklog_mp.cli.top.producers import Producer
from disklog_mp.cli.top.watched import Watched

RED, YELLOW, DIM = "bold red", "yellow", "dim"

LOG_HEADS = ("LOG", "REC/S", "BYTES/S", "RING", "DURABLE", "DROPPED", "STATE")


def title(log: Watched, clock: str, is_paused: bool) -> Text:
    """The first line: name, directory, writer, the time of day."""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f" {_text.printable(log.name) or '?'} ", "reverse bold")
    if is_paused:
        line.append(" paused ", "reverse yellow")
    line.append(f" {clock}  ")
    line.append(text.state(log), "" if log.stats is not None and log.stats.writer_pid else RED)
    line.append(f"  {_text.printable(log.path)}", DIM)
    return line


def speed(log: Watched, kind: str) -> Text:
    """Records, or bytes: now, and over ten minutes."""
    if kind == "records":
        now, mean = text.rate(log.records.now), text.rate(log.records.mean())
    else:
        now, mean = text.size_rate(log.bytes.now), text.size_rate(log.bytes.mean())
    line = _head(kind)
    line.append(f"{now} ", "bold")
    line.append(f"now, {mean} {text.over(log.records)}")
    return line


def _head(word: str) -> Text:
    return Text(f"{word:<9}", DIM)


def _colour(level: int) -> str:
    return RED if level >= text.ERROR else YELLOW if level >= text.WARNING else ""


def facts(log: Watched) -> Text:
    """Levels, ring, disk, pages."""
    levels = _head("levels")
    told = text.levels(log)
    for place, (level, part) in enumerate(told):
        levels.append("  " * (place > 0))
        levels.append(part, _colour(level))
    levels.append("" if told else "no record yet")
    if sampling := text.sampling(log):
        levels.append(f"  ({sampling})", DIM)
    ring = _head("ring")
    stats = log.stats
    is_high = stats is not None and stats.ring_used > text.RING_WARNING * stats.ring_capacity
    ring.append(text.ring(log), RED if is_high else "")
    written = _head("written").append(text.delay(log.written))
    durable = _head("durable").append(text.delay(log.durable))
    took = _head("took").append(text.timings(log))
    pages = _head("pages").append(text.pages(log))
    return Text("\n").join([levels, ring, written, durable, took, pages])


def problems(log: Watched, now: float) -> Text:
    """What is wrong, in red."""
    found = text.problems(log, now)
    parts = [Text(f"! {_text.printable(each.text)}", RED if each.is_error else YELLOW) for each in found]
    return Text("\n").join(parts)


def events(log: Watched, most: int) -> Text:
    """The last events, the newest last."""
    last = list(log.events)[-most:]
    shown = [Text(text.event(each), RED if text.is_alarming(each) else "") for each in last]
    return Text("\n", no_wrap=True, overflow="ellipsis").join(shown)


def producer(each: Producer, width: int) -> list[Text]:
    """The cells of a producer's row; the command is cut to so many columns."""
    *others, command = text.cells(each)
    found = [
        Text(cell, RED if head == "DROPPED" and each.dropped else "", justify=_side(head))
        for head, cell in zip(text.HEADS, others, strict=False)
    ]
    return [*found, Text(command[: max(8, width)])]


def _side(head: str) -> str:
    return "right" if head in text.RIGHT else "left"


def log_row(log: Watched, now: float) -> list[Text]:
    """The cells of a log's row, where several are watched."""
    stats = log.stats
    wrong = text.problems(log, now)
    state = wrong[0].text if wrong else text.state(log)
    colour = "" if not wrong else RED if wrong[0].is_error else YELLOW
    dropped = stats.dropped if stats else 0
    return [
        Text(_text.printable(log.name) or "?"),
        Text(text.rate(log.records.now).removesuffix("/s"), justify="right"),
        Text(_text.size(log.bytes.now), justify="right"),
        Text(text.fill(stats.ring_used, stats.ring_capacity) if stats else "-", justify="right"),
        Text(text.seconds(log.durable.seconds), justify="right"),
        Text(f"{dropped:,}", RED if dropped else "", justify="right"),
        Text(_text.printable(state), colour),
    ]
