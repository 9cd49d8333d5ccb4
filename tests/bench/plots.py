"""Curves as SVG."""

from __future__ import annotations

import textwrap
from pathlib import Path

from bench.curves import Curve


def draw(curve: Curve, directory: Path, where: str) -> Path:
    """Draw the curve's panels side by side, with its limit and the machine below; return the file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "disklog-mp"  # the same figures give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(curve.panels), figsize=(4.5 * len(curve.panels) + 0.5, 4.2), squeeze=False
    )
    for panel, axis in zip(curve.panels, axes[0], strict=True):
        for label, points in panel.lines.items():
            axis.plot(*zip(*points, strict=True), marker="o", label=label)
        axis.set_xscale("log")
        if panel.log_y:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_xlabel(curve.xlabel)
        axis.set_ylabel(panel.ylabel)
        axis.grid(visible=True, alpha=0.3)
        if len(panel.lines) > 1:
            axis.legend()
    figure.suptitle(curve.title)
    width = 62 * len(curve.panels)
    text = "\n".join([*textwrap.wrap(curve.limit, width), *textwrap.wrap(where, width)])
    figure.text(0.02, 0.02, text, fontsize=8, va="bottom")
    figure.tight_layout(rect=(0, 0.04 + 0.035 * text.count("\n"), 1, 1))
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{curve.name}.svg"
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return file
