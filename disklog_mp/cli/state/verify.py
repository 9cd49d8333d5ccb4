"""disklog-mp verify: is every byte of a log what was written, and are all records there?"""

from __future__ import annotations

import click

from disklog_mp._verify.books import Books
from disklog_mp._verify.log import Verification
from disklog_mp._verify.log import verify as verify_log
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text


@click.command()
@click.argument("log")
@_logs.json_option
@_logs.ring_dir_option
def verify(log: str, as_json: bool, ring_dir: str | None) -> int:
    """Check all of LOG: every byte, every page, the books.

    The books of its ring balance if every record that a producer counted is in a page or in the ring (for
    each that is attached by itself, for those that left in total), and each claim of a dead producer that
    was given up is there as an abandoned frame.  Changes nothing.

    Exit code 0 clean, 1 something worth knowing (a torn tail, what a repair left), 2 damage.
    """
    with _logs.find(log, ring_dir) as found:
        result = verify_log(found.path, found.name, found.file)
    click.echo(_text.to_json(result.to_dict()) if as_json else "\n".join(lines(result)))
    return result.exit_code


def lines(result: Verification) -> list[str]:
    """Return the result for people."""
    sealed = sum(page.sealed for page in result.pages)
    size = sum(page.bytes for page in result.pages)
    state = "being written" if result.live else "no writer"
    facts = [
        f"{_text.printable(result.path)}: log {_text.printable(result.name) or '?'}, {state}",
        f"{_text.plural(len(result.pages), 'page')} ({sealed} sealed), "
        f"{_text.plural(result.records, 'record')}, {_text.size(size)}: "
        + ("every frame and checksum is right" if _is_whole(result) else "not all of it is right"),
    ]
    for finding in result.findings:
        where = f"page {finding.page}: " if finding.page else ""
        facts.append(f"{finding.kind}: {where}{_text.printable(finding.text)}")
    return facts + (books_lines(result.books) if result.books else ["no ring, so no books to balance"])


def _is_whole(result: Verification) -> bool:
    return not any(finding.page for finding in result.findings)


def books_lines(books: Books) -> list[str]:
    """Return the books for people."""
    verdict = {True: "the books balance", False: "THE BOOKS DO NOT BALANCE", None: "the books are open"}
    numbers = (
        (books.uncounted if books.balance else 0, "uncounted"),
        (books.claimed, "claimed and not committed yet"),
        (books.dropped, "dropped or refused"),
        (books.abandoned, "abandoned"),
    )
    more = [f"{number:,} {what}" for number, what in numbers if number]
    return ["; ".join([f"{verdict[books.balance]}: {_sums(books)}", *more])]


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
