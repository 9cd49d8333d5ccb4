"""The house rules a program can check: layers, the public face, the cost of importing it."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import disklog_mp

PACKAGE = Path(disklog_mp.__file__).parent
DOORS = {"logging", "gunicorn", "celery", "structlog", "loguru", "otel", "pools"}
FREE = {"errors", "_core", "_options", "_environment", "_addresses"}  # any module may import these
FACE = {"_reader", "_session", "_loggers", "errors"}  # all that `import disklog_mp` offers comes from here
MAY = {  # room: the rooms, or single modules, that it may import besides FREE and itself
    "csrc": set(),  # pip builds with it: no part of the package
    "errors": set(),
    "_core": set(),
    "_options": set(),
    "_addresses": set(),
    "_environment": set(),
    "_os": set(),
    "_ring": {"_os"},
    "_pages": {"_os"},  # the two things do not know each other
    "_reader": {"_os", "_pages.format", "_pages.directory", "_pages.identity", "_pages.labels"},
    "_metrics": {"_os", "_ring"},
    "_writer": {
        "_os",
        "_ring",
        "_pages",
        "_metrics",
    },  # the only room where ring and pages meet to be changed
    # Not _writer: a producer does not load it.
    "_session": {"_os", "_ring", "_reader", "_pages.directory", "_pages.identity"},
    "_verify": {
        "_os",
        "_ring",
        "_reader",
        "_pages.format",
        "_pages.directory",
        "_pages.identity",
        "_pages.labels",
    },
    "_doctor": {"_os", "_ring", "_reader", "_verify", "_pages.format", "_pages.directory", "_pages.identity"},
    "_loggers": {"_session", "_ring.names", "_ring.labels", "_os.files"},
    "aio": {"_session", "_reader", "_ring"},
    "doors": {"_loggers"},
    "metrics": {"_metrics", "_ring", "_verify.survey", "_session.requests", "_os.systemd"},
    "testing": {"_loggers", "_session", "_reader", "_ring.removal", "_os.processes", "doors"},
    # All but FACE is loaded when it is asked for.
    "__init__": FACE
    | {
        "aio",
        "doors",
        "metrics",
        "testing",
        "_doctor",
        "_verify",
        "_writer.serving",
        "_writer.serving_all",
        "_writer.process",
    },
    "cli": {
        "__init__",
        "_doctor",
        "_verify",
        "_ring",
        "_reader",
        "_loggers.lines",
        "_loggers.cutting",
        "metrics",
        "_metrics.histogram",
        "_session.requests",  # a command asks a log's writer as a session does
        "_loggers.structured",
        "_os.background",
        "_os.output",
        "_os.processes",
    },
    "__main__": {"cli"},
}
MODULES = sorted(".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in PACKAGE.rglob("*.py"))
# Imports that are still to go, module by module.
STILL: dict[str, set[str]] = {}


def room_of(module: str) -> str:
    """The room of a module: its folder, or the module itself at the top level; doors share one."""
    first = module.split(".", maxsplit=1)[0]
    return "doors" if first in DOORS else first


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    tree = ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "disklog_mp":
            parent = (node.module or "").partition(".")[2]
            for alias in node.names:
                full = f"{parent}.{alias.name}".strip(".")
                is_module = {full, f"{full}.__init__"} & {*MODULES, *FREE}
                found.add(full if is_module else parent or "__init__")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "disklog_mp":
                    found.add(alias.name.partition(".")[2] or "__init__")
    return {name.removesuffix(".__init__") for name in found}


def is_allowed(module: str, name: str) -> bool:
    """True if the rule lets a module import another."""
    own = room_of(module)
    if room_of(name) == own or name in FREE:
        return True
    may = MAY[own] | ({"logging"} if own == "doors" else set())
    return name in may or room_of(name) in may


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    """The rule by rooms: see MAY."""
    wrong = {name for name in imports_of(module) if not is_allowed(module, name)}

    assert wrong == STILL.get(module, set())


def test_every_module_has_a_room() -> None:
    """A new folder is given its place in the rule first."""
    assert {room_of(module) for module in MODULES} <= set(MAY)


def test_no_circles() -> None:
    """No module imports, over whatever way, itself; inside a room neither."""
    graph = {module.removesuffix(".__init__"): imports_of(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " imports ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for name in graph.get(module, ()):
            visit(name, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_only_files_opens_maps_and_syncs() -> None:
    """os.pwrite, os.fdatasync, mmap and fcntl stand in four files of _os alone."""
    for module in MODULES:
        text = (PACKAGE / (module.replace(".", "/") + ".py")).read_text()
        if module in ("_os.files", "_os.locks", "_os.attributes", "_os.pidfds", "cli.bench.measures"):
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


def run_python(code: str, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_one_import_is_enough() -> None:
    """The public modules are attributes that load with their first use; __version__ likewise."""
    code = (
        "import sys, disklog_mp\n"
        "assert 'disklog_mp.pools' not in sys.modules\n"
        "print(disklog_mp.pools.start, disklog_mp.aio.open, disklog_mp.logging.DiskLogHandler)\n"
        "print(disklog_mp.__version__)"
    )
    done = run_python(code)

    assert (done.returncode, done.stderr) == (0, "")
    assert version("disklog-mp") in done.stdout


def test_a_module_whose_library_is_missing_is_told_by_name() -> None:
    """The attribute is missing, as hasattr() and getattr() understand it; the message says why."""
    code = "import sys; sys.modules['gunicorn'] = None; import disklog_mp; disklog_mp.gunicorn"
    done = run_python(code)

    assert "AttributeError: disklog_mp.gunicorn cannot be imported: " in done.stderr


def test_only_public_names_are_listed() -> None:
    """What dir() shows is what users import."""
    public = {*disklog_mp.__all__, "aio", "errors", "metrics", "testing", *DOORS, "__version__"}

    assert sorted(public) == dir(disklog_mp)


def test_a_source_tree_that_is_not_built_says_so(tmp_path: Path) -> None:
    """Python finds it before the installed package, where it is the current directory."""
    tree = tmp_path / "disklog_mp"
    tree.mkdir()
    (tree / "__init__.py").write_text((PACKAGE / "__init__.py").read_text())
    # An editable installation would find the core elsewhere.
    code = (
        "import sys\n"
        "sys.meta_path[:] = [it for it in sys.meta_path if 'editable' not in repr(it).lower()]\n"
        "import disklog_mp"
    )
    done = run_python(code, cwd=tmp_path)

    assert f"ImportError: {tree} is the source tree of disklog-mp" in done.stderr
    assert "pip install --editable ." in done.stderr


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
    assert not {"disklog_mp._loggers.logger", "disklog_mp._loggers.structured"} & set(modules)
    assert not {"asyncio", "subprocess", "multiprocessing", "logging", "dataclasses", "click"} & set(modules)
