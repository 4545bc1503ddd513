"""One line on the terminal that says what is being waited for, and goes without a trace."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

_TURNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1
_QUIET_S = 0.3  # what comes sooner needs no spinner
_SECONDS_AFTER_S = 2.0  # from then on the line says how long it has been


class Spinner:
    """Draw `label` and how long it has been true, until `stop()`; whatever else is written there goes through `aside`.

    `put` writes to the terminal. Nothing is drawn while another job has the terminal.
    """

    def __init__(
        self, put: Callable[[str], None], columns: Callable[[], int], in_front: Callable[[], bool]
    ) -> None:
        self._put, self._columns, self._in_front = put, columns, in_front
        self._label = ""
        self._since = 0.0
        self._drawn = False
        self._turn = 0
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def show(self, label: str) -> None:
        """Say what is being waited for from now on."""
        with self._lock:
            kind = label.partition(" ")[0]
            if kind != self._label.partition(" ")[0]:
                self._since = time.monotonic()
            self._label = label
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def aside(self, write: Callable[[], None]) -> None:
        """Write something else to the same terminal, on a line that is clear."""
        with self._lock:
            self._erase()
            write()

    def stop(self) -> None:
        self._over.set()
        with self._lock:
            self._erase()

    def _run(self) -> None:
        if self._over.wait(_QUIET_S):
            return
        while not self._over.is_set():
            with self._lock:
                if not self._over.is_set() and self._in_front():
                    self._draw()
            self._over.wait(_FRAME_S)

    def _draw(self) -> None:
        waited_s = time.monotonic() - self._since
        seconds = f" {waited_s:.0f} s" if waited_s >= _SECONDS_AFTER_S else ""
        self._turn = (self._turn + 1) % len(_TURNS)
        line = _fitting(f"{_TURNS[self._turn]} {self._label}{seconds}", self._columns() - 1)
        self._put(f"\r{line}\x1b[K")
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._put("\r\x1b[K")
            self._drawn = False


def make_spinner(stream: TextIO | None, put: Callable[[str], None]) -> Spinner | None:
    """Give a spinner for a stream that is a terminal which can redraw a line; None for any other."""
    if stream is None or not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    descriptor = stream.fileno()

    def columns() -> int:
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            return 80

    def in_front() -> bool:
        if sys.platform != "win32":  # where no other job can have the terminal
            with contextlib.suppress(OSError):  # it is not our terminal
                return os.tcgetpgrp(descriptor) == os.getpgrp()
        return True

    return Spinner(put, columns, in_front)


def _fitting(line: str, columns: int) -> str:
    width = 0
    for index, character in enumerate(line):
        width += 2 if ord(character) >= 0x1100 and character not in _TURNS else 1
        if width > columns:
            return line[:index]
    return line
