"""Points in time as they are written on the command line."""

from datetime import datetime

import pytest

from disklog_mp.cli import _times


class TestTimes:
    NOW = datetime(2026, 3, 15, 13, 30, 15, 250_000)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("now", NOW),
            ("today", datetime(2026, 3, 15)),
            ("yesterday", datetime(2026, 3, 14)),
            ("08:05", datetime(2026, 3, 15, 8, 5)),
            ("8:05:30", datetime(2026, 3, 15, 8, 5, 30)),
            ("10 min ago", datetime(2026, 3, 15, 13, 20, 15, 250_000)),
            ("5m", datetime(2026, 3, 15, 13, 25, 15, 250_000)),
            ("-1h", datetime(2026, 3, 15, 12, 30, 15, 250_000)),
            ("+1h30min", datetime(2026, 3, 15, 15, 0, 15, 250_000)),
            ("1h 30 min ago", datetime(2026, 3, 15, 12, 0, 15, 250_000)),
            ("tomorrow", datetime(2026, 3, 16)),
            ("1.5 hours ago", datetime(2026, 3, 15, 12, 0, 15, 250_000)),
            ("250ms ago", datetime(2026, 3, 15, 13, 30, 15)),
            ("2 days ago", datetime(2026, 3, 13, 13, 30, 15, 250_000)),
            ("2026-01-31", datetime(2026, 1, 31)),
            ("2026-01-31T23:59:59.5", datetime(2026, 1, 31, 23, 59, 59, 500_000)),
            ("2026-01-31 23:59", datetime(2026, 1, 31, 23, 59)),
        ],
    )
    def test_local_times(self, text: str, expected: datetime) -> None:
        """Times are local unless they say otherwise; days and hours are counted from now."""
        assert round(expected.timestamp() * 1e6) * 1000 == _times.parse(text, self.NOW)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("@0", 0),
            ("@1.5", 1_500_000_000),
            ("@1700000000.123456789", 1_700_000_000_123_456_789),
            ("1970-01-01T00:00:01Z", 10**9),
            ("1970-01-01T01:00:00.000000007+01:00", 7),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ],
    )
    def test_to_the_nanosecond(self, text: str, expected: int) -> None:
        """What `cat --json` prints as a time can be given back without loss."""
        assert expected == _times.parse(text, self.NOW)

    @pytest.mark.parametrize(
        "text", ["", "soon", "@", "25:00", "10 parsecs ago", "10", "5m6", "-", "2026-02-30", "@x"]
    )
    def test_no_times(self, text: str) -> None:
        """Anything else is a ValueError."""
        with pytest.raises(ValueError):  # noqa: PT011 - the message is made by the option
            _times.parse(text, self.NOW)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("today", "2026-03-15T00:00:00+01:00"),
            ("08:05", "2026-03-15T08:05:00+01:00"),
            ("5m", "2026-03-15T13:25:15.250000+01:00"),
            ("2026-03-29 03:30", "2026-03-29T03:30:00+02:00"),
            ("2026-03-29", "2026-03-29T00:00:00+01:00"),
            ("2026-03-15T12:00Z", "2026-03-15T13:00:00+01:00"),
        ],
    )
    def test_in_the_zone_asked_for(self, text: str, expected: str) -> None:
        """Days begin there, and a time without a zone is of that zone."""
        now = self.NOW.replace(tzinfo=_times.parse_zone("Europe/Berlin"))
        when = datetime.fromisoformat(expected)
        assert round(when.timestamp() * 1e6) * 1000 == _times.parse(text, now)

    @pytest.mark.parametrize("text", ["", "Nowhere", "Europe", "../etc/passwd", "+1", "\0"])
    def test_no_zones(self, text: str) -> None:
        """Anything else is a ValueError."""
        with pytest.raises(ValueError):  # noqa: PT011 - the message is made by the option
            _times.parse_zone(text)
