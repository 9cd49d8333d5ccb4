"""What a shell completes on the command line."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from support.command import call
from support.shown import event, write_said

from disklog_mp import cli


def completed(*words: object) -> list[str]:
    """What the last word can become."""
    *args, incomplete = map(str, words)
    complete = ShellComplete(cli.commands, {}, "disklog-mp", "_DISKLOG_MP_COMPLETE")
    return [item.value for item in complete.get_completions(args, incomplete) if item.type == "plain"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(shell: str) -> None:
    """It asks the command itself, under the name that click looks for."""
    done = call("completion", shell)

    assert 0 == done.returncode
    assert b"_DISKLOG_MP_COMPLETE=" + shell.encode() + b"_complete" in done.stdout


def test_commands_and_options() -> None:
    """Each command, and the options of each."""
    assert ["stat", "stop"] == completed("st")
    assert ["--since"] == completed("cat", "--si")
    assert ["bash"] == completed("completion", "b")


def test_what_stands_in_the_log(path: Path) -> None:
    """Fields, loggers, levels of one's own and kinds, from the log that is named before; no error ever."""
    write_said(
        path, [event("a", "NOTICE", 25, logger="app.web", user=1, ua="x"), event("b", logger="db", ms=2)]
    )
    for words, expected in (
        (("cat", path, "--field", "u"), ["ua=", "user="]),
        (("tail", "-n", "5", "-f", path, "--field", ""), ["ms=", "ua=", "user="]),
        (("cat", path, "--logger", "a"), ["app.web"]),
        (("cat", path, "-p", "N"), ["NOTICE"]),
        (("cat", path, "-p", "e"), ["err"]),
        (("summary", path, "--by", "field:u"), ["field:ua", "field:user"]),
        (("summary", "--by", "lo"), ["log", "logger"]),
        (("cat", path.parent / "none", "--field", ""), []),
        (("cat", "--field", ""), []),
    ):
        assert expected == completed(*words), words


def test_names_of_logs(tmp_path: Path) -> None:
    """Those that are open on this machine, or directories."""
    for name in ("web", "worker", "jobs"):
        (tmp_path / f"disklog-{name}.0123456789abcdef").touch()
    for command in ("cat", "tail", "stat", "verify", "stop", "rm", "set", "events", "append", "summary"):
        assert ["web", "worker"] == completed(command, "--ring-dir", tmp_path, "w"), command
