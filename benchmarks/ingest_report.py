"""What `benchmarks.ingest` found, as a plot and as tables."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_WAYS = {
    "bare_polars": "bare Polars",
    "bare_with_rules": "bare Polars, rules as a filter",
    "skein": "Skein",
    "with_contract": "Skein, with a contract",
}
_HEADINGS = ("file", "rows", "MB", "way", "seconds", "of bare", "processor s", "of bare", "peak MB")


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plots = [draw for draw, rows in ((_files, "files"), (_upserts, "upserts")) if result[rows]]
    figure, axes = plt.subplots(1, len(plots), figsize=(5.5 * len(plots), 4), squeeze=False)
    for draw, place in zip(plots, axes[0], strict=True):
        draw(place, result)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _files(axes: Any, result: dict[str, Any]) -> None:
    files = result["files"]
    for offset, (way, label) in enumerate(_WAYS.items()):
        bars = [
            (place + 0.2 * offset, each[way]["median_s"]) for place, each in enumerate(files) if each[way]
        ]
        if bars:
            axes.bar(*zip(*bars, strict=True), 0.18, label=label)
    axes.set_xticks(
        [place + 0.3 for place in range(len(files))],
        [f"{each['rows']:,} rows\n{each['file']}" for each in files],
    )
    axes.set_ylabel("seconds")
    axes.set_title("CSV to Parquet")
    axes.legend()


def _upserts(axes: Any, result: dict[str, Any]) -> None:
    for keys in dict.fromkeys(each["keys"] for each in result["upserts"]):
        points = [(each["rows"] / 1e6, each["seconds"]) for each in result["upserts"] if each["keys"] == keys]
        axes.plot(*zip(*points, strict=True), marker="o", label=f"keys {keys}")
    axes.set_xlabel("million rows in the table")
    axes.set_ylabel("seconds")
    axes.set_title("Upsert of 1%")
    axes.set_ylim(bottom=0)
    axes.legend()


def show(result: dict[str, Any]) -> None:
    console = Console(width=130)
    table = Table(title="Ingestion next to bare Polars")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("file", "way") else "right")
    for each in result["files"]:
        for way, label in _WAYS.items():
            if each[way]:
                table.add_row(
                    each["file"],
                    f"{each['rows']:,}",
                    f"{each['size_bytes'] / 1e6:,.0f}",
                    label,
                    *_numbers(each[way]),
                )
    console.print(table)
    for each in result["files"]:
        console.print(f"small queries beside {each['file']}, ms: {each['small_query_ms']}")
    for each in result["upserts"]:
        table, cost = f"{each['rows']:,} rows, {each['keys']}", f"{each['seconds']} s, {each['peak_mb']} MB"
        console.print(f"upsert of 1% into {table}: {cost} at the peak")
    for each in result["losses"] or ["all targets are reached"]:
        console.print(each)


def _numbers(way: dict[str, Any]) -> list[str]:
    ratios = (str(way.get("speed_of_bare", "")), str(way.get("cpu_speed_of_bare", "")))
    return [str(way["median_s"]), ratios[0], str(way["median_cpu_s"]), ratios[1], str(way["peak_mb"])]
