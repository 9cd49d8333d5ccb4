"""The files that the rules are about, and the table of what does not keep to a rule yet."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
NOT_YET = Path(__file__).parent / "not_yet.txt"
HEAD = """\
# Files that do not keep to a rule yet: rule, file, number of violations. A number may only go down.
# `PYTHONPATH=tests python -m rules FILE` lists a file's violations; `python -m rules --lower` rewrites
# this table: violations may move from file to file with the code, but their sum may not grow.
"""


class Violation(NamedTuple):
    """One place that breaks a rule."""

    rule: str
    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.text}"


def python_files() -> list[Path]:
    """Every Python file of the package and its stubs."""
    return sorted((ROOT / "disklog_mp").rglob("*.py")) + sorted((ROOT / "disklog_mp").rglob("*.pyi"))


def c_files() -> list[Path]:
    """Every C file of the package."""
    return sorted((ROOT / "disklog_mp" / "csrc").rglob("*.[ch]"))


def documents() -> list[Path]:
    """What users read beside the package: README, CHANGELOG, examples."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "examples").rglob("*.py"))]


def name_of(file: Path) -> str:
    """The file's name in messages and tables: its path from the top of the project, if it is in there."""
    file = file.resolve()
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name


def table() -> dict[tuple[str, str], int]:
    """The numbers of not_yet.txt by rule and file; of two numbers for one file the lower one counts."""
    found: dict[tuple[str, str], int] = {}
    for line in NOT_YET.read_text().splitlines():
        if line and not line.startswith("#"):
            rule, file, count = line.split()
            found[rule, file] = min(int(count), found.get((rule, file), int(count)))
    return found


def write_table(counts: dict[tuple[str, str], int]) -> None:
    """Replace the numbers of not_yet.txt."""
    lines = [f"{rule} {file} {count}\n" for (rule, file), count in sorted(counts.items()) if count]
    NOT_YET.write_text(HEAD + "".join(lines))


def assert_kept(rule: str, violations: Iterable[Violation]) -> None:
    """Fail if a file has more violations of the rule than the table allows; if it has fewer, too."""
    found: dict[str, list[Violation]] = {}
    for violation in violations:
        found.setdefault(violation.file, []).append(violation)
    allowed = {file: count for (name, file), count in table().items() if name == rule}
    told = []
    for file, listed in sorted(found.items()):
        if len(listed) > allowed.get(file, 0):
            told += [f"{file}: {len(listed)} violations, {allowed.get(file, 0)} allowed", *map(str, listed)]
    for file, count in sorted(allowed.items()):
        if len(found.get(file, [])) < count:
            told.append(f"{file}: only {len(found.get(file, []))} of {count} left")
            told.append("   lower it: PYTHONPATH=tests python -m rules --lower")
    assert not told, "\n".join(told)


def counts_of(violations: Iterable[Violation]) -> Counter[tuple[str, str]]:
    """Count violations by rule and file."""
    return Counter((violation.rule, violation.file) for violation in violations)
