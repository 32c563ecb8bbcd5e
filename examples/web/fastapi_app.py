"""backuplog in FastAPI: ``python fastapi_app.py``, or ``uvicorn fastapi_app:app`` with any number of workers.

Agents send to ``/agents/{id}/task-results``; ``/docs`` describes what they may send. People look at ``/backups/``,
which needs the password in ``BACKUPLOG_PASSWORD``.
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.security import HTTPBasic
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

import backuplog
from backuplog import http, web
from backuplog.http import openapi

PASSWORD = os.environ.get("BACKUPLOG_PASSWORD", "")
EXPECTATIONS: list[backuplog.Expectation] = []  # how often each policy should run: you know, agents do not say it

guard = http.Guard()  # every agent shows a token of backuplog.issue_agent_token


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store in the process that serves: one that was opened before a fork refuses to work."""
    with backuplog.open_store(os.environ.get("BACKUPLOG_URL", "sqlite:///backups.db")) as store:
        app.state.store = store
        yield


app = FastAPI(title="Orchestrator", lifespan=lifespan)


def get_store() -> backuplog.Store:
    """Return the store of this process."""
    store: backuplog.Store = app.state.store
    return store


class Login(AuthenticationBackend):
    """Let people in who know the password. Put your own sessions or single sign-on here."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        """Return who asks, or refuse."""
        given = await HTTPBasic(auto_error=False)(Request(conn.scope))
        if given is None or not PASSWORD or not secrets.compare_digest(given.password.encode(), PASSWORD.encode()):
            raise AuthenticationError("This page needs a password.")
        return AuthCredentials(["authenticated"]), SimpleUser(given.username)


def ask_for_password(_connection: HTTPConnection, error: Exception) -> Response:
    """Answer who has not said the password."""
    return PlainTextResponse(str(error), 401, {"WWW-Authenticate": 'Basic realm="backups"'})


page = web.application(get_store, guard=guard, expectations=EXPECTATIONS)
app.mount("/backups", AuthenticationMiddleware(page, backend=Login(), on_error=ask_for_password))
app.mount("/", web.application(get_store, guard=guard, page=False, expectations=EXPECTATIONS))
openapi.extend(app, guard=guard)

if __name__ == "__main__":
    import uvicorn

    # Who still follows a log when the server stops is not waited for.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=5)
