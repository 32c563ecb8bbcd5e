"""From errors to answers: what a client is told, and what the operator's log says."""

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Concatenate, Final, ParamSpec

from backuplog.errors import BackuplogError, TransactionRolledBack
from backuplog.observe import LoggingObserver
from backuplog.store import Store

from .request import Request
from .response import Response, problem_response, without_body

_Given = ParamSpec("_Given")
_Endpoint = Callable[Concatenate[Store, _Given], Response]
_Answer = Callable[Concatenate[Store | Callable[[], Store], _Given], Response]

_logger: Final = logging.getLogger("backuplog")


def answering(*, is_observed: bool) -> Callable[[_Endpoint[_Given]], _Answer[_Given]]:
    """Make a decorator of endpoints that answers their errors and HEAD, and takes a function that returns the store.

    Args:
        is_observed: Whether the store's observers are told of what the endpoint does.
    """

    def decorate(endpoint: _Endpoint[_Given]) -> _Answer[_Given]:
        @wraps(endpoint)
        def answer(
            store: Store | Callable[[], Store], /, *arguments: _Given.args, **keywords: _Given.kwargs
        ) -> Response:
            opened: Store | None = None
            try:
                opened = store if isinstance(store, Store) else store()
                response = endpoint(opened, *arguments, **keywords)
            except BackuplogError as error:
                response = failure(opened, error, is_observed=is_observed)
            requests = (given for given in (*arguments, *keywords.values()) if isinstance(given, Request))
            return without_body(response) if any(request.method == "HEAD" for request in requests) else response

        return answer

    return decorate


def failure(store: Store | None, error: BackuplogError, *, is_observed: bool, **members: object) -> Response:
    """Answer with what went wrong. What the server has to answer for is logged, once."""
    # Observers do not hear of a transaction that is rolled back: it takes more with it than one result.
    observers = store.observers if store and is_observed and not isinstance(error, TransactionRolledBack) else ()
    is_logged = any(isinstance(observer, LoggingObserver) for observer in observers)
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_logged:
        _logger.error("A request was not answered: %s", error)
    return problem_response(error, **members)
