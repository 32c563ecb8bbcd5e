"""The door: from a URL to a store, by whichever installed backend serves it."""

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from uuid import UUID

from .errors import BackendNotFound
from .model import DEFAULT_TENANT
from .observe import LoggingObserver, Observer
from .opened import OpenedStore
from .store import Store

ENTRY_POINT_GROUP = "backuplog.backends"


def open_store(
    url: str,
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    agent_exists: Callable[[UUID], bool] | None = None,
    migrate: bool = True,
    retry_timeout: float = 30.0,
    observers: Sequence[Observer] = (LoggingObserver(),),
    **options: Any,
) -> Store:
    """Open the store at a URL, with whichever installed backend serves its scheme.

    Args:
        url: ``sqlite://`` (in memory), ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or what other installed
            backends serve.
        tenant_id: Whose runs to see. ``Store.for_tenant`` gives the views of others.
        agent_exists: Whether an agent exists, for an integrator with an agent table of their own; ``register_agent``
            is then not needed. It is called with the agent's id outside of any transaction of the store.
        migrate: Whether to bring the database's schema up to date first. Any number of processes may do so at once.
        retry_timeout: For how long, in seconds from its first attempt, what raised ``StoreUnavailable`` is tried again,
            with growing and random pauses; 0 turns that off. In a view that ``Store.bound_to`` gave nothing is.
        observers: Who is told of each delivery; a logger by default, which is silent until logging is configured.
        options: What the backend takes besides; its documentation names them.

    Returns:
        The store, a context manager.

    Raises:
        BackendNotFound: No backend, or more than one, serves the scheme, or what the backend needs is not installed.
        SchemaOutdated: ``migrate`` is False and the schema is behind, or a newer version wrote the database.
        StoreError: The database cannot be opened; the message says why and what to do.
    """
    factory = _backend(url).load
    try:
        opens = factory()
    except ModuleNotFoundError as error:
        extra = _backend(url).module.removeprefix("backuplog_")
        raise BackendNotFound(
            f"{error.name} is not installed, which this backend needs: pip install 'backuplog[{extra}]'"
        ) from error
    store: Store = opens(url, tenant_id=tenant_id, agent_exists=agent_exists, migrate=migrate, **options)
    return OpenedStore(store, timeout=retry_timeout, observers=observers)


def _backend(url: str) -> EntryPoint:
    # A URL can hold a password, so that only its scheme is ever repeated.
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise BackendNotFound("a store is opened by a URL with a scheme, such as sqlite:///backups.db")
    found = list(entry_points(group=ENTRY_POINT_GROUP, name=scheme))
    owners = sorted({point.dist.name if point.dist else point.value for point in found})
    if len(owners) > 1:
        raise BackendNotFound(f"{' and '.join(owners)} both serve {scheme}:// URLs: uninstall one of them")
    if not found:
        installed = ", ".join(sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})) or "none"
        raise BackendNotFound(
            f"no installed backend serves {scheme}:// URLs (installed: {installed}): install the one that does, "
            "for example with pip install 'backuplog[sqlite]'"
        )
    return found[0]
