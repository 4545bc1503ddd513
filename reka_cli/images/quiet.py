"""Native code that writes to standard error what only a developer wants to know."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.Lock()  # there is one standard error in a process, and each must find it as it was


@contextmanager
def quiet() -> Iterator[None]:
    """Lead standard error nowhere meanwhile."""
    with _ONE_AT_A_TIME:
        try:
            kept = os.dup(2)
        except OSError:  # closed already
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
