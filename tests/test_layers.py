"""The house rules a program can check: layers, the public face, the cost of importing it."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

import disklog_mp
from disklog_mp import errors

PACKAGE = Path(disklog_mp.__file__).parent
LAYERS = [
    {"errors"},
    {"_core", "_files", "_options", "_structured", "_systemd"},
    {
        "_ring",
        "_closer",
        "_death_watch",
        "_directory",
        "_pace",
        "_page_format",
        "_repair",
        "_salvage",
        "_trouble",
    },
    {"_page_file", "_page_writer", "page", "_orphan", "_own_words", "_syncer"},
    {"writer", "reader", "_stats", "_writer_process"},
    {"session"},
    {"_open", "aio"},
    {"_delivery"},
    {"_events"},
    {"__init__"},
    {"logging", "cli", "__main__"},
    {"celery", "gunicorn", "loguru", "otel", "pools", "structlog"},
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}
# Beside each other in one layer, in the one direction named.
ALLOWED = {
    ("_options", "_core"),
    ("_files", "_core"),
    ("_writer_process", "writer"),
    ("_page_writer", "_options"),
    ("_page_writer", "_page_file"),
    ("_syncer", "_page_writer"),
    ("aio", "_open"),
    ("__main__", "cli"),
}
MODULES = sorted(".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in PACKAGE.rglob("*.py"))


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    tree = ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "disklog_mp":
            parts = (node.module or "").split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {
                parts[1] if len(parts) > 1 else "__init__" for parts in names if parts[0] == "disklog_mp"
            }
    return {name if name in LAYER else "__init__" for name in found}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    """A module imports only from layers below its own."""
    own = module.split(".", maxsplit=1)[0]
    for name in imports_of(module) - {own}:
        assert LAYER[name] < LAYER[own] or (own, name) in ALLOWED, f"{module} imports {name}"


def test_every_module_has_a_layer() -> None:
    """A new module is given its place first."""
    assert {module.split(".")[0] for module in MODULES} <= set(LAYER)


def test_only_files_opens_maps_and_syncs() -> None:
    """os.open, os.pwrite, os.fdatasync, fcntl and mappings of page files stand in _files.py alone."""
    for module in MODULES:
        text = (PACKAGE / (module.replace(".", "/") + ".py")).read_text()
        if module == "_files":
            continue
        for word in ("os.pwrite", "os.fsync", "os.fdatasync", "import fcntl", "import mmap"):
            assert word not in text, f"{module} uses {word}"


def test_what_is_public_is_what_is_exported() -> None:
    """__all__ is sorted, complete, and its members show the public path."""
    assert all(hasattr(disklog_mp, name) for name in disklog_mp.__all__)  # some come when they are asked for
    public = sorted(
        name
        for name, value in vars(disklog_mp).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == "disklog_mp"
    )

    assert sorted(disklog_mp.__all__) == disklog_mp.__all__ == public


def test_importing_it_pulls_in_little() -> None:
    """Nothing but posix_ipc, psutil and the core beside the standard library; no heavy module of that."""
    code = "import sys; before = set(sys.modules); import disklog_mp; print(*(set(sys.modules) - before))"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = {
        name.split(".")[0]
        for name in modules
        if name.split(".")[0] not in sys.stdlib_module_names | {"disklog_mp", "posix_ipc", "psutil"}
    }

    assert not foreign
    assert not {"disklog_mp._events", "disklog_mp._structured"} & set(modules)
    assert not {"asyncio", "subprocess", "multiprocessing", "logging", "dataclasses", "click"} & set(modules)


class TestErrors:
    KINDS: ClassVar = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.DiskLogError)
        and kind is not errors.DiskLogError
    ]

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_each_carries_its_values_and_pickles(self, kind: type[errors.DiskLogError]) -> None:
        """Attributes, message and type survive the way to another process."""
        values = [1.5 if field == "waited" else f"<{field}>" for field in kind.fields]
        error = kind(*values)
        copy = pickle.loads(pickle.dumps(error))

        assert type(copy) is kind
        assert values == [getattr(copy, field) for field in kind.fields]
        assert str(error) == str(copy)
        for value in values:
            assert str(value) in str(error)

    def test_the_tree_has_one_root(self) -> None:
        """Every error is a DiskLogError, none is an OSError, and the tree in the docstring names all."""
        for kind in self.KINDS:
            assert not issubclass(kind, OSError)
            assert kind.__name__ in (errors.__doc__ or "")

    def test_an_error_takes_its_fields(self) -> None:
        """Too few values, and attributes that are none, are what Python says they are."""
        with pytest.raises(TypeError, match="name, path, pid"):
            errors.WriterActiveError("app")
        with pytest.raises(AttributeError, match="nothing"):
            _ = errors.LogNotFoundError("app").nothing
