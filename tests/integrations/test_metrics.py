"""Metrics of real logs: what a scrape says is what stats() says, whatever happens to the log."""

import ipaddress
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.children import end, fork
from support.command import call
from support.machine import shared_memory_of, stop_writer, stopped_writer, wait_until
from support.memory_ring import make_ring
from support.sessions import ring_of
from support.users import NOBODY

import disklog_mp
from disklog_mp import metrics as _metrics
from disklog_mp._metrics import exposition as _exposition
from disklog_mp._metrics import facts as _facts
from disklog_mp._ring.file import RingFile
from disklog_mp._session import interpreter
from disklog_mp._writer.serving import serve as run_writer
from disklog_mp.metrics import Collector, MachineCollector
from integrations.scrapes import (
    OPEN_METRICS,
    Samples,
    free_port,
    get,
    metrics_of_the_machine,
    samples,
    url_in,
)
from integrations.serving import running

pytestmark = pytest.mark.usefixtures("writer_ends")
LOADED = (ipaddress, run_writer)  # as in support.users: the other user can load nothing, perhaps
SMALL = {"ring_bytes": 1 << 16, "linger": 0.1}


@pytest.fixture
def scraped(name: str) -> Callable[[], dict[str, float]]:
    """What a collector of this test's log says, through a registry."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(Collector(name))

    def scraped() -> dict[str, float]:
        return of_log(samples(openmetrics.generate_latest(registry).decode()), name)

    return scraped


def of_log(found: Samples, name: str) -> dict[str, float]:
    return {sample: value for (sample, log), value in found.items() if log == name}


def test_a_scrape_says_what_stats_says(
    name: str, path: Path, scraped: Callable[[], dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the log is there until its writer was killed."""
    assert scraped() == {}
    with disklog_mp.open(name, path, **SMALL, on_full="drop") as log:
        monkeypatch.setenv(interpreter.MARK, "1")  # this session starts no other writer
        for _ in range(10):
            log.log(b"a record")
        log.sync()
        found, stats = scraped(), log.stats()
        assert found["disklog_appends_total"] == found["disklog_records_total"] == stats.records == 10
        assert found["disklog_append_bytes_total"] == found["disklog_durable_bytes_total"] == stats.claimed
        assert found["disklog_ring_size_bytes"] == 1 << 16
        assert found["disklog_attached"] == found["disklog_writer_up"] == found["disklog_writers_total"] == 1
        assert found["disklog_pages"] == 1
        assert found["disklog_pages_bytes"] == stats.page_bytes
        assert found["disklog_oldest_not_durable_seconds"] == found["disklog_oldest_unflushed_seconds"] == 0
        assert found["disklog_flush_seconds_count"] >= 1
        assert found["disklog_fsync_seconds_count"] >= 1
        assert 0 < found["disklog_flush_seconds_sum"] < 60
        assert found["disklog_disk_free_bytes"] <= found["disklog_disk_size_bytes"]
        assert found["disklog_sync_interval_seconds"] == 1

        with stopped_writer(name):
            while log.log(b"x" * 4000) >= 0:
                pass
            found = scraped()
            assert found["disklog_drops_total"] == 1
            assert found["disklog_ring_used_bytes"] > 50_000
            assert found["disklog_oldest_unflushed_seconds"] > 0
            assert found["disklog_writer_up"] == 1
            assert "disklog_flush_seconds_count" not in found  # it does not answer, and is not waited for
        os.kill(log.stats().writer_pid, signal.SIGKILL)
        wait_until(lambda: scraped()["disklog_writer_up"] == 0)
        assert scraped()["disklog_attached"] == 1
        monkeypatch.delenv(interpreter.MARK)


def test_a_log_by_its_directory(name: str, path: Path, tmp_path: Path) -> None:
    """Where several logs have the name, and where the ring is elsewhere; without it no samples, no error."""
    rings = tmp_path / "rings"
    with disklog_mp.open(name, path, ring_dir=str(rings), **SMALL) as log:
        log.log(b"a record")
        for collector in (Collector(name, path), Collector(name, ring_dir=rings), MachineCollector([rings])):
            text = generate_latest(collector).decode()  # type: ignore[arg-type]
            assert f'disklog_appends_total{{directory="{path}",log="{name}"}} 1.0' in text
        for collector in (Collector(name), Collector("other", path), Collector(name, tmp_path)):
            text = generate_latest(collector).decode()  # type: ignore[arg-type]
            assert "disklog_appends_total{" not in text
            assert "# TYPE disklog_appends_total counter" in text
    stop_writer(name, ring_dir=str(rings))
    with pytest.raises(ValueError, match="is not a name"):
        Collector("a/b")


def test_all_logs_of_the_machine(name: str, path: Path, tmp_path: Path) -> None:
    """One endpoint finds them by itself; a log that comes later, too; what no process can read is counted."""
    other = f"{name}-other"
    planted = Path(f"/dev/shm/disklog-{name}-planted.0123456789abcdef")
    planted.write_bytes(b"no ring")
    try:
        with metrics_of_the_machine(tmp_path) as (server, url), disklog_mp.open(name, path, **SMALL) as log:
            log.log(b"a record")
            assert of_log(samples(get(url)[1]), name)["disklog_appends_total"] == 1
            with disklog_mp.open(other, tmp_path / "other", **SMALL) as second:
                second.log_many([b"two", b"records"])
                found = samples(get(url)[1])
            assert (found["disklog_appends_total", name], found["disklog_appends_total", other]) == (1, 2)
            assert found["disklog_logs_unread", ""] >= 1
            assert found["disklog_logs", ""] >= 2
            assert get(url)[0].startswith("application/openmetrics-text")
            assert get(url, "text/plain")[0].startswith("text/plain")
            os.kill(server.pid, signal.SIGTERM)
            assert server.process.wait(30) == 0
        assert server.said() == f"disklog-mp: metrics of all logs at {url}\n"
        printed = call("metrics")
        assert (printed.returncode, printed.stderr) == (0, b"")
        assert b"# TYPE disklog_appends_total counter" in printed.stdout
    finally:
        planted.unlink()
        stop_writer(other)


def test_two_rings_of_one_log_are_one_series(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that an earlier log of that directory left; Prometheus refuses a page with a sample twice."""
    with disklog_mp.open(name, path, **SMALL) as log:
        (ring,) = [
            Path("/dev/shm") / found for found in shared_memory_of(f"disklog-{name}.") if ".sock" not in found
        ]
        planted = ring.with_name(f"disklog-{name}.{'0' * 16}")
        planted.write_bytes(ring.read_bytes())
        try:
            log.log(b"a record")
            log.flush()
            for newest in (ring, planted):
                os.utime(newest, ns=(2**62, 2**62))
                found = samples(openmetrics.generate_latest(MachineCollector()).decode())  # type: ignore[arg-type]
                assert found["disklog_writer_up", name] == found["disklog_appends_total", name] == 1
            monkeypatch.setattr(_metrics, "MOST_LOGS", 0)
            found = samples(openmetrics.generate_latest(MachineCollector()).decode())  # type: ignore[arg-type]
            assert ("disklog_writer_up", name) not in found
            assert found["disklog_logs_unread", ""] >= 2
        finally:
            planted.unlink()


def test_the_writer_serves_them(name: str, path: Path) -> None:
    """The option of open(), set again while the log runs, and taken back."""
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with disklog_mp.open(name, path, metrics=first, **SMALL) as log:
        log.log(b"a record")
        log.sync()

        def served(address: str) -> dict[str, float] | None:
            try:
                return of_log(samples(get(f"http://{address}/metrics")[1]), name)
            except OSError:
                return None

        found = wait_until(lambda: served(first))
        assert found["disklog_appends_total"] == found["disklog_writer_up"] == 1
        assert found["disklog_flush_seconds_count"] >= 1
        assert found["disklog_fsync_seconds_count"] >= 1
        assert call("set", path, f"metrics={second}").returncode == 0
        wait_until(lambda: served(second) and served(first) is None)
        log.configure(metrics=None)
        wait_until(lambda: served(second) is None)
        log.configure(ring_bytes=1 << 17, metrics=first)  # another ring is served by now
        log.log(b"a record")
        wait_until(lambda: (served(first) or {}).get("disklog_ring_size_bytes") == 1 << 17)
        assert ring_of(log).capacity == 1 << 17
        os.kill(log.stats().writer_pid, signal.SIGKILL)  # the next one serves them, at the same address
        wait_until(lambda: log.log(b"a record") and (served(first) or {}).get("disklog_writers_total", 0) > 1)


def test_labels_of_any_path(name: str) -> None:
    """What is in a path cannot end its label, and what is no UTF-8 can be shown."""
    odd = '/log "a"\n\\b\t{}\udcff,'
    locks = os.memfd_create("locks")
    facts = _facts.read(RingFile(make_ring(path=os.fsencode(odd), name=name.encode()), locks, ""), None)
    os.close(locks)
    families = _exposition.families([_exposition.Source(facts, None, None)])
    text = _exposition.page(OPEN_METRICS, families)[1].decode()
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == "disklog_writer_up"]

    shown = odd.replace("\udcff", "\\udcff")
    assert [sample.labels for sample in family.samples] == [{"log": name, "directory": shown}]


@pytest.mark.skipif(os.geteuid() != 0, reason="being another user takes root")
def test_a_limit_of_processes(name: str) -> None:
    """The writer of another user, which has no thread left: the log is served, without metrics."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    path = place / "log"
    path.mkdir()
    os.chown(path, NOBODY.uid, NOBODY.gid)
    address = f"127.0.0.1:{free_port()}"

    def serve() -> None:
        socket.getaddrinfo("127.0.0.1", 0)  # that user may not read this Python, which loads idna for it
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        NOBODY.become()
        run_writer(name, path, ring_bytes=1 << 16, metrics=address)

    server = fork(serve)
    try:
        wait_until(lambda: any(each.name == name and each.writer_pid for each in disklog_mp.list_logs()), 30)
        with disklog_mp.attach(name, path) as log:
            log.log(b"a record")
            log.sync(30)
            told = wait_until(lambda: [event.fields for event in log.events() if event.name == "error"])
            assert log.stats().durable == log.stats().claimed
        assert [(each["what"], each["error"]) for each in told] == [("metrics", "no thread can be started")]
        with pytest.raises(OSError, match="refused"):
            get(f"http://{address}/metrics")
    finally:
        end(server, signal.SIGTERM)
        stop_writer(name)
        shutil.rmtree(place)


def test_a_port_in_use(name: str, path: Path, tmp_path: Path) -> None:
    """The log is served all the same; a command that serves nothing else ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with running(tmp_path, "disklog_mp", "serve", name, path, "--metrics", address) as server:
            wait_until(lambda: "the log goes on" in server.said())
            with disklog_mp.attach(name) as log:
                log.log(b"a record")
                log.sync()
                told = [event.fields for event in log.events() if event.name == "error"]
        assert f"{name}: no metrics: Address already in use: {address}; give each log" in server.said()
        assert [fields["what"] for fields in told] == ["metrics"]
        refused = call("metrics", "--listen", address)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.decode() == f"disklog-mp: Address already in use: {address}\n"


@pytest.mark.parametrize("address", [":9464", "9464", "example.org:80", "127.0.0.1:99999", ""])
def test_what_is_no_address(name: str, path: Path, address: str) -> None:
    """One line, exit code 2, and no log is made."""
    for command in (["metrics", "--listen", address], ["serve", name, path, "--metrics", address]):
        refused = call(*command)
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert refused.stderr.decode().count("\n") == 1
        assert address in refused.stderr.decode()
    assert not path.exists()


def test_logs_of_one_process_share_a_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """serve --config, with one address for all of its logs; one that is let go is no longer on it."""
    names = [f"{name}-{number}" for number in range(2)]
    logs = "".join(f'[[log]]\nname = "{each}"\npath = "{tmp_path / each}"\n' for each in names)
    config = tmp_path / "logs.toml"
    address = f"127.0.0.1:{free_port()}"
    config.write_text(f'[defaults]\nring_bytes = "64k"\nmetrics = "{address}"\n{logs}')
    with running(tmp_path, "disklog_mp", "serve", "--config", config) as server:
        url = wait_until(lambda: server.said().count("metrics at") == 2 and url_in(server.said()))
        found = samples(get(url)[1])
        assert [found["disklog_writer_up", each] for each in names] == [1, 1]
        monkeypatch.setenv(interpreter.MARK, "1")  # this session starts no other writer
        with disklog_mp.attach(names[1]):  # so its ring stays
            config.write_text(config.read_text().partition(f'[[log]]\nname = "{names[1]}"')[0])
            os.kill(server.pid, signal.SIGHUP)
            wait_until(lambda: ("disklog_writer_up", names[1]) not in samples(get(url)[1]))
            assert samples(get(url)[1])["disklog_writer_up", names[0]] == 1
    for each in names:
        call("rm", "--force", each)


def test_without_the_library(name: str) -> None:
    """The error has the command that installs it."""
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from disklog_mp import cli, metrics\n"
        "try: metrics.Collector('a')\n"
        "except ModuleNotFoundError as error: print(error)\n"
        "sys.exit(cli.run(['metrics']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = "metrics need prometheus-client: pip install 'disklog-mp[metrics]'\n"

    assert (done.returncode, done.stdout, done.stderr) == (2, said, f"disklog-mp: {said}")


def test_the_library_is_loaded_with_the_first_scrape(name: str, path: Path) -> None:
    """A writer that serves metrics and is not scraped has not loaded it; nor has the help text."""
    code = (
        "import sys\nfrom disklog_mp import cli\n"
        "cli.run(['metrics', '--help'])\n"
        "assert 'prometheus_client' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "pip install 'disklog-mp[metrics]'" in done.stdout
