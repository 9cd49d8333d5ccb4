"""What begins with an underscore is used in the file that defines it, and nowhere else."""

from pathlib import Path

import pytest

from rules import attributes
from rules.sources import assert_kept, python_files


def test_no_file_uses_another_object_s_underscore() -> None:
    """No `x._y` where a class of another file has `_y`, but for what not_yet.txt counts."""
    violations = [found for file in python_files() for found in attributes.violations_of(file)]

    assert_kept("attributes", violations)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("session._drop()\n", ["session._drop"]),
        ("class A:\n    def f(self):\n        return self._inner._end\n", ["self._inner._end"]),
        ("from disklog_mp._ring.file import _secret\n", ["from disklog_mp._ring.file import _secret"]),
        ("from disklog_mp._ring import file\nfrom disklog_mp import _core, _options\n", []),
        ("class A:\n    def f(self, other):\n        self._a = 1\n        return other._a\n", []),
        ("class A(B):\n    def f(self):\n        return super()._a(self._b)\n", []),
        ("import os\nos._exit(0)\npair._replace(a=1)\nx.__dict__\n", []),
    ],
)
def test_planted_uses_are_found(tmp_path: Path, text: str, found: list[str]) -> None:
    """The rule can fail, and it leaves alone what is a file's own."""
    file = tmp_path / "a.py"
    file.write_text(text)

    assert [violation.text for violation in attributes.violations_of(file)] == found
