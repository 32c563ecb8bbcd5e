"""Who is let in over HTTP, and how much of it; and who is told of those that are not."""

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, Protocol
from uuid import UUID

import attrs

from backuplog.chunk import MAX_LOG_BYTES
from backuplog.errors import BackuplogError, Forbidden, InvalidAgent
from backuplog.normalise import argument, as_uuid
from backuplog.observe import IngestEvent
from backuplog.store import Store
from backuplog.token import verify_agent_token

from .request import Request, bearer_token

MAX_BODY_BYTES: Final = 67_108_864
"""The longest body that is accepted by default, in bytes: 64 MiB."""


class Limiter(Protocol):
    """Decides whether an agent sends too much: ``backuplog.http.limit.RateLimiter``, or one of your own."""

    def check(self, tenant_id: UUID, agent_id: UUID) -> None:
        """Count a request of an agent.

        Args:
            tenant_id: The agent's tenant.
            agent_id: The agent's id.

        Raises:
            RateLimited: The agent has sent too many.
        """
        ...

    def count(self, tenant_id: UUID, agent_id: UUID, results: int) -> None:
        """Count the other results of a batch, whose request was counted as one.

        Args:
            tenant_id: The agent's tenant.
            agent_id: The agent's id.
            results: How many there are.
        """
        ...


@attrs.frozen(kw_only=True)
class Guard:
    """Whom to let in, and how much they may send.

    Attributes:
        tokens: Whether a request must carry ``Authorization: Bearer`` with a token that ``issue_agent_token`` issued to
            the agent in its path. Set this to False if you authenticate requests yourself.
        limiter: Limits how many requests and results an agent may send; None for no limit.
        max_body_bytes: The longest body to accept, in bytes, before and after decompression.
        max_log_bytes: As in ``ingest_task_result``.
    """

    tokens: bool = True
    limiter: Limiter | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    max_log_bytes: int = MAX_LOG_BYTES


def authenticate(store: Store, agent_id: str, request: Request, guard: Guard) -> UUID:
    """Check who asks, then for whom, and return the agent in the path.

    Raises:
        Unauthenticated: No valid token came.
        InvalidAgent: The agent in the path is not a UUID.
        Forbidden: The token speaks for another agent.
    """
    speaks_for = verify_agent_token(store, bearer_token(request)).agent_id if guard.tokens else None
    agent = argument("agent_id", as_uuid, agent_id, InvalidAgent)
    if speaks_for not in (None, agent):
        raise Forbidden
    return agent


def refuse_other_sites(request: Request, guard: Guard) -> None:
    """Let no page of another site write in the name of somebody who is logged in, or at whose machine it listens.

    A browser sends a body without a type, which JSON may have, to any site, and a cookie or a login with it. It says so
    in ``Sec-Fetch-Site`` (https://www.w3.org/TR/fetch-metadata/), which agents do not send.

    Raises:
        Forbidden: A browser sends it for a page of another site, and no token is needed.
    """
    if not guard.tokens and request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("a page of another site sent this; only agents and this site's own pages may write")


def admit(store: Store, agent_id: str, request: Request, guard: Guard) -> UUID:
    """Check who asks and for whom, then how often, and return the agent in the path.

    Raises:
        Unauthenticated, InvalidAgent, Forbidden: As for ``authenticate``.
        RateLimited: The agent asks too often.
    """
    agent = authenticate(store, agent_id, request, guard)
    if guard.limiter is not None:
        guard.limiter.check(store.tenant_id, agent)
    return agent


def admit_to_all(store: Store, request: Request, guard: Guard) -> None:
    """Let nobody see by a token, which speaks for one agent, what is not for agents.

    Raises:
        Unauthenticated: No valid token came.
        Forbidden: One did.
    """
    if guard.tokens:
        verify_agent_token(store, bearer_token(request))
        raise Forbidden("a token speaks for one agent: lists of all agents and reports need another credential")


def admit_to_runs(store: Store, agent_id: str | None, request: Request, guard: Guard) -> UUID | None:
    """Let a request see the runs of the agent in the path, or of all agents where that is None.

    Returns:
        The agent; None for all.

    Raises:
        Unauthenticated, InvalidAgent, Forbidden, RateLimited: As for ``admit`` and ``admit_to_all``.
    """
    if agent_id is not None:
        return admit(store, agent_id, request, guard)
    admit_to_all(store, request, guard)
    return None


def admit_to_reports(store: Store, agent_id: str | None, request: Request, guard: Guard) -> UUID | None:
    """Let a request see reports, on the agent in the path, or on all agents where that is None.

    A report costs the more the more policies there are, and an agent may invent any number: its token gets none.

    Returns:
        The agent; None for all.

    Raises:
        Unauthenticated, Forbidden: As for ``admit_to_all``.
        InvalidAgent, RateLimited: As for ``admit``.
    """
    admit_to_all(store, request, guard)
    return None if agent_id is None else admit(store, agent_id, request, guard)


@contextmanager
def report_refusal(store: Store, agent_id: str) -> Generator[None]:
    """Tell the observers of a result that is refused before it could be handed in."""
    begun = time.perf_counter()
    try:
        yield
    except BackuplogError as error:
        agent: UUID | None = None
        with suppress(ValueError):
            agent = as_uuid(agent_id)
        seconds = time.perf_counter() - begun
        store.tell(IngestEvent(tenant_id=store.tenant_id, agent_id=agent, error=error, seconds=seconds))
        raise
