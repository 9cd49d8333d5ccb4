"""The header of a page file: bytes to values and back, no I/O.

The table is in csrc/layout.h (struct dl_page_header); the offsets here are the same, and a test compares
them with bytes the C core reads.
"""

import struct
from typing import NamedTuple

from disklog_mp._core import GRANULE, PAGE_VERSION, crc32c

HEADER_LENGTH = 4096
MAGIC = b"DLPAGE\r\n"
PAGE_OPEN = 1
PAGE_SEALED = 2

# offsets of the mutable line
WATERMARK = 256
RECORDS = 264
LAST_TIME = 272
STATE = 280
BELL = 284
DATA_CRC = 288
SEAL_CRC = 292

_FIXED = struct.Struct("<8sII16sQQQQQQQQII128s20x")
_CRC = struct.Struct("<I")
_LINE = struct.Struct("<QQQIIII")
assert _FIXED.size == 252
assert _LINE.size == SEAL_CRC + 4 - WATERMARK


class PageHeader(NamedTuple):
    """The part of a page header that never changes."""

    log_id: bytes
    number: int
    first_position: int
    first_number: int
    salt: int
    created: int
    page_bytes: int
    page_records: int
    page_age: int
    data_offset: int
    head_length: int
    name: str


class PageLine(NamedTuple):
    """The part that does: what can be read now, and whether more will come."""

    watermark: int
    records: int
    last_time: int
    state: int
    bell: int
    data_crc: int
    seal_crc: int


class HeaderError(ValueError):
    """These bytes are not a page header: says what was found and what was expected, and where."""

    def __init__(self, offset: int, found: object, expected: object) -> None:
        super().__init__(offset, found, expected)
        self.offset = offset
        self.found = found
        self.expected = expected


def pack(header: PageHeader) -> bytes:
    """Return the 4,096 bytes of a new page: open, nothing in it."""
    fixed = _FIXED.pack(
        MAGIC,
        PAGE_VERSION,
        HEADER_LENGTH,
        header.log_id,
        header.number,
        header.first_position,
        header.first_number,
        header.salt,
        header.created,
        header.page_bytes,
        header.page_records,
        header.page_age,
        header.data_offset,
        header.head_length,
        header.name.encode(),
    )
    line = _LINE.pack(header.data_offset, 0, 0, PAGE_OPEN, 0, 0, 0)
    return (fixed + _CRC.pack(crc32c(fixed)) + line).ljust(HEADER_LENGTH, b"\0")


def unpack(data: bytes | memoryview) -> PageHeader:
    """Return the header.

    Raises HeaderError; found is the version number if it is one this code does not know.
    """
    if len(data) < HEADER_LENGTH:
        raise HeaderError(len(data), f"{len(data)} bytes", f"a header of {HEADER_LENGTH} bytes")
    magic, version, length, log_id, *numbers, name = _FIXED.unpack_from(data)
    if magic != MAGIC:
        raise HeaderError(0, f"{magic!r}", f"{MAGIC!r}")
    if version != PAGE_VERSION:
        raise HeaderError(8, version, PAGE_VERSION)
    (crc,) = _CRC.unpack_from(data, 252)
    expected = crc32c(bytes(data[:252]))
    if crc != expected:
        raise HeaderError(252, f"crc {crc:#010x}", f"{expected:#010x}")
    header = PageHeader(log_id, *numbers, name.rstrip(b"\0").decode("utf-8", "backslashreplace"))
    data_offset = HEADER_LENGTH + -(-header.head_length // GRANULE) * GRANULE
    if length != HEADER_LENGTH or header.data_offset != data_offset:
        raise HeaderError(96, header.data_offset, data_offset)
    return header


def unpack_line(data: bytes | memoryview) -> PageLine:
    """Return the mutable line as it is at this moment; nothing in it is checked."""
    return PageLine(*_LINE.unpack_from(data, WATERMARK))


def seal_crc(data: bytes | memoryview) -> int:
    """Return the checksum that closes a sealed page's line."""
    return crc32c(bytes(data[WATERMARK:BELL]) + bytes(data[DATA_CRC:SEAL_CRC]))
