"""Measurements as a JSON document, and that document as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.engines import LLMC
from benchmarks.measure import Measured
from benchmarks.statistics import Quartiles, rates, ratio

QUIET = 0.1  # processors that others may keep busy without a remark


def result(m: Measured, model: str, threads: int) -> dict[str, Any]:
    """One row with everything that was seen: figures, ratios of llmc to each peer, its share of the limit, raw answers."""
    ours = m.seconds.get(LLMC, [])
    peers = {name: seconds for name, seconds in m.seconds.items() if name != LLMC}
    return {
        "model": model,
        "threads": threads,
        "name": m.name,
        "tokens": m.tokens,
        "seconds": {name: Quartiles.of(s).as_json() for name, s in m.seconds.items()},
        "tokens_per_second": {name: rates(s, m.tokens).as_json() for name, s in m.seconds.items()},
        "llmc_over": {name: ratio(ours, s).as_json() for name, s in peers.items()},
        "share_of_limit": ratio(ours, m.limit).as_json() if ours and len(m.limit) == len(ours) else None,
        "ways": m.ways,
        "failed": m.failed,
        "others_cores": m.others,
        "raw": {"seconds": m.seconds, "limit_seconds": m.limit, "probes": m.probes, "trials": m.trials},
    }


def quartiles(found: dict[str, float] | None, scale: float = 1.0, digits: int = 2, unit: str = "") -> str:
    """Median and, in brackets, the quartiles: `1.39 (1.35-1.42)`."""
    if found is None:
        return "-"
    q = Quartiles(found["lower"], found["median"], found["upper"]).map(scale)
    return f"{q.median:.{digits}f}{unit} ({q.lower:.{digits}f}-{q.upper:.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown with aligned columns."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def _figure(row: dict[str, Any], engine: str) -> str:
    """Tokens per second, or for a start, which makes one token, milliseconds."""
    if row["tokens"] == 1:
        return quartiles(row["seconds"].get(engine), 1e3, digits=0, unit=" ms")
    return quartiles(row["tokens_per_second"].get(engine), digits=1)


def speeds(rows: Sequence[dict[str, Any]]) -> str:
    """Tokens per second, or milliseconds, and ratios; a dash where an engine gave no figure."""
    peers = list(dict.fromkeys(name for row in rows for name in row["llmc_over"]))
    header = ["model", "threads", "what", LLMC, "share of limit", *(h for p in peers for h in (p, f"{LLMC} / {p}"))]
    body = []
    for row in rows:
        share = quartiles(row["share_of_limit"], 100, 0, " %")
        cells = [row["model"], str(row["threads"]), row["name"], _figure(row, LLMC), share]
        for peer in peers:
            way = row["ways"].get(peer, "")
            cells += [f"{_figure(row, peer)} {way}".strip(), quartiles(row["llmc_over"].get(peer))]
        body.append(cells)
    return table(header, body)


def sizes(builds: dict[str, dict[str, Any]]) -> str:
    """What compiling took, on one core, and what came of it."""
    header = ["model", "compile s, first / again", "peak memory MB", "artifact MB", "code KB"]
    body = []
    for model, b in builds.items():
        first, again = b["first"], b["again"]
        peak = max(first["peak_bytes"], again["peak_bytes"])
        body.append([
            model, f"{first['seconds']:.1f} / {again['seconds']:.1f}", f"{peak / 1e6:.0f}", f"{b['artifact_bytes'] / 1e6:.1f}",
            f"{b['code_bytes'] / 1e3:.0f}",
        ])  # fmt: skip
    return table(header, body)


def memory(found: dict[str, dict[str, Any]]) -> str:
    """Peak resident memory by model, threads and engine, beside the weights and the cache it must hold."""
    header = ["model, threads", "engine", "peak RSS MB", "weights + cache MB", "over"]
    body = []
    for name, entry in found.items():
        least = entry["weights_bytes"] + entry["cache_bytes"]
        for engine, got in entry["engines"].items():
            peak = got.get("peak_bytes")
            cells = ["-", "-"] if peak is None else [f"{peak / 1e6:.0f}", f"{100 * (peak / least - 1):+.1f} %"]
            body.append([name, engine, cells[0], f"{least / 1e6:.0f}", cells[1]])
    return table(header, body)


def remarks(document: dict[str, Any]) -> str:
    """Peers that are absent, ways that failed, measurements that ended early: nothing is left out silently."""
    lines = [f"absent: {name}: {why}" for name, why in document["peers"]["absent"].items()]
    busy = max((row["others_cores"] for row in document["results"]), default=0.0)
    if busy > QUIET:
        lines.append(f"not a quiet machine: other programs kept up to {busy:.1f} processors busy; ratios to peers are too high")
    for row in document["results"]:
        name = f"{row['model']}, {row['threads']} threads, {row['name']}"
        lines += [f"failed: {name}: {who}: {why}" for who, why in row["failed"].items()]
    for name, entry in document["memory"].items():
        lines += [f"failed: {name}, memory: {who}: {got['failed']}" for who, got in entry["engines"].items() if "failed" in got]
    return "\n".join(dict.fromkeys([*lines, *document["errors"]]))


def render(document: dict[str, Any]) -> str:
    """The whole document as text."""
    machine = document["machine"]
    parts = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['native']}; {document['pairs']} rounds; "
        f"median (quartiles); {', '.join(f'{n} {v}' for n, v in document['peers']['versions'].items()) or 'no peer'}"
    ]
    for entries, form in (("results", speeds), ("builds", sizes), ("memory", memory)):
        if document[entries]:
            parts.append(form(document[entries]))
    notes = remarks(document)
    return "\n\n".join([*parts, notes] if notes else parts)
