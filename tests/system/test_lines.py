"""append: level and time from lines that are JSON objects."""

import subprocess
from pathlib import Path

import pytest
from support.command import COMMAND

import disklog_mp
from disklog_mp._loggers.lines import origin_of

NEW_YEAR = 1767225600 * 10**9  # 2026-01-01 00:00 UTC


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"level":"error","msg":"x","time":"2026-01-01T00:00:00Z"}', (40, NEW_YEAR)),
        (b'{"severity":"WARNING","timestamp":1767225600}', (30, NEW_YEAR)),
        (b'{"levelname":"CRITICAL","ts":1767225600.5}', (50, NEW_YEAR + 5 * 10**8)),
        (b'{"level":20,"time":1767225600000}', (20, NEW_YEAR)),
        (b'{"level":"35","@timestamp":"2026-01-01 00:00:00,250+00:00"}', (35, NEW_YEAR + 25 * 10**7)),
        (b'{"time":1767225600000000000,"level":"NOTICE","logger":"a","message":"m"}', (25, NEW_YEAR)),
        (b' {"lvl":"panic"}', (50, 0)),
        (b'{"level":"loud","time":"noon"}', None),
        (b'{"level":true,"time":true}', None),
        (b'{"level":-5,"time":-1}', None),
        (b'{"level":1e99,"time":1e99}', None),
        (b'{"level":[],"time":{}}', None),
        (b'{"level":"error"', None),
        (b'["level","error"]', None),
        (b"level=error", None),
        (b"", None),
    ],
)
def test_what_a_line_says_of_itself(line: bytes, expected: tuple[int, int] | None) -> None:
    """In the words of the usual libraries; nothing else is an error."""
    assert origin_of(line) == expected


def test_append_takes_level_and_time(log: disklog_mp.Session, name: str, path: Path) -> None:
    """The order of the lines stays; --tag goes before the level; other lines are logged as ever."""
    lines = b'first\n{"level":"error","msg":"x","time":"2026-01-01T00:00:00Z"}\nlast\n'
    for options in ([], ["--tag", "7"]):
        subprocess.run([*COMMAND, "append", name, *options], input=lines, check=True)

    records = list(disklog_mp.Reader(path))
    assert [record.tag for record in records] == [0, 40, 0, 7, 7, 7]
    assert [record.timestamp == NEW_YEAR for record in records] == [False, True, False] * 2
    assert b"\n".join(record.data for record in records[:3]) + b"\n" == lines
