"""disklog-mp version."""

from __future__ import annotations

import click


def text() -> str:
    """Return the package's version and those of its formats."""
    from importlib.metadata import version as version_of

    from disklog_mp import _core

    formats = f"ring format {_core.RING_VERSION}, page format {_core.PAGE_VERSION}"
    return f"disklog-mp {version_of('disklog-mp')} ({formats})"


@click.command()
def version() -> None:
    """Print the versions of the package and of its formats."""
    click.echo(text())
