"""The result of a crash test, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from disklog_mp._verify.log import Report
from disklog_mp.cli import _text
from disklog_mp.cli.crashtest.attached import Restarts
from disklog_mp.cli.crashtest.ledger import Balance
from disklog_mp.cli.state.verify import counters_line

KINDS = ("worker", "writer", "reader")


@dataclass
class Result:
    """One run: its parameters, what was done to its processes, and what was found."""

    seed: int
    seconds: float
    workers: int
    ring_bytes: int
    length: int
    started: dict[str, Counter[str]] = field(default_factory=dict)  # by kind, then by how
    killed: Counter[str] = field(default_factory=Counter)  # by kind
    frozen: Counter[str] = field(default_factory=Counter)
    together: int = 0  # times all workers were killed together with the writer
    balance: Balance = field(default_factory=Balance)
    waited: int = 0
    longest: int = 0  # ns
    stalls: int = 0
    restarts: Restarts = field(default_factory=Restarts)  # of writers, by the sessions that are attached
    leaks: dict[str, list[str]] = field(default_factory=dict)
    verification: Report | None = None
    findings: list[str] = field(default_factory=list)
    kept: str | None = None  # the directory that is kept if anything is wrong

    @property
    def is_right(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings

    @property
    def abandoned(self) -> int:
        """Claims of dead workers that never became records."""
        books = self.verification.books if self.verification else None
        return books.abandoned if books else 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        balance = self.balance
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "workers": self.workers,
            "ring_bytes": self.ring_bytes,
            "length": self.length,
            "records": balance.records,
            "bytes": balance.bytes,
            "accepted": balance.accepted,
            "started": {kind: dict(self.started.get(kind, {})) for kind in KINDS},
            "killed": {kind: self.killed[kind] for kind in KINDS},
            "everybody": self.together,
            "frozen": {kind: self.frozen[kind] for kind in KINDS},
            "abandoned": self.abandoned,
            "lost": balance.lost,
            "doubled": balance.doubled,
            "out_of_order": balance.out_of_order,
            "broken": balance.broken,
            "damage": balance.damage,
            "waited": self.waited,
            "longest_stall_ms": round(self.longest / 1e6, 1),
            "stalls": self.stalls,
            "restarts": {
                "kills": len(self.restarts.calls),
                "records": self.restarts.records,
                "longest_call_ms": {
                    name: round(self.restarts.percentile(share) / 1e6, 1)
                    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
                },
            },
            "leaks": self.leaks,
            "books": self.verification.to_dict()["books"] if self.verification else None,
            "findings": self.findings,
            "kept": self.kept,
        }


def lines(result: Result) -> list[str]:
    """Return the report as text."""
    balance = result.balance
    books = result.verification.books if result.verification else None
    leaks = sum(map(len, result.leaks.values()))
    facts = [
        (
            "run",
            f"{result.seconds:g} s, {_text.plural(result.workers, 'worker')}, ring of "
            f"{_text.size(result.ring_bytes)}, seed {result.seed}",
        ),
        ("records", f"{balance.records:,}, {_text.size(balance.bytes)}; {balance.accepted:,} accepted"),
        *((f"{kind}s", _fate(result, kind)) for kind in KINDS),
        ("all at once", f"{result.together:,} times all workers and the writer were killed together"),
        ("abandoned", f"{result.abandoned:,}"),
        ("lost", f"{balance.lost:,}"),
        ("doubled", f"{balance.doubled:,}"),
        ("out of order", f"{balance.out_of_order:,}"),
        ("broken", f"{balance.broken + balance.damage:,}"),
        ("stalls", f"{result.stalls:,} over 100 ms; the longest took {result.longest / 1e6:.2f} ms"),
        ("restarts", _restarts(result.restarts)),
        ("leaks", f"{leaks:,}"),
        ("verified", counters_line(books) if books else "could not be read"),
    ]
    told = [f"{what:<12}  {text}" for what, text in facts]
    verdict = "all is well" if result.is_right else f"FAILED: the log is kept in {result.kept}"
    return [*told, "", verdict]


def _restarts(restarts: Restarts) -> str:
    p50, p99, most = (restarts.percentile(share) / 1e6 for share in (0.5, 0.99, 1.0))
    return (
        f"{len(restarts.calls):,} writers killed under 4 attached workers, {restarts.records:,} records; "
        f"longest call: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {most:.0f} ms"
    )


def _fate(result: Result, kind: str) -> str:
    started = result.started.get(kind, Counter())
    ways = ", ".join(f"{number:,} {way}" for way, number in started.most_common())
    killed, frozen = result.killed[kind], result.frozen[kind]
    return f"{started.total():,} started ({ways}), {killed:,} killed, {frozen:,} frozen"
