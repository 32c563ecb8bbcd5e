"""The history: runs, newest first, by the filters in the address."""

from starlette.requests import Request
from starlette.responses import Response

from .page import Site


def view_history(site: Site, request: Request) -> Response:
    """Show a page of runs."""
    return site.render(request, "history.html")
