"""The README is a promise: its code runs, its commands work, its proofs exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.machine import stop_writer

from disklog_mp.cli import COMMANDS, commands

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FOREIGN = "celery|gunicorn|loguru|opentelemetry|prometheus_client|structlog"  # not installed everywhere


def blocks(language: str) -> list[str]:
    """Return the fenced blocks in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def here(text: str, name: str, path: Path) -> str:
    """The README's text with this test's log instead of its own."""
    text = text.replace("/var/log/app", str(path))
    return re.sub(r'"app"|(?<= )app(?= |,|$)', lambda m: m[0].replace("app", name), text, flags=re.MULTILINE)


def test_the_python_of_the_readme_runs(name: str, path: Path) -> None:
    """All blocks in one program, in order: each prints or at least does not fail."""
    code = here("\n".join(blocks("python")), name, path)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, text=True, check=False
        )
    finally:
        stop_writer(name)

    assert done.returncode == 0
    assert "b'a record'" in done.stdout
    assert '"message":"disk almost full"' in done.stdout


@pytest.mark.parametrize("name", sorted(set(re.findall(r"disklog_mp(?:\.[A-Za-z_]+)+", README))))
def test_the_names_of_the_readme_need_one_import(name: str) -> None:
    """After `import disklog_mp` alone each is there; a door needs only the program that it is a door to."""
    code = f"import disklog_mp; {name}"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    last = (done.stderr.splitlines() or [""])[-1]

    missing = rf"(ModuleNotFoundError|AttributeError): .*No module named '({FOREIGN})(\..*)?'"
    assert done.returncode == 0 or re.fullmatch(missing, last)


def test_the_commands_of_the_readme_work(name: str, path: Path) -> None:
    """Each `$ disklog-mp` line exits with 0 and prints what stands below it, but for what must differ."""
    session = next(block for block in blocks("console") if "append" in block)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TZ": "UTC"}
    try:
        for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            # Not a pipe for stderr: the writer that append starts keeps it open until it leaves.
            done = subprocess.run(
                ["bash", "-c", here(command, name, path)],
                stdout=subprocess.PIPE,
                stderr=None,
                text=True,
                check=False,
                env=environment,
            )

            if command.split()[1] != "ls":  # there may be other logs on this machine, in odd states
                assert done.returncode == 0, command
                assert shape(here(expected, name, path)) == shape(done.stdout), command
    finally:
        stop_writer(name)


def shape(text: str) -> list[str]:
    """The text with numbers and blanks made alike: what stays the same from run to run."""
    return [re.sub(r"\s+", " ", re.sub(r"[\d.:,T-]+", "0", line)).strip() for line in text.splitlines()]


def test_every_command_is_in_the_readme() -> None:
    """And has a help text that says what it does."""
    for name in COMMANDS:
        command = commands.get_command(click.Context(commands), name)

        assert f"`disklog-mp {name}" in README, f"{name} is not in the README"
        assert command is not None
        assert command.help


@pytest.mark.parametrize(
    "proof", re.findall(r"`(test_\w+)`(?=[^|\n]*\|$)", README, re.MULTILINE), ids=lambda proof: proof
)
def test_every_line_of_the_crash_table_has_its_test(proof: str) -> None:
    """The test that is named there exists."""
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))

    assert f"def {proof}(" in sources


def test_every_file_the_readme_leads_to_exists() -> None:
    """Links into the repository lead somewhere."""
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_target_of_the_makefile_that_the_readme_names_exists() -> None:
    """`make something` in the README is a target."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|\$ )make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
