"""Native code that writes to standard error what only a developer wants to know."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Lead standard error nowhere meanwhile, if this is the main thread.

    A process has but one, and another thread must not keep an error from being told that ends the process.
    """
    try:
        kept = os.dup(2) if threading.current_thread() is threading.main_thread() else None
    except OSError:
        kept = None  # it is closed
    if kept is None:
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
