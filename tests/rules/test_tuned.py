"""A number that decides how fast or how often names the row of `make bench` that shows what it buys."""

import ast
import re
from pathlib import Path

import pytest

from rules.sources import ROOT

# Files with intervals, naps and sizes that were chosen and could be others.
TUNED = (
    "_pages/file.py",
    "_pages/unsynced.py",
    "_pages/writer.py",
    "_reader/page.py",
    "_reader/stream.py",
    "_ring/file.py",
    "_ring/slots.py",
    "_session/waiting.py",
    "_writer/intervals.py",
    "_writer/pace.py",
    "_writer/syncer.py",
    "_writer/writer.py",
    "csrc/core/ring.c",
    "csrc/core/ring.h",
    "csrc/os/wall_clock.c",
    "csrc/python/producer.c",
    "csrc/python/producer_tuning.c",
    "csrc/python/producer_tuning.h",
)
DEFINED = re.compile(r"^#define (?!MADV_)(\w+) \(?\d\w*(?: << \d+)?\)?(?: |$)")
NAMED = re.compile(r"\(bench: ([\w-]+)\)")


def benchmarks() -> set[str]:
    """The rows that `make bench` has, as its files name them."""
    found = set()
    for file in (ROOT / "tests/bench").glob("*.py"):
        text = file.read_text()
        found |= set(re.findall(r"(?:Benchmark|Curve)\(\s*\"([\w-]+)\",", text))
        for stem in re.findall(r"Benchmark\(\s*f\"([\w-]+)-\{", text):
            for names in re.findall(r"for .* in .*?\(((?:\"\w+\",? ?)+)\)", text):
                found |= {f"{stem}-{name}" for name in re.findall(r"\w+", names)}
    return found


def constants(file: Path) -> dict[int, str]:
    """The numeric constants of a file by line."""
    text = file.read_text()
    if file.suffix != ".py":
        found = ((number, DEFINED.match(line)) for number, line in enumerate(text.splitlines(), 1))
        return {number: match[1] for number, match in found if match}
    return {
        node.lineno: ast.unparse(node.targets[0])
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]).strip("_()").isupper() | (", " in ast.unparse(node.targets[0]))
        and any(
            isinstance(part, ast.Constant) and isinstance(part.value, int | float) for part in ast.walk(node)
        )
    }


def told(lines: list[str], number: int) -> str:
    """What is said of a constant: behind it, and in the comments above it up to a blank line."""
    said = [lines[number - 1]]
    for line in reversed(lines[: number - 1]):
        if not line.strip():
            break
        if line.startswith(("#", "/*", " *")) and not line.startswith("#define"):
            said.append(line)
    return "\n".join(said)


def silent(file: Path, known: set[str]) -> list[str]:
    """The constants that name no row that exists, and give no reason."""
    lines = file.read_text().splitlines()
    found = []
    for number, name in constants(file).items():
        text = told(lines, number)
        rows = set(NAMED.findall(text))
        if rows - known or not (
            rows or re.search(r"untuned(?: but for [^:]*)?(?: \(bench: [\w-]+\))?: \w", text)
        ):
            found.append(
                f"{file.name}:{number}: {name}: {', '.join(sorted(rows - known)) or 'no row, no reason'}"
            )
    return found


def test_every_tuned_number_names_its_benchmark() -> None:
    """Or says `untuned:`, and why it is what it is."""
    known = benchmarks()

    assert {"call", "throughput", "huge-pages-drain", "overload-block", "idle"} <= known
    for name in TUNED:
        assert constants(ROOT / "disklog_mp" / name), f"{name} has no numbers"
    assert [line for name in TUNED for line in silent(ROOT / "disklog_mp" / name, known)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "NAP = 0.1  # seconds\n"),
        ("a.py", "NAP = 0.1  # seconds (bench: no-such-row)\n"),
        ("a.py", "# untuned: above a blank line\n\nNAP = 1 << 3\n"),
        ("a.c", "#define NAP 100u /* ns */\n"),
        ("a.h", "#define NAP (64u << 10)\n"),
    ],
)
def test_a_number_that_says_nothing_is_found(tmp_path: Path, name: str, text: str) -> None:
    """The rule can fail: without a word, and with the name of no row."""
    file = tmp_path / name
    file.write_text(text)

    assert len(silent(file, benchmarks())) == 1
