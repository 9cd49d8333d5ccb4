"""What a shell completes: names of logs, and what stands in a log's newest records.  It never fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from disklog_mp.errors import DiskLogError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

WORDS = f"{__name__}.words"  # under which a command keeps its arguments, in the context's meta
LOOKED_AT = 500  # newest records of a log

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def complete_logs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of an open log, or else a directory."""
    from click.shell_completion import CompletionItem  # only a completion needs them

    from disklog_mp._ring import names

    found = {names.log_of(path) for path in names.all_rings(ctx.params.get("ring_dir"))}
    # First the item of the directories: bash takes them where nothing else fits.
    return [CompletionItem(incomplete, type="dir"), *_items(found, incomplete)]


def complete_from_records(values_of: Callable[[Any], Iterable[str]], *always: str) -> Completer:
    """Return what completes values that `values_of` finds in the events of the log that is named before."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = {value for event in _events(ctx) for value in values_of(event)}
        except Exception:  # a shell shows no error, and there is no place for one
            found = set()
        return _items({*always, *found}, incomplete)

    return complete


def _events(ctx: click.Context) -> Iterable[Any]:
    """The events of the newest records of the log that the command line names."""
    from disklog_mp._reader.reader import Reader  # only a completion needs them
    from disklog_mp.cli import _find

    # An option without its value, which is being completed, keeps click from parsing what stands before.
    for word in ctx.params.get("logs") or ctx.meta.get(WORDS, ()):
        try:
            path = _find.directory_of(word, ctx.params.get("ring_dir"))
        except (click.ClickException, DiskLogError, OSError, ValueError):
            continue  # an option, or its value
        break
    else:
        return
    reader = Reader(path, on_damage=lambda damage: None)
    end = reader.end()
    for record in itertools.islice(reader.records(max(0, end.number - LOOKED_AT) if end else 0), LOOKED_AT):
        if not record.gap and record.event is not None:
            yield record.event


def _items(values: set[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # only a completion needs it

    fit = (value for value in values if value.startswith(incomplete) and value.isprintable())
    return [CompletionItem(value) for value in sorted(fit)]


complete_fields = complete_from_records(lambda event: (f"{name}=" for name in event.fields))
complete_loggers = complete_from_records(lambda event: (event.logger,))
complete_levels = complete_from_records(
    lambda event: (event.level,), "debug", "info", "warning", "err", "critical"
)
complete_kinds = complete_from_records(
    lambda event: (f"field:{name}" for name in event.fields), "pid", "level", "logger", "label", "log", "tag"
)
