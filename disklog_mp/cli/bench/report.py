"""The report of benchmarks: the table, the details below it, and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from disklog_mp.cli import _text
from disklog_mp.cli.bench.measure import OURS, Measured, Row, spread

HEADS = ("MEASURE", "OURS", "PEER", "", "RATIO")
JUDGED = ("MUST", "AIM", "VERDICT")
STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float, unit: str) -> str:
    """Return a value with its unit, three digits or so."""
    prefix = ""
    if unit in ("records/s", "events/s"):
        for step, letter in STEPS:
            if value >= step:
                value, prefix = value / step, f"{letter} "
                break
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f} {prefix}{unit}"


def with_spread(values: Sequence[float], unit: str) -> str:
    """Return the median, and least and most if there are several."""
    middle = number(statistics.median(values), unit)
    if len(values) == 1:
        return middle
    least, most = (number(edge, unit).removesuffix(f" {unit}") for edge in (min(values), max(values)))
    return f"{middle} ({least} to {most})"


def table(results: Iterable[Measured], *, judged: bool = True) -> list[str]:
    """Return the lines of the table; `judged`: with what must hold, what is aimed at, and verdicts."""
    heads = (*HEADS, *JUDGED) if judged else HEADS
    rows = [_cells(measured, row)[: len(heads)] for measured in results for row in measured.benchmark.rows]
    return _text.table(heads, rows)


def _cells(measured: Measured, row: Row) -> tuple[str, ...]:
    unit = measured.benchmark.unit
    ours = measured.numbers(OURS)
    theirs = measured.numbers(row.peer) if row.peer else []
    ratio = ""
    if row.peer and (ratios := measured.ratios(row.peer)):
        ratio = f"{statistics.median(ratios):.2f}"
        if len(ratios) > 1:
            ratio += f" ({min(ratios):.2f} to {max(ratios):.2f})"
    return (
        measured.benchmark.title,
        with_spread(ours, unit) if ours else measured.missing.get(OURS, ""),
        with_spread(theirs, unit) if theirs else measured.missing.get(row.peer or "", ""),
        row.peer or "",
        ratio,
        row.must.text if row.must else "",
        row.aim.text if row.aim else "",
        measured.verdict(row),
    )


def details(results: Iterable[Measured]) -> list[str]:
    """Return what else each contestant's last round told; lines of text as they are."""
    lines = []
    for measured in results:
        for who, values in measured.values.items():
            told = values[-1].details
            short = {key: value for key, value in told.items() if not isinstance(value, (list, dict))}
            if short:
                facts = ", ".join(f"{key} {_plain(value)}" for key, value in short.items())
                lines.append(f"{measured.benchmark.name}, {who}: {facts}")
            for value in told.values():
                if isinstance(value, list) and value and isinstance(value[0], str):
                    lines.extend(f"    {line}" for line in value)
    return lines


def _plain(value: object) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def to_dict(measured: Measured) -> dict[str, Any]:
    """Return everything that was measured, nothing averaged away."""
    benchmark = measured.benchmark
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "unit": benchmark.unit,
        "less_is_better": benchmark.less_is_better,
        "not_measured": measured.missing,
        "contestants": {
            who: {**spread([v.number for v in values]), "details": [v.details for v in values]}
            for who, values in measured.values.items()
        },
        "rows": [
            {
                "peer": row.peer,
                "must": row.must and row.must.text,
                "aim": row.aim and row.aim.text,
                "ratio": spread(ratios) if row.peer and (ratios := measured.ratios(row.peer)) else None,
                "verdict": measured.verdict(row),
            }
            for row in benchmark.rows
        ],
    }
