"""One exported file: records in one of the formats, and where an export that goes on has to begin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from disklog_mp._core import Record
from disklog_mp._os.output import Output
from disklog_mp._reader.arrow import Batches
from disklog_mp._reader.columns import Field
from disklog_mp._reader.cursor import Cursor
from disklog_mp.cli import _extras
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records._lines import lines_of

FORMATS = {"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "arrow": ".arrow"}
CURSOR = b"disklog-mp.cursor"  # in the metadata of a schema: where the next export begins
REPEATED = ["level", "logger", "label", "process", "thread", "task", "caller", "pid", "tag"]  # mostly alike


class Plan:
    """What an export writes."""

    def __init__(
        self,
        layout: str,
        fields: tuple[Field, ...],
        label: Callable[[int], str],
        on_gap: Callable[[Record], object],
    ) -> None:
        self.layout, self.fields = layout, fields
        self.label, self.on_gap = label, on_gap
        if layout != "jsonl":
            _extras.needed("pyarrow", "arrow", f"export to {layout}")

    def columns(self) -> list[str]:
        """Return what tells whether two exports fit each other."""
        return [self.layout, *(f"{field.column}={field.name}:{field.kind}" for field in self.fields)]

    def sheet(self, output: Output, cursor: Cursor | None) -> Sheet:
        """Begin a file; `cursor` is where the next export begins."""
        return _Lines(self, output) if self.layout == "jsonl" else _Table(self, output, cursor)


class Sheet(Protocol):
    """A file that is written."""

    output: Output

    def copy(self, path: str) -> None: ...
    def add(self, records: list[Record]) -> None: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...


class _Lines:
    """JSON lines, as `cat --json` prints them."""

    def __init__(self, plan: Plan, output: Output) -> None:
        self.output = output
        self._plan = plan
        style = _formats.Style()
        show = _formats.choose("json", null=False, style=style, encoding="utf-8")
        self._lines = lines_of(show, "json", null=False, style=style, encoding="utf-8")

    def copy(self, path: str) -> None:
        _copy(self.output, path)

    def add(self, records: list[Record]) -> None:
        at = 0
        while at < len(records):
            text, end = self._lines.of(records, at)
            self.output.write(text)
            if end < len(records) and records[end].gap:
                self._plan.on_gap(records[end])
                end += 1
            at = end

    def finish(self) -> None:
        self.output.complete()

    def discard(self) -> None:
        self.output.discard()


class _Table:
    """CSV, Parquet, or Arrow's own format."""

    def __init__(self, plan: Plan, output: Output, cursor: Cursor | None) -> None:
        self.output = output
        self._layout = plan.layout
        self._batches = Batches(plan.fields, plan.label, on_gap=plan.on_gap)
        self._schema = self._batches.schema
        if self._layout == "csv":
            self._schema = self._schema.set(
                0, _extras.needed("pyarrow", "arrow", "csv").field("time", "string")
            )
        place = b"" if cursor is None else str(cursor).encode()
        self._schema = self._schema.with_metadata({CURSOR: place})
        self._writer: Any = None

    def copy(self, path: str) -> None:
        """Write what stands in a file of the same columns."""
        if self._layout == "csv":
            _copy(self.output, path)
            self._writer = writer_of("csv", self.output, self._schema, with_head=False)
            return
        for batch in batches_in(path, self._layout):
            self._write(batch.replace_schema_metadata(self._schema.metadata))

    def add(self, records: list[Record]) -> None:
        for batch in self._batches.add(records):
            self._write(batch)

    def _write(self, batch: Any) -> None:
        if self._writer is None:
            self._writer = writer_of(self._layout, self.output, self._schema)
        self._writer.write_batch(_with_plain_times(batch) if self._layout == "csv" else batch)

    def finish(self) -> None:
        if self._batches.rows or self._writer is None:
            self._write(self._batches.take())
        self._writer.close()
        self.output.complete()

    def discard(self) -> None:
        self.output.give_up()
        with contextlib.suppress(Exception):  # Arrow writes what it still has, to nowhere
            if self._writer is not None:
                self._writer.close()
        self.output.discard()


def _with_plain_times(batch: Any) -> Any:
    """Return the batch with its times as text: Arrow's CSV takes a microsecond for one with a zone."""
    from pyarrow import compute, timestamp

    times = batch.column(0).cast(timestamp("ns")).cast("string")
    return batch.set_column(0, "time", compute.binary_join_element_wise(times, "Z", ""))


def writer_of(layout: str, sink: Any, schema: Any, *, with_head: bool = True) -> Any:
    """Return Arrow's writer of a format."""
    if layout == "csv":
        from pyarrow import csv

        return csv.CSVWriter(sink, schema, write_options=csv.WriteOptions(include_header=with_head))
    if layout == "arrow":
        from pyarrow import ipc

        return ipc.new_file(sink, schema)
    from pyarrow import parquet

    return parquet.ParquetWriter(
        sink, schema, use_dictionary=REPEATED, compression="zstd", compression_level=1
    )


def batches_in(path: str, layout: str) -> Iterator[Any]:
    """Iterate the record batches of a file in Parquet's or Arrow's format."""
    if layout == "parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group).to_batches()
        return
    from pyarrow import ipc, memory_map

    with memory_map(path) as mapped, ipc.open_file(mapped) as file:
        for number in range(file.num_record_batches):
            yield file.get_batch(number)


def _copy(output: Output, path: str) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        output.copy(source)
    finally:
        os.close(source)
