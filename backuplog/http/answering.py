"""From errors to answers: what a client is told, and what the operator's log says."""

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Concatenate, Final, ParamSpec

from backuplog.errors import BackuplogError
from backuplog.observe import LoggingObserver
from backuplog.store import Store

from .request import Request
from .response import Response, problem_response, without_body

_Given = ParamSpec("_Given")
_Endpoint = Callable[Concatenate[Store, _Given], Response]

_logger: Final = logging.getLogger("backuplog")


def answering(*, is_observed: bool) -> Callable[[_Endpoint[_Given]], _Endpoint[_Given]]:
    """Make a decorator of endpoints that answers their errors, and HEAD.

    Args:
        is_observed: Whether the store's observers are told of what the endpoint does.
    """

    def decorate(endpoint: _Endpoint[_Given]) -> _Endpoint[_Given]:
        @wraps(endpoint)
        def answer(store: Store, /, *arguments: _Given.args, **keywords: _Given.kwargs) -> Response:
            try:
                response = endpoint(store, *arguments, **keywords)
            except BackuplogError as error:
                response = failure(store, error, is_observed=is_observed)
            requests = (given for given in (*arguments, *keywords.values()) if isinstance(given, Request))
            return without_body(response) if any(request.method == "HEAD" for request in requests) else response

        return answer

    return decorate


def failure(store: Store, error: BackuplogError, *, is_observed: bool, **members: object) -> Response:
    """Answer with what went wrong. What the server has to answer for is logged, once."""
    is_logged = is_observed and any(isinstance(observer, LoggingObserver) for observer in store.observers)
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_logged:
        _logger.error("A request was not answered: %s", error)
    return problem_response(error, **members)
