"""The store that people hold: a backend, with retries and observers; and the door to it."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar
from uuid import UUID

import attrs

from .backend import Backend
from .delivery import Answer, Submission
from .errors import BackendNotFound, StoreUnavailable
from .group import Group
from .model import DEFAULT_TENANT
from .normalise import as_duration, option
from .observe import IngestEvent, LoggingObserver, Observer, notify
from .parsers import Tool, find_tools
from .redact import Redactor, SecretRedactor, Unredacted

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP: Final = "backuplog.backends"

_MOST_WARNINGS: Final = 1_000
_LONGEST_PAUSE: Final = 1.0

_logger: Final = logging.getLogger("backuplog")

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")


def _as_budget(value: float) -> float:
    return option("retry_timeout", as_duration, value)


@attrs.frozen(eq=False)
class Store:
    """One tenant's view of a place for runs and logs. ``open_store`` returns it; every verb takes it first.

    Many threads may use it at once. As a context manager, it closes itself.

    Attributes:
        backend: The backend that stores everything.
        agent_exists: Says whether an agent exists, if you keep agents in a table of your own; None if they are
            registered in the store.
        observers: The observers to tell what became of each result.
        retry_timeout: Seconds to keep retrying a call that raised ``StoreUnavailable``; 0 disables retries.
        after_commit: As in ``bound_to``; None tells the observers at once.
        parsers: The tools whose logs are read for figures.
        redactor: What masks secrets in logs and error messages before they are stored.
    """

    backend: Backend
    agent_exists: Callable[[UUID], bool] | None = attrs.field(default=None, kw_only=True, repr=False)
    observers: tuple[Observer, ...] = attrs.field(default=(), kw_only=True, repr=False)
    retry_timeout: float = attrs.field(default=30.0, kw_only=True, repr=False, converter=_as_budget)
    after_commit: Callable[[Callable[[], None]], object] | None = attrs.field(default=None, kw_only=True, repr=False)
    parsers: tuple[Tool, ...] = attrs.field(default=(), kw_only=True, repr=False)
    redactor: Redactor = attrs.field(factory=SecretRedactor, kw_only=True, repr=False)
    _warned: set[tuple[UUID, str]] = attrs.field(factory=set[tuple[UUID, str]], kw_only=True, repr=False)
    _group: Group = attrs.field(
        default=attrs.Factory(lambda store: Group(store.backend), takes_self=True), init=False, repr=False
    )

    @property
    def tenant_id(self) -> UUID:
        """The tenant whose view this is."""
        return self.backend.tenant_id

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Return another tenant's view of the same store. It is cheap, shares every connection, and need not be closed.

        Threads share transactions with those that use the same view: keep one for each tenant that sends much.

        Args:
            tenant_id: The other tenant.
        """
        return attrs.evolve(self, backend=self.backend.for_tenant(tenant_id))

    def bound_to(self, connection: Any, *, after_commit: Callable[[Callable[[], None]], object] | None = None) -> Self:
        """Return a view that works inside the open transaction of the caller's own connection and never commits.

        A verb that fails undoes its own changes and leaves the rest of the transaction as it was. Nothing is retried,
        because only the caller can begin the transaction again.

        Args:
            connection: A connection of the backend's driver, such as a ``sqlite3.Connection`` or
                ``psycopg.Connection``, or what holds one: a ``Session``, ``Connection`` or ``raw_connection()`` of
                SQLAlchemy, or a database connection of Django.
            after_commit: Called with a function for each result that was taken in. Call that function after you
                commit; it tells the observers. Django's ``transaction.on_commit`` works, and so does the ``append`` of
                a list. By default the observers are told at once, although you may still roll back.

        Raises:
            StoreError: The store cannot take part in that connection's transactions.
            TypeError: ``after_commit`` cannot be called.
        """
        if after_commit is not None and not callable(after_commit):
            raise TypeError("after_commit must be a function, such as the append of a list")
        backend = self.backend.bound_to(_driver_connection(connection))
        return attrs.evolve(self, backend=backend, retry_timeout=0.0, after_commit=after_commit)

    def tell(self, event: IngestEvent) -> None:
        """Tell the observers what became of a result, at once or as ``bound_to`` was told to.

        Args:
            event: What became of it. What was refused or failed is told at once, because no commit decides it.
        """
        if self.after_commit is None or event.outcome is None:
            notify(self.observers, event)
            return
        try:
            self.after_commit(partial(notify, self.observers, event))
        except Exception:
            _logger.exception("after_commit failed; the result is as it would have been without it")

    def call(
        self, method: Callable[_Given, _Returned], *arguments: _Given.args, **keywords: _Given.kwargs
    ) -> _Returned:
        """Call a method of the backend, and retry for as long as it raises ``StoreUnavailable``.

        Retrying is safe, because every method of a backend may be repeated: if a result was committed and only the
        answer was lost, the retry is answered with ``replayed``.

        Args:
            method: A method of ``store.backend``.
            arguments: Its positional arguments.
            keywords: Its keyword arguments.

        Raises:
            StoreUnavailable: The store was still unavailable after ``retry_timeout`` seconds.
            StoreError: The store failed.
        """
        begun = time.monotonic()
        try:
            return method(*arguments, **keywords)
        except StoreUnavailable as error:
            remaining = self.retry_timeout - (time.monotonic() - begun)
            if remaining <= 0:
                raise
            _log_retry(method, error, 0.0)
        import tenacity  # noqa: PLC0415 - a tenth of the time to import backuplog, and few programs ever retry

        def log_pause(state: tenacity.RetryCallState) -> None:
            _log_retry(method, state.outcome.exception() if state.outcome else None, state.upcoming_sleep)

        # At once the first time: a pool has other connections, and whoever won a deadlock has gone on.
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            stop=tenacity.stop_after_delay(remaining),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=_LONGEST_PAUSE),
            before_sleep=log_pause,
            reraise=True,
        )
        return again(method, *arguments, **keywords)

    def submit(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Submit results, and retry as ``call`` does. Small ones of several threads may share a transaction.

        What is answered is durable, unless ``bound_to`` returned this view.

        Args:
            submissions: The submissions.

        Raises:
            StoreUnavailable: The store was still unavailable after ``retry_timeout`` seconds.
            StoreError: The store failed.
        """
        return self.call(self._group.submit, submissions)

    def should_warn_of(self, word: str) -> bool:
        """Return whether to log a warning about a word: once for each tenant, and a thousand times at most.

        Args:
            word: What the warning is about.
        """
        if (self.tenant_id, word) in self._warned or len(self._warned) >= _MOST_WARNINGS:
            return False
        self._warned.add((self.tenant_id, word))
        return True

    def close(self) -> None:
        """Close the store. Closing it again, or closing a view, does nothing."""
        self.backend.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def require_store(store: object) -> None:
    """Make sure that what a verb was given first is a store.

    Raises:
        TypeError: It is something else, such as a URL.
    """
    if not isinstance(store, Store):
        kind = type(store).__name__
        raise TypeError(
            f"the first argument must be a Store, as backuplog.open_store(url) returns it, and not of type {kind}"
        )


def _driver_connection(connection: Any) -> Any:
    """Find the driver's connection in what holds one, by its attributes, so that none of those libraries is needed."""
    if hasattr(connection, "get_bind"):  # a Session of SQLAlchemy
        connection = connection.connection()
    if hasattr(connection, "ensure_connection"):  # Django's, which connects when it is first used
        connection.ensure_connection()
        return connection.connection
    # A Connection of SQLAlchemy holds a proxy of its pool, and that the driver's connection.
    proxy = connection if hasattr(connection, "driver_connection") else getattr(connection, "connection", None)
    return getattr(proxy, "driver_connection", connection)


def _log_retry(method: Callable[..., object], error: BaseException | None, pause: float) -> None:
    operation = getattr(method, "__name__", "a call")
    fields = {"operation": operation, "pause_seconds": pause}
    _logger.warning("%s is retried in %.2f s: %s", operation, pause, error, extra=fields)


def open_store(
    url: str,
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    agent_exists: Callable[[UUID], bool] | None = None,
    migrate: bool = True,
    retry_timeout: float = 30.0,
    observers: Sequence[Observer] = (LoggingObserver(),),
    parsers: Sequence[Tool] | None = None,
    redactor: Redactor | None = SecretRedactor(),  # noqa: B008
    **options: Any,
) -> Store:
    """Open the store at a URL, with the installed backend that serves its scheme.

    Args:
        url: ``sqlite://`` (in memory), ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``postgresql://...``, or
            a URL that another installed backend serves.
        tenant_id: The tenant whose data to see. ``Store.for_tenant`` returns another tenant's view.
        agent_exists: A function that says whether an agent exists, if you keep agents in a table of your own; you then
            need no ``register_agent``. It is called with the agent's id, outside any transaction of the store.
        migrate: Whether to bring the database's schema up to date first. Any number of processes may do so at once.
        retry_timeout: Seconds to keep retrying a call that raised ``StoreUnavailable``, counted from its first attempt,
            with growing, random pauses; 0 disables retries. A view that ``Store.bound_to`` returned never retries.
        observers: The observers to tell what became of each result; by default a logger, of which only errors appear
            until you configure logging.
        parsers: The tools whose logs to read for the figures of a run; by default all that are known or installed, and
            ``()`` for none.
        redactor: What masks secrets in logs and error messages before they are stored: by default passwords in URLs
            and what is assigned to names such as ``RESTIC_PASSWORD``. None stores them as they come.
        options: Further options, which the backend's ``open_backend`` takes.

    Returns:
        The store, which is also a context manager.

    Raises:
        BackendNotFound: No installed backend serves the scheme, more than one does, or the backend's driver is missing.
        SchemaOutdated: ``migrate`` is False and the schema is behind, or a newer version wrote the database.
        StoreError: The database cannot be opened; the message says why and what to do.
    """
    retry_timeout = _as_budget(retry_timeout)  # before anything is opened
    entry_point = _entry_point(url)
    try:
        open_backend = entry_point.load()
    except ModuleNotFoundError as error:
        owner = entry_point.dist.name if entry_point.dist else entry_point.module
        extra = entry_point.module.removeprefix("backuplog_")
        wanted = f"'backuplog[{extra}]'" if owner == "backuplog" else f"{error.name}, or what {owner} says"
        raise BackendNotFound(
            f"{error.name} is not installed, which this backend needs: pip install {wanted}"
        ) from error
    backend: Backend = open_backend(url, tenant_id=tenant_id, migrate=migrate, **options)
    return Store(
        backend,
        agent_exists=agent_exists,
        observers=tuple(observers),
        retry_timeout=retry_timeout,
        parsers=find_tools() if parsers is None else tuple(parsers),
        redactor=redactor or Unredacted(),
    )


def _entry_point(url: str) -> "EntryPoint":
    from importlib.metadata import entry_points  # noqa: PLC0415 - a tenth of the time to import backuplog

    given: object = url
    if not isinstance(given, str):
        kind = type(given).__name__
        # A SQLAlchemy engine shows its URL without the password.
        hint = ": give engine.url.render_as_string(hide_password=False)" if hasattr(given, "raw_connection") else ""
        raise BackendNotFound(
            f"a store is opened by a URL, such as sqlite:///backups.db, and not by a value of type {kind}{hint}"
        )
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
