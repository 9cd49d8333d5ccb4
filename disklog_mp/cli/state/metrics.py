"""disklog-mp metrics: the metrics of all logs of this machine.  It takes no slot and changes nothing."""

from __future__ import annotations

import click

from disklog_mp import metrics as _metrics
from disklog_mp.cli import _text


@click.command(short_help="Print the metrics of all logs, or serve them to Prometheus.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Serve them to Prometheus there, until SIGTERM or SIGINT."
)
@click.option(
    "--ring-dir", "ring_dirs", type=click.Path(), multiple=True, help="Rings beside /dev/shm; repeatable."
)
def metrics(listen: str | None, ring_dirs: tuple[str, ...]) -> int:
    """Print the metrics of all logs of this machine once, or serve them.

    The logs are found by themselves, anew at each scrape, those of other users as far as this user may look
    at them: root at all.  Needs prometheus-client: pip install 'disklog-mp[metrics]'.
    """
    try:
        if listen is not None:
            _metrics.serve(listen, ring_dirs, started=lambda url: _text.say(f"metrics of all logs at {url}"))
        else:
            _, text = _metrics.page(_metrics.MachineCollector(ring_dirs))
            click.echo(text.decode(), nl=False)
    except ModuleNotFoundError as missing:
        _text.say(str(missing))
        return 2
    return 0
