"""Results as tables: on a terminal row by row, and in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ORDER = (
    "backuplog", "before", "bare", "bare, checked", "write + fdatasync", "sqlite-utils", "SQLAlchemy", "Django",
    "Dagster",
)  # fmt: skip
RATIOS = ("median_ratio", "p10_ratio", "cpu_ratio")
_MEBIBYTE = 1 << 20


def written(value: float, unit: str) -> str:
    """Write milliseconds, or MiB, to three digits."""
    value = value / _MEBIBYTE if unit == "bytes" else value * 1e3
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def lines(row: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> Iterator[tuple[str, ...]]:
    """Give the lines of one row for a terminal: contender, median, tenth percentile, processor time, and ratios."""
    before = (earlier or {}).get("contenders", {})
    for name in ordered([row]):
        if name in row["refused"]:
            yield name, f"refused: {row['refused'][name]}"
            continue
        figures, unit = row["contenders"][name], row["unit"]
        medians = [written(figures[key], unit) if key in figures else "" for key in ("median", "p10", "cpu")]
        ratios = [f"{figures[key]:.2f}" if key in figures else "" for key in RATIOS]
        than_before = both(figures, "before")
        ours = f"{figures['median'] / before[name]['median']:.2f}" if name in before else ""
        yield name, *medians, *ratios, than_before, ours


def both(figures: Mapping[str, Any], kind: str) -> str:
    """Write a ratio by the clock, and the same by processor time."""
    return " / ".join(f"{figures[key]:.2f}" for key in (f"median_{kind}", f"cpu_{kind}") if key in figures)


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the contenders of rows, ours first, those that nobody knows last."""
    names = {name for row in rows for name in (*row["contenders"], *row["refused"])}
    return [*(name for name in ORDER if name in names), *sorted(names.difference(ORDER))]


def markdown(results: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> str:
    """Write all tables: one for each database, in whose cells stand a median and, in brackets, its ratio to bare."""
    facts = results["facts"]
    about = (
        f"Measured on {facts['date']}: {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, "
        f"{facts['system']}, Python {facts['python']}, SQLite {facts['sqlite']}, "
        f"PostgreSQL {facts.get('postgres', 'not measured')}; "
        f"a write of 4 KiB with fdatasync takes {facts['fdatasync_ms']} ms."
    )
    told = (
        "Medians in milliseconds, memory in MiB. In brackets stand the ratios to bare SQL: by the clock, and by the "
        "time on the processor that the process of the contender took."
    )
    if earlier:
        told += " After an arrow stands the ratio to the earlier run."
    text = [about, "", told]
    old = {(row["database"], row["label"]): row["contenders"] for row in (earlier or {}).get("rows", ())}
    for database in dict.fromkeys(row["database"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["database"] == database]
        names = ordered(rows)
        columns = [*names, "backuplog ÷ before"] if "before" in names else names
        text += ["", f"### {database}", "", f"| | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
        for row in rows:
            before = old.get((database, row["label"]), {})
            cells = [cell(row, name, before.get(name)) for name in names]
            if "before" in names:
                cells.append(both(row["contenders"].get("backuplog", {}), "before"))
            text.append(f"| {row['label']} | {' | '.join(cells)} |")
        for name, why in results["missing"].get(database, {}).items():
            text += ["", f"{name} took no part: {why}."]
        for row in rows:
            text += [line for name, why in row["refused"].items() for line in ("", f"{name}, {row['label']}: {why}.")]
    return "\n".join(text) + "\n"


def cell(row: Mapping[str, Any], name: str, before: Mapping[str, Any] | None) -> str:
    """Write the cell of a contender."""
    if name in row["refused"]:
        return "refused"
    figures = row["contenders"].get(name)
    if figures is None:
        return ""
    text = written(figures["median"], row["unit"])
    if name != "bare" and "median_ratio" in figures:
        text += f" ({both(figures, 'ratio')})"
    return f"{text} → {figures['median'] / before['median']:.2f}" if before else text
