"""One run: its figures, what went wrong, and its log."""

from starlette.requests import Request
from starlette.responses import Response

from backuplog.query import get_run

from .page import Site


def view_run(site: Site, request: Request) -> Response:
    """Show a run and its log."""
    run = get_run(site.store, request.path_params["run_id"])
    return site.render(request, "run.html", run=run)
