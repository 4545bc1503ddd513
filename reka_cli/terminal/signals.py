"""What SIGINT, SIGTERM and SIGHUP do: clean up, then end the process by that same signal.

A shell ends a loop on Ctrl-C only if the command in it died of SIGINT. A command that exits with
code 130 instead looks as if it had handled the signal, and bash starts the next turn.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

_PATIENCE_S = 1.0  # from a signal to the end
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# Windows has no SIGHUP
_NUMBERS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived: unwind, so that sockets and files are closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _SignalState:
    """What the handlers know: one for the process, which has one handler for each signal."""

    def __init__(self) -> None:
        self.discard_files: Callable[[], None] | None = None
        self.interrupt_action: Callable[[], None] | None = None
        self.error_for_main: BaseException | None = None


_state = _SignalState()


def install(discard_files: Callable[[], None] | None = None) -> None:
    """Handle the signals, except those that are ignored: nohup and background jobs rely on that.

    A signal unwinds the main thread with KeyboardInterrupt (SIGINT) or Terminated. After a second
    signal, or when unwinding takes longer than a second, the process ends on the spot.
    `discard_files` removes unfinished files. The handler calls it before it unwinds.
    """
    _state.discard_files = discard_files
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def uninstall() -> None:
    """Restore the default action of each signal that `install` handles."""
    for number in _NUMBERS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def taking_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` at the first Ctrl-C inside the block, which goes on; the next one unwinds.

    `action` runs in the signal handler, in the middle of whatever the main thread does. It must not
    wait for a lock that the main thread may hold: setting a flag and `queue.SimpleQueue.put` are
    safe, `queue.Queue.put` is not. Afterwards the main thread goes on waiting for what it waited
    for, unless `action` ends that. An exception that `action` raises unwinds the main thread.

    Blocks can be nested: the innermost one counts, with one Ctrl-C of its own. Without `install`,
    and where SIGINT is ignored, `action` is never called.

        keys = queue.SimpleQueue()
        with taking_interrupt(lambda: keys.put("stop")):
            keys.get()  # returns "stop" at the first Ctrl-C
    """
    outer = _state.interrupt_action
    _state.interrupt_action = action
    try:
        yield
    finally:
        _state.interrupt_action = outer


def raise_in_main(error: BaseException) -> None:
    """Raise `error` in the main thread, even while it waits for a socket.

    To be called from other threads. It takes no notice of `taking_interrupt`. Without `install`,
    the main thread gets what SIGINT does there: KeyboardInterrupt, or nothing if it is ignored.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is _handle:
        _state.error_for_main = error
    main = threading.main_thread().ident
    if not callable(handler) or main is None:
        return
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        signal.pthread_kill(main, signal.SIGINT)  # unlike interrupt_main, it also ends system calls


def die(number: int) -> NoReturn:
    """End the process by a signal, or with exit code 128 + `number` where that is impossible."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    _die(number)


def _die(number: int) -> NoReturn:
    if sys.platform != "win32":
        with contextlib.suppress(ValueError):  # not the main thread: _handle has done it already
            signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)  # Windows, and process 1 of a container: no signal of its own ends it


def _handle(number: int, _frame: object) -> None:
    if number == signal.SIGINT:
        error, _state.error_for_main = _state.error_for_main, None
        if error is not None:
            raise error
        action, _state.interrupt_action = _state.interrupt_action, None
        if action is not None:
            action()
            return
    if _state.discard_files:
        _state.discard_files()  # now: a terminal that closes sends a second SIGHUP soon
    uninstall()  # the second signal ends the process at once
    # not a threading.Thread, which takes locks that the main thread may hold here
    _thread.start_new_thread(_give_up, (number,))
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def _give_up(number: int) -> NoReturn:
    """End the process if unwinding takes too long, such as writing to a pipe that nobody reads."""
    time.sleep(_PATIENCE_S)
    _die(number)
