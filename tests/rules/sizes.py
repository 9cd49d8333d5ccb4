"""Files and classes that can be read in one sitting."""

import ast
from pathlib import Path

from rules.sources import Violation, name_of

LONGEST = {".py": 400, ".c": 550, ".h": 550}  # lines of a file
LONGEST_CLASS = 250  # lines
MOST_METHODS = 25


def violations_of(file: Path) -> list[Violation]:
    """Each file and class that has grown too large."""
    name = name_of(file)
    source = file.read_text()
    lines = source.count("\n")
    found = []
    if lines > LONGEST.get(file.suffix, lines):
        found.append(Violation("sizes", name, 1, f"{lines} lines of at most {LONGEST[file.suffix]}"))
    for node in ast.walk(ast.parse(source)) if file.suffix == ".py" else ():
        if isinstance(node, ast.ClassDef):
            length = int(node.end_lineno or 0) - node.lineno + 1
            methods = sum(isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for item in node.body)
            if length > LONGEST_CLASS:
                text = f"class {node.name} has {length} lines of at most {LONGEST_CLASS}"
                found.append(Violation("sizes", name, node.lineno, text))
            if methods > MOST_METHODS:
                text = f"class {node.name} has {methods} methods of at most {MOST_METHODS}"
                found.append(Violation("sizes", name, node.lineno, text))
    return found
