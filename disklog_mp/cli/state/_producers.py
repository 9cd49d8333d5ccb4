"""The table of the processes attached to a ring."""

from __future__ import annotations

from typing import Any

from disklog_mp.cli import _text


def lines(producers: list[dict[str, Any]]) -> list[str]:
    """Return the table, nothing if there is no producer."""
    if not producers:
        return []
    labelled = any(producer["label"] for producer in producers)
    rows = [
        (
            str(producer["pid"]),
            *([_text.printable(producer["label"] or "-")] if labelled else []),
            f"{producer['logged']:,}",
            f"{producer['dropped']:,}",
            f"{producer['waited']:,}",
            _text.moment(producer["since"]),
            _text.printable(producer["command"] or ("?" if producer["alive"] else "(dead)"))[:60],
        )
        for producer in producers
    ]
    heads = ("PRODUCER", *(["LABEL"] if labelled else []), "LOGGED", "DROPPED", "WAITED", "SINCE", "COMMAND")
    return ["", *_text.table(heads, rows, right=("PRODUCER", "LOGGED", "DROPPED", "WAITED"))]
