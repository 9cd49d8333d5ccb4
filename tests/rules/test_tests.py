"""The tests' own rules."""

import ast
from collections.abc import Iterator

from rules.sources import ROOT, name_of

FILES = sorted((ROOT / "tests").rglob("*.py"))


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Full names of modules, and of what is imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def silent_tests(tree: ast.Module) -> Iterator[str]:
    """The names of tests without a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            if not ast.get_docstring(node):
                yield node.name


def test_no_module_imports_a_test_module() -> None:
    """What two of them need is in support/, or in a module of their folder that is no test."""
    found = [
        f"{name_of(file)} imports {name}"
        for file in FILES
        for name in imports_of(ast.parse(file.read_text()))
        if any(part.startswith("test_") for part in name.split("."))
    ]

    assert not found


def test_every_test_states_a_behaviour() -> None:
    """In a docstring, which its name may shorten."""
    found = [
        f"{name_of(file)}: {name}"
        for file in FILES
        if file.name.startswith("test_")
        for name in silent_tests(ast.parse(file.read_text()))
    ]

    assert not found


def test_planted_breaches_are_found() -> None:
    """Both rules can fail."""
    tree = ast.parse("from system.test_open import a\nimport b.test_c\ndef test_d(): pass\n")

    assert list(imports_of(tree)) == ["system.test_open.a", "b.test_c"]
    assert list(silent_tests(tree)) == ["test_d"]
