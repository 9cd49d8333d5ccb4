"""The report of the demo: what was logged, read back from the pages."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import disklog_mp
from disklog_mp._verify.log import Report
from disklog_mp.cli import _text
from disklog_mp.cli.demo.work import FINISHED
from disklog_mp.cli.state.verify import counters_line


@dataclass
class Summary:
    """Sums over the records of one run of the demo."""

    files: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    by_pid: Counter[int] = field(default_factory=Counter)
    pages: list[tuple[int, int]] = field(default_factory=list)  # number, records

    @property
    def records(self) -> int:
        """Records of the workers: one for each file."""
        return len(self.files) + len(self.failures)

    def total(self, what: str) -> int:
        """Sum of one of the counts over all files that could be parsed."""
        return sum(file[what] for file in self.files)


def read_back(reader: disklog_mp.Reader, first_number: int) -> Summary:
    """Read the records from that number on, page by page."""
    summary = Summary()
    for page in reader.pages():
        with page:
            if page.first_number + len(page) <= first_number:
                continue
            summary.pages.append((page.number, len(page)))
            for record in page:
                if record.number < first_number or record.tag == FINISHED:
                    continue
                told = json.loads(record.data)
                (summary.failures if "error" in told else summary.files).append(told)
                summary.by_pid[record.pid] += 1
    return summary


def lines(summary: Summary, verification: Report, reader: disklog_mp.Reader) -> list[str]:
    """Return the report."""
    workers = ", ".join(f"{pid} ({count:,})" for pid, count in sorted(summary.by_pid.items()))
    pages = ", ".join(f"{count:,}" for _, count in summary.pages)
    return [
        "what was logged",
        f"  files      {len(summary.files):,} parsed, {_text.size(summary.total('bytes'))}, "
        f"{summary.total('lines'):,} lines",
        f"  in them    {summary.total('functions'):,} functions, {summary.total('classes'):,} classes, "
        f"{summary.total('imports'):,} imports",
        *_largest(summary),
        *_failures(summary),
        "",
        "how it was logged",
        f"  processes  {len(summary.by_pid)} workers (records): {workers}",
        f"  pages      {len(summary.pages)} of up to 500 records: {pages}",
        *_one_page(summary, reader),
        f"  checked    {_text.plural(verification.records, 'record')} in "
        f"{_text.plural(len(verification.pages), 'page')}: "
        f"{'intact' if verification.is_intact else 'damaged'}",
        *([f"  {counters_line(verification.books)}"] if verification.books else []),
    ]


def _largest(summary: Summary) -> list[str]:
    largest = sorted(summary.files, key=lambda file: -file["bytes"])[:5]
    heads = ["  largest   ", *["            "] * 4]
    return [
        f"{head} {file['path']}: {file['lines']:,} lines, parsed in {file['ms']:.0f} ms"
        for head, file in zip(heads, largest, strict=False)
    ]


def _failures(summary: Summary) -> list[str]:
    shown = [f"{failure['path']}: {failure['error']}" for failure in summary.failures[:3]]
    heads = [f"  failures   {len(summary.failures):,} could not be parsed, such as"]
    return [*(heads if shown else ()), *(f"             {_text.printable(line)[:100]}" for line in shown)]


def _one_page(summary: Summary, reader: disklog_mp.Reader) -> list[str]:
    """Describe one page, which is opened by its number: here the middle one."""
    number = summary.pages[len(summary.pages) // 2][0]
    with reader.get_page(number) as page:
        records = list(page)
    first, last = records[0], records[-1]
    return [
        f"  page {number:<5} records {first.number:,} to {last.number:,}, "
        f"logged in {(last.timestamp - first.timestamp) / 1e9:.2f} s"
    ]


def next_steps(path: str) -> list[str]:
    """Return commands to try on the pages, which stay."""
    where = shlex.quote(path)
    return [
        "where to look next",
        f"  disklog-mp cat {where} | head",
        f"  disklog-mp tail -n 5 {where}",
        f"  disklog-mp stat {where}",
        f"  disklog-mp verify {where}",
    ]
