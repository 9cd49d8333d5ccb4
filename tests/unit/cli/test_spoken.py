"""What a program writes, as records: lines, JSON, tracebacks, crashes, lines without an end."""

import json
from collections.abc import Iterable

from disklog_mp.cli._long_line import LongLine
from disklog_mp.cli.control._spoken import Paragraphs, spoken

TRACEBACK = b"""Traceback (most recent call last):
  File "a.py", line 1, in <module>
    x()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
ValueError: y""".split(b"\n")
GROUP = b"""  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  | ExceptionGroup: many (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +------------------------------------""".split(b"\n")
CRASH = (
    b"Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File".split(
        b"\n"
    )
)


def paragraphs(lines: Iterable[bytes], longest: int = 1 << 20) -> list[list[bytes]]:
    """What the lines of a stream come to."""
    joined = Paragraphs(longest)
    found = [each for line in lines for each in joined.add(line)]
    return [*found, *joined.end()]


def test_what_belongs_together() -> None:
    """A traceback with all that it was caused by is one, whatever stands around it; no line is lost."""
    for lines, expected in (
        ([b"a", b"", b"b"], [[b"a"], [b""], [b"b"]]),
        (TRACEBACK, [TRACEBACK]),
        ([b"before", *TRACEBACK, b"after"], [[b"before"], TRACEBACK, [b"after"]]),
        ([*TRACEBACK, b"", b"after"], [TRACEBACK, [b""], [b"after"]]),
        ([*TRACEBACK, *TRACEBACK], [TRACEBACK, TRACEBACK]),
        (TRACEBACK[:2], [TRACEBACK[:2]]),
        ([*GROUP, b"after"], [[*GROUP, b"after"]]),
        ([b"x", *CRASH], [[b"x"], CRASH]),
        ([*CRASH, b"", b"Extension modules: a"], [[*CRASH, b"", b"Extension modules: a"]]),
    ):
        found = paragraphs(lines)
        assert expected == found
        assert [line for each in found for line in each] == list(lines)


def test_what_never_ends_is_bounded() -> None:
    """A traceback of any length is given out in parts, without a line less."""
    lines = [TRACEBACK[0], *[b"  " + b"x" * 98] * 1000]
    found = paragraphs(lines, longest=5000)

    assert len(found) > 1
    assert max(len(b"\n".join(each)) for each in found) < 5200
    assert lines == [line for each in found for line in each]


def test_lines_of_any_length() -> None:
    """Of a long one there is the beginning, with its length, and little is held; of all others, all."""
    line = LongLine(100, 1000)
    assert [b"one", b"two"] == line.split(b"one\ntwo\nth")
    assert [b"three"] == line.split(b"ree\n" + b"x" * 2000)
    [cut] = line.split(b"y\n")
    assert cut.startswith(b"xxx")
    assert cut.endswith(b" [full_length=2001]")
    assert len(cut) == 100
    for _ in range(10):
        line.add(b"x" * 300)
    assert line.take() == b"x" * (100 - len(" [full_length=3000]")) + b" [full_length=3000]"
    assert [] == line.split(b"partial")
    assert b"partial" == line.take()


def said(*lines: bytes) -> dict[str, object]:
    """A record's JSON without its time, and its tag."""
    record = spoken(list(lines), "stderr", "prog")
    found = json.loads(record.data)
    assert (record.time or found["time"]) == found.pop("time")
    return {**found, "tag": record.tag}


def test_records() -> None:
    """Level, logger, message and fields of what is JSON; text as a message; what no encoder expects."""
    stream = {"stream": "stderr"}
    for line, expected in (
        (b"text \xff", ("INFO", 20, "prog", "text \\xff", stream)),
        (b'{"level":"warn","msg":"m","user":1}', ("WARN", 30, "prog", "m", {"user": 1, **stream})),
        (b'{"a":{"b":[1]}}', ("INFO", 20, "prog", "", {"a": {"b": [1]}, **stream})),
        (b'{"levelno":40,"message":"m"}', ("ERROR", 40, "prog", "m", {"levelno": 40, **stream})),
        (b'{"time":1700000000,"level":"DEBUG","logger":"l","message":"m","fields":{"x":1}}',
         ("DEBUG", 10, "l", "m", {"x": 1, **stream})),
        (b'{"fields":7,"stream":"mine"}', ("INFO", 20, "prog", "", {"fields": 7, **stream})),
        (b"{broken", ("INFO", 20, "prog", "{broken", stream)),
        (b"[" * 100_000, ("INFO", 20, "prog", "[" * 100_000, stream)),
        (b'{"a":' * 50_000, ("INFO", 20, "prog", '{"a":' * 50_000, stream)),
    ):  # fmt: skip
        found = said(line)
        assert expected == tuple(found[key] for key in ("level", "tag", "logger", "message", "fields")), line[
            :60
        ]
    assert 1_700_000_000 * 10**9 == spoken([b'{"ts":1700000000}'], "stdout", "p").time
    found = said(*TRACEBACK)
    assert ("ERROR", 40, "ValueError: y") == (found["level"], found["tag"], found["message"])
    assert found["exception"] == b"\n".join(TRACEBACK).decode()
    found = said(*CRASH)
    assert ("CRITICAL", 50, "Fatal Python error: Segmentation fault") == (
        found["level"],
        found["tag"],
        found["message"],
    )
