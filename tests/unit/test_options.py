"""Sizes and durations in words, and the options of a writer."""

import pytest

from disklog_mp import _options


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *((0, 0), ("12", 12), ("4k", 4096), ("64MB", 64 << 20), ("64 MiB", 64 << 20), ("1G", 1 << 30)),
        *(("2tb", 2 << 40), ("1.5 GiB", 3 << 29), ("4096 bytes", 4096)),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    """A number of bytes, or one with a power of 1024."""
    assert size == _options.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *((1.5, 1.5), ("200ms", 0.2), ("3s", 3), ("10min", 600), ("2h", 7200), ("7d", 604800)),
        *(("7 days", 604800), ("1 day", 86400), ("1 Week", 604800), ("90 minutes", 5400), ("2 hrs", 7200)),
        *(("1h 30m", 5400), ("1 day 2 hours", 93600), ("30 secs", 30), ("5 msecs", 0.005)),
    ],
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
@pytest.mark.parametrize("value", [-1, "-1", "many", "", "1 day 2", "3x", "7 days ago"])
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


@pytest.mark.parametrize("mode", [0o660, "0660", "660", "0o660"])
def test_a_mode_is_the_same_as_text_and_as_a_number(mode: int | str) -> None:
    """Text is octal, as for chmod."""
    assert {"mode": 0o660} == _options.check({"mode": mode})


@pytest.mark.parametrize("mode", ["rw", "0777", "", "0440", "8"])
def test_text_that_is_no_mode_is_refused(mode: str) -> None:
    """As the number would be."""
    with pytest.raises(ValueError, match="mode="):
        _options.check({"mode": mode})


def test_a_size_is_no_duration() -> None:
    """Pages are not removed after 64 minutes because the limit in bytes was given for the wrong option."""
    with pytest.raises(ValueError, match="keep_age"):
        _options.check({"keep_age": "64M"})


def test_options_are_understood_as_text() -> None:
    """As they come from a command line, an environment or a file."""
    given = {"keep_pages": "7", "group": "0", "sync": "200 ms", "linger": "1 day", "ring_bytes": "16 MiB"}
    plain = {"keep_pages": 7, "group": 0, "sync": "0.2s", "linger": 86400.0, "ring_bytes": 16 << 20}

    assert plain == _options.check(given)


@pytest.mark.parametrize("value", [None, "none", "Never", "off"])
def test_a_limit_can_be_taken_back(value: str | None) -> None:
    """Where a log may be without one; not where it may not."""
    assert {"keep_bytes": None} == _options.check_changes({"keep_bytes": value})
    with pytest.raises((TypeError, ValueError), match="page_bytes"):
        _options.check_changes({"page_bytes": value})
