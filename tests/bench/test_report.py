"""Tables and notes of a measurement."""

from typing import Any

from benchmarks import plot, report
from benchmarks.measure import Measured


def measured(**changes: Any) -> Measured:
    values: dict[str, Any] = {
        "name": "decode 64 at depth 0", "tokens": 64, "ways": {"llmc": "", "llama.cpp": "extra,flash"}, "limit": [1.0, 2.0],
        "seconds": {"llmc": [2.0, 2.0], "llama.cpp": [4.0, 3.0]},
    }  # fmt: skip
    return Measured(**(values | changes))


def document(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    machine = {"processor": "A processor", "processors": 2, "native": "avx2"}
    peers: dict[str, Any] = {"versions": {"llama.cpp": "1.0"}, "absent": {}}
    return {
        "machine": machine, "pairs": 2, "peers": peers, "results": [*rows], "builds": {}, "memory": {}, "errors": [],
    } | changes  # fmt: skip


def test_a_row_has_rates_ratios_and_the_share_of_the_limit() -> None:
    row = report.result(measured(), "m q4_0", 2)
    assert row["tokens_per_second"]["llmc"]["median"] == 32
    assert row["llmc_over"] == {"llama.cpp": {"lower": 1.625, "median": 1.75, "upper": 1.875}}
    assert row["share_of_limit"] == {"lower": 0.625, "median": 0.75, "upper": 0.875}
    assert row["raw"]["seconds"] == {"llmc": [2.0, 2.0], "llama.cpp": [4.0, 3.0]}


def test_a_limit_that_is_not_known_gives_no_share() -> None:
    assert report.result(measured(limit=[]), "m f16", 2)["share_of_limit"] is None


def test_columns_of_a_table_are_aligned() -> None:
    assert report.table(["a", "long"], [["1234", "5"]]).split("\n") == ["| a    | long |", "|------|------|", "| 1234 | 5    |"]


def test_speeds_show_medians_quartiles_and_the_way_a_peer_was_run() -> None:
    text = report.speeds([report.result(measured(), "m q4_0", 2)])
    assert "32.0 (32.0-32.0)" in text and "75 % (62-88)" in text
    assert "18.7 (17.3-20.0) extra,flash" in text and "1.75 (1.62-1.88)" in text


def test_the_time_of_a_start_is_shown_in_milliseconds() -> None:
    row = report.result(measured(name="start to first token", tokens=1, seconds={"llmc": [0.1, 0.3]}), "m q4_0", 1)
    assert "200 ms (150-250)" in report.speeds([row])


def test_an_engine_without_a_figure_has_a_dash_and_a_note() -> None:
    full = report.result(measured(), "m q4_0", 2)
    crashed = measured(seconds={"llmc": [1.0, 1.0]}, failed={"llama.cpp extra": "SIGSEGV"})
    peers = {"versions": {}, "absent": {"ctranslate2": "not installed"}}
    shown = report.render(document(full, report.result(crashed, "m", 1), peers=peers, errors=["late"]))
    assert "| -" in shown
    for note in ("absent: ctranslate2: not installed", "m, 1 threads, decode 64 at depth 0: llama.cpp extra: SIGSEGV", "late"):
        assert note in shown


def test_memory_is_set_against_what_must_be_held() -> None:
    engines = {"llmc": {"peak_bytes": 1_050_000_000}, "llama.cpp plain": {"failed": "no header"}}
    entry = {"weights_bytes": 900_000_000, "cache_bytes": 100_000_000, "engines": engines}
    text = report.render(document(memory={"m, 2 threads": entry}))
    assert "+5.0 %" in text and "llama.cpp plain: no header" in text


def test_a_busy_machine_is_remarked() -> None:
    quiet, busy = (document(report.result(measured(others=cores), "m", 1)) for cores in (0.05, 0.7))
    assert "quiet" not in report.render(quiet)
    assert "not a quiet machine: other programs kept up to 0.7 processors busy" in report.render(busy)


def test_sizes_show_both_compilations() -> None:
    build = {
        "first": {"seconds": 12.34, "peak_bytes": 3_000_000}, "again": {"seconds": 4.0, "peak_bytes": 2_000_000},
        "artifact_bytes": 7_500_000, "code_bytes": 150_000,
    }  # fmt: skip
    cells = [cell.strip() for cell in report.sizes({"m q4_0": build}).split("\n")[-1].split("|")[1:-1]]
    assert cells == ["m q4_0", "12.3 / 4.0", "3", "7.5", "150"]


def test_the_plot_has_every_ratio_of_every_peer() -> None:
    found = plot.bars(document(report.result(measured(), "m q4_0", 2), report.result(measured(name="x"), "m q4_0", 1)))
    assert [(label, median) for label, _, median, _ in found["llama.cpp"]] == [
        ("m q4_0, decode 64 at depth 0, 2 thr.", 1.75), ("m q4_0, x, 1 thr.", 1.75),
    ]  # fmt: skip
