"""disklog-mp demo: several processes log real input, a reader follows, all in half a minute."""

from __future__ import annotations

import errno
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from multiprocessing.context import SpawnProcess

import click

import disklog_mp
from disklog_mp._ring import names as _names
from disklog_mp._verify.log import Report, verify
from disklog_mp.cli import _text, _workers
from disklog_mp.cli._find import find
from disklog_mp.cli.demo import report as _demo_report
from disklog_mp.cli.demo import work as _demo_work

PAGE_RECORDS = 500


@click.command()
@click.option("--dir", "directory", type=click.Path(), help="Directory of the log.  [a new temporary one]")
@click.option(
    "--workers", type=click.IntRange(1, 500), metavar="N", help="Worker processes.  [2 per core, and 1]"
)
def demo(directory: str | None, workers: int | None) -> int:
    """Demo: several processes log, a reader follows.

    The processes parse Python's standard library and log one record for each file.  A reader follows
    meanwhile.  At the end the log is read back and verified.  The pages are kept.  Exit code 1 if a record
    is missing or wrong.
    """
    root, files = _demo_work.python_files()
    if not files:
        raise FileNotFoundError(errno.ENOENT, "there are no Python files to parse", root)
    count = min(workers or 2 * len(os.sched_getaffinity(0)) + 1, len(files))
    path = directory or tempfile.mkdtemp(prefix="disklog-demo-")
    click.echo(
        f"{count} processes parse the {len(files):,} files of Python {platform.python_version()} in {root}\n"
        f"and log one record for each into {path}\n"
    )
    run = _Run(f"demo-{os.getpid()}", path)
    with disklog_mp.open(run.name, path, page_records=PAGE_RECORDS, linger=0.2) as log:
        run.follow(log, root, files, count)
        with find(run.name, None) as found:
            verification = verify(found.path, found.name, found.file)
    run.wait_for_writer()
    summary = _demo_report.read_back(run.reader, run.first_number)
    click.echo("\n".join(_demo_report.lines(summary, verification, run.reader)))
    problems = run.problems + _problems(files, root, run.followed, summary, verification)
    for problem in problems:
        _text.say(problem)
    click.echo("\n" + "\n".join(_demo_report.next_steps(path)))
    return 1 if problems else 0


class _Run:
    """One run: the workers, and the reader that follows them."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.followed = 0
        self.first_number = 0
        self.problems: list[str] = []

    def follow(self, log: disklog_mp.Session, root: str, files: list[str], count: int) -> None:
        """Start the workers and follow the log to its last record, which is logged when they are done."""
        self.reader = disklog_mp.Reader(self.path)
        place = self.reader.end()
        self.first_number = place.number if place else 0
        workers = _start(self.name, root, files, count)
        finisher = threading.Thread(target=self._finish, args=(log, workers))
        finisher.start()
        began, length = time.monotonic(), 0
        try:
            with click.progressbar(length=len(files), label="following", file=sys.stderr) as progress:
                for record in self.reader.follow(place):
                    if record.tag == _demo_work.FINISHED and record.pid == os.getpid():
                        break
                    self.followed += 1
                    length += len(record.view)
                    progress.update(1)
        finally:
            for worker in workers:
                worker.terminate()  # without effect on workers that have ended
            finisher.join()
        seconds = time.monotonic() - began
        rates = f"{self.followed / seconds:,.0f} records/s, {_text.size(length / seconds)}/s"
        click.echo(f"followed {self.followed:,} records in {seconds:.1f} s: {rates}", err=True)

    def _finish(self, log: disklog_mp.Session, workers: list[SpawnProcess]) -> None:
        for worker in workers:
            worker.join()
            if worker.exitcode:
                self.problems.append(f"worker {worker.pid} ended with exit code {worker.exitcode}")
        log.log(b"finished", tag=_demo_work.FINISHED)

    def wait_for_writer(self) -> None:
        """Wait until the log's writer has ended and removed the ring."""
        deadline = time.monotonic() + 20
        while _names.rings_of(self.name):
            if time.monotonic() > deadline:
                self.problems.append(f"the writer has not ended: see disklog-mp stat {self.name}")
                return
            time.sleep(0.02)


def _start(name: str, root: str, files: list[str], count: int) -> list[SpawnProcess]:
    """Start the workers, each with its share of the files."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_demo_work.work, args=(name, root, files[index::count]))
        for index in range(count)
    ]
    _workers.start_all(workers)
    return workers


def _problems(
    files: list[str], root: str, followed: int, summary: _demo_report.Summary, verification: Report
) -> list[str]:
    """Return what is missing or wrong."""
    wrong = [f"{finding.kind}: {finding.line()}" for finding in verification.findings]
    logged = sorted(told["path"] for told in (*summary.files, *summary.failures))
    if logged != sorted(os.path.relpath(path, root) for path in files):
        wrong.append(f"{len(files):,} files were parsed, {summary.records:,} records read back")
    if followed != summary.records:
        wrong.append(f"the follower saw {followed:,} records, the pages hold {summary.records:,}")
    if verification.books is None or not verification.books.balance:
        wrong.append("the counters do not match")
    return wrong
