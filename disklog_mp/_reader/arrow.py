"""Records as Arrow's record batches.  It needs pyarrow: the extra `arrow`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from disklog_mp._core import Columns, Record
from disklog_mp._reader.columns import KINDS, NUMBERS, TEXTS, Field, values_of

ROWS = 1 << 17  # in a batch
BYTES = 32 << 20  # in a column of a batch, but for its last record; the core stops there
FIRST = ("time", "level", "logger", "message")


def pyarrow() -> Any:
    """Return the module pyarrow.  Raises ImportError with what to install."""
    try:
        import pyarrow as module
    except ImportError as problem:
        text = "Arrow's formats need pyarrow: pip install 'disklog-mp[arrow]'"
        raise ImportError(text, name=problem.name) from None
    return module


class Batches:
    """Makes record batches of records; gap records, which tell of drops, are passed on.

    `label` returns the label of an index.  Times are of that unit: ns or us.
    """

    def __init__(
        self,
        fields: tuple[Field, ...],
        label: Callable[[int], str],
        *,
        rows: int = ROWS,
        unit: str = "ns",
        passed: Iterable[str] = (),
        on_gap: Callable[[Record], object] = lambda record: None,
    ) -> None:
        self._pa = pyarrow()
        self._fields, self._label, self._rows, self._unit = fields, label, rows, unit
        self._on_gap = on_gap
        self._types = self._types_of(fields)
        names = [*FIRST, *(field.column for field in fields), "fields", "pid", "label", "tag"]
        names += [*NUMBERS[:2], *(name for name in TEXTS if name not in (*FIRST, "fields"))]
        self.schema = self._pa.schema([(name, self._types[name]) for name in names])
        self._columns = Columns(
            tuple((field.name.encode(), KINDS[field.kind]) for field in fields),
            partial(values_of, fields=fields),
            tuple(name.encode() for name in passed),
        )

    def _types_of(self, fields: tuple[Field, ...]) -> dict[str, Any]:
        pa = self._pa
        kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
        types = {name: pa.string() for name in TEXTS} | {name: pa.int64() for name in NUMBERS}
        types |= {"time": pa.timestamp(self._unit, tz="UTC"), "pid": pa.uint32(), "tag": pa.uint16()}
        return types | {"label": pa.string()} | {field.column: kinds[field.kind] for field in fields}

    def of(self, parts: Iterable[list[Record]]) -> Iterator[Any]:
        """Iterate the record batches of all these records."""
        for records in parts:
            yield from self.add(records)
        if self._columns.rows:
            yield self.take()

    def add(self, records: list[Record]) -> Iterator[Any]:
        """Add records; iterate the batches that are full by that."""
        at = 0
        while at < len(records):
            end = self._columns.add(records, at, self._rows)
            if end < len(records) and records[end].gap:
                self._on_gap(records[end])
                end += 1
            at = end
            if self._columns.rows >= self._rows or self._columns.bytes >= BYTES:
                yield self.take()

    @property
    def rows(self) -> int:
        """How many records were added since a batch was taken."""
        return self._columns.rows

    def take(self) -> Any:
        """Return what was added as a record batch, and begin anew."""
        pa = self._pa
        rows, numbers, others = self._columns.take()
        arrays = {}
        for name, data in zip(NUMBERS, numbers, strict=True):
            if name == "label":
                arrays[name] = self._labels(rows, data)
            else:
                arrays[name] = pa.Array.from_buffers(self._types[name], rows, [None, pa.py_buffer(data)])
        if self._unit == "us":
            arrays["time"] = self._in_microseconds(arrays["time"])
        for name, buffers in zip((*TEXTS, *(f.column for f in self._fields)), others, strict=True):
            filled = [pa.py_buffer(data) for data in buffers if data is not None]
            arrays[name] = pa.Array.from_buffers(self._types[name], rows, filled)
        return pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)

    def _labels(self, rows: int, data: bytes) -> Any:
        pa = self._pa
        if not data.strip(b"\0"):
            return pa.nulls(rows, pa.string())
        known = sorted({*memoryview(data).cast("H")} - {0})
        places = {index: place for place, index in enumerate(known)}
        texts = pa.array([self._label(index) for index in known], pa.string())
        return texts.take(pa.array([places.get(index) for index in memoryview(data).cast("H")], pa.int32()))

    def _in_microseconds(self, times: Any) -> Any:
        from pyarrow import compute

        return compute.divide(times.cast("int64"), 1000).cast(self._types["time"])
