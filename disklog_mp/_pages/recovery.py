"""RECOVERY: where a log goes on, found from its directory and from what the ring says.

Opening a log is recovering it: there is no other way to open one, and no clean path that skips it.

What is trusted.  A frame is valid only where it stands, by its checksum over position and salt.  A page
header is valid by its checksum.  The line behind it (watermark, records, state) is a hint, unless its seal
agrees.  Where the ring of the last writer is still there, no power was lost: then all below its `released` is
in the pages, and all from `released` on is in the ring and is written again.  Without the ring the last page
is scanned to its end.  Each hint of the ring is ignored if it is impossible.

What is never done.  No position, record number or page number is given twice.  No unreadable byte is thrown
away: it is copied to page-N.bad-OFFSET, and synced, before the page gives it up.  A page file is never cut
below what readers may have mapped.  A page that is sealed is never changed.

The table.  "page" is the newest page with a valid header.  Each row is a test.

    case                               | goes on in | at position             | kept aside
    -----------------------------------+------------+-------------------------+-----------------
    no page                            | page 1     | 0                       | -
    no page, ring                      | page 1     | released                | -
    page is whole                      | same page  | its end                 | -
    page is whole, ring of another log | same page  | its end                 | -
    page is whole, ring released less  | same page  | its end                 | -
    page is whole, ring released more  | new page   | released                | -
    frames behind the watermark        | same page  | behind these frames     | -
    watermark is damaged               | same page  | behind the last frame   | -
    last frame is torn                 | new page   | behind the torn bytes   | the torn bytes
    last frame is torn, ring has it    | same page  | released                | -
    last frames are zeros or cut off   | new page   | where they ended        | -
    a frame inside is corrupt          | new page   | its end                 | -
    page is sealed                     | new page   | its end                 | -
    page is sealed and cut             | new page   | its end                 | -
    machine was down                   | new page   | its end + LEAP          | -
    newest file has no header          | new page   | its end + LEAP          | the whole file
    older page is unsealed             | same page  | its end                 | -
    older page has no header           | same page  | its end                 | -

A corrupt frame, unlike a torn one, has valid frames behind it: readers pass over it, so nothing is moved.

The order.  (1) Remove unfinished pages: they never had a name.  (2) Find the newest page with a header.
(3) Seal older pages that a crash left unsealed.  (4) Survey the newest page, keep its torn bytes aside.
(5) PageWriter.begin(): make and sync the new page if one is needed, only then seal the one before.
(6) Note the boot in the lock file.  Each step can be interrupted and the whole be repeated.

LEAP.  After a power loss readers may have seen records that never reached the disk.  What is logged now must
not get their positions, so the log goes on far behind all that can have been written.
"""

from typing import NamedTuple

from disklog_mp._core import FRAME_HEADER, GRANULE, all_zero, census
from disklog_mp._os.clocks import boot_time, wall_at_boot
from disklog_mp._pages.file import PageFile
from disklog_mp._pages.folder import PageFolder
from disklog_mp._pages.format import HEADER_LENGTH, POSITION_MAX, HeaderError, PageHeader
from disklog_mp._pages.retention import KeptPage
from disklog_mp._pages.survey import LEAP, FoundPage, Survey
from disklog_mp._pages.unsynced import SealedPage, SleepingFile
from disklog_mp.errors import FormatVersionError


class RingHints(NamedTuple):
    """What a new writer knows besides the directory."""

    log_id: bytes  # of the ring; without a ring, those of a new log, should there be no page
    salt: int
    ring_is_there: bool = False  # the last writer's, of this boot
    released: int | None = None  # all from this position on is in the ring; None: the watermark says it
    durable: int | None = None  # pages that end behind it are synced again; None: all pages
    records: int = 0  # if pages below `released` are missing, the next record has at least this number
    page: int = 0  # and the next page comes behind this one

    def possible(self) -> "RingHints":
        """Return the hints without those that cannot be."""
        released, records = self.released, self.records
        if released is not None and (released % GRANULE or released > POSITION_MAX):
            released = None
        if records > (released or 0) // FRAME_HEADER:
            records = 0
        return self._replace(released=released, records=records)

    def about(self, log_id: bytes) -> "RingHints":
        """Return the hints as far as they are about that log."""
        if log_id == self.log_id:
            return self
        return self._replace(ring_is_there=False, released=None, durable=None, records=0, page=0)


class DamagedBytes(NamedTuple):
    """Bytes of a page that cannot be read; `before` and `after`: the times of the records around them, in ns
    since the epoch, 0 if not known.
    """

    page: int
    offset: int  # 0: the whole page
    length: int
    records: int  # at least so many
    before: int
    after: int
    path: str = ""  # of the file in which they are kept, "": they are where they were


class Recovered(NamedTuple):
    """What recovery found and repaired, for people; `position` and `number` are where the log goes on."""

    position: int
    number: int
    records: int  # that can be read: in sealed pages as their headers say, in the others counted
    abandoned: int  # frames of dead producers, in the pages that were counted
    corrupt_ranges: int
    corrupt_bytes: int
    torn_bytes: int  # behind the last valid frame, published once or not zero
    set_aside: tuple[str, ...]
    damaged: tuple[DamagedBytes, ...] = ()  # found by this recovery, not by one before
    sealed: tuple[KeptPage, ...] = ()  # pages that recovery sealed


class LastPage(NamedTuple):
    """The newest page, open, and what PageWriter.begin() has to do with it."""

    page: PageFile
    kept: KeptPage | None  # it was sealed already: what retention has to know of it
    last_time: int
    is_whole: bool  # it is unsealed, and all that readers were shown is still there
    is_corrupt: bool
    needs_new_page: bool
    needs_sync: bool  # else another power loss would leap from here to the same position


class ResumePoint(NamedTuple):
    """Where and how the log goes on."""

    log_id: bytes
    salt: int
    newest_page: int  # the highest page number that was ever given, as far as is known
    survived: int  # where the pages end; the position of the report may have leapt
    kept: tuple[KeptPage, ...]  # the sealed pages before `last`
    unsynced: tuple[SealedPage, ...]  # those of them that may not be on disk
    last: LastPage | None
    report: Recovered


def recover(folder: PageFolder, hints: RingHints) -> ResumePoint:
    """Find where the log goes on, repairing what a crash left in all pages but the newest.

    The caller hands the result to PageWriter.begin(), which does the rest.  Interrupted anywhere, it can be
    repeated.  Raises FormatVersionError if the newest page is of another version, and OSError.
    """
    return _Recovery(folder, hints.possible()).run()


class _Recovery:
    """One recovery on its way through the pages."""

    def __init__(self, folder: PageFolder, hints: RingHints) -> None:
        self._folder = folder
        self._directory = folder.directory
        self._hints = hints
        self._kept: list[KeptPage] = []
        self._unsynced: list[SealedPage] = []
        self._records = self._abandoned = 0
        self._corrupt_ranges = self._corrupt_bytes = self._torn_bytes = 0
        self._set_aside: list[str] = []
        self._damaged: list[DamagedBytes] = []
        self._sealed: list[KeptPage] = []

    def run(self) -> ResumePoint:
        directory = self._directory
        directory.tidy()
        numbers = directory.pages()
        newest = max([0, *numbers, *(number for number, _ in directory.set_aside())])
        if self._hints.page > newest + (self._hints.released or 0) // GRANULE:
            self._hints = self._hints._replace(page=0)  # that many pages cannot have been
        last = self._find_last(numbers)
        if last is None:
            hints = self._hints
            position = hints.released or 0
            newest = max(newest, hints.page)
            report = self._report(position, hints.records)
            return ResumePoint(hints.log_id, hints.salt, newest, 0, (), (), None, report)
        try:
            self._hints = self._hints.about(last.header.log_id)
            self._repair_older(numbers[:-1], last.header)
            return self._resume_behind(last, newest)
        except BaseException:
            last.file.close()
            raise

    def _report(self, position: int, number: int) -> Recovered:
        return Recovered(
            position,
            number,
            self._records,
            self._abandoned,
            self._corrupt_ranges,
            self._corrupt_bytes,
            self._torn_bytes,
            tuple(self._set_aside),
            tuple(self._damaged),
            tuple(self._sealed),
        )

    def _find_last(self, numbers: list[int]) -> FoundPage | None:
        """Open the newest page with a header; set newer ones aside and take them out of `numbers`."""
        while numbers:
            path = self._directory.page_path(numbers[-1])
            file = self._folder.files.open(path, writable=True)
            try:
                return FoundPage(file, path, numbers[-1])
            except HeaderError:
                length = file.size()
                file.close()
                path = self._folder.set_page_aside(numbers[-1])
                self._set_aside.append(path)
                self._damaged.append(DamagedBytes(numbers.pop(), 0, length, 0, 0, 0, path))
            except BaseException:
                file.close()
                raise
        return None

    # -- older pages -------------------------------------------------------------------------------------

    def _repair_older(self, numbers: list[int], following: PageHeader) -> None:
        """Note the pages before the last for retention; seal those that are unsealed.

        A power loss leaves such pages, and a recovery that was interrupted.
        """
        durable = self._hints.durable
        for number in reversed(numbers):
            path = self._directory.page_path(number)
            file = self._folder.files.open(path, writable=False)
            try:
                found = FoundPage(file, path, number)
            except (HeaderError, FormatVersionError):
                # It stays where it is.  When it was sealed is unknown: as late as can be.
                self._kept.append(KeptPage(number, file.size(), boot_time()))
                continue
            finally:
                file.close()
            header, line = found.header, found.line
            if not found.is_sealed:
                page = PageFile(self._folder.files.open(path, writable=True), header, found.size)
                self._seal_older(page, found, following)
                line = page.read_line()
            else:
                self._records += line.records
            if not found.is_sealed or durable is None or found.ends_at() > durable:
                crc = line.data_crc ^ 0xFFFFFFFF
                sleeping = SleepingFile(self._folder.files, path)
                self._unsynced.append(SealedPage(header, line.watermark, crc, sleeping))
            length = min(found.size, line.watermark)
            self._kept.append(KeptPage(number, length, self._sealed_before(following), line.records))
            if not found.is_sealed:
                self._sealed.append(self._kept[-1])
            following = found.header
        self._kept.reverse()

    def _sealed_before(self, following: PageHeader) -> float:
        """Return when the page before was sealed, see boot_time(): not long before the next one was begun.

        If the wall clock was set since then, as far as this boot can tell, the later of both answers counts.
        """
        now, created = boot_time(), following.created / 1e9
        wall = [wall_at_boot()]
        if self._directory.wall_before is not None:
            wall.append(self._directory.wall_before)
        return min(now, max(created - at_boot for at_boot in wall))

    def _seal_older(self, page: PageFile, found: FoundPage, following: PageHeader) -> None:
        try:
            found.file = page.file
            survey = found.survey_older(following)
            self._keep_torn_aside(found, survey)
            page.resume(survey.end, survey.records, survey.crc)
            page.show(survey.last_time)
            page.seal()
        finally:
            page.file.close()

    # -- the last page -----------------------------------------------------------------------------------

    def _resume_behind(self, last: FoundPage, newest: int) -> ResumePoint:
        """Survey the last page; go on in it, or in a new one if something was lost there."""
        header, line, hints = last.header, last.line, self._hints
        page = PageFile(last.file, header, last.size)
        survey = last.survey_last(hints.ring_is_there, hints.released)
        if last.is_sealed:
            self._count(survey)
            page.resume(line.watermark, line.records, line.data_crc ^ 0xFFFFFFFF)
            end, number = line.watermark, header.first_number + line.records
        else:
            self._keep_torn_aside(last, survey)
            page.resume(survey.end, survey.records, survey.crc, last.first_time(survey.end))
            end, number = survey.torn_end, header.first_number + survey.next_number
        position = header.first_position + -(-(end - header.data_offset) // GRANULE) * GRANULE
        if hints.ring_is_there and hints.released is not None and hints.released > position:
            position = hints.released
            newest = max(newest, hints.page)
        aside = self._directory.set_aside()
        lost = [page_number for page_number, offset in aside if offset == 0 and page_number > header.number]
        number += self._count_in_lost(lost, position, header.salt)
        survived = position
        leaps = not hints.ring_is_there and (self._directory.rebooted or bool(lost))
        if leaps:
            position += LEAP
        needs_new_page = position != page.ends_at()
        if needs_new_page:
            number = max(number, hints.records)
        kept = KeptPage(header.number, min(last.size, line.watermark), boot_time(), line.records)
        last_page = LastPage(
            page,
            kept if last.is_sealed else None,
            last_time=survey.last_time,
            is_whole=not last.is_sealed and survey.end >= last.published(),
            is_corrupt=survey.corrupt_ranges > 0,
            needs_new_page=needs_new_page,
            needs_sync=leaps,
        )
        return ResumePoint(
            header.log_id,
            header.salt,
            newest,
            survived,
            tuple(self._kept),
            tuple(self._unsynced),
            last_page,
            self._report(position, number),
        )

    def _count_in_lost(self, numbers: list[int], position: int, salt: int) -> int:
        """Count the records in pages that were set aside, as if the first began at `position`."""
        records = 0
        for number in numbers:
            file = self._folder.files.open(self._directory.bad_path(number, 0), writable=False)
            try:
                size = file.size()
                if size > HEADER_LENGTH:
                    whole = file.map(size, writable=False)
                    counted = census(whole, HEADER_LENGTH, size, position, salt)
                    records += counted.records
                    position += counted.end - HEADER_LENGTH
            finally:
                file.close()
        return records

    def _keep_torn_aside(self, found: FoundPage, survey: Survey) -> None:
        """Count what the survey found; copy torn bytes that are not all zero to a file of their own."""
        self._count(survey)
        number = found.header.number
        for each in survey.damage:
            offset, length, _, _, records = each
            self._damaged.append(DamagedBytes(number, offset, length, records, each.before, each.after))
        torn = memoryview(found.whole())[survey.end : survey.torn_end]
        if not all_zero(torn):
            path = self._folder.keep_aside(number, survey.end, torn)
            self._set_aside.append(path)
            lost = max(0, survey.next_number - survey.records)
            self._damaged.append(DamagedBytes(number, survey.end, len(torn), lost, survey.last_time, 0, path))

    def _count(self, survey: Survey) -> None:
        self._corrupt_ranges += survey.corrupt_ranges
        self._corrupt_bytes += survey.corrupt_bytes
        self._torn_bytes += survey.torn_end - survey.end
        self._records += survey.valid
        self._abandoned += survey.abandoned
