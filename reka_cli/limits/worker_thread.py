"""Limits for work that cannot be interrupted from inside: name lookups and opening a pipe."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Result = queue.SimpleQueue[tuple[T | None, BaseException | None]]


def run_in_thread(work: Callable[[], T], within_s: float, result: Result[T] | None = None) -> T:
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
