"""A log as a data set of Arrow, for a database that asks for some columns and rows of it.

DuckDB hands over what its WHERE asks for as an expression of Arrow's.  Which times, tags and levels can meet
it, Arrow itself says: asked with a guarantee (`time` is between these two), it tells whether any row can.
The reader gives records of those alone, and Arrow filters them once more, by the whole expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LAST_TIME = 2**63 // 1000 - 1  # microseconds
LAST_TAG = 65535

Read = Callable[["Bounds"], Iterator[Any]]  # record batches


class Bounds:
    """What a row must be to meet an expression: times in us and tags from a first to a last, and levels."""

    def __init__(self, schema: Any, expression: Any) -> None:
        self._schema, self._expression = schema, expression
        self.times = self._range("time", LAST_TIME)
        self.tags = self._range("tag", LAST_TAG)
        self.passed = tuple(name for name in LEVELS if not self._can_be(self._field("level") == name))

    def _field(self, name: str) -> Any:
        from pyarrow import compute

        return compute.field(name)

    def _can_be(self, guarantee: Any) -> bool:
        """True if a row for which the guarantee holds may meet the expression."""
        if self._expression is None:
            return True
        from pyarrow import dataset, fs

        layout = dataset.IpcFileFormat()
        files = fs.LocalFileSystem()
        asked = layout.make_fragment("none", files, guarantee)  # it is never opened
        asked_of = dataset.FileSystemDataset([asked], self._schema, layout, files)
        return any(True for _ in asked_of.get_fragments(filter=self._expression))

    def _range(self, name: str, last: int) -> tuple[int, int] | None:
        """Return the least and the greatest value that can be, None if none can."""
        if not self._is_within(name, 0, last):
            return None
        least, above = 0, last
        while least < above:
            middle = (least + above) // 2
            if self._is_within(name, least, middle):
                above = middle
            else:
                least = middle + 1
        below, most = least, last
        while below < most:
            middle = (below + most + 1) // 2
            if self._is_within(name, middle, most):
                below = middle
            else:
                most = middle - 1
        return least, most

    def _is_within(self, name: str, low: int, high: int) -> bool:
        from pyarrow import scalar

        kind = self._schema.field(name).type
        ends = [scalar(value, "int64").cast(kind) for value in (low, high)]
        return self._can_be((self._field(name) >= ends[0]) & (self._field(name) <= ends[1]))


def dataset_of(schema: Any, read: Read) -> Any:
    """Return a data set of these columns, whose rows `read` gives, anew for each scan."""
    from pyarrow import RecordBatchReader, Table, dataset
    from pyarrow import schema as arrow_schema

    class Scanner(dataset.Scanner):  # type: ignore[misc]
        def __init__(self, columns: Any, expression: Any) -> None:
            self._columns, self._expression = columns, expression

        @property
        def projected_schema(self) -> Any:
            if self._columns is None:
                return schema
            return arrow_schema([schema.field(name) for name in self._columns])

        def to_reader(self) -> Any:
            return RecordBatchReader.from_batches(self.projected_schema, self._batches())

        def _batches(self) -> Iterator[Any]:
            # One by one: Arrow's own scanner reads ahead in threads of its own, behind an answer's end, too.
            for batch in read(Bounds(schema, self._expression)):
                table = Table.from_batches([batch])
                if self._expression is not None:
                    table = table.filter(self._expression)
                yield from (table if self._columns is None else table.select(self._columns)).to_batches()

    class LogDataset(dataset.Dataset):  # type: ignore[misc]
        def __init__(self) -> None:
            """Not Arrow's: that one refuses to be called."""

        @property
        def schema(self) -> Any:
            return schema

        def scanner(self, columns: Any = None, filter: Any = None, **_: Any) -> Any:
            return Scanner(columns, filter)

    return LogDataset()
