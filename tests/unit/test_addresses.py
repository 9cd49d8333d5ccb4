"""Addresses as they are spelled."""

import pytest

from disklog_mp import _options
from disklog_mp._addresses import parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        (" 0.0.0.0:0 ", "0.0.0.0", 0),
        ("localhost:65535", "localhost", 65535),
        ("[::1]:80", "::1", 80),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    """Host and port; as text again it is what was given."""
    address = parse_address(text, "metrics")

    assert address == (host, port)
    assert str(address) == text.strip() == _options.check({"metrics": text})["metrics"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (":9464", "127.0.0.1:9464 for this machine alone, 0.0.0.0:9464 for all"),
        ("9464", "needs a host"),
        ("localhost", "write 127.0.0.1:9464"),
        ("127.0.0.1:65536", "is not an address"),
        ("::1:80", "is not an address"),
        ("a b:80", "is not an address"),
        ("metrics.example:80", "is not an address"),
        ("1.2.3:80", "is not an address"),
        ("[127.0.0.1.5]:80", "is not an address"),
        ("http://localhost:80/metrics", "is not an address"),
        ("\u0661:80", "is not an address"),
    ],
)
def test_what_is_no_address(text: str, hint: str) -> None:
    """The error names the option, the value, and what to write."""
    with pytest.raises(ValueError, match=hint) as refused:
        _options.check({"metrics": text})
    assert str(refused.value).startswith(f"metrics={text!r} ")


def test_another_type() -> None:
    """A port alone does not say at which address."""
    with pytest.raises(TypeError, match=r'metrics is an address such as "127\.0\.0\.1:9464", not 9464'):
        _options.check({"metrics": 9464})


def test_an_option_that_is_taken_back() -> None:
    """By None, or in text."""
    assert _options.check_changes({"metrics": "none"}) == {"metrics": None}
