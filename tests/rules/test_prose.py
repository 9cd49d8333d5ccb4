"""Every comment, docstring, message and document says what it says once, with a named actor."""

from pathlib import Path

import pytest

from rules import prose
from rules.sources import ROOT, assert_kept, c_files, documents, python_files

FILES = [*python_files(), *c_files(), *documents()]
LONG = "word " * (prose.LONGEST_SENTENCE + 1)


def test_prose_names_its_actors_and_keeps_its_sentences_short() -> None:
    """No word of NO_ACTORS, no wide line of comment, no long sentence, but for what not_yet.txt counts."""
    assert_kept("prose", [violation for file in FILES for violation in prose.violations_of(file)])


def test_allowed_places_exist() -> None:
    """An exception that nothing needs any more is removed from ALLOWED."""
    for file, words in prose.ALLOWED:
        assert words in (ROOT / file).read_text()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.py", "# The ring is left to whoever comes next.\n", "'whoever' is no actor"),
        ("a.py", '"""Closes files where nobody waits."""\n', "'nobody' is no actor"),
        ("a.py", 'def f():\n    """One.\n\n    He waits.\n    """\n', "'He' is no actor"),
        ("a.py", 'print(f"told {1} to who asks")\n', "'who' is no actor"),
        ("a.py", 'print("a message "\n      "to no one")\n', "'no one' is no actor"),
        ("a.c", "/* The space belongs to\n * somebody else. */\n", "'somebody' is no actor"),
        ("a.h", "int a; // whatever stands there\n", "'whatever' is no actor"),
        ("a.c", 'puts("as everybody knows");\n', "'everybody' is no actor"),
        ("a.md", "A log\nfor whom it concerns.\n", "'whom' is no actor"),
        ("a.md", "```python\nlog.log(b'x')  # whoever reads it\n```\n", "'whoever' is no actor"),
        ("a.md", "| call | does |\n|---|---|\n| log | tells anyone |\n", "'anyone' is no actor"),
        ("a.py", "# " + "=" * prose.LONGEST_LINE + "\n", f"{prose.LONGEST_LINE + 2} columns"),
        ("a.py", f"# {LONG[:60]}\n# {LONG[60:]}\n", f"a sentence of {prose.LONGEST_SENTENCE + 1} words"),
        ("a.c", f"/* {LONG[:60]}\n * {LONG[60:]}. */\n", f"a sentence of {prose.LONGEST_SENTENCE + 1} words"),
        ("a.md", f"- {LONG}\n", f"a sentence of {prose.LONGEST_SENTENCE + 1} words"),
    ],
)
def test_a_planted_sentence_is_found(tmp_path: Path, name: str, text: str, told: str) -> None:
    """The rule can fail: in comments, docstrings, messages and documents, of Python and of C."""
    file = tmp_path / name
    file.write_text(text)

    assert any(violation.text.startswith(told) for violation in prose.violations_of(file))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "who = 1  # the pid of a producer\nanybody = who\n"),
        ("a.py", 'KEY = "who"\n'),
        ("a.py", "# One. " + "A short sentence. " * 5 + "\n"),
        ("a.c", 'int he = 1; /* "the writer" */\n'),
        ("a.h", "/*\n" + " *   offset   length   field\n" * 30 + " */\n"),
        ("a.md", "```\n" + "code " * 60 + "\n```\n"),
        ("a.md", "- one thing\n" * 30),
    ],
)
def test_what_is_no_prose_is_not_measured(tmp_path: Path, name: str, text: str) -> None:
    """Names, tables, lists and code are left alone."""
    file = tmp_path / name
    file.write_text(text)

    assert prose.violations_of(file) == []
