"""Samples to figures: medians, tenth percentiles and their ratios. Pure."""

import statistics
from collections.abc import Sequence
from typing import Any

from session import Measured

FEW = 32


def percentile(samples: Sequence[float], part: float) -> float:
    """Return the sample that so great a part of all does not exceed."""
    return sorted(samples)[int(part * (len(samples) - 1))]


def summarise(database: str, measured: Measured) -> dict[str, Any]:
    """Return a row as it is written to JSON; few samples are kept as they are."""
    row, samples = measured.row, measured.samples
    figures: dict[str, dict[str, Any]] = {
        name: {
            "median": statistics.median(values),
            "p10": percentile(values, 0.1),
            "p90": percentile(values, 0.9),
            "samples": len(values),
            **({"values": list(values)} if len(values) <= FEW else {}),
        }
        for name, values in samples.items()
    }
    base = figures.get("bare")
    for name, mine in figures.items():
        if name in measured.used and row.unit == "s":
            mine["cpu"] = statistics.median(measured.used[name])
        if base and row.unit == "s":
            mine["ratio"] = mine["median"] / base["median"]
            mine["p10_ratio"] = mine["p10"] / base["p10"]
    if base and base.get("cpu"):
        for mine in figures.values():
            mine["cpu_ratio"] = mine["cpu"] / base["cpu"]
    return {
        "database": database,
        "group": row.group,
        "label": row.label,
        "work": row.work,
        "arguments": row.arguments,
        "unit": row.unit,
        "took": round(measured.took, 1),
        "contenders": figures,
        "refused": measured.refused,
    }
