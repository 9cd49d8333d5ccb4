"""What a reader offers to find records by number, time and content."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Unpack

from disklog_mp._core import Record
from disklog_mp._reader.columns import fields_of
from disklog_mp._reader.conditions import Conditions, Needle, Wanted
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.search import Search


def nanoseconds(moment: object, what: str) -> int:
    """A point in time as ns since the epoch: an int is that, a float is seconds, a datetime is itself."""
    if isinstance(moment, bool):
        raise TypeError(f"{what} is a point in time, not {moment!r}")
    if isinstance(moment, int):
        return moment
    if isinstance(moment, float):
        if not math.isfinite(moment):
            raise ValueError(f"{what} is a point in time, not {moment!r}")
        return int(moment * 1e9)
    timestamp = getattr(moment, "timestamp", None)
    if timestamp is None:
        raise TypeError(f"{what} is ns since the epoch, seconds as a float, or a datetime, not {moment!r}")
    microseconds: int = round(timestamp() * 1e6)
    return microseconds * 1000


class Searching:
    """The part of a Reader that goes over all pages and gives the records that meet conditions."""

    _pages: PageRun

    def records(
        self,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
        **conditions: Unpack[Wanted],
    ) -> Iterator[Record]:
        """Iterate records by number (start <= number < stop) and time (since <= timestamp < until).

        A time is ns since the epoch, seconds as a float, or a datetime.  Times are the producers' clocks:
        neighbours may be out of order, and each record is judged by its own time.  A page is skipped for the
        time it was begun, so a clock that was set back by more than a minute can hide records from `since`.
        `conditions` are those of search().
        """
        return self.search(None, start=start, stop=stop, since=since, until=until, **conditions)

    def search(
        self,
        needle: Needle | Iterable[Needle] | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
        **conditions: Unpack[Wanted],
    ) -> Iterator[Record]:
        """Iterate the records that hold a needle and meet all conditions.

        needle: bytes or text that the record's bytes hold, or a compiled pattern of bytes.
        level: the least level, by number or name ("ERROR"), or a range ("WARNING..ERROR").
        logger: that logger, or one below it.  pid, label, tag: of the producer, of the record.
        field: "user=42", "ms>100", "user.id!=7", with one of = != < <= > >= ~ (a regular expression).
        start, stop, since, until: see records().

        Each of needle, logger, pid, label, tag and field may be several, of which one is met; but fields of
        different names must all be met, and so must all those with other operators than = and ~.  Gap records
        tell of drops: they meet everything but number and time.
        Raises ValueError and TypeError for conditions that are none.
        """
        return self._search(Conditions.of(needle, **conditions), start, stop, since, until).records()

    def places_in(self, page: Page) -> list[int]:
        """Return record numbers of a page at which a search begins without a walk: every 512th or so."""
        return self._pages.places_in(page)

    def batches(
        self,
        conditions: Conditions,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
    ) -> Iterator[list[Record]]:
        """Iterate what search() gives, many records at a time: to be looked at at once.

        Records of a page that is cut before they are looked at come as zeros.
        """
        return self._search(conditions, start, stop, since, until).batches()

    def to_arrow(
        self,
        needle: Needle | Iterable[Needle] | None = None,
        *,
        columns: str | Mapping[str, str | type] = "",
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
        **conditions: Unpack[Wanted],
    ) -> Any:
        """Return the records that search() gives as a pyarrow.Table, without those that tell of drops.

        columns: fields with a column of their own, "user:int,ms:float" or {"user": int}, of the types str,
        int, float and bool.  The other fields are in `fields`, as JSON.  Times are UTC, in ns.
        Raises ImportError without pyarrow: the extra `arrow`.
        """
        from disklog_mp._reader import arrow

        batches = arrow.Batches(fields_of(columns), self._pages.labels.text)
        wanted = Conditions.of(needle, **conditions)
        parts = self.batches(wanted, start, stop, since, until)
        return arrow.pyarrow().Table.from_batches(batches.of(parts), schema=batches.schema)

    def to_pandas(
        self,
        needle: Needle | Iterable[Needle] | None = None,
        *,
        columns: str | Mapping[str, str | type] = "",
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
        **conditions: Unpack[Wanted],
    ) -> Any:
        """Return what to_arrow() returns as a pandas.DataFrame.  Raises ImportError without pandas, too."""
        try:
            import pandas  # noqa: F401
        except ImportError as problem:
            raise ImportError("to_pandas() needs pandas: pip install pandas", name=problem.name) from None
        span: dict[str, Any] = {"start": start, "stop": stop, "since": since, "until": until}
        return self.to_arrow(needle, columns=columns, **span, **conditions).to_pandas()

    def _search(
        self, conditions: Conditions, start: int | None, stop: int | None, since: object, until: object
    ) -> Search:
        after = None if since is None else nanoseconds(since, "since")
        before = None if until is None else nanoseconds(until, "until")
        return Search(
            self._pages, conditions, start=max(0, start or 0), stop=stop, after=after, before=before
        )
