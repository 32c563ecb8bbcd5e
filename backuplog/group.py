"""Small results of several threads that share one durable transaction: group commit, above every backend."""

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import RLock, get_ident
from time import monotonic
from typing import Final, cast

import attrs

from .backend import Backend, LimitsWriters
from .chunk import CHUNK_BYTES
from .delivery import Answer, Submission
from .errors import StoreError

# As many as a transaction of a batch takes.
_MOST_RESULTS: Final = 500
_MOST_LOG_BYTES: Final = 8 * 1_048_576
# Long enough for several transactions. What takes longer is a thread that hangs, or that waits for a run's lock.
_PATIENCE_SECONDS: Final = 5.0


@attrs.define(eq=False)
class _Waiting:
    """A submission that waits for a transaction.

    Attributes:
        submission: The submission.
        answer: The store's answer; None if there is none, so that it has to go by itself.
        is_settled: Whether a transaction that was to take it along is over.
        woken: Something, each time its thread is to look again.
    """

    submission: Submission
    answer: Answer | None = None
    is_settled: bool = False
    woken: SimpleQueue[None] = attrs.field(factory=SimpleQueue[None])

    def settle(self, answer: Answer | None) -> None:
        """Let its thread go on. The first answer counts."""
        if not self.is_settled:
            self.answer, self.is_settled = answer, True
        self.woken.put(None)


class Group:
    """The threads that submit results through one view of a store.

    While they are no more than the backend's ``writers``, each submits by itself. Of more than that, one at a time
    submits its own result and all that wait, in the order in which they came. A thread does so once for each result
    of its own, and nobody waits for more to come: what shares a transaction came while the one before was made durable.
    """

    def __init__(self, backend: Backend) -> None:
        """Begin with no thread.

        Args:
            backend: The view of the backend to submit to.
        """
        self._backend = backend
        # Not what a wrapper passes on with all that it does not know: its own submit may be in a caller's transaction.
        self._limited = cast("LimitsWriters", backend) if hasattr(type(backend), "writers") else None
        self._process = os.getpid()
        self._inside = set[int]()
        self._waiting = deque[_Waiting]()
        self._leading = RLock()  # which says whose it is: nobody can release it for another thread
        self._led_since = 0.0

    def submit(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Submit as the backend does, perhaps in one transaction with submissions of other threads.

        What is answered is durable. If the shared transaction fails, each submits by itself, so that what cannot be
        stored fails alone.

        Args:
            submissions: The submissions. Several, or one that takes long, go by themselves.

        Raises:
            StoreUnavailable: As the backend raises it.
            StoreError: As the backend raises it.
        """
        thread = get_ident()
        writers = self._limited.writers if self._limited else None
        if writers is None or not _is_small(submissions):
            return self._backend.submit(submissions)
        # A thread that a signal's handler interrupted cannot be waited for by the handler, nor anybody after a fork.
        if thread in self._inside or os.getpid() != self._process:
            return self._backend.submit(submissions)
        try:
            self._inside.add(thread)
            if len(self._inside) > writers:
                answer = self._share(submissions[0])
                if answer is not None:
                    return [answer]
            return self._backend.submit(submissions)
        finally:
            self._inside.discard(thread)

    def _share(self, submission: Submission) -> Answer | None:
        """Wait until the lead is free or another thread has taken the submission along.

        Returns:
            The answer; None if the submission has to go by itself.
        """
        mine = _Waiting(submission)
        try:
            self._waiting.append(mine)
            while not mine.is_settled:
                self._lead(mine)
                if not mine.is_settled:
                    # By the thread that leads: else each new result would wait anew for one that hangs.
                    mine.woken.get(timeout=max(0.0, self._led_since + _PATIENCE_SECONDS - monotonic()))
        except Empty:
            pass
        finally:
            if mine.answer is None:
                self._leave(mine)
                self._wake_first()
        return mine.answer

    def _lead(self, mine: _Waiting) -> None:
        """Submit for this thread and for those that wait, unless another thread is doing so.

        A signal may raise after any call. Whatever it interrupts, the lead is free again, and nobody waits for it.
        """
        together = [mine]
        try:
            if not self._leading.acquire(blocking=False):
                return
            self._led_since = monotonic()
            if not mine.is_settled:
                self._gather(together)
                submit = self._limited.submit_together if self._limited and together[1:] else self._backend.submit
                answers = submit([each.submission for each in together])
                for each, answer in zip(together, answers, strict=True):
                    each.settle(answer)
            self._leading.release()
            self._wake_first()
        except BaseException as error:
            with suppress(RuntimeError):
                self._leading.release()
            for each in together:
                each.settle(None)
            self._wake_first()
            # It may be of one of them, such as a lock on its run: each finds out by itself.
            if len(together) == 1 or not isinstance(error, StoreError):
                raise

    def _gather(self, together: list[_Waiting]) -> None:
        """Add those that wait, first come first."""
        log_bytes = together[0].submission.run.log_bytes
        self._leave(together[0])
        with suppress(IndexError):  # Nobody waits, or somebody has lost patience.
            while len(together) < _MOST_RESULTS:
                log_bytes += self._waiting[0].submission.run.log_bytes
                if log_bytes > _MOST_LOG_BYTES:
                    break
                together.append(self._waiting.popleft())

    def _leave(self, mine: _Waiting) -> None:
        with suppress(ValueError):  # It may have been taken along.
            self._waiting.remove(mine)

    def _wake_first(self) -> None:
        """Tell the one that has waited longest that the lead may be free."""
        with suppress(IndexError):
            self._waiting[0].woken.put(None)


def _is_small(submissions: Sequence[Submission]) -> bool:
    """Whether making a submission durable takes so long as to be worth sharing: of a long log, writing takes longer."""
    if len(submissions) != 1:
        return False
    return submissions[0].closing is None and submissions[0].run.log_bytes <= CHUNK_BYTES
