"""The main promise at full size: many processes, every start method, readers that follow."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from support.chance import TIMES
from support.many import END, produce, read_all
from support.workers import faults_of_logging, sync_together

import disklog_mp
from disklog_mp._writer.syncer import CROWD

WORKERS = 16
COUNT = 4_000 * TIMES  # records of each


@pytest.mark.timeout(400)
def test_sixteen_processes_and_three_readers_agree(
    open_log: Callable[..., disklog_mp.Session], name: str, path: Path
) -> None:
    """Every record is there exactly once, in its producer's order and in one order for all readers."""
    log = open_log(ring_bytes=4 << 20, page_bytes=4 << 20, sync="never")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawn) as readers:
        following = [readers.submit(read_all, str(path), WORKERS, COUNT) for _ in range(3)]
        start = spawn.Barrier(WORKERS)
        methods = ["fork", "spawn", "forkserver"]
        processes = [
            multiprocessing.get_context(methods[i % 3]).Process(target=produce, args=(name, i, COUNT, start))
            for i in range(WORKERS)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        log.log(END)
        log.flush()
        results = [reader.result() for reader in following]
    stats = log.stats()

    assert [0] * WORKERS == [process.exitcode for process in processes]
    for process in processes:
        process.close()
    assert [(WORKERS * COUNT, results[0][1])] * 3 == results
    assert WORKERS * COUNT + 1 == stats.records == stats.logged
    assert stats.dropped == stats.abandoned == 0
    assert len(list(disklog_mp.Reader(path).pages())) > 5


@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (5, 14), reason="the kernel maps nothing ahead"
)
def test_a_process_does_not_meet_a_fault_for_each_page_of_the_ring(
    open_log: Callable[..., disklog_mp.Session], name: str
) -> None:
    """Over most of its first lap, where another has been: they are mapped many at a time, ahead of it."""
    log = open_log(ring_bytes=4 << 20, page_bytes=8 << 20, keep_pages=2, sync="never")
    record, count = bytes(4000), 700
    for _ in range(2 * count):
        log.log(record)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        faults = one.submit(faults_of_logging, name, count, record).result()

    assert faults < count / 2


def test_many_that_sync_at_once_are_all_served(
    open_log: Callable[..., disklog_mp.Session], name: str
) -> None:
    """More of them than there must be for the writer to wait for others: nobody is forgotten."""
    log = open_log(sync="1h")
    workers, times = 2 * CROWD, 20
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(workers)
    processes = [spawn.Process(target=sync_together, args=(name, times, start)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [0] * workers == [process.exitcode for process in processes]
    assert log.stats().records == workers * times
    for process in processes:
        process.close()
