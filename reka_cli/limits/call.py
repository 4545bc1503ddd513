"""One question on its way: how long it may take, how often it may be tried, and how to cancel it."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from reka_cli.errors import IncompleteAnswer
from reka_cli.limits.deadline import Deadline
from reka_cli.limits.worker_thread import Result, run_in_thread
from reka_cli.messages import Notice

T = TypeVar("T")

_LOCK_CHECK_S = 0.05  # between two looks whether a question that waits for a lock was canceled


@dataclass(frozen=True)
class Limits:
    """How long and how often: `idle_s` is silence once the answer has begun, `retries` come after the first attempt.

    Without `waits_for_limits`, a rate limit is an error at once.
    """

    deadline: Deadline
    idle_s: float = 60.0
    connect_s: float = 10.0
    retries: int = 2
    waits_for_limits: bool = True
    is_scheduled: bool = False  # by the caller, who spaces requests and wants each 429 at once


class Cancellation:
    """Tells every part of one question that nobody wants its answer any more.

    `cancel()` may be called from any thread, from a signal handler, and more than once: it takes
    no lock. Whatever blocks registers with `on_cancel` what ends it.
    """

    def __init__(self) -> None:
        self.is_canceled = False
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._abort: Callable[[], None] | None = None

    def cancel(self) -> None:
        self.is_canceled = True
        self._wakeups.put(None)
        abort = self._abort
        if abort:
            abort()

    def raise_if_canceled(self) -> None:
        """Raise IncompleteAnswer if the question was canceled."""
        if self.is_canceled:
            raise IncompleteAnswer("the question was canceled")

    def on_cancel(self, abort: Callable[[], None] | None) -> None:
        """Set what ends the part that blocks now, None for nothing; raise if it is already too late."""
        self._abort = abort
        if abort:
            self.raise_if_canceled()

    def sleep(self, seconds: float) -> None:
        """Sleep; raise IncompleteAnswer at once when the question is canceled."""
        with contextlib.suppress(queue.Empty):
            self._wakeups.get(timeout=seconds)
            self._wakeups.put(None)  # for the next one who waits
        self.raise_if_canceled()


class Call:
    """The limits of one question and its cancellation, handed to everything that works on it.

    One thread works on a call at a time; any thread may cancel it.
    """

    def __init__(self, limits: Limits, cancellation: Cancellation | None = None) -> None:
        self.limits = limits
        self.cancellation = cancellation or Cancellation()

    def within(self, seconds: float, *, retries: int) -> Call:
        """Return a part of the same question that must end sooner."""
        limits = replace(
            self.limits, deadline=self.limits.deadline.sooner(seconds), retries=retries
        )
        return Call(limits, self.cancellation)

    def run_in_thread(self, work: Callable[[], T], within_s: float) -> T:
        """Do what cannot be interrupted in a thread; see `worker_thread.run_in_thread`.

        Raises TimeoutError, IncompleteAnswer when the question is canceled, and what `work` raises.
        The thread is then left behind.
        """
        result: Result[T] = queue.SimpleQueue()
        canceled = IncompleteAnswer("the question was canceled")
        self.cancellation.on_cancel(lambda: result.put((None, canceled)))
        try:
            return run_in_thread(work, within_s, result)
        finally:
            self.cancellation.on_cancel(None)

    @contextlib.contextmanager
    def holding(self, lock: threading.Lock) -> Iterator[None]:
        """Hold a lock that other questions use too; the deadline and a cancellation end the wait."""
        while not lock.acquire(timeout=min(_LOCK_CHECK_S, self.limits.deadline.remaining_s())):
            self.cancellation.raise_if_canceled()
        try:
            yield
        finally:
            lock.release()

    def once(
        self,
        lock: threading.Lock,
        work: Generator[Notice, None, object],
        is_done: Callable[[], bool],
    ) -> Generator[Notice, None, None]:
        """Do work that serves other questions too, unless one of them has done it; they wait for it.

        The lock is not held while a notice is read, for its reader may never come back.
        """
        with contextlib.closing(work):
            while True:
                with self.holding(lock):
                    if is_done():
                        return
                    try:
                        notice = next(work)
                    except StopIteration:
                        return
                yield notice
