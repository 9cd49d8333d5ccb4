"""A check of a whole log: every page, the sequence of the pages, and the counters of its ring."""

from __future__ import annotations

import itertools
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from disklog_mp._pages.directory import Directory
from disklog_mp._pages.identity import is_continued
from disklog_mp._reader.damage import describe_missing, describe_numbers, describe_times
from disklog_mp._reader.page import Page
from disklog_mp._ring import file as _ring
from disklog_mp._verify.books import Books, close_books
from disklog_mp._verify.pages import DAMAGE, DROP, NOTE, Finding, PageFacts, check_page
from disklog_mp._verify.told import Told, read_told
from disklog_mp.errors import DiskLogError


@dataclass
class Report:
    """The result of a check."""

    path: str
    name: str
    live: bool
    pages: list[PageFacts] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    books: Books | None = None
    told: Told | None = None  # by the log's events

    @property
    def records(self) -> int:
        """Number of records that are as they were written."""
        return sum(page.records for page in self.pages)

    @property
    def is_intact(self) -> bool:
        """True if there is no damage in a page."""
        return not any(finding.page and finding.kind == DAMAGE for finding in self.findings)

    @property
    def dropped(self) -> int:
        """Records that were dropped or refused because the ring was full, as pages, ring and events know."""
        return max(
            self.reported, self.books.dropped if self.books else 0, self.told.dropped if self.told else 0
        )

    @property
    def reported(self) -> int:
        """Records that were dropped, as records in the pages report it."""
        return sum(page.dropped for page in self.pages)

    @property
    def sums(self) -> dict[str, int] | None:
        """The equation: records ever = kept + retired + archived + missing, and while the log is open those
        that are still in the ring; None while no page can be read.
        """
        readable = [page for page in self.pages if page.header is not None]
        if not readable:
            return None
        assert readable[0].header is not None
        ever, gone = readable[-1].next_number, readable[0].header.first_number
        archived = min(gone, self.told.archived if self.told else 0)
        missing = max(0, ever - gone - self.records)
        sums = {"kept": self.records, "retired": gone - archived, "archived": archived, "missing": missing}
        if self.books is not None:
            sums["in_ring"] = self.books.in_ring
        return {"ever": sum(sums.values()), **sums}

    @property
    def status(self) -> str:
        """What was found: damage, drops, notes, or clean."""
        kinds = {finding.kind for finding in self.findings}
        if DAMAGE in kinds:
            return "damage"
        return "drops" if self.dropped or DROP in kinds else "notes" if NOTE in kinds else "clean"

    @property
    def exit_code(self) -> int:
        """0 intact, 1 records were dropped, 3 damage; a mere note is no fault."""
        return {"damage": 3, "drops": 1}.get(self.status, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        return {
            "path": self.path,
            "name": self.name,
            "live": self.live,
            "status": self.status,
            "pages": len(self.pages),
            "sealed": sum(page.sealed for page in self.pages),
            "records": self.records,
            "sums": self.sums,
            "dropped": self.dropped,
            "told": None if self.told is None else self.told._asdict(),
            "abandoned": sum(page.abandoned for page in self.pages),
            "bytes": sum(page.bytes for page in self.pages),
            "findings": [finding._asdict() for finding in self.findings],
            "books": None if self.books is None else {**asdict(self.books), "balance": self.books.balance},
        }


def verify(path: str, name: str, file: _ring.RingFile | None) -> Report:
    """Check the log in a directory, and the counters of its ring if it has one.  Changes nothing."""
    directory = Directory(path)
    result = Report(path, name, live=directory.is_locked())
    aside = _set_aside(directory)
    numbers = directory.pages()
    for number in numbers:
        live = result.live and number == numbers[-1]
        try:
            page = check_page(directory.page_path(number), number, live=live, set_aside=number in aside)
        except FileNotFoundError:  # retired meanwhile
            continue
        result.pages.append(page)
        result.findings.extend(page.findings)
    for number, names in aside.items():
        result.findings.extend(Finding(NOTE, number, text) for text in names)
    readable = [page for page in result.pages if page.header is not None]
    for before, after in itertools.pairwise(readable):
        result.findings.extend(_seam(before, after, aside))
    if file is not None:
        result.books = close_books(path, file)
        result.findings.extend(Finding(kind, 0, text) for kind, text in result.books.findings())
    result.told = read_told(path)
    result.findings.extend(_told_findings(result, result.told))
    result.findings.sort(key=lambda finding: finding.page)
    return result


def _told_findings(result: Report, told: Told) -> list[Finding]:
    """Compare what the log's events say with the pages."""
    found = [Finding(DAMAGE, 0, text) for text in told.damage]
    found += [Finding(NOTE, 0, text) for text in told.torn]
    more = told.dropped - result.reported
    if more > 0:
        records = "1 record" if more == 1 else f"{more:,} records"
        text = f"{records} refused, or dropped and not reported in the pages: `disklog-mp events` says when"
        found.append(Finding(DROP, 0, text))
    sums = result.sums
    if told.is_whole and sums is not None and not result.live and sums["retired"] > told.retired:
        text = (
            f"{sums['retired']:,} records are before the first page, events tell of {told.retired:,} retired"
        )
        found.append(Finding(NOTE, 0, text))
    return found


def _set_aside(directory: Directory) -> dict[int, list[str]]:
    """The files that recovery set aside, by page."""
    found: dict[int, list[str]] = {}
    for number, offset in directory.set_aside():
        path = directory.bad_path(number, offset)
        text = f"recovery set {os.lstat(path).st_size:,} bytes aside as {os.path.basename(path)}"
        found.setdefault(number, []).append(text)
    return found


def _seam(before: PageFacts, after: PageFacts, aside: dict[int, list[str]]) -> list[Finding]:
    """Compare the end of one page with the beginning of the next."""
    assert before.header is not None
    assert after.header is not None
    found = []

    def say(kind: str, text: str) -> None:
        found.append(Finding(kind, after.number, text))

    ids = before.header.log_id, after.header.log_id
    of_one_log = ids[0] == ids[1] or is_continued(os.path.dirname(after.path), *ids)
    if not of_one_log or before.header.salt != after.header.salt:
        say(DAMAGE, f"belongs to another log than page {before.number}")
        return found
    if not before.sealed:
        say(NOTE, f"the page before it, {before.number}, was never sealed")
    missing = [number for number in range(before.number + 1, after.number) if number not in aside]
    skipped = after.header.first_number - before.next_number
    if missing and skipped >= 0:
        text = describe_missing(missing[0], missing[-1], skipped, before.next_number)
        text += _times(before, after) if skipped else ""
        return [*found, Finding(DAMAGE, missing[0], text)]
    hole = after.header.first_position - before.end_position
    if hole < 0:
        say(DAMAGE, f"begins {-hole:,} bytes before page {before.number} ends")
    elif hole:
        say(NOTE, f"{hole:,} positions before it are unused, as a repair leaves them")
    if skipped:
        repaired = any(number in aside for number in range(before.number, after.number))
        kind = NOTE if repaired and not missing else DAMAGE
        text = f"its first record has number {after.header.first_number:,}, not {before.next_number:,}"
        if skipped > 0:
            text += f": {describe_numbers(before.next_number, skipped)} missing{_times(before, after)}"
        say(kind, text)
    return found


def _times(before: PageFacts, after: PageFacts) -> str:
    """Between which times the records between two pages are missing."""
    try:
        with Page(after.path, on_damage=lambda damage: None) as page:
            return describe_times(before.last_time, page.first_time())
    except (OSError, DiskLogError):  # gone meanwhile
        return describe_times(before.last_time, 0)
