"""Logs like those of real tools, and the bodies in which agents send them."""

import base64
import json
import random
from datetime import UTC, datetime
from functools import cache
from uuid import UUID, uuid4

SIZES = {"2 KiB": 2048, "64 KiB": 65_536, "1 MiB": 1 << 20, "8 MiB": 8 << 20, "64 MiB": 64 << 20}
KINDS = ("restic", "json", "random")
AGENT = UUID(int=7)
POLICY = UUID("11111111-1111-4111-8111-111111111111")
FIELDS = {
    "agent_id": AGENT,
    "policy_id": POLICY,
    "task_type": "backup",
    "status": "success",
    "duration_seconds": 12.5,
    "start_time": datetime(2026, 11, 24, 2, 0, 0, 123456, tzinfo=UTC),
    "end_time": datetime(2026, 11, 24, 2, 0, 12, 623456, tzinfo=UTC),
    "snapshot_id": "8837c0dd",
}
"""What a contender must give back of a run, beside its log."""

_REPEATED = 1 << 20


@cache
def log_of(size: int, kind: str = "restic") -> str:
    """Make a log of so many bytes.

    Args:
        size: Its length in bytes of UTF-8; what repeats in a longer one than 1 MiB is too far apart to be compressed.
        kind: ``restic`` is the text of restic -v, a tenth of its names not ASCII; ``json`` are the lines of restic
            --json; ``random`` is base64 of random bytes, of which a sixth bit in each byte is all that can be saved.
    """
    if size > _REPEATED:
        block = log_of(_REPEATED, kind)
        return _cut(block * (size // _REPEATED + 1), size)
    generator = random.Random(size)  # noqa: S311 - sample data
    if kind == "random":
        return base64.b64encode(generator.randbytes(size)).decode()[:size]
    lines, length = [], 0
    while length < size:
        name = "фото" if generator.random() < 0.1 else "photo"
        path = f"/srv/data/vol{generator.randrange(97)}/{name}-{generator.randrange(10**6):06d}.jpg"
        if kind == "json":
            fields = {
                "message_type": "verbose_status",
                "action": "new",
                "item": path,
                "duration": generator.randrange(1000) / 1000,
                "data_size": generator.randrange(10**7),
                "metadata_size": 0,
                "total_files": 0,
            }
            line = json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"
        else:
            line = f"new       {path}, saved in 0.{generator.randrange(1000):03d}s "
            line += f"({generator.randrange(911)}.2 KiB added)\n"
        lines.append(line)
        length += len(line.encode())
    return _cut("".join(lines), size)


def _cut(text: str, size: int) -> str:
    data = text.encode()[:size].decode(errors="ignore").encode()
    return data.ljust(size, b".").decode()


@cache
def as_json(log: str) -> bytes:
    """Make a log a string of JSON."""
    return json.dumps(log, ensure_ascii=False).encode()


def body_of(log: str | None, *, status: str = "success", task_id: UUID | None = None) -> bytes:
    """Make the JSON body of a result with this log, of a new task unless one is given."""
    end = "" if status == "running" else '"endTime": "2026-11-24T02:00:12.623456Z", "snapshotId": "8837c0dd", '
    head = (
        f'{{"taskId": "{task_id or uuid4()}", "policyId": "{POLICY}", "taskType": "backup", "status": "{status}", '
        f'"durationSeconds": 12.5, "startTime": "2026-11-24T02:00:00.123456Z", {end}"log": '
    )
    return b"".join((head.encode(), b"null" if log is None else as_json(log), b"}"))


def task_of(body: bytes) -> UUID:
    """Return the task that a body is of."""
    return UUID(body[12:48].decode())
