"""Draw what the program has measured: ``python tests/benchmarks/plots.py FIGURES.json FOLDER`` makes four SVG files.

- ``ingest.svg``: what taking in one result costs by the size of its log, on both databases.
- ``threads.svg``: results a second by threads.
- ``pages.svg``: how long a page of a list takes by its depth.
- ``ratios.svg``: contenders against bare SQL.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's colours, which colour-blind people tell apart; the marker says it once more.
STYLES = {
    "backuplog": ("#0072b2", "o", "-"),
    "before": ("#56b4e9", "o", "--"),
    "bare": ("#000000", "s", "-"),
    "bare, checked": ("#7f7f7f", "s", "--"),
    "write + fdatasync": ("#7f7f7f", "x", ":"),
    "sqlite-utils": ("#009e73", "^", "-"),
    "SQLAlchemy": ("#d55e00", "v", "-"),
    "Django": ("#cc79a7", "D", "-"),
    "Dagster": ("#e69f00", "P", "-"),
}
DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
SIZES = {2048: "2 KiB", 65_536: "64 KiB", 1 << 20: "1 MiB", 8 << 20: "8 MiB", 64 << 20: "64 MiB"}
RATIOS = {
    "ingest 2 KiB, restic text": "ingest\n2 KiB",
    "ingest 1 MiB, restic text": "ingest\n1 MiB",
    "batch of 1,000 x 2 KiB, each result": "batch of\n1,000 x 2 KiB",
    "read whole 2 KiB": "read\n2 KiB",
    "read whole 1 MiB": "read\n1 MiB",
    "list an agent, page 1 and total": "newest 100\nand total",
}
Rows = Sequence[Mapping[str, Any]]


def panels(rows: Rows, title: str) -> tuple[Figure, dict[str, Axes]]:
    """Make a figure with a panel for each database of which there are rows."""
    found = [name for name in DATABASES if any(row["database"] == name for row in rows)] or ["sqlite"]
    figure, axes = plt.subplots(1, len(found), figsize=(5.2 * len(found), 4.4), squeeze=False, sharey=True)
    for name, axis in zip(found, axes[0], strict=True):
        axis.set_title(DATABASES[name])
        axis.grid(visible=True, which="major", alpha=0.3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.suptitle(title)
    return figure, dict(zip(found, axes[0], strict=True))


def draw(axis: Axes, points: Mapping[str, list[tuple[float, float]]]) -> None:
    """Draw a line for each contender."""
    for name, style in STYLES.items():
        if name in points:
            color, marker, line = style
            along, up = zip(*sorted(points[name]), strict=True)
            axis.plot(along, up, color=color, marker=marker, linestyle=line, label=name, linewidth=1.6, markersize=5)


def lines_of(rows: Rows, database: str, key: str, value: str = "median") -> dict[str, list[tuple[float, float]]]:
    """Collect the points of each contender: an argument of the work, and a figure."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, figures in row["contenders"].items():
            if row["database"] == database:
                points.setdefault(name, []).append((row["arguments"][key], figures[value]))
    return points


def finish(figure: Figure, axes: Mapping[str, Axes], path: Path) -> None:
    """Put one legend below, name the vertical axis once, and write the file."""
    for axis in list(axes.values())[1:]:
        axis.set_ylabel("")
    for axis in axes.values():
        if axis.get_yscale() == "linear":
            axis.set_ylim(bottom=0)
        elif path.stem != "ratios":
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    drawn = [axis.get_legend_handles_labels() for axis in axes.values()]
    handles = {label: one for several, labels in drawn for one, label in zip(several, labels, strict=True)}
    figure.tight_layout(rect=(0, 0.12 if len(axes) > 1 else 0.18, 1, 1))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=5 if len(axes) > 1 else 3, frameon=False)
    figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
    plt.close(figure)


def draw_ingest(rows: Rows, path: Path) -> None:
    """Draw the cost of one result by the size of its log."""
    rows = [row for row in rows if row["work"] == "ingest" and row["arguments"]["kind"] == "restic"]
    figure, axes = panels(rows, "Taking in one result, durably (median)")
    for database, axis in axes.items():
        points = lines_of(rows, database, "size")
        draw(axis, {name: [(size, seconds * 1e3) for size, seconds in line] for name, line in points.items()})
        axis.set(xscale="log", yscale="log", xlabel="size of the log", ylabel="milliseconds")
        axis.set_xticks(list(SIZES), list(SIZES.values()))
        axis.minorticks_off()
    finish(figure, axes, path)


def draw_threads(rows: Rows, path: Path) -> None:
    """Draw the throughput by threads."""
    rows = [row for row in rows if row["work"] == "threads"]
    figure, axes = panels(rows, "Results a second by threads, logs of 2 KiB")
    for database, axis in axes.items():
        points = lines_of(rows, database, "count")
        draw(axis, {name: [(count, 1 / seconds) for count, seconds in line] for name, line in points.items()})
        axis.set(xscale="log", xlabel="threads", ylabel="results a second")
        counts = sorted({row["arguments"]["count"] for row in rows})
        axis.set_xticks(counts, [str(count) for count in counts])
        axis.minorticks_off()
    finish(figure, axes, path)


def draw_pages(rows: Rows, path: Path) -> None:
    """Draw the time that a page of all runs takes by its depth."""
    rows = [row for row in rows if row["work"] == "list" and not row["arguments"]["filters"]]
    rows = [row for row in rows if not row["arguments"]["with_total"]]
    figure, axes = panels(rows, "A page of 100 runs by its depth, without a total (median)")
    for database, axis in axes.items():
        points = lines_of(rows, database, "skipped")
        pages = {
            name: [(skipped / 100 + 1, seconds * 1e3) for skipped, seconds in line] for name, line in points.items()
        }
        draw(axis, pages)
        axis.set(xscale="log", xlabel="page", ylabel="milliseconds")
        depths = sorted({row["arguments"]["skipped"] // 100 + 1 for row in rows})
        axis.set_xticks(depths, [f"{depth:,}" for depth in depths])
        axis.minorticks_off()
    finish(figure, axes, path)


def draw_ratios(rows: Rows, path: Path) -> None:
    """Draw contenders against bare SQL, as bars."""
    rows = [row for row in rows if row["label"] in RATIOS]
    figure, axes = panels(rows, "Times the cost of bare SQL for the same work (less is better)")
    for database, axis in axes.items():
        mine = [row for row in rows if row["database"] == database]
        known = [name for name in STYLES if name not in ("bare", "write + fdatasync")]
        names = [name for name in known if any(name in row["contenders"] for row in mine)]
        width = 0.8 / max(1, len(names))
        for number, name in enumerate(names):
            bars = [
                (place + (number - (len(names) - 1) / 2) * width, row["contenders"][name]["median_ratio"])
                for place, row in enumerate(mine)
                if "median_ratio" in row["contenders"].get(name, {})
            ]
            along, up = zip(*bars, strict=True) if bars else ((), ())
            heights = [ratio - 1 for ratio in up]
            axis.bar(along, heights, bottom=1, width=width, color=STYLES[name][0], label=name)
        axis.axhline(1, color="black", linewidth=1)
        axis.set(yscale="log", ylabel="times bare SQL")
        axis.set_yticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
        axis.set_xticks(range(len(mine)), [RATIOS[row["label"]] for row in mine], fontsize=8)
        axis.minorticks_off()
    finish(figure, axes, path)


def main() -> None:
    """Draw all four."""
    figures, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    rows = json.loads(figures.read_text(encoding="utf-8"))["rows"]
    mpl.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "backuplog", "font.size": 10, "font.family": "sans-serif"}
    )
    drawings = {"ingest": draw_ingest, "threads": draw_threads, "pages": draw_pages, "ratios": draw_ratios}
    for name, drawing in drawings.items():
        drawing(rows, folder / f"{name}.svg")


if __name__ == "__main__":
    main()
