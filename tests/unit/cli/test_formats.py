"""The formats of cat and tail: templates, flat JSON, colours."""

import io
import json
import sys
from pathlib import Path

import pytest
from support.command import call
from support.shown import Said, event, write_said

from disklog_mp.cli.records import _terminal


@pytest.fixture
def log(path: Path) -> Path:
    """A structured record with fields of all kinds, and texts."""
    fields = {"user": 42, "cart": {"items": [1, 2]}, "time": "late", "a b": "\x1b[2J"}
    said = [
        event("bought\nit", "ERROR", 40, logger="shop.cart", **fields),
        Said(b"plain \xff", tag=30),
        Said(b'{"user": 7, "level": "warn", "message": "hi"}', tag=30),
        Said(b"{not JSON}", tag=7),
    ]
    write_said(path, said)
    return path


def test_tokens(log: Path) -> None:
    """Each token, a field, one in another, what there is not, and the escapes."""
    for template, expected in (
        ("%T", "2026-01-05 12:00:00.000000Z"),
        ("%t|%l|%n|%m", "40|ERROR|shop.cart|bought\\nit"),
        ("%p|%L|%o|%N", "4711||0|0"),
        ("%{user}|%{cart.items}|%{nothing}|%{cart.none}|%{thread}", "42|[1,2]|||"),
        ("%{a b}", "\\x1b[2J"),
        ("100 %%\\t\\\\", "100 %\t\\"),
    ):
        done = call("cat", log, "--stop", 1, "--utc", "-o", template)
        assert f"{expected}\n" == done.stdout.decode(), template
    text = call("cat", log, "--start", 1, "--stop", 2, "-o", "%t|%l|%n|%m").stdout
    assert b"30|WARNING||plain \\xff\n" == text
    assert b"0\0001\0002\0003\0" == call("cat", log, "-o", "%N\\0").stdout
    assert b"0\n1\n2\n3\n" == call("cat", log, "-o", "%N\\n").stdout
    assert b". 3\n" == call("cat", log, f"{log}/.", "-o", "%{log} %N", "-n", 1).stdout


def test_mistakes_in_templates(log: Path) -> None:
    """One line that says what is known, before anything is shown."""
    for template, text in (
        ("%q", "invalid --format '%q': write %% for a percent sign; %T %t %l %n %m %p %L %o %N %% %{field}"),
        ("%N %", "write %% for a percent sign"),
        ("%{", "write %% for a percent sign"),
        ("%N\\q", "write \\n, \\t, \\0 or \\\\, not \\q"),
        ("%N\\", "write \\n, \\t, \\0 or \\\\, not \\"),
    ):
        done = call("cat", log, "-o", template)
        assert (2, b"", 1) == (done.returncode, done.stdout, done.stderr.count(b"\n"))
        assert text in done.stderr.decode(), template


def test_flat(log: Path) -> None:
    """Fields stand beside time and level, a field that is named like one of them under another name."""
    for how in (["--flat"], ["-o", "flat"]):
        first, second, third, fourth = map(json.loads, call("cat", log, *how).stdout.splitlines())
        time = {"time": "2026-01-05T12:00:00.000000000Z"}
        assert first == {
            **time,
            **{"level": "ERROR", "logger": "shop.cart", "message": "bought\nit", "pid": 4711},
            **{"user": 42, "cart": {"items": [1, 2]}, "fields.time": "late", "a b": "\x1b[2J"},
        }
        assert second == {**time, "level": "WARNING", "message": "plain \\xff", "pid": 4711}
        assert third == {**time, "pid": 4711, "user": 7, "level": "warn", "message": "hi"}
        assert fourth == {**time, "tag": 7, "message": "{not JSON}", "pid": 4711}
    assert json.loads(call("cat", log, f"{log}/.", "--flat", "-n", 1).stdout)["log"] == "."
    assert b"--raw and --flat exclude each other" in call("cat", log, "--flat", "--raw").stderr


def test_colours(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels alone, and only where they are asked for or a terminal can show them."""
    assert b" \x1b[1;31mERROR\x1b[m shop.cart: bought" in call("cat", log, "--color", "always").stdout
    assert b" \x1b[33mWARNING\x1b[m plain" in call("cat", log, "--color", "always").stdout
    for how in ("auto", "never"):
        assert b"\x1b" not in call("cat", log, "--color", how).stdout

    class Terminal(io.StringIO):
        """A terminal."""

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert [True, True, False] == [_terminal.has_colours(how) for how in ("auto", "always", "never")]
    monkeypatch.setenv("NO_COLOR", "1")
    assert [False, True] == [_terminal.has_colours(how) for how in ("auto", "always")]
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert not _terminal.has_colours("auto")
