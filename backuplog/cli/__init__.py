"""The command ``backuplog``. Needs the extra ``cli``."""

from functools import partial
from importlib.metadata import version

try:
    import click
    import humanize  # noqa: F401 # pyright: ignore[reportUnusedImport] - named here if it is missing
    import rich  # noqa: F401 # pyright: ignore[reportUnusedImport] - likewise
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"The command backuplog needs {missing.name}: pip install 'backuplog[cli]'", name=missing.name
    ) from missing

from .agents import agents, token
from .check import check
from .copying import copy
from .frame import Main, store_options
from .import_logs import import_logs
from .ingest import ingest
from .log import log
from .migrate import migrate
from .prune import prune
from .reports import latest, overdue, summary
from .runs import runs, show
from .search import search
from .serve import serve

__all__ = ["main"]

_EXIT_CODES = """\b
Exit codes:
  0    done
  1    done, and there is something to look at; or nothing was found
  2    called in a wrong way, or what it was given is not valid
  3    not there: a run, an agent, a log, or the database
  4    the store failed, or the system did, as where a disk is full
  130  interrupted from the keyboard
"""


@click.group("backuplog", cls=Main, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@partial(store_options, envvar="BACKUPLOG_URL")
@click.version_option(version("backuplog"), prog_name="backuplog")
def main() -> None:
    """Look at backup runs and their logs, and look after the store that holds them."""


_LOOKING = (runs, show, log, latest, summary, overdue, search, agents, token, serve)
_DOING = (prune, check, migrate, ingest, import_logs, copy)
for command in (*_LOOKING, *_DOING):
    main.add_command(command)
