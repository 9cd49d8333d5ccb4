"""Sizes and durations in words, and the options of a writer."""

import pytest

from disklog_mp import _options


@pytest.mark.parametrize(
    ("text", "size"),
    [(0, 0), ("12", 12), ("4k", 4096), ("64 MiB", 64 << 20), ("1G", 1 << 30), ("2tb", 2 << 40)],
)
def test_sizes(text: int | str, size: int) -> None:
    """A number of bytes, or one with a power of 1024."""
    assert size == _options.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [(1.5, 1.5), ("200ms", 0.2), ("3s", 3), ("10min", 600), ("2h", 7200), ("7d", 604800)]
)
def test_durations(text: float | str, seconds: float) -> None:
    """A number of seconds, or one with a unit."""
    assert seconds == _options.parse_duration(text)


@pytest.mark.parametrize("parse", [_options.parse_size, _options.parse_duration])
@pytest.mark.parametrize("value", [True, None, b"1"])
def test_other_types_are_refused(parse: object, value: object) -> None:
    """What is neither a number nor a str is a TypeError that shows it."""
    with pytest.raises(TypeError, match="what"):
        parse(value, "what")  # type: ignore[operator]


@pytest.mark.parametrize("parse", [_options.parse_size, _options.parse_duration])
@pytest.mark.parametrize("value", [-1, "-1", "many", ""])
def test_other_values_are_refused(parse: object, value: object) -> None:
    """What is no size or duration is a ValueError that shows it."""
    with pytest.raises(ValueError, match="what"):
        parse(value, "what")  # type: ignore[operator]


@pytest.mark.parametrize("sync", [1, 1.0, "1s", "1 s", "1000ms"])
def test_a_duration_is_the_same_however_it_is_written(sync: float | str) -> None:
    """What a running log has is not contradicted by another spelling."""
    assert {"sync": "1s"} == _options.check({"sync": sync})


def test_a_group_is_the_same_by_name_and_by_number() -> None:
    """As above."""
    assert {"group": 0} == _options.check({"group": "root"}) == _options.check({"group": 0})


def test_an_unknown_option_is_named() -> None:
    """A TypeError, as for any argument that does not exist."""
    with pytest.raises(TypeError, match=r"no such option: colour$"):
        _options.check({"colour": 1})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("retention", "keep_age"),
        ("page_record", "page_records"),
        ("max_size", "max_bytes"),
        ("fsync", "sync"),
    ],
)
def test_an_unknown_option_that_resembles_one_says_which(given: str, meant: str) -> None:
    """By its spelling, or by the common word for the same thing."""
    with pytest.raises(TypeError, match=f"no such option: {given}; did you mean {meant}\\?"):
        _options.check({given: 1})


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1 TiB")]
)
def test_sizes_have_their_unit(number: int, text: str) -> None:
    """Powers of 1024, three digits at the most where that is exact enough."""
    assert text == _options.size_text(number)


@pytest.mark.parametrize("size", ["1K", 4095, 1 << 41])
def test_a_ring_has_a_least_and_a_greatest_size(size: int | str) -> None:
    """The error says both, with units."""
    with pytest.raises(ValueError, match="must be 4 KiB to 1 TiB"):
        _options.check({"ring_bytes": size})
