"""The corpus of real logs, and what a parser should find in each."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def cases(folder: Path, *tools: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Give the cases of a manifest, of some tools or all, each with its log."""
    for case in json.loads((folder / "manifest.json").read_text())["cases"]:
        if not tools or case["tool"] in tools:
            raw = (folder / case["log"]).read_bytes()
            yield case, gzip.decompress(raw) if case["gzip"] else raw
