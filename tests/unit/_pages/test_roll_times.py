"""When pages roll because of time: over changes of the local clock, restarts, and steps of the wall clock."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.pages import Source, page_writer

from disklog_mp import _options
from disklog_mp._os import clocks as _clocks
from disklog_mp._pages import file as _file
from disklog_mp._pages import roll_times as _roll_times
from disklog_mp._pages.roll_times import next_roll, rule_of


def moment(text: str, zone: str = "UTC", *, fold: int = 0) -> float:
    """Return the moment at which a clock of that zone shows this."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def rolls(at: str, zone: str, begin: str, end: str) -> list[str]:
    """Return all rolls between two moments of UTC, in UTC."""
    found, now, rule = [], moment(begin), rule_of(_options.check({"page_at": at})["page_at"])
    while (now := next_roll(now, rule, ZoneInfo(zone))) < moment(end):
        found.append(
            (datetime.fromtimestamp(0, ZoneInfo("UTC")) + timedelta(seconds=now)).strftime("%d %H:%M")
        )
    return found


class TestNextRoll:
    @pytest.mark.parametrize(
        ("at", "zone", "begin", "end", "expected"),
        [
            ("00:00", "UTC", "2026-03-28", "2026-03-31", ["29 00:00", "30 00:00"]),
            ("00:00", "Europe/Berlin", "2026-03-28", "2026-03-30", ["28 23:00", "29 22:00"]),
            # 02:00 to 03:00 is skipped: what is due in it comes at its end.
            ("02:30", "Europe/Berlin", "2026-03-28", "2026-03-31", ["28 01:30", "29 01:00", "30 00:30"]),
            ("02:00,02:30,03:00", "Europe/Berlin", "2026-03-29", "2026-03-30", ["29 01:00"]),
            ("hourly", "Europe/Berlin", "2026-03-29T00:30", "2026-03-29T02:30", ["29 01:00", "29 02:00"]),
            # 02:00 to 03:00 comes twice: what is due in it comes with the first.
            ("02:30", "Europe/Berlin", "2026-10-24", "2026-10-27", ["24 00:30", "25 00:30", "26 01:30"]),
            ("hourly", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T02:30", ["25 00:00", "25 02:00"]),
            # Half an hour: 02:00 to 02:30 is skipped, 01:30 to 02:00 comes twice.
            ("02:15", "Australia/Lord_Howe", "2026-10-03", "2026-10-04T20:00", ["03 15:30", "04 15:15"]),
            ("01:45", "Australia/Lord_Howe", "2026-04-04", "2026-04-05T20:00", ["04 14:45", "05 15:15"]),
            (
                "hourly",
                "Australia/Lord_Howe",
                "2026-04-04T13:30",
                "2026-04-04T16:00",
                ["04 14:00", "04 15:30"],
            ),
            # The clock of Havana goes from 00:59 back to 00:00, that of Santiago from 23:59 to 23:00.
            ("00:00", "America/Havana", "2026-11-01", "2026-11-03", ["01 04:00", "02 05:00"]),
            ("00:00", "America/Santiago", "2026-04-04", "2026-04-06", ["04 03:00", "05 04:00"]),
            # That of Cairo goes from 23:59 to 01:00; Samoa had no 30 December 2011.
            ("00:00", "Africa/Cairo", "2026-04-22", "2026-04-25", ["22 22:00", "23 22:00", "24 21:00"]),
            ("00:00", "Pacific/Apia", "2011-12-29", "2012-01-01", ["29 10:00", "30 10:00", "31 10:00"]),
            (
                "12:00",
                "Pacific/Apia",
                "2011-12-29",
                "2012-01-01",
                ["29 22:00", "30 10:00", "30 22:00", "31 22:00"],
            ),
            # The clock of Kwajalein was set back by 23 hours, from 24:00 to 01:00.
            ("00:00", "Pacific/Kwajalein", "1969-09-29", "1969-10-03", ["29 13:00", "01 12:00", "02 12:00"]),
            ("hourly", "Asia/Kathmandu", "2026-01-01", "2026-01-01T02:00", ["01 00:15", "01 01:15"]),
        ],
    )
    def test_rolls_once_each_day(self, at: str, zone: str, begin: str, end: str, expected: list[str]) -> None:
        """What comes twice rolls once, what is skipped rolls at the end of that."""
        assert expected == rolls(at, zone, begin, end)

    def test_every_roll_is_one_that_a_walk_finds(self) -> None:
        """A walk in steps of a quarter of an hour that knows nothing but what the local clock shows."""
        step, rule = timedelta(minutes=15), rule_of("00:00,01:45,02:30")
        for zone, begin in (
            ("Australia/Lord_Howe", "2026-03-20"),
            ("Australia/Lord_Howe", "2026-09-20"),
            ("Africa/Casablanca", "2026-02-10"),
        ):
            tz, now = ZoneInfo(zone), moment(begin)
            end = now + 40 * 86400
            seen = datetime.fromtimestamp(now, tz).replace(tzinfo=None)
            walked, jumped = [], []
            for at in range(int(now) + 900, int(end) + 1, 900):
                local = datetime.fromtimestamp(at, tz).replace(tzinfo=None)
                times = (seen + step * n for n in range(1, (local - seen) // step + 1))
                if any(each.hour * 3600 + each.minute * 60 in rule for each in times):
                    walked.append(at)
                seen = max(seen, local)
            while (now := next_roll(now, rule, tz)) <= end:
                jumped.append(now)
            assert walked == jumped, zone
            assert len(jumped) > 100

    def test_the_zone_of_the_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """That is the one in force if none is named."""
        for zone in ("Europe/Berlin", "Australia/Lord_Howe"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            for begin in range(int(moment("2026-01-01")), int(moment("2027-01-01")), 86400 * 3):
                for rule in (rule_of("hourly"), rule_of("02:30")):
                    assert next_roll(begin, rule, None) == next_roll(begin, rule, ZoneInfo(zone))
        monkeypatch.delenv("TZ")
        time.tzset()

    def test_a_clock_that_shows_no_year_still_rolls(self) -> None:
        """2**40 seconds are 34,000 years."""
        for now in (2.0**40, -(2.0**40), 0.0, 2.0**31 - 1):
            for zone in (None, ZoneInfo("Europe/Berlin")):
                assert 0 < next_roll(now, (0,), zone) - now <= 86400 + 3600


class TestOptions:
    def test_spellings(self) -> None:
        """Each time once, in order."""
        for given, plain in (
            ("18:00, 6:00,06:00", "06:00,18:00"),
            ("Hourly", "hourly"),
            ("midnight", "00:00"),
            ("23:59:59,0:00:00", "00:00,23:59:59"),
        ):
            assert _options.check({"page_at": given}) == {"page_at": plain}
        assert rule_of("00:00,23:59:59") == (0, 86399)
        assert _options.check_changes({"page_at": "none", "page_tz": None}) == {
            "page_at": None,
            "page_tz": None,
        }

    def test_what_is_none_is_refused(self) -> None:
        """With what is allowed."""
        for given in (
            "24:00",
            "6",
            "noon",
            "06:00,",
            "12:60",
            "",
            "1d",
            ",".join(f"{n // 60}:{n % 60:02}" for n in range(97)),
        ):
            with pytest.raises(ValueError, match="times of the day"):
                _options.check({"page_at": given})
        for zone in ("Europe/Atlantis", "../../etc/passwd", "Europe", "", "/etc/localtime", "\0"):
            with pytest.raises(ValueError, match=r"such as .Europe/Berlin"):
                _options.check({"page_tz": zone})
        for option in ("page_at", "page_tz"):
            with pytest.raises(TypeError, match=option):
                _options.check({option: 6})


class TestPages:
    """A page writer whose wall clock is set, and a clock that goes on."""

    @pytest.fixture(autouse=True)
    def _clocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = moment("2126-11-30T23:00")  # later than any record: the core stamps those
        self.passed = 0.0
        boot_time = float(int(_clocks.boot_time()))  # whole seconds: sums of them are exact
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "time_ns", lambda: int(self.now * 1e9))
        for module in (_roll_times, _file):
            monkeypatch.setattr(module, "boot_time", lambda: boot_time + self.passed)

    def pass_time(self, seconds: float) -> None:
        """Both clocks go on."""
        self.now, self.passed = self.now + seconds, self.passed + seconds

    def log(self, *, rolls: bool) -> None:
        """Log a record as the writer does: it looks before the record goes in."""
        self.source.log(b"x")
        assert (self.pages.room() == (0, 0)) is rolls
        assert (self.pages.times.reason(self.pages.page) == "page_at") is rolls
        assert (self.pages.times.left(self.pages.page) <= 0) is rolls
        if rolls:
            self.pages.seal("page_at")
        self.source.move(self.pages)

    def begin(self, path: Path, page_at: str = "00:00") -> None:
        """Begin a log."""
        self.pages, self.source = page_writer(path, page_at=page_at, page_tz="UTC"), Source()

    def test_a_record_of_today_is_not_put_into_the_page_of_yesterday(self, path: Path) -> None:
        """An empty page does not roll, and one that is made on one day and used on the next rolls once."""
        self.begin(path)
        self.log(rolls=False)
        self.pass_time(3599)
        self.log(rolls=False)
        self.pass_time(1)
        self.log(rolls=True)
        self.log(rolls=False)
        self.pages.seal()
        self.pages.open_page(0)
        self.pass_time(86400 * 3)
        self.log(rolls=False)
        self.pass_time(86399)
        self.log(rolls=False)
        self.pass_time(1)
        self.log(rolls=True)
        self.pages.close()

    def test_after_a_restart_the_page_of_yesterday_rolls(self, path: Path) -> None:
        """As it is with a page of today, that does not."""
        self.begin(path)
        self.log(rolls=False)
        for seconds, is_over in ((3000, False), (601, True)):
            self.pages.close()
            self.pages.folder.directory.unlock()
            self.pass_time(seconds)
            self.pages = page_writer(path, page_at="00:00", page_tz="UTC")
            assert (self.pages.times.reason(self.pages.page) == "page_at") is is_over
        self.pages.close()

    def test_a_clock_that_is_set_back_and_forth_rolls_once(self, path: Path) -> None:
        """Each midnight of it once, however often it comes."""
        for step in (3600, 86400, 12 * 365 * 86400):
            self.begin(path / str(step))
            self.log(rolls=False)
            self.now += step
            self.log(rolls=True)
            for _ in range(3):
                self.now -= step
                self.log(rolls=False)
                self.now += step
                self.log(rolls=False)
            self.now -= step
            self.pages.close()

    def test_a_clock_that_was_years_ahead_costs_one_day(self, path: Path) -> None:
        """The page that was begun meanwhile lasts as long as it was to."""
        self.begin(path)
        self.now += 12 * 365 * 86400
        self.log(rolls=False)
        self.now -= 12 * 365 * 86400
        self.pass_time(3599)
        self.log(rolls=False)
        self.pass_time(1)
        self.log(rolls=True)
        self.pass_time(86399)
        self.log(rolls=False)
        self.pass_time(1)
        self.log(rolls=True)
        self.pages.close()
