"""`PYTHONPATH=tests python -m rules [--lower] [FILE...]`: list what breaks a rule; lower the table."""

import sys
from collections import Counter
from pathlib import Path

from rules import attributes, prose, sizes
from rules.sources import c_files, counts_of, documents, python_files, table, write_table


def main(arguments: list[str]) -> int:
    """List violations, of all files if none is named; return 1 if there are more of them than before."""
    named = [Path(argument) for argument in arguments if not argument.startswith("-")]
    files = named or [*python_files(), *c_files(), *documents()]
    found = [
        violation
        for file in files
        for rule in (prose, attributes, sizes)
        for violation in rule.violations_of(file)
    ]
    counts = counts_of(found)
    if "--lower" not in arguments:
        print(*found, f"{len(found)} violations", sep="\n")
        return 0
    before, after = Counter[str](), Counter[str]()
    for (rule, _), count in table().items():
        before[rule] += count
    for (rule, _), count in counts.items():
        after[rule] += count
    for rule in sorted(before | after):
        print(f"{rule}: {before[rule]} violations before, {after[rule]} now")
        if after[rule] > before[rule]:
            return 1
    write_table(counts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
