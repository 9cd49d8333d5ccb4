"""A disk that refuses to sync.  The refusal is made up: no disk here can be told to fail just there."""

import threading
from pathlib import Path

import pytest
from support.faulty_files import RefusingFile, RefusingFiles
from support.machine import wait_until

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._writer.writer import Writer


@pytest.mark.parametrize("refusals", [1, 3])
@pytest.mark.parametrize("sync", ["never", "always"])
def test_a_sync_that_failed_is_told_and_made_good(name: str, path: Path, refusals: int, sync: str) -> None:
    """The caller gets the error; the page is written anew elsewhere; then all is durable and readable."""
    stop = threading.Event()
    work = Writer(name, path, Options(ring_bytes=1 << 16, sync=sync), files=RefusingFiles())
    thread = threading.Thread(target=work.run, args=(stop.is_set,))
    thread.start()
    try:
        with disklog_mp.attach(name) as log:
            for i in range(10):
                log.log(b"%d" % i)
            log.flush()
            with pytest.raises(OSError, match="could not be synced") as caught:
                while True:  # the writer may have met it, and made it good, before this session waited
                    RefusingFile.refusals = refusals
                    log.log(b"more")
                    log.sync(30)
            assert caught.value.errno == 5
            assert "Input/output error" in str(caught.value)  # it may be over already
            wait_until(lambda: RefusingFile.refusals == 0)
            log.log(b"after")
            log.sync(30)
            wait_until(lambda: log.stats().error is None)
            stats = log.stats()
    finally:
        RefusingFile.refusals = 0
        stop.set()
        thread.join()
    records = [record.data for record in disklog_mp.Reader(path)]

    assert stats.durable == stats.written
    assert [b"%d" % i for i in range(10)] == records[:10]
    assert records[-1] == b"after"
    assert stats.records == len(records)
