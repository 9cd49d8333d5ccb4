"""What no module does: evaluate what it reads, or signal processes that are not its own."""

import ast

from rules.sources import ROOT, name_of, python_files

EVALUATORS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"} | {
    "eval",
    "exec",
    "compile",
    "__import__",
}
SIGNALS = {"kill", "killpg", "terminate", "send_signal", "pidfd_send_signal"}
# With kill_stalled= a writer ends a producer that has the ring mapped, by a pidfd; with SIGTERM itself.
# `run` passes signals on to the command that it started.
KILLS = {
    "pidfd_send_signal": {"_ring/liveness.py"},
    "kill": {"_writer/producers.py"},
    "send_signal": {"cli/control/_child.py"},
}
PLAYERS = ("cli/crashtest/", "cli/demo/", "cli/bench/", "cli/_workers.py")
MODULES = {
    name: ast.parse(file.read_text())
    for file in python_files()
    if not (name := name_of(file).removeprefix("disklog_mp/")).startswith(PLAYERS)
}


def used_by(tree: ast.Module) -> set[str]:
    """Modules that are imported, names that are imported or called."""
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            used.add(node.func.id)
    return used


def test_nothing_is_unpickled_or_evaluated() -> None:
    """No module imports what could, or calls eval, exec or compile; only players start processes with
    multiprocessing, which pickles.
    """
    found = {name: used_by(tree) & (EVALUATORS | {"multiprocessing"}) for name, tree in MODULES.items()}

    assert not {name: used for name, used in found.items() if used}


def test_no_module_signals_a_process() -> None:
    """But the places in KILLS, and the players: commands that demonstrate, measure and torture with
    processes that they started themselves.
    """
    found: dict[str, set[str]] = {}
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in SIGNALS:
                found.setdefault(node.attr, set()).add(name)

    assert found == KILLS


def test_the_players_are_there() -> None:
    """What the rule leaves out exists."""
    assert all((ROOT / "disklog_mp" / player).exists() for player in PLAYERS)
