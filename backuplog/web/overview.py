"""The overview: does everything have a recent good backup?"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import attrs
import humanize
from starlette.requests import Request
from starlette.responses import Response

from backuplog.agent import list_agents
from backuplog.anomaly import Anomaly, anomalies_of, find_anomalies
from backuplog.errors import FieldError, InvalidQuery
from backuplog.model import BackupRun, RunQuery
from backuplog.overdue import expectations_now, find_overdue
from backuplog.query import cursor_bytes, cursor_text, refuse_cursor
from backuplog.report import latest_runs
from backuplog.row import GROUP_COLUMNS
from backuplog.store import Store

from .chart import HEIGHT, SLOT_WIDTH, SLOTS, Bar, bars, lines
from .judge import JUDGED_TYPE, Key, Kind, judge
from .page import Site

ROWS: Final = 50
"""The most rows on a page."""
NAMED: Final = 3
"""How many of the backups that are late the answer names."""
LISTED: Final = 20
"""How many expectations that are not met are listed, and how many unusual figures."""


@attrs.frozen(kw_only=True)
class Cell:
    """What is shown of one of the last runs.

    Attributes:
        id: The run's id.
        status: Its status.
        start_time: When it started, in UTC.
        added: Bytes that it added; None if it does not say.
        processed: Bytes that it processed; None likewise.
    """

    id: UUID
    status: str
    start_time: datetime
    added: int | None
    processed: int | None


@attrs.frozen(kw_only=True)
class Row:
    """A kind with its last runs.

    Attributes:
        kind: The kind.
        cells: Its last runs, oldest first.
        anomalies: What is unusual about its newest good run.
    """

    kind: Kind
    cells: Sequence[Cell]
    anomalies: Sequence[Anomaly]

    @property
    def added(self) -> list[int]:
        """What its runs added, in bytes, as far as they say."""
        return [cell.added for cell in self.cells if cell.added is not None]

    @property
    def processed(self) -> list[int]:
        """What its runs processed, in bytes, as far as they say."""
        return [cell.processed for cell in self.cells if cell.processed is not None]

    @property
    def bars(self) -> list[Bar]:
        """The chart of what was added."""
        return bars([cell.added for cell in self.cells])

    @property
    def lines(self) -> list[str]:
        """The chart of what was processed."""
        return lines([cell.processed for cell in self.cells])


def view_overview(site: Site, request: Request) -> Response:
    """Show each policy and agent: the last run, the last success and its age, and what is late first."""
    after, wants_unusual = _key_in(request), _wants_unusual(request)
    store, now = site.store, datetime.now(UTC)
    expected = expectations_now(site.expectations)
    latest = latest_runs(store, now=now)
    overdue = find_overdue(store, expected, now=now) if expected else []
    hostnames = {agent.id: agent.hostname for agent in list_agents(store) if agent.hostname is not None}
    kinds, answer = judge(latest, hostnames, expected, overdue, since=now - site.recent)
    following = kinds if after is None else [kind for kind in kinds if kind.key > after]
    shown = following[:ROWS]
    # What is unusual of those shown is known from their strips. Of all kinds it takes long, so that one asks for it.
    unusual = find_anomalies(store) if wants_unusual else None
    rows = sorted((_row(store, kind) for kind in shown), key=lambda row: (row.kind.key[0], not row.anomalies))
    return site.render(
        request,
        "overview.html",
        now=now,
        answer=answer,
        named=answer.late[:NAMED],
        recent=_recent(site.recent),
        judged_type=JUDGED_TYPE,
        noun="backup" if all(each.task_type == JUDGED_TYPE for each in expected) else "task",
        total=len(kinds),
        failing=sum(kind.is_failing for kind in kinds),
        active=sum(kind.latest.last_run.is_active for kind in kinds),
        overdue=overdue[:LISTED],
        more_overdue=len(overdue[LISTED:]),
        unusual=None if unusual is None else unusual[:LISTED],
        more_unusual=len((unusual or [])[LISTED:]),
        hostnames=hostnames,
        rows=rows,
        first=len(kinds) - len(following) + 1,
        next_cursor=_cursor_of(shown[-1].key) if len(following) > ROWS else None,
        base_url=str(request.base_url),
        chart={"width": SLOTS * SLOT_WIDTH, "height": HEIGHT, "bar": SLOT_WIDTH - 2},
    )


def _recent(recent: timedelta) -> str:
    """Return how old a good run may be, in hours where people say so."""
    return humanize.precisedelta(recent, suppress=["days"] if recent < timedelta(days=3) else [], format="%0.0f")


def _row(store: Store, kind: Kind) -> Row:
    of = kind.latest
    query = RunQuery(policy_id=of.policy_id, agent_id=of.agent_id, task_type=of.task_type)
    # One more than is shown: the newest is compared with those before it.
    runs = sorted(
        store.call(store.backend.list_newest, query, GROUP_COLUMNS, limit=SLOTS + 1),
        key=lambda run: (run.start_time, run.id),
    )
    return Row(kind=kind, cells=_cells(runs[-SLOTS:]), anomalies=anomalies_of(runs))


def _cells(runs: Iterable[BackupRun]) -> list[Cell]:
    # A run may hold a message and failed items of 164 KB, and a page shows 1,500 runs.
    return [
        Cell(
            id=run.id,
            status=run.status,
            start_time=run.start_time,
            added=run.stats.data_added if run.stats else None,
            processed=run.stats.total_bytes_processed if run.stats else None,
        )
        for run in runs
    ]


def _wants_unusual(request: Request) -> bool:
    """Return whether to look for what is unusual among all kinds, and refuse what this page does not know."""
    errors = [
        FieldError(name, "is no filter of this page")
        for name, value in request.query_params.items()
        if name != "cursor" and (name, value) != ("unusual", "all")
    ]
    if errors:
        raise InvalidQuery(errors)
    return "unusual" in request.query_params


def _cursor_of(key: Key) -> str:
    return cursor_text(json.dumps(key).encode())


def _key_in(request: Request) -> Key | None:
    """Return the key after which the page begins; None for the first page."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    try:
        concern, *names = json.loads(cursor_bytes(text))
        name, task_type, policy, agent = map(str, names)
        return int(concern), name, task_type, policy, agent
    except (ValueError, TypeError, OverflowError, RecursionError):
        refuse_cursor("is not of a page of this list: begin again without it")
