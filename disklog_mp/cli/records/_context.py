"""The records around those that are looked for (-A, -B, -C)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from disklog_mp._core import Record

Shown = Record | None  # None: a line that separates what is not adjacent


class Context:
    """Lets pass the records that match, and so many before and after each; it goes on where it stopped."""

    def __init__(self, matches: Callable[[Record], bool], before: int, after: int) -> None:
        self._matches = matches
        self.before, self.after = before, after
        self._held: deque[Record] = deque(maxlen=before)
        self._to_show = 0  # records after the last match that are still to be shown
        self._skipped = False  # records since the last one shown
        self._begun = False  # a record matched

    def of(self, matches: Callable[[Record], bool]) -> Context:
        """Return a context of the same extent around the records that match otherwise."""
        return Context(matches, self.before, self.after)

    def around(self, records: Iterable[Record]) -> Iterator[Shown]:
        """Iterate what is to be shown of these records."""
        for record in records:
            if record.gap:
                if self._matches(record):
                    yield record
            elif self._matches(record):
                if self._skipped and self._begun:
                    yield None
                self._begun = True
                yield from self._held
                self._held.clear()
                self._skipped, self._to_show = False, self.after
                yield record
            elif self._to_show:
                self._to_show -= 1
                yield record
            else:
                self._skipped = self._skipped or len(self._held) == self._held.maxlen
                self._held.append(record)
