"""The records of the benchmarks of reading: as a log, as lines of JSON, as a journal.

Ten million of them, or twenty thousand for --quick: four gigabytes, removed at the end.  jq, which is slow,
and the journal, which takes a kilobyte for each record, get the first of them.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import disklog_mp
from disklog_mp._loggers import structured
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.measure import NotMeasured, Setting

RECORDS, FEW = 10_000_000, 20_000
SOME = 500_000  # for jq, and in the journal
KINDS = 200_000  # different records; they come again and again, at other times
BEGIN, STEP = 1_764_262_800 * 10**9, 2_000_000  # ns
LEVELS = [("INFO", 20)] * 80 + [("DEBUG", 10)] * 10 + [("WARNING", 30)] * 7 + [("ERROR", 40)] * 3
LOGGERS = ("app.web", "app.jobs", "app.db", "lib.http")
NEEDLE = "lost its needle"  # in one message of ten thousand
PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3}
TO_JOURNAL = "/lib/systemd/systemd-journal-remote"


class Corpus(NamedTuple):
    """The same records in all forms, and each form without records."""

    records: int
    log: str
    lines: str
    no_log: str
    no_lines: str
    some: int
    some_lines: str  # the first of them


def corpus(setting: Setting) -> Corpus:
    """Return the records, made once for all benchmarks, and removed at the end."""
    return _corpus(FEW if setting.quick else RECORDS, str(setting.directory))


@functools.lru_cache(1)
def _corpus(records: int, directory: str) -> Corpus:
    place = Path(tempfile.mkdtemp(prefix="disklog-bench-", dir=directory))
    atexit.register(shutil.rmtree, place, True)
    names = [str(place / name) for name in ("log", "lines", "no_log", "no_lines", "some_lines")]
    found = Corpus(records, *names[:4], min(records, SOME), names[4])
    ends = _records()
    for path, count in ((found.no_log, 0), (found.log, records)):
        name = f"bench-{os.getpid()}-{Path(path).name}"
        with (
            disklog_mp.open(name, path, sync="never", linger=0.1, timeout=60.0) as log,
            open(found.lines if count else found.no_lines, "wb") as lines,
            open(found.some_lines, "wb") as some,
        ):
            for number in range(count):
                end, tag = ends[number % KINDS]
                data = b'{"time":%d%b' % (BEGIN + number * STEP, end)
                log.log(data, tag=tag)
                lines.write(data + b"\n")
                if number < found.some:
                    some.write(data + b"\n")
        _bench_work.wait_for_writer(name)
    return found


def _records() -> list[tuple[bytes, int]]:
    """Return records without their times, each with its tag."""
    chance = random.Random(1)
    made = (_record(number, chance) for number in range(KINDS))
    return [(data.removeprefix(b'{"time":0'), tag) for data, tag in made]


def _record(number: int, chance: random.Random) -> tuple[bytes, int]:
    level, tag = chance.choice(LEVELS)
    message = NEEDLE if number % 10_000 == 0 else "request answered"
    fields = {
        "user": chance.randrange(1000),
        "path": f"/cart/{chance.randrange(100)}",
        "ms": round(chance.random() * 100, 3),
        "status": chance.choice((200, 200, 404, 500)),
    }
    logger, thread = chance.choice(LOGGERS), f"pool_{number % 8}"
    return structured.encode(0, level, logger, message, thread=thread, fields=fields), tag


class Journal(NamedTuple):
    """Some of the records as files of systemd's journal, and one record alone."""

    some: str
    one: str


@functools.lru_cache(1)
def journal_of(made: Corpus) -> Journal:
    """Have systemd-journal-remote make a journal of the first records; raises NotMeasured without it."""
    if not os.path.exists(TO_JOURNAL) or shutil.which("journalctl") is None:
        raise NotMeasured("systemd-journal-remote is not installed")
    place = os.path.dirname(made.log)
    found = Journal(f"{place}/some.journal", f"{place}/one.journal")
    for path, count in ((found.some, made.some), (found.one, 1)):
        with subprocess.Popen(
            [TO_JOURNAL, f"--output={path}", "-"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as journal:
            assert journal.stdin is not None
            with open(made.some_lines, "rb") as lines:
                for _, line in zip(range(count), lines, strict=False):
                    journal.stdin.write(_exported(json.loads(line)))
        if journal.returncode or not os.path.exists(path):
            raise NotMeasured(f"{TO_JOURNAL} ended with {journal.returncode}")
    return found


def _exported(record: dict[str, object]) -> bytes:
    """Return a record in the journal's format of exports."""
    level, logger, thread = (record[name] for name in ("level", "logger", "thread"))
    values = {
        "__REALTIME_TIMESTAMP": int(str(record["time"])) // 1000,
        "MESSAGE": record["message"],
        "PRIORITY": PRIORITIES[str(level)],
        "SYSLOG_IDENTIFIER": logger,
        "THREAD": thread,
    }
    fields = record["fields"]
    assert isinstance(fields, dict)
    values |= {name.upper(): value for name, value in fields.items()}
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode() + b"\n"
