"""disklog-mp doctor: what keeps a log from working well, each with what mends it."""

from __future__ import annotations

import click

from disklog_mp._doctor.examination import Diagnosis
from disklog_mp._doctor.examination import doctor as examine
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs


@click.command(short_help="Look for what keeps a log from working well.")
@click.argument("log", required=False, shell_complete=complete_logs)
@_logs.json_option
@_logs.ring_dir_option
def doctor(log: str | None, as_json: bool, ring_dir: str | None) -> int:
    """Look for what keeps LOG, or logs on this machine, from working well; say what mends it.

    Looks at shared memory, mounts, copy-on-write, RemoveIPC, pid namespaces, cgroups, ulimits, rings that a
    crash left, clocks, the kernel, versions, and the free disk.  Changes nothing.  Run it as the user, and in
    the container, that the program runs in.

    Exit code 0 nothing found, 1 findings, 2 no such log, or a look failed.
    """
    found = examine(log, ring_dir=ring_dir)
    click.echo(_text.to_json(found.to_dict()) if as_json else "\n".join(lines(found)))
    return found.exit_code


def lines(found: Diagnosis) -> list[str]:
    """Return the result as text."""
    shown = []
    for finding in found.findings:
        shown += [f"{finding.look}: {_text.printable(finding.text)}"]
        shown += [f"    fix: {_text.printable(finding.fix)}"]
    shown += [f"not seen: {each.look}: {_text.printable(each.text)}" for each in found.unseen]
    shown += [f"trouble: {each.look}: {_text.printable(each.text)}" for each in found.troubles]
    what = f"log {_text.printable(found.name or '?')} in {_text.printable(found.path)}"
    many = _text.plural(len(found.findings), "finding") if found.findings else "nothing found"
    looks = _text.plural(len(found.looks), "look")
    return [*shown, f"{what if found.path else 'this machine'}: {many} in {looks}"]
