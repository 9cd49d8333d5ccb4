"""Every step of every protocol, with a process killed, frozen or failed at it: the books must balance.

fault_walk.py tells the lives; here they are told side by side, some hundred of each kind.  `make faults`
tells all of them.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from conftest import RUN
from fault_core import CALLS, CC, CSRC, HERE, build

STORIES = ("producers", "writer", "retention", "successor", "traced", "pairs")
# At these something else would have to happen at the same instant, which is not arranged; the model and the
# controlled schedules come there.
SELDOM = {"commit:C", "bell taken", "closed:A", "abandon:A", "parked", "space", "done"}
# Where the kernel has membarrier no producer makes a fence of its own; the sweep stops there.
SELDOM |= {"commit:E"}
pytestmark = [
    pytest.mark.skipif(CC is None, reason="no C compiler"),
    pytest.mark.skipif(not CSRC.is_dir(), reason="the C sources are not installed"),
]


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the walks found, by story."""
    place = tmp_path_factory.mktemp("faults")
    core = build(place)
    running = {}
    for story in STORIES:
        (place / story).mkdir()
        command = [sys.executable, str(HERE / "fault_walk.py"), story, "--core", str(core)]
        command += ["--name", f"{RUN}-{story}", "--path", str(place / story)]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        running[story] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    found = {}
    for story, process in running.items():
        with process:
            told = process.communicate(timeout=300)[0]
        found[story] = json.loads(told) if told else {"wrong": ["it ended without a word"], "met": {}}
    return found


def labels() -> set[str]:
    """All points of the core and of the package's Python part."""
    found = {*CALLS, "lock", "shm_open"}
    for path in CSRC.glob("*.c"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        found |= set(re.findall(r'DL_POINT\("([^"]+)"\)', text))
        found |= set(re.findall(r"DL_ATOMIC\((\w+:[A-Z]),", text))
    return found


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.timeout(300)
def test_no_step_can_be_hit(walks: dict[str, Any], story: str) -> None:
    """Nothing acknowledged is lost or doubled, nobody is stuck, nothing is left behind."""
    wrong = walks[story]["wrong"]
    if any("lets no process be traced" in what for what in wrong):
        pytest.skip("this machine lets no process be traced")

    assert not wrong


@pytest.mark.timeout(300)
def test_every_point_was_met(walks: dict[str, Any]) -> None:
    """A point at which nothing ever happened proves nothing."""
    met: Counter[str] = Counter()
    for story, walk in walks.items():
        if story != "traced":
            met.update(walk["met"])

    assert labels() - SELDOM <= set(met)
    assert set(met) <= labels()
