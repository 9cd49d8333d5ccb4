"""The checksum: the published vectors, another implementation, and pieces."""

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disklog_mp._core import crc32c, crc32c_name, crc32c_update

# RFC 3720, appendix B.4; the last is the check value of the catalogues of CRCs.
VECTORS = [
    ("32 zeros", bytes(32), 0x8A9136AA),
    ("32 ones", b"\xff" * 32, 0x62A8AB43),
    ("counting up", bytes(range(32)), 0x46DD794E),
    ("counting down", bytes(range(31, -1, -1)), 0x113FDB5C),
    (
        "an iSCSI read command",
        bytes.fromhex(
            "01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000"
        ),
        0xD9963A56,
    ),
    ("the digits", b"123456789", 0xE3069283),
]


@pytest.mark.parametrize(("data", "expected"), [row[1:] for row in VECTORS], ids=[row[0] for row in VECTORS])
def test_the_published_vectors_come_out(data: bytes, expected: int) -> None:
    """It is the CRC-32C of RFC 3720."""
    assert expected == crc32c(data)


def test_nothing_has_the_checksum_nought() -> None:
    """The empty input leaves the register as it is."""
    assert crc32c(b"") == 0
    assert crc32c_update(b"", 0x12345678) == 0x12345678


@given(st.binary(max_size=5000))
def test_another_implementation_agrees(data: bytes) -> None:
    """Google's library, which has code of its own, finds the same."""
    assert google_crc32c.value(data) == crc32c(data)


@given(st.integers(5000, 300_000), st.integers(0, 255))
def test_another_implementation_agrees_on_long_inputs(length: int, start: int) -> None:
    """Where the input is taken in several runs side by side the result is the same."""
    data = bytes((start + i * 7) & 0xFF for i in range(251)) * (length // 251 + 1)

    assert google_crc32c.value(data[:length]) == crc32c(data[:length])


@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_pieces_give_what_the_whole_gives(data: bytes, cut: int) -> None:
    """The register of one piece is what the next begins with; views need no copy."""
    view = memoryview(data)

    register = crc32c_update(view[cut:], crc32c_update(view[:cut], 0xFFFFFFFF))

    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_the_implementation_has_a_name() -> None:
    """Which one serves is known: the processor's instruction where it has one."""
    name = crc32c_name()

    assert name in ("sse4.2", "armv8", "portable")
    with open("/proc/cpuinfo") as file:
        flags = file.read().split()
    assert (name == "portable") == ("sse4_2" not in flags and "crc32" not in flags)
