"""Samples to figures: medians, tenth percentiles and their ratios. Pure."""

import statistics
from collections.abc import Mapping, Sequence
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
    for name, mine in figures.items():
        if name in measured.used and row.unit == "s":
            mine["cpu"] = statistics.median(measured.used[name])
    if row.unit == "s":
        for name, mine in figures.items():
            mine |= {f"{key}_ratio": ratio for key, ratio in against(mine, figures.get("bare")).items()}
            if name == "backuplog":
                mine |= {f"{key}_before": ratio for key, ratio in against(mine, figures.get("before")).items()}
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


def against(mine: Mapping[str, float], others: Mapping[str, float] | None) -> dict[str, float]:
    """Return the ratios of a contender's figures to another's, as far as both have them."""
    return {
        key: mine[key] / others[key] for key in ("median", "p10", "cpu") if others and mine.get(key) and others.get(key)
    }
