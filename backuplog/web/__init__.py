"""An ASGI application with the whole HTTP contract and a page to look at runs. Needs the extra ``web``."""

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Final

try:
    import humanize  # noqa: F401 # pyright: ignore[reportUnusedImport] - named here if it is missing
    import jinja2  # noqa: F401 # pyright: ignore[reportUnusedImport] - likewise
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.web needs {missing.name}: pip install 'backuplog[web]'", name=missing.name
    ) from missing

from backuplog.errors import BackuplogError
from backuplog.http.answering import failure
from backuplog.http.guard import Guard
from backuplog.overdue import Expectation
from backuplog.store import Store

from .contract import contract_routes, response_of
from .history import view_history
from .overview import view_overview
from .page import Site, page_route
from .run import run_routes

__all__ = ["RECENT", "application"]

RECENT: Final = timedelta(hours=26)
"""How old the last success of a policy may be by default, if nothing else is expected of it: a day, and some."""


def application(
    store: Store | Callable[[], Store],
    *,
    guard: Guard,
    page: bool = True,
    expectations: Collection[Expectation] | Callable[[], Iterable[Expectation]] = (),
    recent: timedelta = RECENT,
) -> Starlette:
    """Make an ASGI application with the whole HTTP contract, and a page to look at runs and logs.

    Mount it under any prefix, as in ``app.mount("/backups", application(store, guard=guard))``, or serve it by itself.
    The page changes nothing. **It shows everything to everybody who reaches it**, whatever the guard says, because no
    agent's token is for people: mount it behind your own login, and agents' endpoints, with ``page=False``, beside it.

    Args:
        store: The store to use, or a function that returns it: in a server that forks, one that opens it in the process
            that serves.
        guard: Whom to let in at the endpoints of the contract, and how much they may send.
        page: Whether to serve the page.
        expectations: What you expect of policies, or a function that each request calls for it.
        recent: How old the last success may be of what no expectation names.

    Returns:
        The application.
    """
    routes = contract_routes(store, guard=guard, expectations=expectations)
    if page:
        site = Site(opened=store, expectations=expectations, recent=recent)
        routes += [
            page_route("/", view_overview, site),
            page_route("/history", view_history, site),
            *run_routes(site),
            Mount("/static", StaticFiles(packages=[("backuplog.web", "static")])),
        ]
    return Starlette(routes=routes, exception_handlers={ClientDisconnect: _went_away, BackuplogError: _refuse})


async def _went_away(_request: Request, _error: Exception) -> Response:
    """Answer a client that broke its upload off, and no longer listens."""
    return Response(status_code=400)


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answer what the function raised that returns the store."""
    if not isinstance(error, BackuplogError):
        raise error
    return response_of(failure(None, error, is_observed=False))
