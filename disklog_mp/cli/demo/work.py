"""The worker processes of the demo: they parse Python files and log one record for each."""

from __future__ import annotations

import ast
import json
import os
import random
import sys
import sysconfig
import time
import warnings
from typing import Any

import disklog_mp

FAILED = 1  # the tag of a record about a file that could not be parsed
FINISHED = 2  # the tag of the demo's last record
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def python_files() -> tuple[str, list[str]]:
    """Return the directory of the standard library and the Python files in it, shuffled."""
    root = sysconfig.get_path("stdlib")
    found = []
    for directory, subdirectories, names in os.walk(root):
        skipped = ("site-packages", "dist-packages", "__pycache__")
        subdirectories[:] = [name for name in subdirectories if name not in skipped]
        found += [os.path.join(directory, name) for name in names if name.endswith(".py")]
    found.sort()
    random.Random(len(found)).shuffle(found)  # so that large files are spread over all workers
    return root, found


def work(name: str, root: str, files: list[str]) -> None:
    """Attach to the log by its name, and log a record for each file."""
    warnings.simplefilter("ignore")  # the tests of the standard library cause many warnings
    sys.setrecursionlimit(2000)
    with disklog_mp.attach(name, timeout=30) as log:
        for path in files:
            found = examine(path)
            told = {"path": os.path.relpath(path, root), **found}
            log.log(json.dumps(told).encode(), tag=FAILED if "error" in found else 0)


def examine(path: str) -> dict[str, Any]:
    """Parse one file and return counts of its contents, or its error."""
    began = time.perf_counter()
    try:
        with open(path, "rb") as file:
            source = file.read()
        counts = _count(ast.parse(source, path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    milliseconds = round((time.perf_counter() - began) * 1e3, 2)
    return {"bytes": len(source), "lines": source.count(b"\n"), **counts, "ms": milliseconds}


def _count(tree: ast.Module) -> dict[str, int]:
    counts = {"functions": 0, "classes": 0, "imports": 0}
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            counts["functions"] += 1
        elif isinstance(node, ast.ClassDef):
            counts["classes"] += 1
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            counts["imports"] += 1
        for block in BLOCKS:
            nodes.extend(getattr(node, block, ()))
    return counts
