"""A connection that does not wait for ever for a server that has gone silent."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

from backuplog.backend import StoreUnavailable

_Returned = TypeVar("_Returned")


class PatientConnection(psycopg.Connection[TupleRow]):
    """A connection that is closed when the server has left a statement unanswered for so long.

    Neither TCP nor the server's own time-outs see to it where a proxy or the server's host is frozen.

    Attributes:
        response_timeout: Seconds to wait for one answer; None for no limit.
    """

    response_timeout: float | None = None

    def wait(self, gen: PQGen[_Returned], *arguments: Any, **keywords: Any) -> _Returned:
        """Follow an exchange with the server to its end.

        Raises:
            StoreUnavailable: It took too long.
        """
        if self.response_timeout is not None:
            gen = _until(time.monotonic() + self.response_timeout, gen, self._give_up)
        return super().wait(gen, *arguments, **keywords)

    def _give_up(self) -> StoreUnavailable:
        self.close()
        return StoreUnavailable(
            f"PostgreSQL has not answered for {self.response_timeout:g} s: see whether it or a proxy hangs, "
            "or raise response_timeout"
        )


def _until(deadline: float, gen: PQGen[_Returned], give_up: Callable[[], Exception]) -> PQGen[_Returned]:
    """Follow an exchange, which is told every 0.1 s that nothing came, and end it after the deadline."""
    try:
        ready = yield next(gen)
        while True:
            if not ready and time.monotonic() > deadline:
                raise give_up()
            ready = yield gen.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
