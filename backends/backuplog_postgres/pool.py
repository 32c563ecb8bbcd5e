"""A pool of our own: no signal, outage or silent server costs it a connection or a thread's time for long.

psycopg_pool gives a connection to whoever waits for it, even where a signal's handler has ended the wait by raising:
after ten such signals a pool of ten has none left. And it connects in the background, with pauses that double up to
300 s: after an outage it stays away for as long again. Here whoever needs a connection opens it.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar
from weakref import ref

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

from backuplog.backend import StoreUnavailable

_Returned = TypeVar("_Returned")

_LIFETIME_SECONDS: Final = 3600.0  # Then it may find another server behind the name, and what it holds there is freed.
_IDLE_SECONDS: Final = 600.0


class Pool:
    """Open connections, each of them for one thread at a time."""

    def __init__(
        self, connect: Callable[[], "PoolConnection"], *, min_size: int, max_size: int, pool_timeout: float
    ) -> None:
        """Open nothing yet."""
        self.max_size = max_size
        self._connect = connect
        self._min_size = min_size
        self._pool_timeout = pool_timeout
        self._idle: deque[PoolConnection] = deque()
        self._permits: SimpleQueue[_Permit] = SimpleQueue()
        self._closed = False
        for _ in range(max_size):
            self.add_permit()

    def add_permit(self) -> None:
        """Let one more connection be used at a time. It may be called in the middle of anything."""
        self._permits.put(_Permit(self))

    def getconn(self) -> "PoolConnection":
        """Take a connection: the one that was used last, or a new one.

        Raises:
            StoreUnavailable: None became free in time.
            psycopg.OperationalError: The server cannot be reached.
        """
        try:
            permit = self._permits.get(timeout=self._pool_timeout)
        except Empty:
            raise StoreUnavailable(
                f"no connection became free in {self._pool_timeout:g} s: raise max_size, or use fewer threads"
            ) from None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            connection.permit = permit
        except BaseException:
            self._permits.put(permit)
            raise
        return connection

    def putconn(self, connection: "PoolConnection") -> None:
        """Take a connection back, and keep it if it can be used again."""
        permit, connection.permit = connection.permit, None
        try:
            now = time.monotonic()
            if connection.closed:
                self._close_idle()  # They were probably lost with it: let nobody find that out one by one.
            elif self._closed or now - connection.opened_at > _LIFETIME_SECONDS:
                connection.close()
            else:
                connection.returned_at = now
                self._idle.append(connection)
                if len(self._idle) > self._min_size and now - self._idle[0].returned_at > _IDLE_SECONDS:
                    self._idle.popleft().close()
        finally:
            if permit is not None:
                self._permits.put(permit)

    def close(self) -> None:
        """Close every connection that is not in use; the others are closed when they come back."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


class _Permit:
    """The right to use one connection. Wherever it is dropped, as a raising handler can make it, it comes back."""

    def __init__(self, pool: Pool) -> None:
        self._pool = ref(pool)

    def __del__(self) -> None:
        pool = self._pool()
        if pool is not None:
            pool.add_permit()


class PoolConnection(psycopg.Connection[TupleRow]):
    """A connection that closes itself when the server has left a statement unanswered for too long.

    Neither TCP nor the server's own time-outs see to it where a proxy or the server's host is frozen.

    Attributes:
        response_timeout: Seconds to wait while nothing comes; None for no limit.
        permit: What lets a thread use it; None while it is idle.
        opened_at: When it was opened, by the monotonic clock.
        returned_at: When it was used last.
    """

    response_timeout: float | None = None
    permit: _Permit | None = None
    opened_at: float = 0.0
    returned_at: float = 0.0

    def __del__(self, *_: Any) -> None:
        """Do nothing, where psycopg would warn: a signal's handler may have made the pool drop it."""

    def wait(self, gen: PQGen[_Returned], *arguments: Any, **keywords: Any) -> _Returned:
        """Follow an exchange with the server to its end.

        Raises:
            StoreUnavailable: It took too long.
        """
        if self.response_timeout is not None:
            gen = _until(self.response_timeout, gen, self._give_up)
        return super().wait(gen, *arguments, **keywords)

    def _give_up(self) -> StoreUnavailable:
        self.close()
        return StoreUnavailable(
            f"PostgreSQL has not answered for {self.response_timeout:g} s: see whether it or a proxy hangs, "
            "or raise response_timeout"
        )


def _until(seconds: float, gen: PQGen[_Returned], give_up: Callable[[], Exception]) -> PQGen[_Returned]:
    """Follow an exchange, which is told every 0.1 s that nothing came, and end it when nothing came for so long."""
    deadline = time.monotonic() + seconds
    try:
        ready = yield next(gen)
        while True:
            if ready:
                deadline = time.monotonic() + seconds
            elif time.monotonic() > deadline:
                raise give_up()
            ready = yield gen.send(ready)
    except StopIteration as end:
        returned: _Returned = end.value
        return returned
