"""What bash completes after `eval "$(disklog-mp completion bash)"`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.shown import event, write_said

BASH = shutil.which("bash")
# For each line: what bash would show, in one line.  compgen calls the function as a TAB does.
SCRIPT = """
eval "$(disklog-mp completion bash)" || exit 1
complete -p disklog-mp || exit 1
asked() {  # as on a TAB: compgen sets no line, and is the command itself
    COMP_LINE=$line COMP_POINT=${#line}
    _disklog_mp_completion disklog-mp
}
while IFS= read -r line; do
    echo $(compgen -F asked 2> /dev/null)
done
"""


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_a_real_bash(name: str, path: Path, tmp_path: Path) -> None:
    """Commands, options, names of logs, fields and kinds, though bash cuts words at `:` and `=`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "disklog-mp"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m disklog_mp "$@"\n')
    program.chmod(0o755)
    for log in ("web", "worker", "jobs"):
        (tmp_path / f"disklog-{log}.0123456789abcdef").touch()
    write_said(path, [event("a", "NOTICE", 25, logger="app.web", user=1, ua="x")])
    cases = {
        "disklog-mp st": "stat stop",
        "disklog-mp tail --foll": "--follow",
        f"disklog-mp cat --ring-dir {tmp_path} w": "web worker",
        f"disklog-mp doctor --ring-dir {tmp_path} ": "jobs web worker",
        f"disklog-mp cat {path} --field u": "ua= user=",
        f"disklog-mp summary {path} --by field:u": "ua user",  # bash replaces what comes behind the colon
        f"disklog-mp cat {path} --level=er": "err",
    }
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT],
        input="".join(f"{line}\n" for line in cases),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=60,
    )
    first, *shown = done.stdout.splitlines()
    assert first == "complete -o nosort -F _disklog_mp_completion disklog-mp"
    assert list(cases.values()) == shown
