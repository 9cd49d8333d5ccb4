"""Tables of cases in docstrings: each row of one is a test, and the test's expectations."""

from types import ModuleType


def rows_of(module: ModuleType) -> dict[str, dict[str, str]]:
    """Return the rows of the table in a module's docstring: by their first cell, the others by column."""
    lines = [line for line in (module.__doc__ or "").splitlines() if " | " in line]
    head, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    table = {cells[0]: dict(zip(head[1:], cells[1:], strict=True)) for cells in rows}
    assert len(table) == len(rows), "two rows of one name"
    return table
