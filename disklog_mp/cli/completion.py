"""disklog-mp completion: what a shell needs to complete commands, options, names of logs and of fields."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

VARIABLE = "_DISKLOG_MP_COMPLETE"  # under which click is asked for completions


@click.command(short_help="Print the script that completes commands in SHELL.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, logs and fields in SHELL.

    In ~/.bashrc: eval "$(disklog-mp completion bash)".
    """
    parent = click.get_current_context().parent
    kind = get_completion_class(shell)
    assert parent is not None
    assert kind is not None
    # Not its own source(): that of bash runs bash, to see of which version it is.
    click.echo(ShellComplete.source(kind(parent.command, {}, "disklog-mp", VARIABLE)))
