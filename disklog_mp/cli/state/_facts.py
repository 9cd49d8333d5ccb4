"""What the page files tell of a log that has no ring."""

from __future__ import annotations

from typing import Any

from disklog_mp._os.files import REAL
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HEADER_LENGTH, HeaderError, PageHeader, PageLine


def read(path: str, name: str) -> dict[str, Any]:
    """Return the facts in the headers of the page files, with a verdict, in the words of Stats."""
    directory = Directory(path)
    numbers = directory.pages()
    headers = [found for number in numbers if (found := _header(directory.page_path(number)))]
    problems = []
    if len(headers) < len(numbers):
        problems.append("page files without a page header: `disklog-mp verify` says more")
    writer = directory.read_note()[0] if directory.is_locked() else 0
    if writer:
        problems.append(
            f"process {writer} writes here, but its ring is not where it was looked for: --ring-dir"
        )
    first, last = (headers[0], headers[-1]) if headers else (None, None)
    return {
        "name": name,
        "path": path,
        "writer_pid": writer,
        "records": last[0].first_number + last[1].records if last else 0,
        "pages": len(numbers),
        "first_page": numbers[0] if numbers else 0,
        "last_page": numbers[-1] if numbers else 0,
        "page_bytes": sum(line.watermark for _, line in headers),
        "sealed": sum(line.state == _page_format.PAGE_SEALED for _, line in headers),
        "first_record": first[0].first_number if first else 0,
        "first_time": first[0].created if first else 0,
        "last_time": max((line.last_time for _, line in headers), default=0),
        "status": "warning" if problems else "ok",
        "problems": problems,
    }


def _header(path: str) -> tuple[PageHeader, PageLine] | None:
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
