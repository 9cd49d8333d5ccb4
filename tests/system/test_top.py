"""top --once: the figures of one interval for a pipe, of a log that is written meanwhile."""

import os
import sys
import threading
from pathlib import Path

import psutil
import pytest
from support.command import call, objects
from support.machine import wait_until

import disklog_mp


def test_the_figures_of_one_interval(
    log: disklog_mp.Session, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates, levels, delays, producers; as text and as JSON; by name and by directory; without the extra."""
    for module in ("textual", "rich"):
        monkeypatch.setitem(sys.modules, module, None)
    ends = threading.Event()

    def work() -> None:
        while not ends.wait(0.001):
            log.log_many([b"x" * 50] * 9, tag=20)
            log.log(b"y", tag=40)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        (told,) = objects("top", "--once", name, "--interval", "300ms")
        text = call("top", "--once", path, "--interval", "300ms").stdout.decode()
    finally:
        ends.set()
        thread.join()

    stats = log.stats()
    assert 0 < told["records_per_s"] < stats.logged / 0.3
    assert told["bytes_per_s"] > 32 * told["records_per_s"]
    assert ["INFO", "ERROR"] == list(told["levels_per_s"])
    assert told["levels_per_s"]["INFO"] > told["levels_per_s"]["ERROR"] > 0
    assert 0 < told["levels_looked_at"] <= 1
    assert (0, 1 << 20, []) == (told["dropped"], told["ring_capacity"], told["problems"])
    for kind in ("written_after_s", "write_took_s", "sync_took_s"):
        assert {"p50", "p90", "p99"} == set(told[kind]), kind
    assert told["write_took_s"]["p50"] > 0
    (producer,) = told["producers"]
    assert os.getpid() == producer["pid"]
    assert producer["records_per_s"] > 0
    assert " ".join(psutil.Process().cmdline()) == producer["command"]
    lines = [line.split(None, 1) for line in text.splitlines()]
    heads = [line[0] for line in lines if line]
    wanted = ["log", "directory", "state", "rate", "levels", "ring", "written", "durable", "took", "pages"]
    assert [*wanted, "event", "event", "event", "PID"] == heads[: heads.index("PID") + 1]
    assert f"process {os.getpid()}" not in text
    assert f"{log.stats().writer_pid}, 1 producer attached" in text


def test_all_logs_and_a_log_that_is_closed(name: str, path: Path, tmp_path: Path) -> None:
    """Without LOG each log that is open has an object; a closed one shows what its pages tell."""
    rings = str(tmp_path / "rings")
    with disklog_mp.open(name, path, ring_dir=rings, ring_bytes=1 << 20, linger=0.0) as log:
        log.log(b"x")
        log.flush()
        (told,) = objects("top", "--interval", "100ms", "--ring-dir", rings)
    assert (name, str(path), 1) == (told["log"], told["path"], told["records"])
    wait_until(lambda: not disklog_mp.list_logs(rings))
    assert b"no log is open on this machine" in call("top", "--once", "--ring-dir", rings).stderr

    def told_of_it() -> str:
        return call("top", "--once", path, "--interval", "100ms").stdout.decode()

    text = wait_until(lambda: "not open, 0 producers attached" in (text := told_of_it()) and text)
    assert "1 page (1)" in text
    assert "1 record ever" in text
