"""Time budgets: each folder's conftest.py says how long its tests may take together, and each of them.

`BUDGET` is in seconds of all tests of the folder, one after the other, on a quiet core; what took longer is
shown at the end of a run and fails nothing.  `TIMEOUT` ends a single test that hangs.
"""

import ast
import functools
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
Budget = dict[str, float]


@functools.cache
def budget_of(folder: Path) -> tuple[str, Budget]:
    """The nearest folder whose conftest.py has a BUDGET, and the numbers it gives."""
    conftest = folder / "conftest.py"
    if conftest.exists():
        found = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(conftest.read_text()).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in ("BUDGET", "TIMEOUT")
        }
        if "BUDGET" in found:
            return str(folder.relative_to(TESTS)), found
    if folder == TESTS:
        return ".", {"BUDGET": 0.0}
    return budget_of(folder.parent)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the timeout of its folder, unless it has one of its own."""
    for item in items:
        _, numbers = budget_of(item.path.parent)
        if "TIMEOUT" in numbers and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(numbers["TIMEOUT"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each folder took, beside what it may."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: defaultdict[str, int] = defaultdict(int)
    budgets: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                name, numbers = budget_of((terminalreporter.config.rootpath / file).parent)
                seconds[name] += report.duration
                tests[name] += report.when == "call"
                budgets[name] = numbers["BUDGET"]
    if sum(tests.values()) < 20:
        return
    terminalreporter.section("folders")
    for name in sorted(seconds):
        over = "   over its budget" if seconds[name] > budgets[name] else ""
        told = f"{name:16}{tests[name]:6} tests {seconds[name]:7.1f} s of {budgets[name]:g} s{over}"
        terminalreporter.write_line(told)
