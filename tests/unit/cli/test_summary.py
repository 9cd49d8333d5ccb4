"""summary: what records are counted by, drops, histograms, terminals of any width."""

import json
from pathlib import Path

import pytest
from support.command import call
from support.pages import PID, frame, write_page
from support.shown import NOON, SECOND, Said, event, write_said

from disklog_mp.cli.records import _groups


@pytest.fixture
def log(path: Path) -> Path:
    """Records of two processes, three levels, two loggers and two users, in four minutes."""
    said = [
        event("a", "INFO", 20, NOON, "app.web", user=1),
        event("b", "ERROR", 40, NOON + 70 * SECOND, "app.db", user=2),
        event("c", "INFO", 20, NOON + 71 * SECOND, "app.web", user={"id": 2}),
        Said(b"text", NOON + 200 * SECOND, 40, PID + 1),
        Said(b"plain", NOON + 10 * SECOND),
    ]
    write_said(path, said)
    return path


def counted(*arguments: object) -> dict[str, int]:
    """The count of each group, the largest first."""
    told = [json.loads(line) for line in call("summary", "--json", *arguments).stdout.splitlines()]
    return {next(iter(each.values())): each["count"] for each in told}


def test_what_records_are_counted_by(log: Path) -> None:
    """Each kind; a record that has none of it is counted, too."""
    for by, expected in (
        ("level", {"ERROR": 2, "INFO": 2, "-": 1}),
        ("pid", {"4711": 4, "4712": 1}),
        ("logger", {"-": 2, "app.web": 2, "app.db": 1}),
        ("tag", {"20": 2, "40": 2, "0": 1}),
        ("label", {"-": 5}),
        ("log", {str(log): 5}),
        ("field:user", {"-": 2, "1": 1, "2": 1, '{"id":2}': 1}),
        ("field:user.id", {"-": 4, "2": 1}),
    ):
        assert list(expected.items()) == list(counted(log, "--by", by).items()), by
    assert {"ERROR": 2} == counted(log, "-p", "err")
    assert {"app.db": 1} == counted(log, "--by", "logger", "--field", "user=2")
    assert {"log": 5, ".": 5} == counted(log, f"{log}/.", "--by", "log")


def test_first_last_and_share(log: Path) -> None:
    """A line for each group, with a bar that fits the terminal; the largest ones, and how many more."""
    shown = call("summary", "--utc", log).stdout.decode().splitlines()
    assert shown[:3] == [
        f"{log}: no writer",
        "5 records, 2026-01-05 12:00:00Z to 2026-01-05 12:03:20Z",
        "",
    ]
    assert shown[3].split() == ["LEVEL", "COUNT", "SHARE", "FIRST", "LAST"]
    times = "2026-01-05 12:01:10Z  2026-01-05 12:03:20Z"
    assert shown[4].startswith(f"ERROR      2  40.0 %  {times}  █")
    assert shown[4].count("█") == 2 * shown[6].count("█") > 0
    assert (
        "and 2 groups more with 3 records"
        == call("summary", "--top", 1, log).stdout.decode().splitlines()[-1]
    )


def test_when_there_were_how_many(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each part of the time, those without a record too, and a column for each group."""
    monkeypatch.setenv("COLUMNS", "60")
    head, *rows = call("summary", "--utc", "--every", "1m", log).stdout.decode().splitlines()[3:]
    assert head.split() == ["TIME", "COUNT", "ERROR", "INFO", "-"]
    assert [" ".join(row.split()[1:6]) for row in rows] == [
        "12:00:00Z 2 0 1 1", "12:01:00Z 2 1 1 0", "12:02:00Z 0 0 0 0", "12:03:00Z 1 1 0 0",
    ]  # fmt: skip
    assert rows[0].endswith("█")
    assert rows[2].endswith("0")
    told = [json.loads(line) for line in call("summary", "--json", "--every", "1m", log).stdout.splitlines()]
    assert {"time": "2026-01-05T12:01:00.000000000Z", "count": 2, "by": {"ERROR": 1, "INFO": 1}} == told[1]
    days = [
        json.loads(line)
        for line in call("summary", "--json", "--every", "1d", "--tz", "-03:30", log).stdout.splitlines()
    ]
    assert ["2026-01-05T03:30:00.000000000Z"] == [each["time"] for each in days]


def test_drops_of_each_process(path: Path) -> None:
    """They are counted for their process, readable or not, and in total."""
    gaps = [b'{"dropped": 7, "since": %d, "until": %d}' % (NOON, NOON + SECOND), b"nonsense"]
    frames, position = [frame(0, b"x", time=NOON)], 32
    for data in gaps:
        frames.append(frame(position, data, kind=4, time=NOON + SECOND, pid=PID + 1))
        position += len(frames[-1])
    write_page(path, frames)
    shown = call("summary", "--by", "pid", path).stdout.decode().splitlines()

    assert shown[1].startswith("1 record, 7 dropped, 2026-01-05 ")
    assert [line.split()[0] for line in shown[4:]] == ["4711", "4712"]
    assert " 7  left" in shown[5]
    assert shown[3].split()[-2:] == ["DROPPED", "STATE"]


def test_any_terminal(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The narrowest has no bars; nothing there controls it."""
    write_said(log, [event("x", "\x1b[2J", 21, logger="\x9b")])
    for columns in ("1", "20", "80", "400"):
        monkeypatch.setenv("COLUMNS", columns)
        for options in ([], ["--every", "1s"], ["--by", "logger"]):
            done = call("summary", log, *options)
            assert 0 == done.returncode
            assert all(char.isprintable() or char == "\n" for char in done.stdout.decode())


def test_nothing_and_mistakes(log: Path, tmp_path: Path) -> None:
    """An empty log is fine, a condition that finds nothing exits with 1, and mistakes with 2."""
    write_said(tmp_path / "empty", [])
    done = call("summary", tmp_path / "empty")
    assert (0, b"no records") == (done.returncode, done.stdout.splitlines()[-1])
    assert 1 == call("summary", log, "-g", "nowhere").returncode
    for options, text in (
        (["--by", "colour"], b"'colour' is neither pid, level, logger, label, log, tag nor field:NAME"),
        (["--by", "field:"], b"'field:' is neither pid"),
        (["--every", "soon"], b"'soon' is not a length of time: write 10s, 1m, 2h or 1d"),
        (["--every", "0s"], b"'0s' is not a length of time"),
    ):
        done = call("summary", log, *options)
        assert (2, b"", 1) == (done.returncode, done.stdout, done.stderr.count(b"\n"))
        assert text in done.stderr


def test_many_groups_are_bounded(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes when there are too many is counted together."""
    monkeypatch.setattr(_groups, "MOST", 1)

    assert {"(others)": 4, "1": 1} == counted(log, "--by", "field:user")
