"""``backuplog serve``: the page, and the endpoints to which agents send."""

import ipaddress
import logging
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import click

from backuplog.http import Guard
from backuplog.observe import LoggingObserver

from .expectations import read_expectations
from .filters import LengthOfTime
from .frame import ExitCode, Refusal, Target, store_options

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@click.command(short_help="Serve the page and the endpoints.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0 for any.")
@click.option(
    "--page/--no-page",
    default=None,
    help="Whether to serve the page, which everybody who reaches it can read. By default only to this machine.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="A host name that a proxy on this machine passes on.")
@click.option(
    "--expectations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What you expect of policies: a file of TOML with tables [[expectation]]. It is read once.",
)
@click.option("--recent", type=LengthOfTime(), default="26h", show_default=True, help="How old a last success may be.")
@store_options
@click.pass_obj
def serve(
    target: Target,
    *,
    host: str,
    port: int,
    page: bool | None,
    allow_host: tuple[str, ...],
    expectations: Path | None,
    recent: timedelta,
) -> None:
    """Serve the page, and the endpoints to which agents send with a token.

    Only this machine reaches it, unless you say another --host. Then the page is left out, unless you say --page.
    """
    try:
        import uvicorn  # noqa: PLC0415 - no other command needs the extra
        from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415 - likewise
        from starlette.types import ASGIApp  # noqa: PLC0415 - likewise

        from backuplog import web  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as missing:
        raise Refusal(f"serve needs {missing.name}: pip install 'backuplog[web]'", ExitCode.USAGE) from missing
    is_local = _is_local(host)
    expected = [] if expectations is None else read_expectations(expectations)
    # Of results only failures are told: whoever reaches the address could fill the log with what is refused.
    failures = logging.getLogger("backuplog.serve")
    failures.setLevel(logging.ERROR)
    with (
        target.open(migrate=True, observers=(LoggingObserver(failures),)) as store,
        _listening(host, port) as listening,
    ):
        app: ASGIApp = web.application(
            store, guard=Guard(), page=is_local if page is None else page, expectations=expected, recent=recent
        )
        if is_local or allow_host:
            # Else any web site could read the page through a browser of this machine, by a name of its own for it.
            app = TrustedHostMiddleware(app, allowed_hosts=[*_LOCAL_NAMES, host, *allow_host], www_redirect=False)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        # Who still follows a log when the server stops is not waited for.
        config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
        with suppress(KeyboardInterrupt):
            click.echo(f"Serving {_shown(target.url)} at {address}. Stop it with Ctrl-C.")
            if page is None and not is_local:
                click.echo("The page is left out: other machines reach this address. See backuplog serve --help.")
            uvicorn.Server(config).run(sockets=[listening])


def _shown(url: str) -> str:
    """Return a URL without what may be a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except (OSError, OverflowError) as error:
        raise Refusal(f"cannot listen at {host}, port {port}: {error}", ExitCode.FAILED) from error
