"""The ledger of a crash test: the records that came out of the log, compared with the workers' notes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import disklog_mp
from disklog_mp.cli.crashtest import notes as _notes
from disklog_mp.cli.crashtest.notes import ACCEPTED, HEAD, PID, STARTED, TRIED, Notes, Order, record_of

END = 0  # the line of the record that ends the log
SHOWN = 20  # findings that are shown in full
PATIENCE = 20.0  # seconds without a record: the workers never pause that long


class Line(NamedTuple):
    """The notes of one worker at its end."""

    pid: int
    accepted: int
    tried: int


@dataclass
class Balance:
    """The result: all but the first three should be 0."""

    records: int = 0
    bytes: int = 0
    accepted: int = 0  # by the workers' notes
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    broken: int = 0  # not a record of a worker, or only a part of one
    damage: int = 0  # ranges of page files that could not be read
    findings: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """True if the log holds what it was given and nothing else."""
        return not (self.lost or self.doubled or self.out_of_order or self.broken or self.damage)


class _Account:
    """The records of one worker as they came out of the log."""

    def __init__(self) -> None:
        self.following = 0
        self.missing: set[int] = set()
        self.pids: Counter[int] = Counter()


class Ledger:
    """Takes the records of a log in their order, then compares them with the notes."""

    def __init__(self) -> None:
        self.balance = Balance()
        self._accounts: dict[int, _Account] = {}
        self._number = 0
        self._position = -1
        self._group: tuple[int, int, int, int] | None = None  # the head the next record must have

    def take(self, record: disklog_mp.Record) -> None:
        """Enter one record."""
        balance = self.balance
        if record.number != self._number or record.position <= self._position:
            balance.out_of_order += 1
            self._find(
                f"{_name(record)} where number {self._number} after position {self._position} was next"
            )
        self._number, self._position = record.number + 1, record.position
        balance.records += 1
        data = record.data
        balance.bytes += len(data)
        if len(data) < HEAD.size:
            self._broken(record, "it is shorter than any")
            return
        line, place, group, sequence, length = HEAD.unpack_from(data)
        if data != record_of(line, sequence, length, place, group):
            self._broken(record, f"of worker {line}, sequence {sequence}, length {length}: other bytes")
            return
        self._take_group(record, (line, place, group, sequence))
        account = self._accounts.setdefault(line, _Account())
        account.pids[record.pid] += 1
        if sequence == account.following:
            account.following += 1
        elif sequence > account.following:
            account.missing.update(range(account.following, sequence))
            account.following = sequence + 1
        elif sequence in account.missing:
            account.missing.remove(sequence)
            balance.out_of_order += 1
            self._find(f"{_name(record)}: worker {line}, sequence {sequence} after {account.following - 1}")
        else:
            balance.doubled += 1
            self._find(f"{_name(record)}: worker {line}, sequence {sequence} for the second time")

    def _take_group(self, record: disklog_mp.Record, head: tuple[int, int, int, int]) -> None:
        """The records of a group must follow each other, from the first to the last."""
        line, place, group, sequence = head
        if self._group is not None and head != self._group:
            self._broken(record, f"{head} where the group's {self._group} was next")
        elif self._group is None and place != 0:
            self._broken(record, f"{head} is in the middle of a group that has no beginning")
        self._group = (line, place + 1, group, sequence + 1) if place + 1 < group else None

    def _broken(self, record: disklog_mp.Record, what: str) -> None:
        self.balance.broken += 1
        self._find(f"{_name(record)}: {what}")

    def _find(self, text: str) -> None:
        if len(self.balance.findings) < SHOWN:
            self.balance.findings.append(text)

    @property
    def has_found(self) -> bool:
        """True if something is wrong already."""
        return not self.balance.is_right

    def note_damage(self, damage: object) -> None:
        """Enter a range that could not be read."""
        self.balance.damage += 1
        self._find(str(damage))

    @property
    def has_ended(self) -> bool:
        """True if the record that ends the log was taken."""
        return END in self._accounts

    def close(self, lines: dict[int, Line]) -> Balance:
        """Compare with the notes of the workers, which have all ended.

        All accepted records must be there, once and in order.  Beyond them there may be the records of the
        call that was under way when a worker was killed: all of them or none.
        """
        balance = self.balance
        if self._group is not None:
            balance.broken += 1
            self._find(f"the log ends in the middle of a group: {self._group} was next")
        for number in sorted(set(self._accounts) - set(lines) - {END}):
            balance.broken += 1
            self._find(f"records of worker {number}, of which there was none")
        for number, line in sorted(lines.items()):
            self._close_account(number, line, self._accounts.get(number, _Account()))
        return balance

    def _close_account(self, number: int, line: Line, account: _Account) -> None:
        balance = self.balance
        balance.accepted += line.accepted
        lost = len(account.missing) + max(0, line.accepted - account.following)
        if lost:
            balance.lost += lost
            first = min(account.missing, default=account.following)
            self._find(
                f"worker {number} (pid {line.pid}): {lost} of {line.accepted} accepted records are not "
                f"there, the first is {first}"
            )
        if account.following > line.accepted and account.following != line.tried:
            balance.broken += 1
            self._find(
                f"worker {number} (pid {line.pid}): {account.following} records are there, but "
                f"{line.accepted} were accepted and the next call would have made it {line.tried}"
            )
        if set(account.pids) - {line.pid}:
            balance.broken += 1
            self._find(f"worker {number} is process {line.pid}; its records say {dict(account.pids)}")


def _name(record: disklog_mp.Record) -> str:
    return f"record {record.number} at position {record.position}, of process {record.pid}"


def lines_of(notes: Notes) -> dict[int, Line]:
    """Return the notes of all workers that tried to log something."""
    found = {}
    for number in range(1, notes.get(0, STARTED) + 1):
        if notes.get(number, TRIED):
            found[number] = Line(*(notes.get(number, word) for word in (PID, ACCEPTED, TRIED)))
    return found


def follow(order: Order) -> None:
    """Run the follower: it checks every record as soon as it is visible, and stores the result at the end."""
    _notes.go_apart(order)
    notes = Notes(order.notes)
    ledger = Ledger()
    reader = disklog_mp.Reader(order.log, on_damage=ledger.note_damage)
    for record in reader.follow(timeout=PATIENCE):
        ledger.take(record)
        notes.store(_notes.CHECKED, record.position)
        if ledger.has_found:
            notes.store(_notes.WRONG, 1)
        if ledger.has_ended:
            break
    else:
        raise TimeoutError(f"no record for {PATIENCE:.0f} s, after number {ledger.balance.records}")
    balance = ledger.close(lines_of(notes))
    with open(order.balance, "w", encoding="utf-8") as file:
        json.dump(asdict(balance), file)
