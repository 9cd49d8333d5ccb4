"""What a command needs that is not installed with disklog-mp itself."""

from __future__ import annotations

import importlib
from types import ModuleType

import click


class MissingExtraError(click.ClickException):
    """A package that the command needs is not installed."""

    exit_code = 2


def needed(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that an extra installs.  Raises MissingExtraError with the line for pip."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        text = f"{purpose} needs {package}: pip install 'disklog-mp[{extra}]'"
        raise MissingExtraError(text) from None
