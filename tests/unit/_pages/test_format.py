"""The header of a page file, byte by byte."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pages import crc32c

from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import HeaderError, PageHeader, PageLine

HEADER = PageHeader(
    log_id=b"0123456789abcdef",
    number=7,
    first_position=2**32 - 128,
    first_number=41,
    salt=0x1122334455667788,
    created=1_700_000_000_123_456_789,
    page_bytes=64 << 20,
    page_records=5000,
    page_age=3_600_000_000_000,
    data_offset=4096,
    head_length=0,
    name="app",
)
# Written down once, by hand, from the table in layout.h.
GOLDEN = bytes.fromhex(
    "444c504147450d0a"  # magic: DLPAGE, carriage return, line feed
    "01000000"  # version
    "00100000"  # header_length
    "30313233343536373839616263646566"  # log_id
    "0700000000000000"  # number
    "80ffffff00000000"  # first_position
    "2900000000000000"  # first_number
    "8877665544332211"  # salt
    "15cd853dfe9c9717"  # created
    "0000000400000000"  # page_bytes
    "8813000000000000"  # page_records
    "00a0b83046030000"  # page_age
    "00100000"  # data_offset
    "00000000"  # head_length
    + b"app".hex().ljust(256, "0")  # name
    + "00" * 20  # reserved
)
GOLDEN_LINE = bytes.fromhex(
    "0010000000000000"  # watermark: at the first frame
    "0000000000000000"  # records
    "0000000000000000"  # last_time
    "01000000"  # state: open
    "00000000"  # bell
    "00000000"  # data_crc
    "00000000"  # seal_crc
)


def with_crc(fixed: bytes) -> bytes:
    """A whole header page of these 252 bytes."""
    return (fixed + struct.pack("<I", crc32c(fixed)) + GOLDEN_LINE).ljust(4096, b"\0")


def patched(offset: int, data: bytes) -> bytes:
    """The golden header with other bytes there, and the checksum they have."""
    return with_crc(GOLDEN[:offset] + data + GOLDEN[offset + len(data) :])


class TestPack:
    def test_every_byte_is_where_the_table_says(self) -> None:
        """The fixed part, its checksum, the line, and zeros up to 4,096."""
        assert len(GOLDEN) == 252
        assert with_crc(GOLDEN) == _page_format.pack(HEADER)

    def test_what_is_packed_is_unpacked(self) -> None:
        """Pack and unpack are each other's inverse, and a new page is open, with nothing in it."""
        data = _page_format.pack(HEADER)

        assert _page_format.unpack(data) == HEADER
        assert PageLine(4096, 0, 0, _page_format.PAGE_OPEN, 0, 0, 0) == _page_format.unpack_line(data)

    @given(
        st.builds(
            PageHeader,
            log_id=st.binary(min_size=16, max_size=16),
            number=st.integers(1, 2**63),
            first_position=st.integers(0, 2**58).map(lambda n: n * 32),
            first_number=st.integers(0, 2**63 - 1),
            salt=st.integers(0, 2**64 - 1),
            created=st.integers(0, 2**64 - 1),
            page_bytes=st.integers(0, 2**61),
            page_records=st.integers(0, 2**64 - 1),
            page_age=st.integers(0, 2**64 - 1),
            data_offset=st.just(4096),
            head_length=st.just(0),
            name=st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True),
            version=st.sampled_from([1, 2]),
        )
    )
    def test_any_header_survives_the_way_to_bytes_and_back(self, header: PageHeader) -> None:
        """Any name a log may have, and any place."""
        assert header == _page_format.unpack(_page_format.pack(header))

    def test_a_page_head_moves_the_first_frame(self) -> None:
        """100 bytes of page head take four granules."""
        header = HEADER._replace(head_length=100, data_offset=4096 + 128)

        assert header == _page_format.unpack(_page_format.pack(header))


WRONG: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 0),
    ("one byte short", with_crc(GOLDEN)[:4095], 4095),
    ("zeros", bytes(4096), 0),
    ("another magic", b"DLPAGE\n\n" + with_crc(GOLDEN)[8:], 0),
    ("line ends mangled", with_crc(GOLDEN).replace(b"\r\n", b"\n") + b"\0", 0),
    ("another version, checksum and all", patched(8, b"\3\0\0\0"), 8),
    ("another version, and all else different", GOLDEN[:8] + b"\3" + bytes(4087), 8),
    ("a damaged version", GOLDEN[:8] + b"\3" + with_crc(GOLDEN)[9:], 252),
    ("a damaged number", GOLDEN[:32] + b"\6" + with_crc(GOLDEN)[33:], 252),
    ("a damaged name", GOLDEN[:104] + b"x" + with_crc(GOLDEN)[105:], 252),
    ("a damaged checksum", GOLDEN + b"crc!" + with_crc(GOLDEN)[256:], 252),
    # The checksum holds, and still it makes no sense: a hostile file, or a fault of the program.
    ("a header of another length", patched(12, struct.pack("<I", 512)), 12),
    ("frames that begin in the header", patched(96, struct.pack("<I", 256)), 96),
    ("frames that begin nowhere", patched(96, struct.pack("<I", 0xFFFFFFE0)), 96),
    ("a page head without its room", patched(100, struct.pack("<I", 4096)), 96),
    ("a page head of 4 GiB", patched(96, struct.pack("<II", 4064, 0xFFFFFFFF)), 96),
    ("a position between granules", patched(40, struct.pack("<Q", 33)), 40),
    ("a position at the end of all", patched(40, struct.pack("<Q", 2**64 - 32)), 40),
    ("a number at the end of all", patched(48, struct.pack("<Q", 2**64 - 1)), 48),
    ("a page of all bytes there are", patched(72, struct.pack("<Q", 2**64 - 1)), 72),
]


class TestUnpack:
    @pytest.mark.parametrize(("what", "data", "offset"), WRONG, ids=[wrong[0] for wrong in WRONG])
    def test_what_is_no_header_is_refused(self, what: str, data: bytes, offset: int) -> None:
        """The error says where, what was found and what was expected."""
        with pytest.raises(HeaderError) as caught:
            _page_format.unpack(data)

        assert offset == caught.value.offset
        assert caught.value.found != caught.value.expected

    @pytest.mark.parametrize("offset", [*range(0, 252, 7), 252, 255])
    def test_no_bit_may_be_another(self, offset: int) -> None:
        """Each bit of the fixed part and of its checksum counts, and none looks like another version."""
        for bit in range(8):
            data = bytearray(with_crc(GOLDEN))
            data[offset] ^= 1 << bit
            with pytest.raises(HeaderError) as caught:
                _page_format.unpack(data)

            assert caught.value.offset != 8

    @given(st.binary(min_size=252, max_size=252))
    def test_any_fixed_part_with_its_checksum_is_read_or_refused(self, fixed: bytes) -> None:
        """A forged checksum leads to nothing but a HeaderError, or to sums that fit into 64 bits."""
        try:
            header = _page_format.unpack(with_crc(GOLDEN[:16] + fixed[16:]))
        except HeaderError:
            return

        assert header.first_position % 32 == 0
        assert header.first_position + header.page_bytes <= 2**64
        assert header.data_offset >= 4096


CHANGES: list[tuple[str, Callable[[PageLine], PageLine], bool]] = [
    ("nothing", lambda line: line, True),
    ("the watermark", lambda line: line._replace(watermark=line.watermark + 32), False),
    ("the count", lambda line: line._replace(records=line.records + 1), False),
    ("the last time", lambda line: line._replace(last_time=0), False),
    ("the state", lambda line: line._replace(state=1), False),
    ("the bell", lambda line: line._replace(bell=line.bell + 1), True),
    ("the checksum of the data", lambda line: line._replace(data_crc=0), False),
    ("the seal itself", lambda line: line._replace(seal_crc=line.seal_crc ^ 1), False),
]


class TestLine:
    LINE = PageLine(4096 + 320, 10, 1_700_000_000_000_000_000, 1, 5, 0xAABBCCDD, 0)

    @staticmethod
    def page(line: PageLine) -> bytes:
        return with_crc(GOLDEN)[:256] + struct.pack("<QQQIIII", *line) + bytes(3800)

    def test_the_seal_covers_the_line_and_not_the_bell(self) -> None:
        """seal_crc is the checksum of bytes 256-283 and 288-291; sealed_crc tells it beforehand."""
        open_page = self.page(self.LINE)
        sealed = self.page(self.LINE._replace(state=2))

        assert crc32c(sealed[256:284] + sealed[288:292]) == _page_format.seal_crc(sealed)
        assert _page_format.seal_crc(sealed) == _page_format.sealed_crc(open_page)

    @pytest.mark.parametrize(("what", "change", "sealed"), CHANGES, ids=[change[0] for change in CHANGES])
    def test_a_sealed_line_that_was_changed_is_not_sealed(
        self, what: str, change: Callable[[PageLine], PageLine], sealed: bool
    ) -> None:
        """Any change is noticed; only the bell may change."""
        line = self.LINE._replace(state=2)
        line = line._replace(seal_crc=_page_format.seal_crc(self.page(line)))

        assert sealed == _page_format.is_sealed(self.page(change(line)))

    @pytest.mark.parametrize(
        ("line", "size", "plausible"),
        [
            (LINE, 1 << 20, True),
            (LINE, 4096, True),  # cut, but it may have been so long
            (LINE._replace(watermark=4096, records=0), 4096, True),
            (LINE._replace(watermark=4096 + (64 << 20)), 4096, True),
            (LINE._replace(watermark=4096 + (64 << 20) + 32), 4096, False),
            (LINE._replace(watermark=4096 + (64 << 20) + 32), 65 << 20, True),  # one long frame
            (LINE._replace(watermark=4096 + 321), 1 << 20, False),
            (LINE._replace(watermark=4064, records=0), 1 << 20, False),
            (LINE._replace(watermark=2**64 - 32), 1 << 20, False),
            (LINE._replace(records=14), 1 << 20, False),  # 14 records take more than 320 bytes
            (LINE._replace(records=2**63), 1 << 20, False),
        ],
    )
    def test_a_line_that_cannot_be_is_told(self, line: PageLine, size: int, plausible: bool) -> None:
        """A watermark between the first frame and the page's limit, and not more records than fit."""
        assert plausible == _page_format.is_plausible(HEADER, line, size)
