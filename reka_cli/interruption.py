"""Limits for work that cannot be interrupted from inside: name lookups and opening a pipe."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_time(work: Callable[[], T], within_s: float) -> T:
    """Do what cannot be interrupted (a name lookup, opening a pipe) in a thread; raise TimeoutError if it takes longer.

    The thread is then left behind; it does not keep the interpreter from ending.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is due
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=within_s)
    except queue.Empty:
        raise TimeoutError from None
    if error:
        raise error
    return result  # type: ignore[return-value]
