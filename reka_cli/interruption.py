"""Limits for work that cannot be interrupted from inside: name lookups, opening a pipe, a search for a pattern."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from reka_cli.deadline import Deadline

T = TypeVar("T")
Result = queue.SimpleQueue[tuple[T | None, BaseException | None]]


@contextlib.contextmanager
def breaking_off(deadline: Deadline) -> Iterator[None]:
    """Raise DeadlineExceeded in the middle of what lets no other thread run, such as a search for a pattern.

    It takes an alarm, which only the main thread can have, and not on Windows.
    """
    import signal

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "SIGALRM") or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def break_off(*_: object) -> None:
        raise deadline.error()

    signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, deadline.remaining_s())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def in_time(work: Callable[[], T], within_s: float, result: Result[T] | None = None) -> T:
    """Do what cannot be interrupted (a name lookup, opening a pipe) in a thread.

    Raises TimeoutError if it takes longer; the thread is then left behind and does not keep the
    interpreter from ending. Whatever another thread puts into `result` first ends the wait.
    """
    done: Result[T] = queue.SimpleQueue() if result is None else result

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is due
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = done.get(timeout=within_s)
    except queue.Empty:
        raise TimeoutError from None
    if error:
        raise error
    return value  # type: ignore[return-value]
