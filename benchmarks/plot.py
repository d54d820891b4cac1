"""The ratios of a run as a picture: `python -m benchmarks.plot RESULTS.json OUT.svg`. Needs matplotlib, and nothing of llmc."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLOURS = ("#1f6f8b", "#d98a29", "#7a5195", "#5c8a3c")
HEIGHT = 0.32  # inches a bar takes


def bars(document: dict[str, Any]) -> dict[str, list[tuple[str, float, float, float]]]:
    """By peer: what was measured, and the lower quartile, median and upper quartile of llmc's ratio to it."""
    found: dict[str, list[tuple[str, float, float, float]]] = {}
    for row in document["results"]:
        label = f"{row['model']}, {row['name']}, {row['threads']} thr."
        for peer, q in row["llmc_over"].items():
            found.setdefault(peer, []).append((label, q["lower"], q["median"], q["upper"]))
    return found


def write(document: dict[str, Any], out: Path) -> str:
    """Writes the picture and says so, or says why there is none."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed (pip install -e '.[bench]')"
    found = bars(document)
    if not found:
        return "no plot: no peer was measured"
    counts = [len(entries) for entries in found.values()]
    figure = Figure(figsize=(9, HEIGHT * sum(counts) + 1.2 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), 1, squeeze=False, height_ratios=counts, sharex=True)[:, 0]
    for axis, (peer, entries), colour in zip(axes, found.items(), COLOURS, strict=False):
        labels, lower, median, upper = zip(*entries, strict=True)
        spread = [[m - q for m, q in zip(median, lower, strict=True)], [q - m for m, q in zip(median, upper, strict=True)]]
        axis.barh(labels, median, xerr=spread, color=colour, error_kw={"linewidth": 1})
        axis.invert_yaxis()
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"times as fast as {peer} {document['peers']['versions'].get(peer, '')}", loc="left", fontsize=10)
        axis.tick_params(labelsize=8)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": out.name}):  # text stays text, the same figures give the same bytes
        figure.savefig(out, format="svg", metadata={"Date": None})
    return f"{out} is the plot"


if __name__ == "__main__":
    print(write(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
