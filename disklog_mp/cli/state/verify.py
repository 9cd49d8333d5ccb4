"""disklog-mp verify: check every byte and page of a log, and that all counted records are there."""

from __future__ import annotations

import click

from disklog_mp._verify.books import Books
from disklog_mp._verify.log import Report
from disklog_mp._verify.log import verify as verify_log
from disklog_mp._verify.told import Told
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs


@click.command(short_help="Check every byte and page, and that no record is missing.")
@click.argument("log", shell_complete=complete_logs)
@_logs.json_option
@_logs.ring_dir_option
def verify(log: str, as_json: bool, ring_dir: str | None) -> int:
    """Check every byte and page of LOG, and that all counted records are there.

    While the log is open, the counters are checked too: logged = written + still in the ring, per attached
    process and in total for those that left.  The writer's count of abandoned claims is compared with the
    abandoned frames in pages and ring.  Changes nothing.

    Compares all of it with what the log's events tell of retention and drops.

    Exit code 0 intact, also with notes (a torn tail, what a repair left); 1 records were dropped; 3 damage.
    """
    with _logs.find(log, ring_dir) as found:
        result = verify_log(found.path, found.name, found.file)
    click.echo(_text.to_json(result.to_dict()) if as_json else "\n".join(lines(result)))
    return result.exit_code


def lines(result: Report) -> list[str]:
    """Return the result as text."""
    sealed = sum(page.sealed for page in result.pages)
    size = sum(page.bytes for page in result.pages)
    state = "being written" if result.live else "no writer"
    facts = [
        f"{_text.printable(result.path)}: log {_text.printable(result.name) or '?'}, {state}",
        f"{_text.plural(len(result.pages), 'page')} ({sealed} sealed), "
        f"{_text.plural(result.records, 'record')}, {_text.size(size)}: "
        + ("intact" if result.is_intact else "damaged"),
    ]
    if result.sums is not None:
        facts.append(equation(result.sums))
    if result.dropped and result.told is not None:
        facts.append(drops_line(result, result.told))
    facts += [f"{finding.kind}: {_text.printable(finding.line())}" for finding in result.findings]
    return [*facts, counters_line(result.books) if result.books else "log is closed: counters not checked"]


def equation(sums: dict[str, int]) -> str:
    """Return the sums over all records that there ever were in one line."""
    ever, *parts = sums.values()
    names = ("kept", "retired", "archived", "missing", "still in the ring")
    return f"{ever:,} ever = " + " + ".join(
        f"{count:,} {name}" for count, name in zip(parts, names, strict=False)
    )


def drops_line(result: Report, told: Told) -> str:
    """Return in one line how many drops the ring counted, events tell, and records in the pages report."""
    counted = "" if result.books is None else f"{result.books.dropped:,} counted, "
    return f"drops: {counted}{told.dropped:,} told by events, {result.reported:,} reported in the pages"


def counters_line(books: Books) -> str:
    """Return the comparison of the counters in one line."""
    numbers = (
        (books.uncounted if books.balance else 0, "uncounted"),
        (books.claimed, "claimed, not committed yet"),
        (books.dropped, "dropped or refused"),
        (books.abandoned, "abandoned"),
    )
    more = [f"{number:,} {what}" for number, what in numbers if number]
    return "; ".join([f"{_verdict(books)}: {_sums(books)}", *more])


def _verdict(books: Books) -> str:
    if books.balance is None:
        return "counters are changing, not comparable now"
    if books.balance:
        return "counters match"
    if books.missing:
        were = "1 record was" if books.missing == 1 else f"{books.missing:,} records were"
        return f"MISSING: {were} logged and {'is' if books.missing == 1 else 'are'} nowhere"
    return "COUNTERS DO NOT MATCH"


def _sums(books: Books) -> str:
    if books.balance is None:
        return f"{books.logged:,} logged, {books.written:,} written, {books.in_ring:,} in the ring"
    there = f"{books.written:,} written"
    if books.logged_later > books.logged:
        first, second = (">" if wrong else "≤" for wrong in (books.missing, books.uncounted))
        before, after = f"{books.logged:,} logged before", f"{books.logged_later:,} logged after"
        return f"{before} {first} {there} {second} {after}"
    sign = "≠" if books.missing else "="
    counted = f"{books.logged + books.uncounted:,} logged"
    return f"{counted} {sign} {there} + {books.in_ring:,} in the ring"
