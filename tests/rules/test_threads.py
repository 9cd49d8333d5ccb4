"""What runs in which thread of the writer's process, and what it touches: the code keeps to the table."""

import ast
import builtins
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from disklog_mp import _writer
from rules.sources import ROOT

PACKAGE = ROOT / "disklog_mp"
ROOMS = ("_writer", "_ring", "_pages", "_metrics", "_os")  # loaded by the writer's process
BACKGROUND = "_os/background.py"  # where the threads are made
STORES = {
    *("store32", "store64", "maximize64", "add64", "ring_bell"),
    *("abandon", "announce", "attach", "close", "detach", "release", "retire", "retire_resume"),
}


class Row(NamedTuple):
    """One line of the table."""

    thread: str
    file: str
    function: str
    uses: set[str]


def rows() -> list[Row]:
    """The table of the writer's package, without its head."""
    lines = [line for line in str(_writer.__doc__).splitlines() if line.startswith("|")][2:]
    found = []
    for line in lines:
        thread, code, _, uses = [cell.strip() for cell in line.strip("|").split("|")]
        file, function = code.split(": ")
        found.append(Row(thread, file, function, set(re.findall(r"`([^`]+)`", uses))))
    return found


def function_of(row: Row) -> ast.FunctionDef:
    """The definition that a row names."""
    node: ast.AST = ast.parse((PACKAGE / row.file).read_text())
    for name in row.function.split("."):
        body = getattr(node, "body", [])
        node = next(item for item in body if getattr(item, "name", "") == name)
    assert isinstance(node, ast.FunctionDef)
    return node


def uses_of(function: ast.FunctionDef) -> set[str]:
    """Dotted names, and other names that are called, in the body of a function; builtins left out."""
    inside = set()
    found = set()
    for node in ast.walk(ast.Module(function.body, [])):
        if isinstance(node, ast.Attribute):
            if node not in inside:
                found.add(ast.unparse(node))
            inside.add(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
    return found - set(dir(builtins))


def started() -> set[tuple[str, str, str]]:
    """(thread, file, function) of all that the rooms start, signal handlers included."""
    found = set()
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called, file = ast.unparse(node.func), path.relative_to(PACKAGE).as_posix()
            if called == "Background":
                name, target = ast.literal_eval(node.args[0]), ast.unparse(node.args[1])
                found.add((name.removeprefix("disklog-"), file, target.removeprefix("self.")))
            elif called == "threading.Thread":
                assert file == BACKGROUND
            elif called == "signal.signal" and ast.unparse(node.args[1]) != "handler":
                found.add(("signals", file, ast.unparse(node.args[1]).rpartition(".")[2]))
    return found


def files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (PACKAGE / room).glob("*.py"))


def test_the_table_names_all_that_runs_beside_the_main_thread() -> None:
    """Each thread and each signal handler has a row, and each row with a thread is started somewhere."""
    called_by_others = {
        "perform",
        "prepare",
        "Syncer._post",
        "Archiving._post",
        "DeathWatch._news",
        "Writer.run",
    }
    told = {
        (row.thread, row.file, row.function.rpartition(".")[2])
        for row in rows()
        if row.function not in called_by_others
    }

    assert told == started()


@pytest.mark.parametrize("row", rows()[1:], ids=lambda row: row.function)
def test_a_function_touches_what_its_row_says(row: Row) -> None:
    """No more and no less."""
    assert uses_of(function_of(row)) == row.uses


def stores_of(text: str) -> list[str]:
    """Where a file stores into a ring: assignments to its words, and calls of what changes it."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and is_ring(node.value):
            if isinstance(node.ctx, ast.Store) or node.attr in STORES:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and node.attr.startswith("store_"):
            found.append(ast.unparse(node))
    return found


def is_ring(node: ast.expr) -> bool:
    """Whether an expression is a ring, by its name."""
    return re.fullmatch(r"(.*\.)?(ring|old)", ast.unparse(node)) is not None


@pytest.mark.parametrize("path", sorted((PACKAGE / "_writer").glob("*.py")), ids=lambda path: path.stem)
def test_only_the_live_ring_stores_into_rings(path: Path) -> None:
    """Every store of the writer stands in live_ring.py."""
    assert bool(stores_of(path.read_text())) == (path.name == "live_ring.py")


@pytest.mark.parametrize(
    "text",
    ["ring.written = 1", "self._live.ring.durable = 2", "ring.store64(0, 1)", "_control.store_totals(r, t)"],
)
def test_a_planted_store_is_found(text: str) -> None:
    """The rule can fail."""
    assert stores_of(text)
