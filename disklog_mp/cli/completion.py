"""disklog-mp completion: what a shell needs to complete commands, options, names of logs and of fields."""

from __future__ import annotations

import os
import re

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

VARIABLE = "_DISKLOG_MP_COMPLETE"  # under which click is asked for completions
BREAKS = re.compile(r".*[:=]", re.DOTALL)
# Bash cuts words at `:` and `=`, which stand in conditions, times and kinds: the whole line is handed over,
# and of each answer only what comes behind the last of them is given back.
SCRIPT = "\n".join(
    (
        "%(complete_func)s() {",
        "    local IFS=$'\\n' type value response completion",
        "    COMPREPLY=()",
        '    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT=$COMP_POINT %(complete_var)s=bash_complete $1)',
        "    for completion in $response; do",
        '''        IFS=',' read -r type value <<< "$completion"''',
        "        if [[ $type == dir ]]; then",
        "            compopt -o dirnames 2> /dev/null",
        "        elif [[ $type == file ]]; then",
        "            compopt -o default 2> /dev/null",
        "        elif [[ $type == plain ]]; then",
        '            COMPREPLY+=("$value")',
        "            [[ $value == *[=:] ]] && compopt -o nospace 2> /dev/null",
        "        fi",
        "    done",
        "    return 0",
        "}",
        "complete -o nosort -F %(complete_func)s %(prog_name)s",
        "",
    )
)


class Bash(BashComplete):
    """Completion in bash, also of words with `:` and `=` in them."""

    source_template = SCRIPT

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being completed, and that word."""
        line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 0)]
        words = split_arg_string(line)
        incomplete = "" if not words or line[-1:].isspace() else words.pop()
        match = BREAKS.match(incomplete)
        self._given = match[0] if match else ""
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return the type and what bash replaces its last word with."""
        return f"{item.type},{item.value.removeprefix(self._given)}"


add_completion_class(Bash)


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
