"""What the views of the page share: the store, the templates, and headers that allow nothing that is not ours."""

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import attrs
from anyio import CapacityLimiter, to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from backuplog.errors import BackuplogError
from backuplog.http.response import problem_of
from backuplog.overdue import Expectation
from backuplog.store import Store

from .text import FILTERS

HEADERS: Final = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The headers of each page: no script or style but our own files, and no frame around it."""

VIEWS_AT_ONCE: Final = 8
"""How many views are at work at once. The server has 40 threads, which many slow views would take from agents."""

_logger: Final = logging.getLogger("backuplog")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("backuplog.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


@attrs.frozen(kw_only=True)
class Site:
    """What the views of the page share.

    Attributes:
        opened: The store to use, or a function that returns it.
        expectations: What is expected of policies, or a function that returns it.
        recent: How old the last success may be of what no expectation names.
        environment: The templates.
        threads: How many views may be at work at once. Agents' results have threads of their own.
    """

    opened: Store | Callable[[], Store]
    expectations: Collection[Expectation] | Callable[[], Iterable[Expectation]]
    recent: timedelta
    environment: Environment = attrs.field(factory=_environment, init=False)
    threads: CapacityLimiter = attrs.field(factory=lambda: CapacityLimiter(VIEWS_AT_ONCE), init=False)

    @property
    def store(self) -> Store:
        """The store to use."""
        return self.opened if isinstance(self.opened, Store) else self.opened()

    def render(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """Answer with a page. Its links are relative, so that it works under any prefix."""
        path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
        root = "../" * (path.count("/") - 1) or "./"
        text = self.environment.get_template(template).render(root=root, **values)
        return HTMLResponse(text, status, HEADERS)

    def refuse(self, request: Request, error: BackuplogError) -> Response:
        """Answer with what went wrong. What the server has to answer for is logged."""
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _logger.error("A page was not shown: %s", error)
        return self.render(request, "problem.html", status=error.http_status, problem=problem_of(error))


View = Callable[[Site, Request], Response]
"""The type of a view: it answers a request, in a thread of its own, and may raise a ``BackuplogError``."""


def page_route(path: str, view: View, site: Site) -> Route:
    """Make a route to a view, which answers GET and HEAD."""

    def answer(request: Request) -> Response:
        try:
            return view(site, request)
        except BackuplogError as error:
            return site.refuse(request, error)

    async def handle(request: Request) -> Response:
        return await to_thread.run_sync(answer, request, limiter=site.threads)

    return Route(path, handle, methods=["GET"])
