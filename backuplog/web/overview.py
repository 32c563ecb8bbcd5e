"""The overview: does everything have a recent good backup?"""

from starlette.requests import Request
from starlette.responses import Response

from .page import Site


def view_overview(site: Site, request: Request) -> Response:
    """Show each policy and agent: the last run, the last success and its age, and what is overdue first."""
    return site.render(request, "overview.html")
