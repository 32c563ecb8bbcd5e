"""Timing, and a plain table."""

import time
from collections.abc import Callable


def touch_memory(size: int = 256 << 20) -> None:
    """Touch memory before anything is timed: a host's page fault costs 2-4 ms per MiB."""
    bytearray(size)[::4096] = bytes((size + 4095) // 4096)


def clocked(function: Callable[[], object]) -> tuple[float, float]:
    """Run a function and give its seconds, by the clock and of this process's time on the processor."""
    used, start = time.process_time(), time.perf_counter()
    function()
    return time.perf_counter() - start, time.process_time() - used


def timed(function: Callable[[], object]) -> float:
    """Run a function and give its seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def row(*cells: str) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(cells) + " |", flush=True)
