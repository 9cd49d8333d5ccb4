"""Every step of every protocol, with a process killed, frozen or failed at it: the books must balance.

fault_stories.py tells the lives; here they are told side by side: every step once, killed or frozen by turns,
every error of every call, and some of the pairs.  `make nightly` tells some hundred of each kind, and other
pairs each day; `make faults` tells all of them.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.chance import SEED, TIMES
from support.machine import RUN

from deaths.faults.fault_core import CC, CSRC, FAILURES, TESTS, build

GROUPS = (
    ("producers", "opener", "bells"),
    ("writer", "retention", "sleepers", "successor", "reuse", "leaving"),
    ("traced",),
    ("pairs",),
)
HOW_MANY = ("--few", "--pairs", "20") if TIMES == 1 else ("--pairs", str(60 * TIMES))
pytestmark = [
    pytest.mark.skipif(CC is None, reason="no C compiler"),
    pytest.mark.skipif(not CSRC.is_dir(), reason="the C sources are not installed"),
]


class Mistake(NamedTuple):
    """Where it must show that a step of the writer is left out, and as what."""

    story: str
    points: tuple[str, ...]
    shows: str


LOST = r"producer \d+: |record \d+ after|damage|not what was logged"
WITHOUT = {  # steps of fault_steps.py
    # An overwritten word may also lead nowhere.
    "write_before_release": Mistake("writer", ("pwrite",), LOST + "|is not written"),
    "resume_retiring": Mistake("writer", ("retire:C",), "were logged by processes that died"),
    "wait_for_claims": Mistake("reuse", ("retire:A",), "taken for the late one's"),
    "look_who_came": Mistake("leaving", ("close:A",), "no log"),
    "proof_of_death": Mistake("producers", ("claimed", "filled"), LOST),
}


def start(core: Path, place: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a walk."""
    place.mkdir()
    command = [sys.executable, "-m", "deaths.faults.fault_walk", *arguments, "--core", str(core)]
    command += ["--name", f"{RUN}-{place.name}", "--path", str(place)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def end(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return what a walk found."""
    with process:
        told = process.communicate(timeout=500)[0]
    return json.loads(told) if told else {"wrong": ["it ended without a word"], "met": {}, "failed": {}}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module")
def walks(core: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Any]:
    """What the walks found, by their stories."""
    place = tmp_path_factory.mktemp("faults")
    running = {
        group: start(core, place / group[0], *group, *HOW_MANY, "--seed", str(SEED)) for group in GROUPS
    }
    return {group: end(process) for group, process in running.items()}


@pytest.fixture(scope="module")
def mistaken(core: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the walks found, each without one step of the writer."""
    place = tmp_path_factory.mktemp("without")
    running = {}
    for number, (step, mistake) in enumerate(WITHOUT.items()):
        arguments = [mistake.story, "--every", "--until-wrong", "--wait", "10", "--without", step]
        for point in mistake.points:
            arguments += ["--only", point]
        running[step] = start(core, place / f"without-{number}", *arguments)
    return {step: end(process) for step, process in running.items()}


def labels() -> set[str]:
    """All points of the core, and before the system calls."""
    found = set(FAILURES)
    for path in CSRC.rglob("*.c"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        found |= set(re.findall(r'DL_POINT\("([^"]+)"\)', text))
        found |= set(re.findall(r"DL_ATOMIC\((\w+:[A-Z]),", text))
    return found


@pytest.mark.parametrize("group", GROUPS, ids=" and ".join)
@pytest.mark.timeout(600)
def test_no_step_can_be_hit(walks: dict[tuple[str, ...], Any], group: tuple[str, ...]) -> None:
    """Nothing acknowledged is lost or doubled, nobody is stuck, nothing is left behind."""
    wrong = walks[group]["wrong"]
    if any("lets no process be traced" in what for what in wrong):
        pytest.skip("this machine lets no process be traced")

    assert not wrong


@pytest.mark.timeout(600)
def test_every_point_was_met(walks: dict[tuple[str, ...], Any]) -> None:
    """A point at which nothing ever happened proves nothing."""
    met: Counter[str] = Counter()
    for group, walk in walks.items():
        if group not in (("traced",), ("pairs",)):
            met.update(walk["met"])

    assert labels() == set(met)


@pytest.mark.timeout(600)
def test_every_call_failed_in_every_way(walks: dict[tuple[str, ...], Any]) -> None:
    """Each system call met each error that the kernel can give there."""
    failed: Counter[str] = Counter()
    for walk in walks.values():
        failed.update(walk["failed"])

    assert {f"{call} {error}" for call, errors in FAILURES.items() for error in errors} == set(failed)


@pytest.mark.parametrize("step", WITHOUT)
@pytest.mark.timeout(600)
def test_a_missing_step_is_found(mistaken: dict[str, Any], step: str) -> None:
    """What the order of steps is for: without it the books do not balance."""
    assert re.search(WITHOUT[step].shows, "\n".join(mistaken[step]["wrong"]))
