"""A walk over all fault points: a log's life is told again and again, and each time one process, or two at
once, are killed, frozen or failed at another step; each time the books must balance.

Run by test_fault_points.py as a process of its own, which forks writers and producers from what it has
loaded: a life takes some milliseconds.  `python -m deaths.faults.fault_walk --help`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deaths.faults import fault_core

if TYPE_CHECKING:
    from deaths.faults import fault_life, fault_steps, fault_stories
    from deaths.faults.fault_stories import STORIES

SINGLE = ("producers", "opener", "bells", "writer", "retention", "successor", "sleepers", "reuse", "leaving")
ALL = (*SINGLE, "traced", "pairs")
TRIES = 3  # for a step that is not met in every life


class Walk:
    """Tells lives, keeps count of what was met and what went wrong."""

    def __init__(self, faults: fault_core.Faults, name: str, path: Path, until_wrong: bool) -> None:
        self.faults, self.name, self.path, self.until_wrong = faults, name, path, until_wrong
        self.lives = 0
        self.met: Counter[str] = Counter()  # points at which something happened
        self.failed: Counter[str] = Counter()  # calls that did, by errno
        self.tried: set[str] = set()  # labels of the stories before
        self.missed: set[str] = set()
        self.pairs_met = 0
        self.wrong: list[str] = []

    def _live(self, what: str, tell: Callable[[fault_life.Life], Any], *armed: fault_life.Fault) -> Any:
        """Tell one life; return the story's answer and the life."""
        if self.wrong and self.until_wrong:
            raise Over
        self.lives += 1
        name = f"{self.name}-{self.lives}"
        life, answer = fault_life.Life(self.faults, name, self.path / name, armed), None
        try:
            answer = tell(life)
        except Exception as error:
            text = str(error) if isinstance(error, fault_life.Wrong) else traceback.format_exc()
            self.wrong.append(f"{what}: {text}")
            print(self.wrong[-1], file=sys.stderr)
        finally:
            life.close()
        return answer, life

    def tell(self, story: str, *armed: fault_life.Fault) -> bool:
        """Tell a story with these faults; True if all were met."""
        what = f"{story}, {' and '.join(map(str, armed))}"
        _, life = self._live(what, STORIES[story].tell, *armed)
        for fault in armed:
            if fault.fails() and self.faults.acted():
                life.met.add(fault)
                self.failed[f"{fault.label} {fault.action}"] += 1
            elif fault in life.met:
                self.met[fault.label] += 1
        return life.met.issuperset(armed)

    def labels(self, story: str) -> dict[str, dict[str, int]]:
        """What the armed role meets in that story when nothing happens, and how often: in all, and by the
        story's marks.
        """
        role = STORIES[story].role
        parts: dict[str, Counter[str]] = {"": Counter()}
        for _ in range(TRIES):  # not all is met in every life
            where, seen = "", Counter[str]()

            def tell(life: fault_life.Life) -> None:
                fork = life.fork

                def recording(forked: str, work: Callable[[], None]) -> int:
                    def recorded() -> None:
                        self.faults.record()
                        work()

                    return int(fork(forked, recorded if forked == role else work))

                def mark(coming: str) -> None:
                    nonlocal where, seen
                    now = Counter(self.faults.recorded())
                    parts.setdefault(where, Counter())
                    parts[where] |= now - seen
                    where, seen = coming, now

                life.fork, life.mark = recording, mark  # type: ignore[method-assign]
                STORIES[story].tell(life)
                mark("")

            self._live(f"{story}, nothing happens", tell)
            parts[""] |= Counter(self.faults.recorded())
        return {part: dict(found) for part, found in parts.items()}

    def singles(self, story: str, given: argparse.Namespace, share: Share) -> None:
        """Every label of a life, at its first time and in the middle; or at every time; or once."""
        role, steps = STORIES[story].role, STORIES[story].steps
        for turn, (label, count) in enumerate(self.labels(story)[""].items(), given.seed):
            if (given.only and label not in given.only) or not re.fullmatch(steps, label):
                continue
            middle = {1} if given.few else {1, count // 2 + 1}
            for nth in range(1, count + 1) if given.every else sorted(middle):
                both = ("kill", "freeze")
                for action in both[turn % 2 :][:1] if given.few else both:
                    if share.is_mine():
                        self._insist(story, fault_life.Fault(role, label, nth, action))
                failures = fault_core.FAILURES.get(label, ())
                # Later on it is another caller that sees it fail, and does not tell the errors apart.
                all_of_them = given.every or (nth == 1 and not (given.few and label in self.tried))
                for action in failures if all_of_them else failures[:1]:
                    if share.is_mine():
                        self.tell(story, fault_life.Fault(role, label, nth, action))
            self.tried.add(label)

    def _insist(self, story: str, fault: fault_life.Fault) -> None:
        for _ in range(TRIES if fault.nth == 1 else 1):
            if self.tell(story, fault):
                return
        self.missed.add(fault.label)

    def traced(self, given: argparse.Namespace, share: Share) -> None:
        """All system calls from attaching to the end; all instructions of taking a slot and leaving it."""
        core, calls, instructions = given.core, *((1, 1) if given.every else (8, 20) if given.few else (3, 2))
        self._until_its_end("system call", fault_stories.at_system_call, calls, share)
        symbols = subprocess.run(["nm", "-S", core], capture_output=True, text=True, check=True).stdout
        for function, label in (("dl_ring_attach", "lock"), ("dl_ring_detach", "commit:B")):
            span = fault_stories.span_of(function, symbols)

            def at(count: int, span: Any = span, label: str = label) -> Any:
                return fault_stories.at_instruction(label, span, count)

            self._until_its_end(f"instruction of {function}", at, instructions, share)

    def _until_its_end(self, what: str, at: Callable[[int], Any], step: int, share: Share) -> None:
        """Kill one at the first stop, the next one at the next, until one comes to its end before."""
        for count in itertools.count(0, step):
            if share.is_mine():
                before = len(self.wrong)
                alive, _ = self._live(
                    f"{what} {count}",
                    lambda life: fault_stories.with_traced(life, at(count)),  # noqa: B023
                )
                self.met[what] += bool(alive)
                if not alive and (len(self.wrong) == before or count > 1000):
                    break

    def pairs(self, seed: int, most: int, share: Share) -> None:
        """Two at once, one killed or frozen, then the other killed: producer and producer, producer and
        writer, all pairs of points, or some of them.
        """
        producer = self.labels("two producers")[""]
        running = self.labels("producer and writer")["running"]
        taking_over = self.labels("producer and successor")
        two = [
            (story, a, b, action)
            for story, others in (
                ("two producers", producer),
                ("producer and writer", running),
                ("producer and successor", taking_over["taking over"]),
            )
            for a in producer
            for b in others
            for action in ("kill", "freeze")
        ]
        if most:
            two = random.Random(seed).sample(two, min(most, len(two)))
        for i, (story, a, b, action) in enumerate(two):
            if share.is_mine():
                self._pair(story, a, b, action, i, producer[a])

    def _pair(self, story: str, a: str, b: str, action: str, i: int, count: int) -> None:
        other = "producer 2" if story == "two producers" else "writer"
        for nth in dict.fromkeys((1 + i % min(count, 4), 1)):
            first = fault_life.Fault("producer 1", a, nth, action)
            if self.tell(story, first, fault_life.Fault(other, b, 1, "kill", after=True)):
                self.pairs_met += 1
                return
        self.missed.add(f"{story}: {a}, then {b}")


class Over(Exception):
    """One finding was enough."""


class Share:
    """One of several walkers side by side has every so-many-eth life."""

    def __init__(self, number: int, of: int) -> None:
        self._turns = itertools.cycle(range(of))
        self._number = number

    def is_mine(self) -> bool:
        """Ask once for each life."""
        return next(self._turns) == self._number


def walk(given: argparse.Namespace, number: int) -> dict[str, Any]:
    """Be one of the walkers; return what was found."""
    faults.begin()
    walk = Walk(faults, f"{given.name}-{number}", given.path, given.until_wrong)
    with contextlib.suppress(Over):
        for story in given.stories:
            share = Share(number, given.jobs)
            if story == "pairs":
                walk.pairs(given.seed, given.pairs, share)
            elif story == "traced":
                walk.traced(given, share)
            else:
                walk.singles(story, given, share)
    return {
        "lives": walk.lives,
        "pairs": walk.pairs_met,
        "met": walk.met,
        "failed": walk.failed,
        "missed": sorted(walk.missed - set(walk.met)),
        "wrong": walk.wrong,
    }


def side_by_side(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Fork the walkers; yield what each found."""
    readers, parent = [], os.getpid()
    for number in range(given.jobs):
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            fault_core.die_with(parent)
            os.close(read)
            with open(write, "w") as file:
                json.dump(walk(given, number), file)
            os._exit(0)
        os.close(write)
        readers.append((pid, read))
    for pid, read in readers:
        with open(read) as file:
            text = file.read()
        yield json.loads(text) if text else {"wrong": ["a walker ended without a word"]}
        os.waitpid(pid, 0)


def main() -> None:
    os.environ["DISKLOG_MP_WRITER"] = "1"  # sessions start no writer: the stories do
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", nargs="*", default=ALL, help=", ".join(ALL))
    parser.add_argument("--core", type=Path, required=True, help="the test build of the core")
    parser.add_argument("--name", default=f"test-{os.getpid()}-faults")
    parser.add_argument("--path", type=Path, required=True, help="an empty directory")
    parser.add_argument("--every", action="store_true", help="every step at every time it is met")
    parser.add_argument("--few", action="store_true", help="every step once, killed or frozen by turns")
    parser.add_argument("--only", action="append", default=[], help="steps, all if not given")
    parser.add_argument("--until-wrong", action="store_true", help="end with the first finding")
    parser.add_argument("--pairs", type=int, default=0, help="how many pairs, chosen by the seed; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wait", type=float, default=60.0, help="seconds for what takes milliseconds")
    parser.add_argument("--jobs", type=int, default=1, help="walkers side by side")
    parser.add_argument("--without", choices=fault_steps.STEPS, help="a step of the writer to leave out")
    given = parser.parse_args()
    if given.without:
        fault_steps.STEPS[given.without]()
    fault_life.WAIT = fault_stories.WAIT = given.wait
    began = time.monotonic()
    told: dict[str, Any] = {"lives": 0, "pairs": 0, "met": {}, "failed": {}, "missed": [], "wrong": []}
    for found in side_by_side(given):
        for what, value in found.items():
            told[what] = (
                dict(Counter(told[what]) + Counter(value)) if isinstance(value, dict) else told[what] + value
            )
    told["missed"] = sorted({*told["missed"]} - {*told["met"]})
    told["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(told))
    sys.exit(1 if told["wrong"] else 0)


if __name__ == "__main__":
    faults = fault_core.Faults(Path(sys.argv[sys.argv.index("--core") + 1]))
    from deaths.faults import fault_life, fault_steps, fault_stories
    from deaths.faults.fault_stories import STORIES

    main()
