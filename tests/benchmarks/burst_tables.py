"""The figures of a burst as percentiles, projections and tables, as ``burst.py`` shows them."""

import math
import os
from collections.abc import Sequence
from typing import Any

from burst_plan import LARGE, MEBIBYTE, READ_WHOLE
from timing import row

BUSY = 0.7  # the share of a node's cores that a projection uses


def latencies(taken: Sequence[tuple[int, float, float]], column: int) -> dict[str, dict[str, float]]:
    """Give percentiles of all, of short logs, and of the large ones."""
    groups = {
        "all": taken,
        "logs up to 64 KiB": [one for one in taken if one[0] <= READ_WHOLE],
        "logs over 8 MiB": [one for one in taken if one[0] > LARGE],
    }
    found: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        values = sorted(one[column] for one in group)
        places = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        if values:
            found[name] = {place: values[math.ceil(share * len(values)) - 1] for place, share in places.items()}
    return found


def project(figures: dict[str, Any], *, cores: int, wal: float) -> list[dict[str, float]]:
    """Multiply: what nodes of so many cores would take in, if a result costs each of them what it cost here.

    This is arithmetic, not a measurement. It assumes that a result costs the same on more cores and with more rows,
    that no tenant is larger than a node (Citus distributes by tenant) and that tenants spread evenly, that the
    coordinator costs nothing, that workers run on other machines, and that a node's disk takes so many bytes of
    write-ahead log a second.
    """
    server_cpu, workers_cpu = figures["cpu_per_result"]["server"], figures["cpu_per_result"]["workers"]
    if server_cpu is None:
        return []
    rate = min(cores * BUSY / server_cpu, wal / figures["per_result"]["wal"])
    return [
        {
            "nodes": nodes,
            "results_per_second": nodes * rate,
            "agents_in_five_minutes": nodes * rate * 300,
            "results_in_a_day": nodes * rate * 86_400,
            "cores_of_workers": nodes * rate * workers_cpu / BUSY,
            "wal_bytes_per_second_and_node": rate * figures["per_result"]["wal"],
        }
        for nodes in (1, 2, 4, 8)
    ]


def show(figures: dict[str, Any], cores: int) -> None:
    """Print the tables."""
    plan, sent, cpu = figures["plan"], figures["sent"], figures["cpu_seconds"]
    each, seconds, rate = figures["per_result"], figures["seconds"], figures["results_per_second"]
    row("what", "figure")
    row("---", "---")
    row("workers x threads, results a call", f"{plan['workers']} x {plan['threads']}, {plan['batch']}")
    row("sent", f"{sent['results']:,} results of {plan['agents']:,} agents, {sent['log_bytes'] / 1e9:.2f} GB of logs")
    row("logs over 64 KiB, over 8 MiB", f"{sent['over_64_kib']:,}, {sent['over_8_mib']:,}")
    row("sigma, longest", f"{plan['sigma']:.2f}, {sent['longest'] / MEBIBYTE:.0f} MiB")
    row("seconds", f"{seconds:.1f}" + ("" if plan["is_closed"] else f", they came within {plan['seconds']:g}"))
    row("results a second, MB/s of logs", f"{rate:,.0f}, {figures['log_bytes_per_second'] / 1e6:.1f}")
    row("answers", ", ".join(f"{count:,} {name}" for name, count in figures["answers"].items()))
    for kind, values in figures["latency_seconds"].items():
        row(f"ms, p50 / p90 / p99 / max, {kind}", " / ".join(f"{value * 1e3:,.1f}" for value in values.values()))
    for kind, values in figures["call_seconds"].items():
        row(f"of which in the call, {kind}", " / ".join(f"{value * 1e3:,.1f}" for value in values.values()))
    row("cores used by workers", f"{cpu['workers'] / seconds:.2f}")
    row("cores used by the server", ", ".join(f"{kind} {s / seconds:.2f}" for kind, s in cpu["server"].items() if s))
    made, looked = cpu["making_bodies"] / seconds, cpu["this_program"] / seconds
    row("cores used to make bodies, to look on", f"{made:.2f}, {looked:.2f}")
    row("cores used by others on the machine", f"{cpu['others_on_the_machine'] / seconds:.2f} of {os.cpu_count()}")
    per = figures["cpu_per_result"]
    row("ms of processor a result, workers, server", " , ".join(f"{v * 1e3:.2f}" if v else "?" for v in per.values()))
    row("bytes a result: WAL, runs, logs", ", ".join(f"{each[name]:,.0f}" for name in ("wal", "runs", "logs")))
    row("the server counted", ", ".join(f"{value:,.0f} {name}" for name, value in figures["server_counts"].items()))
    waits = list(figures["server_waits"].items())[:6]
    row("connections at work, by what they wait for", ", ".join(f"{event} {share:.2f}" for event, share in waits))
    row("oldest transaction seen, ms", f"{figures['oldest_transaction_seconds'] * 1e3:,.0f}")
    for name, sizes in figures["memory"].items():
        row(f"MiB of memory of workers, {name}", ", ".join(f"{size / MEBIBYTE:.0f}" for size in sizes))
    row("retries", str(figures["retries"] or "none"))
    verified = figures["verified"]
    row("verified", f"{verified['runs']:,} runs, {verified['logs']:,} logs, {verified['log_bytes'] / 1e9:.2f} GB")
    print()
    row("arithmetic, not measured", "results/s", "in 5 minutes", "in a day", "workers' cores", "MB/s of WAL a node")
    row(*["---"] * 6)
    here = (f"{rate * 300:,.0f}", f"{rate * 86_400:,.0f}", "", f"{rate * each['wal'] / 1e6:.1f}")
    row("this machine, at this rate", f"{rate:,.0f}", *here)
    for one in figures["projection"]:
        cells = [f"{one[name]:,.0f}" for name in list(one)[1:-1]]
        wal = f"{one['wal_bytes_per_second_and_node'] / 1e6:.1f}"
        row(f"nodes of {cores} cores, 70 % used: {one['nodes']}", *cells, wal)
    grown = plan["agents"] * (each["runs"] + each["logs"]) / 1e9
    row("one such burst a day", "", "", f"{grown:.2f} GB stored", "", "")
