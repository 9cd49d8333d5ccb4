"""What begins with an underscore belongs to the file that defines it."""

import ast
from pathlib import Path

from rules.sources import Violation, name_of

# Underscores that are no secret.
PUBLIC = {
    "_replace": "of named tuples",
    "_asdict": "of named tuples",
    "_fields": "of named tuples",
    "_make": "of named tuples",
    "_exit": "os._exit",
    "_getframe": "sys._getframe",
    "_get_running_loop": "asyncio's own way to ask without an exception; its documentation names it",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def defined_in(tree: ast.Module) -> set[str]:
    """Names that classes of this file define: methods, attributes, what is assigned to self or cls."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.add(item.name)
                elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    found.add(item.target.id)
                elif isinstance(item, ast.Assign):
                    found |= {target.id for target in item.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
    return found


def is_own(node: ast.expr) -> bool:
    """Whether that is self, cls or super()."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def violations_of(file: Path) -> list[Violation]:
    """Each use of an underscore attribute of an object that another file defines."""
    if file.suffix != ".py":
        return []
    tree = ast.parse(file.read_text())
    own = defined_in(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not is_own(node.value) and node.attr not in own:
                found.append(Violation("attributes", name_of(file), node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if is_private(alias.name) and not is_module(file, node, alias.name):
                    text = f"from {node.module} import {alias.name}"
                    found.append(Violation("attributes", name_of(file), node.lineno, text))
    return sorted(found, key=lambda violation: violation.line)


def is_module(file: Path, node: ast.ImportFrom, name: str) -> bool:
    """Whether what is imported is a module or a package of ours, not a name inside one."""
    package = file.parents[node.level - 1] if node.level else Path(__file__).parents[2]
    folder = package.joinpath(*str(node.module).split("."))
    return any((folder / f"{name}{end}").exists() for end in ("", ".py", ".pyi"))
