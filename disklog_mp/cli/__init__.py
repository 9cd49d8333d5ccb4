"""The command line: thin commands over the library, each loaded when it is used.

Data goes to stdout, messages to stderr.  Exit codes: 0 fine; 1 a warning, see the command; 2 an error, in one
line on stderr; 3 damage; 130 interrupted (Ctrl-C); 141 the reader of the output closed it (`| head`).
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

import click

from disklog_mp.cli import _text
from disklog_mp.errors import DiskLogError

COMMANDS = {
    "demo": "demo.command",
    "serve": "control.serve",
    "append": "records.append",
    "run": "control.run",
    "cat": "records.cat",
    "tail": "records.tail",
    "events": "records.events",
    "summary": "records.summary",
    "export": "questions.export",
    "sql": "questions.sql",
    "top": "top.command",
    "stat": "state.stat",
    "ls": "state.ls",
    "verify": "state.verify",
    "metrics": "state.metrics",
    "set": "control.set",
    "roll": "control.roll",
    "truncate": "control.truncate",
    "prune": "control.prune",
    "archive": "control.archive",
    "pause": "control.pause",
    "resume": "control.resume",
    "stop": "control.stop",
    "rm": "control.rm",
    "doctor": "control.doctor",
    "bench": "bench.command",
    "crashtest": "crashtest.command",
    "completion": "completion",
    "version": "version",
}
NoArguments = getattr(click.exceptions, "NoArgsIsHelpError", ())  # not in click 8.1, which prints the help
COMPLETING = "_DISKLOG_MP_COMPLETE"
INTERRUPTED = 130
CLOSED_PIPE = 141


class Commands(click.Group):
    """The commands by name; the module of one is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"disklog_mp.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        # Not in run(): click handles a closed pipe in its own way before that.
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            return CLOSED_PIPE
        return status


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from disklog_mp.cli.version import text

        click.echo(text())
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def commands() -> None:
    """A log for many processes.  Writing never waits for the disk, and no crash can corrupt it.

    LOG is the name of a log that is open on this machine, or the directory of any log; ./name is always a
    directory.  Exit codes: 0 fine, 1 a warning, 2 an error, 3 damage, 130 after Ctrl-C, 141 when the
    reader of the output closed it.
    """


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code; errors become one line on stderr."""
    if COMPLETING in os.environ:  # a shell asks, see click
        importlib.import_module("disklog_mp.cli.completion")
    try:
        return commands.main(arguments, prog_name="disklog-mp", standalone_mode=False) or 0
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except NoArguments as error:
        click.echo(error.format_message(), err=True)
        return click.UsageError.exit_code
    except click.UsageError as error:
        _text.say(usage_line(error))
        return error.exit_code
    except click.ClickException as error:
        _text.say(error.message)
        return error.exit_code
    except (DiskLogError, OSError, ValueError) as error:
        _text.say(_text.error_line(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
            _forget_stdout()  # its own disk may be the full one
        return 2


def usage_line(error: click.UsageError) -> str:
    """Return a usage error and the command that shows the help, in one line."""
    command = error.ctx.command_path if error.ctx is not None else "disklog-mp"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _forget_stdout() -> None:
    """Let stdout lead nowhere: Python flushes it once more at its end, and that must succeed."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def main() -> None:
    """Run the command line of this process."""
    if sys.stdout is None:  # started with `>&-`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    sys.exit(run())
