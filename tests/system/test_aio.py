"""The log for asyncio: the same names, nothing that blocks the event loop, nothing left when cancelled."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.machine import stop_writer, stopped_writer, wait_until
from support.rings import has_ring, ring_path
from support.sessions import read_stats_of

import disklog_mp
from disklog_mp import aio
from disklog_mp._session import interpreter
from disklog_mp._session.joining import differing

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}
RECORD = b"x" * 1000


def steps(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that must not suspend, without an event loop's help."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


async def fill(log: aio.Session) -> int:
    """Log until there is no room; return how many records found some."""
    with disklog_mp.attach(log.name, on_full="raise") as same:
        for count in range(100_000):
            try:
                same.log(RECORD)
            except disklog_mp.RingFullError:
                return count
    raise AssertionError("a ring without end")


async def drain(log: aio.Session) -> None:
    """Wait until the ring is empty: its directory goes with the test."""
    with disklog_mp.attach(log.name, timeout=60) as same:
        same.log(b"last")
        same.flush(60)


async def ticks(count: int) -> None:
    """Return when the event loop has come round that often, with time for others in between."""
    for _ in range(count):
        await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def no_complaints(name: str, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that made asyncio complain, or that left a thread; stop the log's writer."""
    threads = threading.active_count()
    yield
    gc.collect()
    stop_writer(name)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    assert threading.active_count() <= threads


# -- logging -------------------------------------------------------------------------------------------


def test_what_is_logged_is_read_back(name: str, path: Path) -> None:
    """Records come back with bytes, tag and order."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            positions = [await log.log(b"record %d" % i, tag=i) for i in range(500)]
            await log.flush()
            records = [record async for record in await log.reader()]

        assert positions == [record.position for record in records]
        assert [b"record %d" % i for i in range(500)] == [record.data for record in records]
        assert list(range(500)) == [record.tag for record in records]

    asyncio.run(scenario())


def test_logging_does_not_suspend_while_there_is_room(name: str, path: Path) -> None:
    """The fast path is a call: no task switch, no thread."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            first = steps(log.log(b"one"))
            second = steps(log.log_many([b"two", b"three"]))

            assert 0 <= first < second

    asyncio.run(scenario())


def test_a_full_ring_suspends_the_task_and_no_other(name: str, path: Path) -> None:
    """While one task waits for room the event loop goes round; the record is logged in the end."""

    async def scenario() -> None:
        async with await aio.open(name, path, timeout=30, **SMALL) as log:
            with stopped_writer(name):
                await fill(log)
                waiting = asyncio.create_task(log.log(b"patient"))
                await ticks(30)

                assert not waiting.done()
            await waiting
            await log.flush()

            assert (await log.get_page(1))[-1].data == b"patient"

    asyncio.run(scenario())


def test_those_who_wait_are_served_in_order(name: str, path: Path) -> None:
    """Tasks of one event loop get room in the order in which they asked for it."""

    async def scenario() -> None:
        async with await aio.open(name, path, timeout=30, **SMALL) as log:
            with stopped_writer(name):
                full = await fill(log)
                waiting = [asyncio.create_task(log.log(b"%d" % i + RECORD)) for i in range(100)]
                await ticks(5)
            await asyncio.gather(*waiting)
            await log.flush()
            records = [record async for record in (await log.reader()).records(start=full)]

        assert list(range(100)) == [int(record.data.partition(b"x")[0]) for record in records]

    asyncio.run(scenario())


@pytest.mark.parametrize("many", [False, True])
def test_a_cancelled_wait_logs_nothing(name: str, path: Path, many: bool) -> None:
    """Cancelled while it waits for room, log() has not logged and will not."""

    async def scenario() -> None:
        async with await aio.open(name, path, timeout=30, **SMALL) as log:
            with stopped_writer(name):
                full = await fill(log)
                doomed = log.log_many([b"never"] * 3) if many else log.log(b"never")
                waiting = asyncio.create_task(doomed)
                await ticks(3)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await log.log(b"later")
            await log.flush()
            records = [record async for record in (await log.reader()).records(start=full)]

        assert [record.data for record in records] == [b"later"]

    asyncio.run(scenario())


@pytest.mark.parametrize(("policy", "timeout"), [("raise", 5.0), ("block", 0.0), ("block", 0.05)])
def test_impatience_raises(name: str, path: Path, policy: str, timeout: float) -> None:
    """At once, or when the time is over, the caller learns how much did not fit."""

    async def scenario() -> None:
        async with await aio.open(name, path, on_full=policy, timeout=timeout, **SMALL) as log:
            with stopped_writer(name):
                await fill(log)
                with pytest.raises(disklog_mp.RingFullError) as caught:
                    await log.log(RECORD)
            await drain(log)

            assert len(RECORD) == caught.value.length
            assert caught.value.free < len(RECORD) + 64
            assert caught.value.waited >= (timeout if policy == "block" else 0)

    asyncio.run(scenario())


def test_drops_are_counted(name: str, path: Path) -> None:
    """With on_full="drop" log() returns -1 and does not suspend; the statistics count."""

    async def scenario() -> None:
        async with await aio.open(name, path, on_full="drop", **SMALL) as log:
            with stopped_writer(name):
                await fill(log)

                assert [steps(log.log(RECORD)) for _ in range(5)] == [-1] * 5
            assert (await log.stats()).dropped == 5 + 1  # the one that told fill() to stop

    asyncio.run(scenario())


def test_a_group_is_logged_whole(name: str, path: Path) -> None:
    """log_many takes any iterable, waits for room for all of it, and logs it contiguously."""

    async def scenario() -> None:
        async with await aio.open(name, path, timeout=30, **SMALL) as log:
            with stopped_writer(name):
                full = await fill(log)
                group = asyncio.create_task(log.log_many((b"%d" % i for i in range(50)), tag=7))
                await ticks(3)
            await group
            await log.flush()
            records = [record async for record in (await log.reader()).records(start=full)]

        assert [(b"%d" % i, 7) for i in range(50)] == [(record.data, record.tag) for record in records]

    asyncio.run(scenario())


def test_what_the_session_refuses_is_refused(name: str, path: Path) -> None:
    """The errors are those of the session without asyncio."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            for call, error in (
                (log.log("text"), TypeError),
                (log.log(b"", tag=1 << 16), ValueError),
                (log.log(bytes(1 << 16)), disklog_mp.RecordTooLargeError),
                (log.log_many(b"bytes"), TypeError),
                (log.log_many([RECORD] * 100), disklog_mp.RecordTooLargeError),
            ):
                with pytest.raises(error):
                    await call

    asyncio.run(scenario())


# -- waiting for the writer ----------------------------------------------------------------------------


def test_flush_and_sync_move_the_positions(name: str, path: Path) -> None:
    """flush() waits for written, sync() for durable."""

    async def scenario() -> None:
        async with await aio.open(name, path, sync="never", **SMALL) as log:
            position = await log.log(b"one")
            await log.flush()

            assert (await log.stats()).written > position
            await log.sync()
            assert (await log.stats()).durable > position

    asyncio.run(scenario())


@pytest.mark.parametrize("goal", ["flush", "sync"])
def test_waiting_for_the_writer_does_not_stop_the_loop(name: str, path: Path, goal: str) -> None:
    """While the writer is frozen others run; with a timeout the wait ends; cancelled, at once."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            with stopped_writer(name):
                await log.log(b"one")
                waiting = asyncio.create_task(getattr(log, goal)())
                cancelled = asyncio.create_task(getattr(log, goal)())
                await ticks(30)

                assert not waiting.done()
                cancelled.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await cancelled
                with pytest.raises(disklog_mp.WaitTimeoutError) as caught:
                    await getattr(log, goal)(timeout=0.01)
                assert {"flush": "written", "sync": "durable"}[goal] == caught.value.goal
            await waiting

    asyncio.run(scenario())


def test_many_tasks_wait_for_the_writer_at_once(name: str, path: Path) -> None:
    """A thousand waits for durability need no threads and end together."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:

            async def log_and_sync(i: int) -> None:
                await log.log(b"%d" % i)
                await log.sync()

            await asyncio.gather(*(log_and_sync(i) for i in range(1000)))

            assert len(await log.get_page(1)) == 1000

    asyncio.run(scenario())


@pytest.mark.parametrize("goal", ["flush", "log"])
def test_a_dead_writer_is_replaced_while_others_run(name: str, path: Path, goal: str) -> None:
    """A session from open() starts another writer when it waits for a dead one."""

    async def scenario() -> None:
        async with await aio.open(name, path, timeout=30, **SMALL) as log:
            await log.log(b"before")
            await log.flush()
            first = (await log.stats()).writer_pid
            stop_writer(name, signal.SIGKILL)
            if goal == "log":
                await fill(log)
            await log.log(b"after")
            waiting = asyncio.create_task(log.flush())
            await ticks(3)
            await waiting

            assert (await log.stats()).writer_pid not in (0, first)
            data = [record.data async for record in await log.reader()]
            assert (data[0], data[-1]) == (b"before", b"after")

    asyncio.run(scenario())


def test_a_dead_writer_that_is_not_replaced_is_reported(
    name: str, open_log: Callable[..., disklog_mp.Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other may be started, a wait says that the writer died."""

    async def scenario() -> None:
        async with await aio.attach(name, timeout=0.05) as log:
            await log.log(b"in the ring")
            with pytest.raises(disklog_mp.WriterDiedError):
                await log.flush()

    owner = open_log()
    stop_writer(name, signal.SIGKILL)
    with monkeypatch.context() as patch:
        patch.setenv(interpreter.MARK, "1")  # as in a writer: no session starts another
        asyncio.run(scenario())
    owner.log(b"and this one's writer takes both")
    owner.flush()

    assert len(owner.get_page(1)) == 2


def test_roll_begins_another_page(name: str, path: Path) -> None:
    """roll() asks the writer to seal the page."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            await log.log(b"one")
            page = await log.get_page(1)
            await log.roll()
            while not page.sealed:
                await asyncio.sleep(0.002)

    asyncio.run(scenario())


# -- coming and going ----------------------------------------------------------------------------------


def test_opening_raises_what_open_raises(name: str, path: Path) -> None:
    """Errors come out of the thread that met them."""

    async def scenario() -> None:
        with pytest.raises(disklog_mp.LogNotFoundError):
            await aio.attach(name)
        with pytest.raises(ValueError, match="on_full"):
            await aio.open(name, path, on_full="never", **SMALL)
        async with await aio.open(name, path, **SMALL):
            with pytest.raises(TypeError):
                await aio.open(name, path, ring_bytes=None, colour=1)
            log = await aio.open(name, path)
            await log.configure(keep_pages=7)
            await log.close()
            assert differing(str(path), {"keep_pages": 0}) == {"keep_pages": 7}

    asyncio.run(scenario())


def test_a_closed_session_says_so(name: str, path: Path) -> None:
    """close() twice is fine; every call after it is an error of its own."""

    async def scenario() -> None:
        log = await aio.open(name, path, **SMALL)
        await log.close()
        await log.close()

        assert log.closed
        assert f"<aio.Session on {name!r}, closed>" == repr(log)
        for call in (log.log(b""), log.log_many([b""]), log.flush(), log.stats(), log.roll(), log.reader()):
            with pytest.raises(disklog_mp.SessionClosedError):
                await call

    asyncio.run(scenario())


def test_closing_wakes_those_who_wait(name: str, path: Path) -> None:
    """A task that waits for room on a session that is closed learns it."""

    async def scenario() -> None:
        log = await aio.open(name, path, timeout=30, **SMALL)
        with stopped_writer(name):
            await fill(log)
            waiting = asyncio.create_task(log.log(b"never"))
            await ticks(3)
            await log.close()
            with pytest.raises(disklog_mp.SessionClosedError):
                await waiting

    asyncio.run(scenario())


def test_a_cancelled_open_leaves_nothing_behind(name: str, path: Path) -> None:
    """The session that nobody waited for is closed, so its writer leaves."""

    async def scenario() -> None:
        opening = asyncio.create_task(aio.open(name, path, **SMALL))
        await ticks(2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(scenario())


def test_one_session_serves_event_loops_in_threads(name: str, path: Path) -> None:
    """Loops share a session; each has its own queue when the ring is full."""
    log = asyncio.run(aio.open(name, path, timeout=30, **SMALL))

    async def produce(worker: int) -> None:
        await asyncio.gather(*(log.log(b"%d %d" % (worker, i) + RECORD) for i in range(200)))
        await log.flush()

    with stopped_writer(name):
        threads = [threading.Thread(target=lambda w=w: asyncio.run(produce(w))) for w in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: read_stats_of(log).producers[0].waited)
    for thread in threads:
        thread.join()
    asyncio.run(log.close())

    heads = [record.data.partition(b"x")[0].split() for record in disklog_mp.Reader(path)]
    for worker in range(4):
        assert list(range(200)) == [int(i) for w, i in heads if int(w) == worker]


def log_from_child(log: aio.Session, data: bytes) -> None:
    """Log with a session from another process, in an event loop of this one."""

    async def scenario() -> None:
        async with log:
            await log.log(data)
            await log.flush()

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_session_works_in_a_child(name: str, path: Path, method: str) -> None:
    """Inherited by a fork or pickled to a new process, a session attaches there by itself."""
    context = multiprocessing.get_context(method)
    log = asyncio.run(aio.open(name, path, **SMALL))
    child = context.Process(target=log_from_child, args=(log, b"from the child"))
    child.start()
    child.join()
    pid, status = child.pid, child.exitcode
    child.close()
    asyncio.run(log.close())

    assert status == 0
    assert [(pid, b"from the child")] == [(record.pid, record.data) for record in disklog_mp.Reader(path)]


def test_a_session_unpickled_by_a_coroutine_attaches_at_first_use(name: str, path: Path) -> None:
    """Unpickling on an event loop does not block it."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            async with pickle.loads(pickle.dumps(log)) as copy:
                await copy.log(b"copied")
                await copy.flush()

            assert (await log.get_page(1))[0].data == b"copied"

    asyncio.run(scenario())


def test_a_replaced_ring_is_found(name: str, path: Path) -> None:
    """When somebody removed the ring's name the writer goes on in a new one, and so do we."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            await log.log(b"old")
            await log.flush()
            os.unlink(ring_path(name))
            await log.log(b"lost sight of")
            await log.flush()
            while not has_ring(name):
                await asyncio.sleep(0.01)
            await log.log(b"new")
            await log.flush()

            data = [record.data async for record in await log.reader()]
            assert data == [b"old", b"lost sight of", b"new"]

    asyncio.run(scenario())


def test_a_silent_writer_is_looked_at_aside(name: str, path: Path) -> None:
    """log() notices that the writer is dead; a thread starts another while the event loop goes on."""

    async def scenario() -> None:
        async with await aio.open(name, path, **SMALL) as log:
            await log.log(b"one")
            await log.flush()
            stop_writer(name, signal.SIGKILL)
            while not (await log.stats()).writer_pid:
                assert steps(log.log(b"more")) >= 0
                await asyncio.sleep(0.05)
            await log.flush()

    asyncio.run(scenario())


# -- reading -------------------------------------------------------------------------------------------


@pytest.fixture
def written(open_log: Callable[..., disklog_mp.Session]) -> list[bytes]:
    """Five pages of a thousand records: more than one bite."""
    log = open_log(page_records=1000)
    data = [b"%d" % i for i in range(5000)]
    for record in data:
        log.log(record)
    log.flush()
    return data


def test_reading_is_what_reading_is_elsewhere(written: list[bytes], path: Path) -> None:
    """Every way to read gives what the reader without asyncio gives."""

    async def scenario() -> None:
        reader, same = aio.Reader(path), disklog_mp.Reader(path)

        assert f"<aio.Reader of {same.path}>" == repr(reader)
        assert written == [record.data async for record in reader]
        assert written[1500:3500] == [record.data async for record in reader.records(1500, 3500)]
        middle = same.get_page(3)[500].timestamp
        assert [r.number for r in same.records(since=middle)] == [
            r.number async for r in reader.records(since=middle)
        ]
        assert same.page_numbers() == await reader.page_numbers()
        assert same.page_numbers() == [page.number async for page in reader.pages()]
        assert (same.begin(), same.end()) == (await reader.begin(), await reader.end())
        records, cursor = await reader.read(max_records=10)
        assert written[:10] == [record.data for record in records]
        records, _ = await reader.read(str(cursor), max_records=10)
        assert written[10:20] == [record.data for record in records]
        with pytest.raises(disklog_mp.PageNotFoundError):
            await reader.get_page(99)

    asyncio.run(scenario())


def test_follow_sees_what_is_logged_meanwhile(name: str, path: Path) -> None:
    """From before the first page, over rolls, record by record."""

    async def scenario() -> None:
        path.mkdir()
        follower = asyncio.create_task(first(300))
        async with await aio.open(name, path, page_records=50, **SMALL) as log:
            for i in range(300):
                await log.log(b"%d" % i)
                if i % 10 == 0:
                    await asyncio.sleep(0.001)

            assert [b"%d" % i for i in range(300)] == await follower

    async def first(count: int) -> list[bytes]:
        found: list[bytes] = []
        async for record in aio.Reader(path).follow():
            found.append(record.data)
            if len(found) == count:
                break
        return found

    asyncio.run(scenario())


def test_events_as_without_asyncio(name: str, path: Path) -> None:
    """What happened to the log so far, and with `follow` what comes; nothing when the log has none."""

    async def scenario() -> None:
        path.mkdir()
        assert [event async for event in aio.Reader(path).events()] == []
        async with await aio.open(name, path, **SMALL) as log:
            follower = asyncio.create_task(follow_until("rolled"))
            await log.log(b"x")
            await log.flush()
            await log.roll()
            found = await follower
            seen = [event async for event in log.events()]  # more may come at any moment
            assert found == [event.name for event in seen][: len(found)]
            assert seen == list(disklog_mp.Reader(path).events())[: len(seen)]
            later = [event async for event in aio.Reader(path).events(follow=True, timeout=0.05)]
            assert seen == later[: len(seen)]

    async def follow_until(name: str) -> list[str]:
        found = []
        async for event in aio.Reader(path).events(follow=True):
            found.append(event.name)
            if event.name == name:
                break
        return found

    asyncio.run(scenario())


def test_follow_from_a_cursor_ends_with_patience(written: list[bytes], path: Path) -> None:
    """With a timeout the iteration ends when nothing comes; the cursor says where it begins."""

    async def scenario() -> None:
        reader = aio.Reader(path)
        _, cursor = await reader.read(max_records=4000)

        assert written[4000:] == [record.data async for record in reader.follow(cursor, timeout=0.05)]
        assert [record.data async for record in reader.follow(await reader.end(), timeout=0)] == []

    asyncio.run(scenario())


def test_followers_do_not_occupy_threads(log: disklog_mp.Session, path: Path) -> None:
    """A hundred followers wait, more than the executor has threads, and a thread is still to be had."""
    log.log(b"first")
    log.flush()

    async def scenario() -> None:
        reader = aio.Reader(path)
        seen = []

        async def follow() -> None:
            async for record in reader.follow():
                seen.append(record.data)

        followers = [asyncio.create_task(follow()) for _ in range(100)]
        while len(seen) < 100:
            await asyncio.sleep(0.002)
        log.log(b"second")
        while len(seen) < 200:
            await asyncio.sleep(0.002)

        assert await asyncio.to_thread(lambda: 42) == 42
        for follower in followers:
            follower.cancel()
        assert len(await asyncio.gather(*followers, return_exceptions=True)) == 100

    asyncio.run(scenario())


def test_an_iteration_left_early_leaves_nothing(written: list[bytes], path: Path) -> None:
    """Breaking out of a loop over records or a follower needs no cleaning up."""

    async def scenario() -> None:
        for iteration in (aio.Reader(path).records(), aio.Reader(path).follow(), aio.Reader(path).pages()):
            async for _ in iteration:
                break

    asyncio.run(scenario(), debug=False)


def test_damage_is_reported(written: list[bytes], path: Path) -> None:
    """The damage a reader passes over comes to on_damage."""
    page = next(path.glob("page-*1.dlog"))
    content = bytearray(page.read_bytes())
    content[content.index(b"999" + bytes(5))] ^= 1  # with the padding behind it: not in a header
    page.write_bytes(content)
    damages: list[disklog_mp.Damage] = []

    async def scenario() -> None:
        count = 0
        async for _ in aio.Reader(path, on_damage=damages.append):
            count += 1

        assert len(written) - 1 == count

    asyncio.run(scenario())

    assert [damage.page for damage in damages] == [1]


def test_a_reader_of_no_directory_says_so(tmp_path: Path) -> None:
    """The path is checked where it is given."""
    with pytest.raises(FileNotFoundError):
        aio.Reader(tmp_path / "nowhere")
