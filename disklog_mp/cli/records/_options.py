"""The options that cat and tail share, with the letters of journalctl, tail and grep."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from disklog_mp.cli import _complete
from disklog_mp.cli import _find as _logs
from disklog_mp.cli._times import to_moment, tz_option, utc_option
from disklog_mp.cli.records._levels import to_levels
from disklog_mp.cli.records._selection import to_fields

COUNT = re.compile(r"-[1-9]\d*")


def to_count(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Take a number of records, or all (-1), from the command line; a callback for click."""
    if value is None:
        return None
    if value == "all":
        return -1
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number nor all")
    return int(value)


def lines_option(default: str | None) -> Callable[..., Any]:
    """The option that asks for the last records."""
    shown = f"  [{default}]" if default else ""
    text = f"Only the last N records, or `all`; -20 is -n 20.{shown}"
    return click.option("-n", "--lines", metavar="N", default=default, callback=to_count, help=text)


OUTPUT_OPTIONS = (
    click.option("--raw", is_flag=True, help="Print the bytes of each record and a newline."),
    click.option("-0", "--null", is_flag=True, help="With --raw: a NUL byte instead of the newline."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line."),
    click.option("--flat", is_flag=True, help='Print JSON like {"time": ..., "level": ..., "user": 42}.'),
    click.option(
        "-o",
        "--format",
        "layout",
        metavar="FORMAT",
        help="text, json, flat, lnav, logfmt, message, raw, or a template: '%T %l %m %{user}'.  %T time, "
        "%l level, %n logger, %m message, %p pid, %L label, %t tag, %N number, %o position, \\n \\t \\0.  Or "
        "'%(time)s %(level)s %(message)s %(user)s'.",
    ),
    click.option(
        "--color",
        type=click.Choice(("auto", "always", "never")),
        default="auto",
        help="Levels in colour.  [auto: on a terminal, unless NO_COLOR is set]",
    ),
    click.option("--no-pager", is_flag=True, help="No pager, also on a terminal."),
    click.option("-c", "--count", is_flag=True, help="Print only how many records there are, of each log."),
    click.option("-r", "--reverse", is_flag=True, help="The newest record first."),
    click.option(
        "-q", "--quiet", is_flag=True, help="No messages: neither notes, nor that a log is waited for."
    ),
    click.option(
        "--notes/--no-notes",
        default=None,
        help="Show drops, damage, missing records and all events of the log in the output, or not at all.  "
        "[on stderr, within the output of a terminal, without events that are routine]",
    ),
)

SELECTION_OPTIONS = (
    utc_option,
    tz_option,
    click.option(
        "-S",
        "--since",
        metavar="TIME",
        callback=to_moment,
        help="Only records from that time on: 2026-01-31T12:00, 12:00, yesterday, 5m or -1h (ago), @0.",
    ),
    click.option("-U", "--until", metavar="TIME", callback=to_moment, help="Only records before that time."),
    click.option(
        "--tag",
        "tags",
        type=int,
        multiple=True,
        metavar="N",
        help="Only tag N; repeat for several.",
    ),
    click.option(
        "--pid", "pids", type=int, multiple=True, metavar="N", help="Only process N; repeat for several."
    ),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="LABEL",
        help="Only producers of that label; repeat for several.",
    ),
    click.option(
        "-p",
        "--level",
        "levels",
        callback=to_levels,
        shell_complete=_complete.complete_levels,
        metavar="LEVEL",
        help="Only this level and above: err, WARNING, or a number; warning..critical: only these.  0 to 7 "
        "are priorities of syslog: 3 is err.",
    ),
    click.option(
        "--logger",
        "loggers",
        multiple=True,
        metavar="A.B",
        shell_complete=_complete.complete_loggers,
        help="Only this logger and those below it; repeat for several.",
    ),
    click.option(
        "--field",
        "fields",
        multiple=True,
        callback=to_fields,
        shell_complete=_complete.complete_fields,
        metavar="KEY=VALUE",
        help="Only records whose field KEY is VALUE; also != < <= > >= and ~ (a regex); user.id: id in user. "
        " Repeat for several values of a KEY, and for other KEYs: all must fit.  Also process, thread, task.",
    ),
    click.option(
        "-g",
        "-e",
        "--grep",
        "patterns",
        multiple=True,
        metavar="REGEX",
        help="Only records in which REGEX is found; repeat for several, of which one must be.",
    ),
    click.option("-i", "--ignore-case", is_flag=True, help="With --grep: small letters as large ones."),
    click.option("-v", "--invert-match", is_flag=True, help="With --grep: records without REGEX."),
    _logs.ring_dir_option,
)

CONTEXT_OPTIONS = (
    click.option(
        "-A",
        "--after-context",
        type=click.IntRange(0),
        metavar="N",
        help="N records after each that matches.",
    ),
    click.option(
        "-B", "--before-context", type=click.IntRange(0), metavar="N", help="N records before each as well."
    ),
    click.option("-C", "--context", type=click.IntRange(0), metavar="N", help="N before and N after."),
)

follow_option = click.option(
    "-f", "-F", "--follow", is_flag=True, help="Wait for new records, across rolls and writer restarts."
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about which records to show and how to a command."""
    return _with((*OUTPUT_OPTIONS, *SELECTION_OPTIONS, *CONTEXT_OPTIONS), command)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about which records are looked at to a command."""
    return _with(SELECTION_OPTIONS, command)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    return functools.reduce(lambda so_far, option: option(so_far), reversed(options), command)


logs_argument = click.argument(
    "logs", metavar="LOG...", nargs=-1, required=True, shell_complete=_complete.complete_logs
)


class CountingCommand(click.Command):
    """A command that takes -20 for -n 20, as tail and journalctl do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; where an option's value is expected, -20 is that."""
        valued = {
            name for option in self.params if not getattr(option, "is_flag", True) for name in option.opts
        }
        counted: list[str] = []
        for place, argument in enumerate(args):
            if argument == "--":
                counted += args[place:]
                break
            is_value = place > 0 and args[place - 1] in valued
            counted += ["-n", argument[1:]] if COUNT.fullmatch(argument) and not is_value else [argument]
        ctx.meta[_complete.WORDS] = tuple(counted)
        return super().parse_args(ctx, counted)
