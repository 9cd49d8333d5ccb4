"""The header of a page file: bytes to values and back, no I/O.

The table is in csrc/core/layout.h (struct dl_page_header); the offsets here are the same, and a test compares
them with bytes the C core reads.
"""

import struct
from typing import NamedTuple

from disklog_mp._core import FRAME_HEADER, GRANULE, KIND_RECORD, PAGE_LABELLED, PAGE_VERSION, crc32c

HEADER_LENGTH = 4096
MAGIC = b"DLPAGE\r\n"
PAGE_OPEN = 1
PAGE_SEALED = 2

# Limits for what a header may say, far beyond what any log reaches: sums of such values fit into 64 bits.
POSITION_MAX = 3 << 62
PAGE_BYTES_MAX = 1 << 61

VERSIONS = (PAGE_VERSION, PAGE_LABELLED)

# offsets of the immutable part
VERSION = 8
LENGTH = 12
LOG_ID = 16
NUMBER = 32
FIRST_POSITION = 40
FIRST_NUMBER = 48
PAGE_BYTES = 72
DATA_OFFSET = 96
HEADER_CRC = 252

# offsets of the mutable line
LINE = WATERMARK = 256
RECORDS = 264
LAST_TIME = 272
STATE = 280
BELL = 284
DATA_CRC = 288
SEAL_CRC = 292
LINE_LENGTH = 40
LINE_END = LINE + LINE_LENGTH  # zero from here to HEADER_LENGTH

_FIXED = struct.Struct("<8sII16sQQQQQQQQII128s20x")
_CRC = struct.Struct("<I")
_LINE = struct.Struct("<QQQIIII")
_FRAME = struct.Struct("<IIQIHH")
_COVERED = struct.Struct("<5Q")  # covered by a frame's checksum, before the record's bytes
assert _FIXED.size == HEADER_CRC
assert _LINE.size == LINE_LENGTH
assert _FRAME.size == FRAME_HEADER
assert LINE_END == SEAL_CRC + _CRC.size


class PageHeader(NamedTuple):
    """The part of a page header that never changes, but for the version."""

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
    version: int = PAGE_VERSION  # PAGE_LABELLED once the page may hold frames with a label

    def offset_of(self, position: int) -> int:
        """Return where in the page file that position stands."""
        return self.data_offset + position - self.first_position

    def position_of(self, offset: int) -> int:
        """Return the position that stands at that offset of the page file."""
        return self.first_position + offset - self.data_offset


class PageLine(NamedTuple):
    """The mutable part of a page header: what can be read now, and whether more will come."""

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
        header.version,
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

    Raises HeaderError; its offset is VERSION if this code does not know the version.
    """
    if len(data) < HEADER_LENGTH:
        raise HeaderError(len(data), f"{len(data)} bytes", f"a header of {HEADER_LENGTH} bytes")
    magic, version, length, log_id, *numbers, name = _FIXED.unpack_from(data)
    if magic != MAGIC:
        raise HeaderError(0, f"{magic!r}", f"{MAGIC!r}")
    (crc,) = _CRC.unpack_from(data, HEADER_CRC)
    # As if it were ours: then a damaged version is told from another version.  A writer that makes version 1
    # version 2 stores the checksum first, and may be killed before it stores the version.
    ours = [known for known in VERSIONS if crc == header_crc(data, known)]
    if version not in VERSIONS and not ours:
        raise HeaderError(VERSION, version, PAGE_LABELLED)
    if not ours or version not in VERSIONS:
        raise HeaderError(HEADER_CRC, f"crc {crc:#010x}", f"{crc32c(bytes(data[:HEADER_CRC])):#010x}")
    text = name.rstrip(b"\0").decode("utf-8", "backslashreplace")
    header = PageHeader._make([log_id, *numbers, text, max(version, *ours)])
    # The checksum says that these values were written, not that they make sense.
    data_offset = HEADER_LENGTH + -(-header.head_length // GRANULE) * GRANULE
    if length != HEADER_LENGTH:
        raise HeaderError(LENGTH, length, HEADER_LENGTH)
    if header.data_offset != data_offset:
        raise HeaderError(DATA_OFFSET, header.data_offset, data_offset)
    if header.first_position % GRANULE or header.first_position > POSITION_MAX:
        raise HeaderError(
            FIRST_POSITION, header.first_position, f"a multiple of {GRANULE} up to {POSITION_MAX}"
        )
    if header.first_number >= 2**63:
        raise HeaderError(FIRST_NUMBER, header.first_number, "a number below 2**63")
    if header.page_bytes > PAGE_BYTES_MAX:
        raise HeaderError(PAGE_BYTES, header.page_bytes, f"bytes up to {PAGE_BYTES_MAX}")
    return header


def record_frame(position: int, salt: int, time: int, pid: int, data: bytes) -> bytes:
    """Return the frame of one record as it stands at that position, padded to the granule."""
    origin = pid | KIND_RECORD << 32
    covered = _COVERED.pack(salt, position, time, origin, len(data)) + data
    frame = _FRAME.pack(len(data), crc32c(covered), time, pid, KIND_RECORD, 0) + data
    return frame.ljust(-(-len(frame) // GRANULE) * GRANULE, b"\0")


def header_crc(data: bytes | memoryview, version: int) -> int:
    """Return the checksum of a header if it had that version."""
    return crc32c(bytes(data[:VERSION]) + version.to_bytes(4, "little") + bytes(data[LENGTH:HEADER_CRC]))


def unpack_line(data: bytes | memoryview) -> PageLine:
    """Return the mutable line as it is at this moment; nothing in it is checked."""
    return PageLine(*_LINE.unpack_from(data, LINE))


def is_plausible(header: PageHeader, line: PageLine, size: int) -> bool:
    """True if a page with this header can have this line, in a file that has or had at least that size.

    The file may have been longer: a power loss can take the end of a file and leave its first bytes.
    """
    length = line.watermark - header.data_offset
    longest = max(header.page_bytes, size - header.data_offset)
    return 0 <= length <= longest and length % GRANULE == 0 and line.records * FRAME_HEADER <= length


def seal_crc(data: bytes | bytearray | memoryview) -> int:
    """Return the checksum that closes a sealed page's line."""
    return crc32c(bytes(data[WATERMARK:BELL]) + bytes(data[DATA_CRC:SEAL_CRC]))


def is_sealed(data: bytes | memoryview) -> bool:
    """True if the line says so and its checksum agrees."""
    line = unpack_line(data)
    return line.state == PAGE_SEALED and line.seal_crc == seal_crc(data)


def sealed_crc(data: bytes | memoryview) -> int:
    """Return the seal_crc the line will have once it says that the page is sealed."""
    line = bytearray(data[:SEAL_CRC])
    line[STATE:BELL] = PAGE_SEALED.to_bytes(4, "little")
    return seal_crc(line)
