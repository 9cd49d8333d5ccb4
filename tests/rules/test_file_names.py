"""A file that a comment, a docstring or a document names is there."""

import re
from pathlib import Path

import pytest

from rules import prose
from rules.sources import ROOT, Violation, c_files, documents, name_of, python_files

NAMED = re.compile(r"(?<![\w./<-])((?:\w[\w.-]*/)*\w[\w-]*\.(?:py|[ch]))\b(?![(/*])")
FILES = [*python_files(), *c_files(), *documents(), *sorted((ROOT / "tests").rglob("*.[ch]"))]

# Files of others: CPython's, those of an application in an example.
ELSEWHERE = {
    "Python.h",
    "pyconfig.h",
    "gunicorn.conf.py",
    "sitecustomize.py",
    "views.py",
    "app.py",
    "etl.py",
    "shop.py",
    "otel_setup.py",
}


def paths() -> set[str]:
    """Every source file of the tree, from its top, and each shorter way to say it."""
    skipped = {"build", "dist"}
    found = set()
    for file in [*ROOT.rglob("*.py"), *ROOT.rglob("*.[ch]")]:
        parts = file.relative_to(ROOT).parts
        if not parts[0].startswith(".") and parts[0] not in skipped:
            found |= {"/".join(parts[start:]) for start in range(len(parts))}
    return found


def missing(file: Path, known: set[str]) -> list[Violation]:
    """The names in a file's prose that are no file's."""
    found = []
    for text in prose.TEXTS[file.suffix](file.read_text()):
        for number, line in text:
            for name in NAMED.findall(line):
                if name not in known and name not in ELSEWHERE:
                    found.append(Violation("names", name_of(file), number, f"there is no {name}"))
    return found


def test_every_file_that_is_named_exists() -> None:
    """A file that moved is named where it is now."""
    known = paths()

    assert [str(violation) for file in FILES for violation in missing(file, known)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.c", "/* Decided in session_of_old.py. */\n"),
        ("a.h", "int a; /* see core/ring_object.c */\n"),
        ("a.py", "# as tests/rules/no_such.py compares\n"),
        ("a.py", '"""The table is in csrc/layout.h."""\n'),
        ("a.md", "See `disklog_mp/_reader.py`.\n"),
    ],
)
def test_a_name_of_no_file_is_found(tmp_path: Path, name: str, text: str) -> None:
    """The rule can fail: a name that never was, and a folder that is not the file's."""
    file = tmp_path / name
    file.write_text(text)

    assert len(missing(file, paths())) == 1


def test_a_name_may_say_as_much_of_the_path_as_it_needs() -> None:
    """The name alone, with its folder, or from the top."""
    known = paths()

    assert {"ring.h", "core/ring.h", "csrc/core/ring.h", "disklog_mp/csrc/core/ring.h"} <= known
