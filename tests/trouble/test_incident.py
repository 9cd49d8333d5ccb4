"""The morning after: what `events` and `verify` alone say of a bad night, when no process of it is left."""

import os
import signal
import time
from typing import Any

import pytest
from support.children import end, fork
from support.command import call, objects
from support.machine import stop_writer, wait_until
from support.mounts import Mount, fill

import disklog_mp

RECORDS = 1_900_000
GROUP = 1000
FULL_SECONDS = 9.0 if os.environ.get("DISKLOG_TEST_LONG") else 0.0


@pytest.mark.long
@pytest.mark.timeout(240)
def test_what_happened_when_and_what_was_lost(name: str, mount: Mount) -> None:
    """1.9 million records, a worker killed, the disk full, a page scribbled on; the writer has left."""
    disk = mount("-t", "tmpfs", "-o", "size=80m", "tmpfs")
    path = disk / "log"
    options: dict[str, Any] = {"ring_bytes": 1 << 20, "page_bytes": 8 << 20, "sync": "never", "linger": 0.0}
    log = disklog_mp.open(name, path, **options, timeout=60.0)
    group = [b"%07d" % number for number in range(GROUP)]
    began = time.time_ns()
    logged = dropped = 0

    def log_groups(count: int) -> None:
        nonlocal logged, dropped
        for _ in range(count):
            if log.log_many(group) >= 0:
                logged += GROUP
            else:
                dropped += GROUP

    def work() -> None:
        other = disklog_mp.attach(name)
        for _ in range(17):
            other.log(b"from the worker")
        time.sleep(60)

    try:
        log_groups(900)
        worker = fork(work)
        wait_until(lambda: log.stats().logged == logged + 17)
        end(worker)
        logged += 17
        log.flush(60)
        fill(disk / "ballast")
        log.on_full = "drop"
        wait_until(lambda: log_groups(1) or dropped >= 5 * GROUP, 60)
        full_until = time.monotonic() + FULL_SECONDS
        wait_until(lambda: time.monotonic() >= full_until, 60)
        (disk / "ballast").unlink()
        log.on_full = "block"
        log_groups((RECORDS - logged - dropped) // GROUP)
        log.flush(60)
        ended = time.time_ns()
        log.close()
        wait_until(lambda: [*disklog_mp.Reader(path).events()][-1].name == "stopped", 30)
    finally:
        stop_writer(name)
    page = path / "page-0000000003.dlog"
    whole = bytearray(page.read_bytes())
    at = (4 << 20) + 50_000  # not in the padding at the end of the ring
    whole[at] ^= 0xFF
    page.write_bytes(whole)

    seconds = time.monotonic()
    events = objects("events", path, "--json")
    verified = call("verify", path)
    seconds = time.monotonic() - seconds
    print(f"answered in {seconds:.2f} s")  # shown by pytest -s; also told by `time` of the commands
    told = {each["event"]: each for each in events}
    died = told["producer-died"]
    assert (died["pid"], died["signal"], died["logged"]) == (worker, signal.SIGKILL, 17)
    error, recovered = told["error"], told["recovered"]
    assert (error["what"], error["errno"], recovered["what"]) == ("write", 28, "write")
    assert began < error["time_ns"] < recovered["time_ns"] < ended
    assert recovered["after"] >= FULL_SECONDS
    assert sum(each["count"] for each in events if each["event"] == "dropped") == dropped
    assert {each["policy"] for each in events if each["event"] == "dropped"} == {"drop"}
    assert all(began < each["from"] <= each["to"] < ended for each in events if each["event"] == "dropped")
    ever = logged + sum(record.gap for record in disklog_mp.Reader(path, on_damage=lambda damage: None))
    assert verified.returncode == 3
    lines = verified.stdout.decode().splitlines()
    assert lines[2] == f"{ever:,} ever = {ever - GROUP:,} kept + 0 retired + 0 archived + {GROUP:,} missing"
    assert lines[3] == f"drops: {dropped:,} told by events, {dropped:,} reported in the pages"
    (damage,) = (line for line in lines if line.startswith("damage: page 3: corrupt range"))
    assert f"{GROUP:,} records (" in damage
    assert ", between " in damage
