"""What the files of a log tell without its ring: its name, the directory of its ring, its pages."""

from __future__ import annotations

import os
from typing import NamedTuple

from disklog_mp._os.files import REAL
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HEADER_LENGTH, HeaderError, PageHeader, PageLine
from disklog_mp._pages.identity import LogIdentity, read_identity
from disklog_mp._pages.identity import is_log_of as _is_log_of
from disklog_mp._pages.labels import read_labels
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.reader import Reader
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.names import NAME, ring_path
from disklog_mp.errors import DiskLogError


class Survey(NamedTuple):
    """The sums over the headers of a log's page files."""

    writer_pid: int  # 0: no writer
    records: int  # written since the log began
    pages: int
    unreadable: int  # pages whose header cannot be read
    first_page: int
    last_page: int
    page_bytes: int
    sealed: int
    first_record: int  # number of the oldest record on disk
    first_time: int  # ns since the epoch
    last_time: int


def is_directory(path: str) -> bool:
    """True if there is a directory of that path; raises what Directory.exists() raises."""
    return Directory(path).exists()


def is_log(path: str) -> bool:
    """True if the directory holds a page file or the lock file of a writer."""
    return Directory(path).is_log()


def absolute(path: str) -> str:
    """Return the path as the log's writer names it."""
    return Directory(path).path


def name_of(path: str) -> str:
    """Return the name of the log in a directory, "" if neither its lock file nor a page header has it."""
    identity = read_identity(path)
    _, name = Directory(path).read_note()
    if identity is not None or name:
        return name if identity is None else identity.name
    reader = Reader(path, on_damage=lambda damage: None)
    for page in reader.pages():
        with page:
            return page.header.name
    return ""


def is_written(path: str) -> bool:
    """True if a live process writes the log in this directory."""
    return Directory(path).is_locked()


def identity_of(path: str) -> LogIdentity | None:
    """Return what the log's file says, None if it cannot be read."""
    try:
        return read_identity(path)
    except (DiskLogError, OSError):
        return None


def ring_dir_of(path: str) -> str:
    """Return the directory of the log's ring as the log's file, or its lock file, names it; "" if neither
    does.
    """
    identity = read_identity(path)
    return Directory(path).rings() if identity is None else identity.ring_dir


def ring_path_of(path: str, ring_dir: str | None) -> str | None:
    """Return the path of the ring of the log in a directory, None if it cannot be known.

    `ring_dir` None: where the log's file says.
    """
    identity = read_identity(path)
    if identity is None or NAME.fullmatch(identity.name) is None:
        return None
    where = ring_dir or identity.ring_dir
    return ring_path(identity.name, identity.log_id, where) if os.path.isabs(where) else None


def labels_of(path: str) -> int:
    """Return how many labels the log's table has; 0 if it cannot be read."""
    try:
        return len(read_labels(path))
    except OSError:
        return 0


def is_log_of(path: str, file: RingFile) -> bool:
    """True if the directory has the log of that ring, which named it; see identity.is_log_of()."""
    return _is_log_of(path, file.ring.log_id, os.fstat(file.fd).st_uid)


def survey(path: str) -> Survey:
    """Read the headers of all page files of a log."""
    directory = Directory(path)
    numbers = directory.pages()
    headers = [found for number in numbers if (found := header_of(directory.page_path(number)))]
    first, last = (headers[0], headers[-1]) if headers else (None, None)
    return Survey(
        writer_pid=directory.read_note()[0] if directory.is_locked() else 0,
        records=last[0].first_number + last[1].records if last else 0,
        pages=len(numbers),
        unreadable=len(numbers) - len(headers),
        first_page=numbers[0] if numbers else 0,
        last_page=numbers[-1] if numbers else 0,
        page_bytes=sum(line.watermark for _, line in headers),
        sealed=sum(line.state == _page_format.PAGE_SEALED for _, line in headers),
        first_record=first[0].first_number if first else 0,
        first_time=first[0].created if first else 0,
        last_time=max((line.last_time for _, line in headers), default=0),
    )


def header_of(path: str) -> tuple[PageHeader, PageLine] | None:
    """Return the header of a page file, None if it cannot be read."""
    file = REAL.open(path, writable=False)
    try:
        if file.size() < HEADER_LENGTH:
            return None
        data = memoryview(file.map(HEADER_LENGTH, writable=False))
        return _page_format.unpack(data), _page_format.unpack_line(data)
    except HeaderError:
        return None
    finally:
        file.close()


def unknown_version_of(path: str) -> int:
    """Return the version of the format of a page file if this code does not know it, else 0."""
    file = REAL.open(path, writable=False)
    try:
        _page_format.unpack(file.read(HEADER_LENGTH))
    except HeaderError as problem:
        found = problem.found
        return found if problem.offset == _page_format.VERSION and isinstance(found, int) else 0
    finally:
        file.close()
    return 0


class Losses(NamedTuple):
    """What the pages of a log tell of records that are not there."""

    dropped: int
    missing: int  # records
    ranges: int  # of damaged bytes, and of missing records


def losses(path: str) -> Losses:
    """Read all pages of a log for what was dropped, damaged, or is missing."""
    from disklog_mp._verify.pages import next_gap  # only logs without a writer need it

    damage: list[Damage] = []
    dropped = 0
    for page in Reader(path, on_damage=damage.append).pages():
        with page:
            frames = page.records_from()
            while True:
                while (gap := next_gap(frames)) is not None:
                    dropped += gap.dropped
                if not page.extend(frames):
                    break
    found = [each for each in damage if not each.torn]
    return Losses(dropped, sum(each.records for each in found), len(found))
