"""What arrives in a burst, and when: the plan of ``burst.py``, from which every process makes the same results."""

import math
import random
import statistics
from functools import cache
from hashlib import blake2b
from uuid import UUID

import attrs

MEBIBYTE = 1 << 20
MEDIAN, LARGE = 4096, 8 * MEBIBYTE
SIGMA = math.log(LARGE / MEDIAN) / statistics.NormalDist().inv_cdf(0.99)
READ_WHOLE = 65_536  # All logs up to this length are read back, and one in 20 of the others.
LINE = 88  # bytes of a line: in JSON it has one more, which makes any stretch of lines a slice of one text
STARTS = 8192  # lines at which a log may start in that text
SUMMARY = (
    "\nFiles:         911 new,    97 changed, 10042 unmodified\nDirs:            3 new,    12 changed,   871 unmodified"
    "\nAdded to the repository: 1.234 GiB (1.012 GiB stored)\n\nprocessed 11050 files, 99.103 GiB in 1:02\n"
    "snapshot 8837c0dd saved\n"
)
PREPARED = b'{"taskId":"%s","policyId":"%s","taskType":"backup","status":"%s","durationSeconds":62.5,'
TIMES = b'"startTime":"2026-11-24T01:59:00.123456789Z","endTime":"2026-11-24T02:0%d:02.623456789Z","log":"%s'


@attrs.frozen(kw_only=True)
class Plan:
    """What is sent, when, and to whom.

    Attributes:
        agents: How many agents report, each of them one task.
        seconds: How long that takes.
        workers: How many processes take results in.
        threads: How many threads each of them has.
        batch: How many results a thread takes at once.
        is_closed: Whether a thread takes the next result at once, not when it arrives.
        sigma: The spread of the logarithms of the lengths.
        largest: The length of the longest log, in bytes.
        seed: What the moments and the order of the lengths depend on.
        url: Where to store.
        tenant_id: Whose all of it is.
    """

    agents: int
    seconds: float
    workers: int
    threads: int
    batch: int
    is_closed: bool
    sigma: float
    largest: int
    seed: int
    url: str = attrs.field(repr=False)
    tenant_id: UUID

    def ids(self, number: int) -> tuple[UUID, UUID]:
        """Give the ids of an agent and of its task."""
        key = b"%d %d %s" % (self.seed, number, self.tenant_id.bytes)
        digest = blake2b(key).digest()
        return UUID(bytes=digest[:16], version=4), UUID(bytes=digest[16:32], version=4)

    def lengths(self) -> list[int]:
        """Give how many lines of text the log of each agent has."""
        normal = statistics.NormalDist()
        lengths: list[int] = []
        for place in range(self.agents):
            share = (place + 0.5) / self.agents
            size = MEDIAN * math.exp(self.sigma * normal.inv_cdf(share))
            tail = LARGE * (self.largest / LARGE) ** ((share - 0.99) * 100)
            size = min(size, LARGE) if share < 0.99 else min(max(size, tail), self.largest)
            lengths.append(max(0, round((size - LINE - len(SUMMARY)) / LINE)))
        random.Random(self.seed).shuffle(lengths)  # noqa: S311 - sample data
        return lengths

    def deliveries(self) -> list["Delivery"]:
        """Give what arrives, in the order in which it does."""
        generator = random.Random(self.seed + 1)  # noqa: S311 - sample data
        found: list[Delivery] = []
        for number, lines in enumerate(self.lengths()):
            moment = generator.uniform(0, self.seconds)
            later = min(moment + generator.uniform(0, self.seconds / 10), self.seconds)
            worker = number % self.workers
            differs = number % 500 == 5
            is_last = not differs or number % 1000 == 5
            first = Delivery(moment=moment, number=number, lines=lines, worker=worker, is_last=is_last)
            found.append(first)
            if differs or number % 100 in {10, 43, 76}:
                other = (worker + 1) % self.workers
                found.append(attrs.evolve(first, moment=later, worker=other, is_last=is_last != differs))
        return sorted(found, key=lambda delivery: delivery.moment)


@attrs.frozen(kw_only=True)
class Delivery:
    """A result that arrives.

    Attributes:
        moment: When it arrives, in seconds since the beginning.
        number: Which agent it is of.
        lines: How many lines of text its log has.
        worker: Which worker it comes to.
        is_last: Whether no other result of its task ended later.
    """

    moment: float
    number: int
    lines: int
    worker: int
    is_last: bool

    @property
    def log_bytes(self) -> int:
        """How long its log is."""
        return LINE * (self.lines + 1) + len(SUMMARY)

    def header(self) -> str:
        """Give the first line of its log, which no other log has."""
        return f"agent {self.number}, {'the last' if self.is_last else 'an earlier'} result of its task".ljust(LINE - 1)

    def body(self, plan: Plan) -> bytes:
        """Make its JSON, which copies its bytes once."""
        policy = str(UUID(int=self.number % 700)).encode()
        status, minute = (b"success", 5) if self.is_last else (b"failed", 0)
        head = PREPARED % (str(plan.ids(self.number)[1]).encode(), policy, status)
        head += TIMES % (minute, self.header().encode() + rb"\n")
        start = self.number % STARTS * (LINE + 1)
        text = memoryview(text_of(plan.largest // LINE + STARTS)[1])[start : start + self.lines * (LINE + 1)]
        return b"".join((head, text, SUMMARY.replace("\n", r"\n").encode(), b'"}'))

    def log(self, plan: Plan) -> bytes:
        """Make its log."""
        start = self.number % STARTS * LINE
        text = text_of(plan.largest // LINE + STARTS)[0][start : start + self.lines * LINE]
        return b"%s\n%s%s" % (self.header().encode(), text, SUMMARY.encode())


@cache
def text_of(lines: int) -> tuple[bytes, bytes]:
    """Make text like that of restic -v, a tenth of its names not ASCII, plain and as it stands in JSON."""
    generator = random.Random(7)  # noqa: S311 - sample data
    made: list[bytes] = []
    for _ in range(lines):
        name = "фото" if generator.random() < 0.1 else "photo"
        end = f"-{generator.randrange(10**6):06d}.jpg, saved in 0.{generator.randrange(1000):03d}s "
        end += f"({generator.randrange(911)}.2 KiB added)"
        line = f"new       /srv/data/vol{generator.randrange(97)}/{name}".encode()
        missing = LINE - 1 - len(line) - len(end)  # filled with what compresses as badly as the name of a file does
        made.append(line + f"{generator.getrandbits(4 * missing):0{missing}x}{end}".encode())
    return b"\n".join((*made, b"")), rb"\n".join((*made, b""))
