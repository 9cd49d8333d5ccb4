"""Files and classes stay small enough to be read in one sitting."""

from pathlib import Path

import pytest

from rules import sizes
from rules.sources import assert_kept, c_files, python_files

A_CLASS = "class A:\n    a = 1\n"


def test_files_and_classes_are_small() -> None:
    """400 lines a Python file, 550 a C file, 250 lines and 25 methods a class, but for not_yet.txt."""
    files = [*python_files(), *c_files()]

    assert_kept("sizes", [found for file in files for found in sizes.violations_of(file)])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.py", "a = 1\n" * 401, ["401 lines of at most 400"]),
        ("a.c", "int a;\n" * 551, ["551 lines of at most 550"]),
        ("a.py", A_CLASS + "    a = 1\n" * 249, ["class A has 251 lines of at most 250"]),
        ("a.py", A_CLASS + "    def f(self): pass\n" * 26, ["class A has 26 methods of at most 25"]),
        ("a.py", A_CLASS + "a = 1\n" * 398, []),
        ("a.c", "int a;\n" * 550, []),
    ],
)
def test_planted_sizes_are_found(tmp_path: Path, name: str, text: str, told: list[str]) -> None:
    """The rule can fail, at one line or one method too many."""
    file = tmp_path / name
    file.write_text(text)

    assert [violation.text for violation in sizes.violations_of(file)] == told
